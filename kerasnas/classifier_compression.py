"""A fitted classifier made smaller: zeros, few values, fewer channels, or whatever a search finds to be best."""

import copy
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.atomic import atomic_path
from kerasnas.compress import channel_report, cluster, prune, prune_channels, sparsity_report
from kerasnas.compression_search import compress
from kerasnas.errors import InvalidArgument
from kerasnas.export import LiteRTFile, OnnxFile, verify
from kerasnas.image_data import collect, to_codes, to_images

__all__ = ["ChosenFile", "compress_classifier", "export_chosen"]


@dataclass(frozen=True, eq=False)
class ChosenFile:
    """The file that a search for the best compression chose for a classifier.

    Attributes:
        model: its network; the file counts while that is the classifier's.
        path: where it lies.
        format: "float32", "U8S8", "LiteRT int8", ...
        sha256: of the file.
    """

    model: keras.Model
    path: Path
    format: str
    sha256: str

    @property
    def is_there(self) -> bool:
        """Whether the file is still there, and still the same."""
        return self.path.is_file() and self.sha256 == hashlib.sha256(self.path.read_bytes()).hexdigest()


def compress_classifier(
    classifier: Any,
    x: Any,
    y: Any,
    *,
    sparsity: float | None = None,
    channels: Any = None,
    clusters: int | None = None,
    goal: str | None = None,
    **kwargs: Any,
) -> Any:
    """Return a copy of a classifier with a smaller model; see `ImageClassifier.compress`."""
    told = {"sparsity": sparsity, "channels": channels, "clusters": clusters, "goal": goal}
    given = [name for name, value in told.items() if value is not None]
    if len(given) > 1:
        raise InvalidArgument(f"Expected one of {', '.join(told)}, got {' and '.join(given)}. Leave out the others.")
    images, codes = _labelled(classifier, *collect(x, y))
    model, smaller = classifier.model_, copy.copy(classifier)
    for name in ("compression_", "_chosen"):  # of an earlier model
        vars(smaller).pop(name, None)
    for name in ("held_out", "test"):
        if isinstance(kwargs.get(name), tuple | list):
            kwargs[name] = _labelled(classifier, *kwargs[name])
    if goal is not None:
        folder = Path(classifier.directory or ".") / classifier.project_name / "compression"
        settings = {"directory": folder, "export": classifier.export_facts(), "seed": classifier.seed or 0, **kwargs}
        smaller.compression_ = found = compress(model, images, codes, goal=goal, **settings)
        smaller.model_ = found.model
        smaller._chosen = ChosenFile(found.model, found.path, found.chosen.format, str(found.sha256))
    elif channels is not None:
        smaller.model_ = prune_channels(model, images, codes, ratio=channels, **kwargs)
        smaller.compression_ = channel_report(model, smaller.model_)
    elif clusters is not None:
        smaller.model_ = cluster(model, images, codes, clusters=clusters, **kwargs)
        smaller.compression_ = sparsity_report(smaller.model_)
    else:
        smaller.model_ = prune(model, images, codes, sparsity=sparsity, **kwargs)
        smaller.compression_ = sparsity_report(smaller.model_)
    return smaller


def export_chosen(found: ChosenFile, path: str | os.PathLike[str], x: Any, others: Any) -> OnnxFile | LiteRTFile:
    """Copy the file that a search chose to `path`; see `ImageClassifier.export`.

    Raises:
        InvalidArgument: if other settings are asked for, or the file is no longer there.
        ExportMismatch: if it does not load, or a float file does not agree with the network.
    """
    target, end = Path(path), found.path.suffix
    if target.suffix != end:
        raise InvalidArgument(
            f"Expected a path that ends in {end}, as the file that the search chose ({found.format}), got {str(target)!r}. "
            f"Call it {target.stem}{end}."
        )
    if others:
        raise InvalidArgument(
            f"Expected no settings but x, got {', '.join(others)}: the file that the search chose ({found.format}) is copied "
            f"as it is, {found.path}. Its network in float32: kerasnas.export.to_onnx(model_, ...)."
        )
    if not found.is_there:
        raise InvalidArgument(
            f"Expected the file that the search chose at {found.path}; it is gone, or another search replaced it. Compress "
            "again with a directory of its own."
        )
    form = found.format.removeprefix("LiteRT ")
    bounds: dict[str, Any] = {"atol": None, "min_agreement": 0.0}  # it was chosen by its accuracy
    if form == "float32":
        bounds = {}
    with atomic_path(target) as draft:
        shutil.copyfile(found.path, draft)
        verification = verify(found.model, draft, x, **bounds)
        verification.raise_for_mismatch()
        if end == ".tflite":
            return LiteRTFile.of(draft, form, verification, target)
        return OnnxFile.of(draft, verification, target)


def _labelled(classifier: Any, x: Any, y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    images = to_images(x)
    expected = classifier.model_.input_shape[1:]
    if not all(want in (None, got) for want, got in zip(expected, images.shape[1:], strict=True)):
        raise InvalidArgument(f"Expected pictures of shape {expected}, got {images.shape[1:]}.")
    return images, to_codes(y, classifier.classes_)
