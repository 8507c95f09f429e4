"""Neural architecture search for Keras 3: search, explain, compress and ship a verified ONNX file."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `import kerasnas` costs nothing and needs no backend.
_CLASSES = {
    "ImageClassifier": "kerasnas.estimators",
    "NASTuner": "kerasnas.search.tuner",
    "SearchRecord": "kerasnas.record",
}
_MODULES = (
    "compress",
    "compression_search",
    "datasets",
    "cost",
    "errors",
    "explain",
    "export",
    "objectives",
    "oracles",
    "pareto",
    "report",
    "search",
    "spaces",
    "stopping",
    "strategies",
    "testing",
)

__all__ = ["ImageClassifier", "NASTuner", "SearchRecord", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(importlib.import_module(_CLASSES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"kerasnas.{name}")
    raise AttributeError(f"module 'kerasnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
