"""A fitted classifier made smaller: zeros, few values, fewer channels, or whatever a search finds to be best."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.compress import cluster, prune, prune_channels
from kerasnas.compression_search import compress
from kerasnas.errors import InvalidArgument
from kerasnas.image_data import collect, to_codes, to_images

__all__ = ["compress_classifier"]


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
    if goal is not None:
        for name in ("held_out", "test"):
            if isinstance(kwargs.get(name), tuple):
                kwargs[name] = _labelled(classifier, *kwargs[name])
        folder = Path(classifier.directory or ".") / classifier.project_name / "compression"
        settings = {"directory": folder, "export": classifier.export_facts(), "seed": classifier.seed or 0, **kwargs}
        smaller.compression_ = compress(model, (images, codes), goal=goal, **settings)
        smaller.model_ = smaller.compression_.model
    elif channels is not None:
        smaller.model_ = prune_channels(model, images, codes, ratio=channels, **kwargs)
    elif clusters is not None:
        smaller.model_ = cluster(model, images, codes, clusters=clusters, **kwargs)
    else:
        smaller.model_ = prune(model, images, codes, sparsity=sparsity, **kwargs)
    return smaller


def _labelled(classifier: Any, x: Any, y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    images = to_images(x)
    expected = classifier.model_.input_shape[1:]
    if not all(want in (None, got) for want, got in zip(expected, images.shape[1:], strict=True)):
        raise InvalidArgument(f"Expected pictures of shape {expected}, got {images.shape[1:]}.")
    return images, to_codes(y, classifier.classes_)
