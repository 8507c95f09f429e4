"""What becomes of explanations when a model is pruned, quantised or exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.black_box import Answers, scores_of
from kerasnas.explain.model.randomisation import map_correlation

__all__ = ["Drift", "drift"]

_BY_ANSWERS = ("occlusion", "rise", "shap_values", "lime_weights")  # methods that ask a model for its answers alone


@dataclass(frozen=True, eq=False)
class Drift:
    """How far the maps of another model are from those of the first; all of shape (batch,).

    Attributes:
        rank_correlation: of the values of the two maps, from -1 to 1; 1 where nothing has changed.
        overlap: share of the pixels that are among the highest tenth of both maps, of those of one.
        pointing_change: distance between the highest pixels of the two maps, as a share of the diagonal of the image.
        same_class: whether both models see the same class.
        blank: whether the other model's map has one value everywhere and the first one's has not: its answers do not change,
            whatever is hidden. An 8-bit file that is sure of a class does so, for it rounds the probabilities; that does not
            tell where it looks, and the means of the first three figures leave these images out.
        attribution: the maps of the other model.
    """

    rank_correlation: np.ndarray
    overlap: np.ndarray
    pointing_change: np.ndarray
    same_class: np.ndarray
    blank: np.ndarray
    attribution: Attribution

    def to_dict(self) -> Mapping[str, float]:
        """Return the means over images; of the first three over those that are not `blank`, unless all are."""
        told = ~self.blank if not self.blank.all() else np.ones(len(self.blank), bool)
        return {
            "rank_correlation": float(self.rank_correlation[told].mean()),
            "overlap": float(self.overlap[told].mean()),
            "pointing_change": float(self.pointing_change[told].mean()),
            "same_class": float(self.same_class.mean()),
            "blank": float(self.blank.mean()),
        }

    def __str__(self) -> str:
        mean = self.to_dict()
        blank = f" {self.blank.sum()} of its maps are blank, and left out of this." if self.blank.any() else ""
        return (
            f"The other model sees the same class in {mean['same_class']:.1%} of {len(self.overlap)} images; for the same "
            f"classes its maps have a rank correlation of {mean['rank_correlation']:.2f} with these, share "
            f"{mean['overlap']:.0%} of the highest tenth, and point {mean['pointing_change']:.1%} of the diagonal elsewhere."
            f"{blank}"
        )


def drift(attribution: Attribution, model: Any) -> Drift:
    """Explain the same images with another model, for the same classes, and compare the maps.

    A model can keep its accuracy and look at something else: what became of it shows only here. Where one of the two is a
    Keras model and the other a black box, both are explained by their answers, since the score before the softmax is out of
    reach in one.

    Args:
        attribution: maps of the first model, by a method of this package.
        model: the other model, as the method takes it: for `occlusion` and `rise` also the path of an ONNX or
            LiteRT file, or a function.

    Returns:
        The figures of each image.

    Raises:
        InvalidArgument: if `attribution` does not tell its method, or the method does not take `model`.
    """
    explained = attribution.explained
    if explained is None:
        raise InvalidArgument("Expected maps by a method of kerasnas.explain; came maps that do not tell how they were made.")
    first = explained.model
    if not isinstance(model, keras.Model) and attribution.method not in _BY_ANSWERS:
        raise InvalidArgument(
            f"Expected a Keras model, for {attribution.method} needs gradients or feature maps, and a file or function gives "
            f"answers alone; came {type(model).__module__}.{type(model).__name__}. Make the maps by explain.occlusion or "
            "explain.rise, which take both."
        )
    if isinstance(first, keras.Model) != isinstance(model, keras.Model):
        first, model = _by_its_answers(first), _by_its_answers(model)
        attribution = explained.again(first, attribution.images, target=attribution.targets)
    other = explained.again(model, attribution.images, target=attribution.targets)
    one, two = (maps.values.reshape(len(maps), -1) for maps in (attribution, other))
    count = max(1, round(one.shape[1] / 10))
    highest = [np.argsort(-values, axis=1, kind="stable")[:, :count] for values in (one, two)]
    shared = [len(np.intersect1d(a, b)) / count for a, b in zip(*highest, strict=True)]
    height, width = attribution.values.shape[1:]
    places = [np.stack(np.unravel_index(order[:, 0], (height, width)), axis=1) for order in highest]
    distance = np.linalg.norm(places[0] - places[1], axis=1) / max(np.hypot(height - 1, width - 1), 1.0)
    seen = [scores_of(which, attribution.images).resolve_target(None) for which in (first, model)]
    same = np.all(one == two, axis=1)
    return Drift(
        rank_correlation=np.where(same, 1.0, map_correlation(attribution.values, other.values)),
        overlap=np.array(shared),
        pointing_change=distance,
        same_class=seen[0] == seen[1],
        blank=other.blank & ~attribution.blank,
        attribution=other,
    )


def _by_its_answers(model: Any) -> Any:
    return Answers(model) if isinstance(model, keras.Model) else model
