"""What becomes of explanations when a model is pruned, quantised or exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.black_box import Answers, scores_of
from kerasnas.explain.model.randomisation import map_correlation, rounded

__all__ = ["Drift", "drift"]

_BY_ANSWERS = ("occlusion", "rise", "shap_values", "lime_weights")  # methods that ask a model for its answers alone


@dataclass(frozen=True, eq=False)
class Drift:
    """How far the maps of another model are from those of the first; all of shape (batch,).

    The first three figures are NaN where the map of either model is blank, for such a map does not tell where a model looks.

    Attributes:
        rank_correlation: of the values of the two maps, from -1 to 1; 1 where nothing has changed.
        overlap: share of the highest tenth of the pixels that both maps have in common: 1 where they mark the same, 0.1 where
            they have nothing to do with each other. Pixels that are tied for the last places are in the tenth by the same
            chance each, so that what is marked counts and not what fills the tenth up.
        pointing_change: distance between the highest pixels of the two maps, as a share of the diagonal of the image.
        same_class: whether both models see the same class.
        first_blank: whether the first model's map has one value everywhere: its answers do not change, whatever is hidden.
        attribution: the maps of the other model.
    """

    rank_correlation: np.ndarray
    overlap: np.ndarray
    pointing_change: np.ndarray
    same_class: np.ndarray
    first_blank: np.ndarray
    attribution: Attribution

    @property
    def blank(self) -> np.ndarray:
        """Whether the map of either model has one value everywhere; shape (batch,).

        An 8-bit file that is sure of a class makes such maps, for it rounds the probabilities.
        """
        return np.asarray(self.first_blank | self.attribution.blank)

    def to_dict(self) -> Mapping[str, float | None]:
        """Return the means over images; of the first three over those that are not `blank`, None if all are."""

        def mean(values: np.ndarray) -> float | None:
            return None if self.blank.all() else float(values[~self.blank].mean())

        return {
            "rank_correlation": mean(self.rank_correlation),
            "overlap": mean(self.overlap),
            "pointing_change": mean(self.pointing_change),
            "same_class": float(self.same_class.mean()),
            "blank": float(self.blank.mean()),
        }

    def __str__(self) -> str:
        mean = self.to_dict()
        text = f"The other model sees the same class in {mean['same_class']:.1%} of {len(self.overlap)} images"
        if self.blank.all():
            text += "; of the maps there is nothing to compare."
        else:
            text += (
                f"; for the same classes its maps have a rank correlation of {mean['rank_correlation']:.2f} with these, share "
                f"{mean['overlap']:.0%} of the highest tenth (by chance: 10%), and point {mean['pointing_change']:.1%} of the "
                "diagonal elsewhere."
            )
        return text + self._left_out()

    def _left_out(self) -> str:
        first, other = self.first_blank, self.attribution.blank
        kinds = {"the first model alone": first & ~other, "the other model alone": other & ~first, "both": first & other}
        told = ", ".join(f"{which.sum()} for {name}" for name, which in kinds.items() if which.any())
        return f" Images whose maps are blank are left out of this: {told}." if told else ""


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
    maps = [np.stack([rounded(values.reshape(-1)) for values in each.values]) for each in (attribution, other)]
    height, width = attribution.values.shape[1:]
    places = [np.stack(np.unravel_index(values.argmax(axis=1), (height, width)), axis=1) for values in maps]
    distance = np.linalg.norm(places[0] - places[1], axis=1) / max(np.hypot(height - 1, width - 1), 1.0)
    seen = [scores_of(which, attribution.images).resolve_target(None) for which in (first, model)]
    same = np.all(attribution.values == other.values, axis=(1, 2))
    blank = attribution.blank | other.blank
    correlation = np.where(same, 1.0, map_correlation(attribution.values, other.values))
    return Drift(
        rank_correlation=np.where(blank, np.nan, correlation),
        overlap=np.where(blank, np.nan, [_overlap(one, two) for one, two in zip(*maps, strict=True)]),
        pointing_change=np.where(blank, np.nan, distance),
        same_class=seen[0] == seen[1],
        first_blank=attribution.blank,
        attribution=other,
    )


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return what the highest tenths have in common, on a scale from chance, a tenth, to 1 for the same map.

    Without ties it is the share of pixels. With ties, the pixels that two tenths share in the mean over all ways to break them
    would be too few even for the same map twice, so that the figure is put on the scale that it has without them.
    """
    chances = [_chances(values) for values in (one, other)]
    tenth = float(chances[0].mean())
    above = [each - tenth for each in chances]
    size = float(np.sqrt((above[0] @ above[0]) * (above[1] @ above[1])))
    alike = float(above[0] @ above[1]) / size if size > 0 else float(np.array_equal(one, other))
    return min(max(tenth + (1 - tenth) * alike, 0.0), 1.0)


def _chances(values: np.ndarray) -> np.ndarray:
    """Return how likely each pixel is among the highest tenth, if ties are broken at random."""
    count = max(1, round(values.size / 10))
    last = np.partition(values, -count)[-count]
    above, tied = values > last, values == last
    return np.where(tied, (count - above.sum()) / tied.sum(), above.astype(float))


def _by_its_answers(model: Any) -> Any:
    return Answers(model) if isinstance(model, keras.Model) else model
