"""How far a map can be believed, in words and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.baseline import baseline_detail
from kerasnas.explain.model.black_box import scores_of
from kerasnas.explain.model.faithfulness import Faithfulness, faithfulness
from kerasnas.explain.model.randomisation import map_correlation, randomised
from kerasnas.explain.whole_number import require_seed

__all__ = ["Trust", "trust"]

FAITHFUL, WEAK, CHANCE = "faithful", "weak", "no better than chance"
BLIND, UNTESTED = "does not depend on the weights", "cannot be tested"
_RANDOM_MAPS = 99
_RANDOM_CURVES = 3  # of them, for deletion and insertion
_CHANCE = 0.05
_STRONG = 0.5
_ALIKE, _SAME = 0.5, 0.99  # as the map of a network with random weights
_NETWORKS = 3  # with random weights


@dataclass(frozen=True, eq=False)
class Trust:
    """What became of maps that were put to the test.

    An image's map is "faithful" if its muFidelity is at least 0.5, better than a spot in the centre and than 95 of 100 random
    maps, and its insertion minus deletion is better than theirs; "weak" if it only beats the random maps; else "no better than
    chance". Where hiding pixels does not change the score at all, it "cannot be tested". Networks with random weights are
    explained in the same way: where their maps have a mean rank correlation of 0.5 with these, no image's map is more than
    "weak"; a map that is the same with all of them (0.99), or the same turned over, "does not depend on the weights". On
    pictures that are empty but for what is drawn, maps without a sign are alike whatever the weights.

    The sign counts. Smooth random maps have a mean size of the correlation of 0.1 to 0.4, the coarser the larger, and no
    threshold of the size tells a map that only turns its sign from a right one: where a picture shows a single thing, random
    networks mark it, too, for a class or against it (occlusion, faithful on a spot in noise: mean 0.24, mean size 0.82). The
    text tells both.

    Attributes:
        verdicts: one for each image.
        figures: for "map", "random" and "centre": deletion, insertion and mu_fidelity, each of shape (batch,).
        chance: shape (batch,), the share of random maps, this one counted, that have its muFidelity or a higher one.
        randomisation: shape (3, batch), the rank correlation with the maps of three networks with random weights; None if that
            was not tried, and `why_not` says why.
        why_not: see `randomisation`.
        completeness_gap: |sum of the map - rise of the score|, mean over images, in units of the mean |rise of the score|, for
            methods that promise that they are equal; else None.
        baseline: what hid pixels in the test.
        empty: how many maps mark nothing: they have one value everywhere.
    """

    verdicts: tuple[str, ...]
    figures: Mapping[str, Mapping[str, np.ndarray]]
    chance: np.ndarray
    randomisation: np.ndarray | None
    why_not: str | None
    completeness_gap: float | None
    baseline: Any
    empty: int = 0

    @property
    def verdict(self) -> str:
        """The verdict on all images together: the most frequent one, the worse of equals."""
        worst_first = (BLIND, CHANCE, UNTESTED, WEAK, FAITHFUL)
        return max(worst_first, key=self.verdicts.count)

    @property
    def text(self) -> str:
        """The verdict in a sentence or two, with its numbers."""
        mean = {name: {key: float(np.mean(value)) for key, value in figures.items()} for name, figures in self.figures.items()}

        def three(key: str) -> str:
            own, random, centre = (mean[name][key] for name in ("map", "random", "centre"))
            return f"{own:.2f} (random maps {random:.2f}, a spot in the centre {centre:.2f})"

        count = self.verdicts.count(self.verdict)
        told = f"{self.verdict[0].upper()}{self.verdict[1:]} on {count} of {len(self.verdicts)} images"
        rest = {
            verdict: self.verdicts.count(verdict)
            for verdict in (FAITHFUL, WEAK, UNTESTED, CHANCE, BLIND)
            if verdict != self.verdict
        }
        told += "".join(f", {verdict} on {number}" for verdict, number in rest.items() if number)
        text = (
            f"{told}: muFidelity {three('mu_fidelity')}, insertion {three('insertion')}, deletion {three('deletion')}; "
            f"hidden by {'the mean of the image' if self.baseline == 'mean' else f'the baseline {self.baseline}'}."
        )
        if self.empty:
            text += f" {self.empty} of the maps mark nothing: they have one value everywhere."
        if self.randomisation is not None:
            mean_rho, size = self.randomisation.mean(), np.abs(self.randomisation).mean()
            text += f" Rank correlation with the maps of networks with random weights: {mean_rho:.2f}, "
            text += f"{size:.2f} where a map with its sign turned counts as alike."
        else:
            text += f" Not tried with random weights: {self.why_not}"
        if self.completeness_gap is not None:
            text += f" The sum of a map misses the rise of the score by {self.completeness_gap:.1%}."
        return text

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        figures = {name: {key: value.tolist() for key, value in group.items()} for name, group in self.figures.items()}
        return {
            "verdict": self.verdict,
            "text": self.text,
            "verdicts": list(self.verdicts),
            "figures": figures,
            "chance": self.chance.tolist(),
            "randomisation": None if self.randomisation is None else self.randomisation.tolist(),
            "completeness_gap": self.completeness_gap,
            "baseline": self.baseline,
            "empty": self.empty,
        }


def trust(
    attribution: Attribution,
    model: Any = None,
    *,
    baseline: str | ArrayLike = "mean",
    steps: int = 16,
    subsets: int = 200,
    seed: int | None = 0,
) -> Trust:
    """Put maps to the test: hide what they mark, compare with maps that know nothing, and with a network that knows nothing.

    Args:
        attribution: the maps.
        model: what they explain; None for the model that the maps were made of.
        baseline: what hides pixels, as `occlusion` takes it.
        steps: see `faithfulness`.
        subsets: see `faithfulness`; about 200 + 10 `steps` predictions are made of each image.
        seed: seed of the subsets, the random maps and the random weights.

    Returns:
        The verdicts and their figures.

    Raises:
        InvalidArgument: if `attribution` comes from elsewhere and no `model` is given, or an argument is not as above.
    """
    explained = attribution.explained
    if model is None and explained is None:
        raise InvalidArgument("Expected the model that these maps explain, as they do not tell it; pass model=.")
    model = explained.model if model is None and explained is not None else model
    require_seed(seed)
    scores = scores_of(model, attribution.images)
    random = _random_maps(attribution.values.shape, seed)
    centre = _centre(attribution.values.shape)
    judged = faithfulness(
        scores,
        [attribution.values, centre, *random],  # which share their memory from image to image
        attribution.targets,
        baseline=baseline,
        steps=steps,
        subsets=subsets,
        curves=2 + _RANDOM_CURVES,
        seed=seed,
    )
    figures = {
        "map": _figures(judged, slice(0, 1)),
        "centre": _figures(judged, slice(1, 2)),
        "random": _figures(judged, slice(2, None)),
    }
    luck = (1 + (judged.mu_fidelity[2:] >= judged.mu_fidelity[0]).sum(axis=0)) / (1 + _RANDOM_MAPS)
    strangers, why_not = _randomisation(attribution, seed)
    alike = np.zeros((1, len(attribution))) if strangers is None else strangers
    verdicts = [_verdict(figures, luck, alike, index) for index in range(len(attribution))]
    return Trust(
        verdicts=tuple(verdicts),
        figures=MappingProxyType(figures),
        chance=luck,
        randomisation=strangers,
        why_not=why_not,
        completeness_gap=_gap(attribution),
        baseline=baseline_detail(baseline),
        empty=int(attribution.blank.sum()),
    )


def _verdict(figures: Mapping[str, Mapping[str, np.ndarray]], luck: np.ndarray, alike: np.ndarray, index: int) -> str:
    if np.min(np.abs(alike[:, index])) >= _SAME:
        return BLIND
    if not np.any(figures["random"]["mu_fidelity"][index]):
        return UNTESTED
    if luck[index] > _CHANCE:
        return CHANCE
    gain = {name: group["insertion"][index] - group["deletion"][index] for name, group in figures.items()}
    fidelity = {name: group["mu_fidelity"][index] for name, group in figures.items()}
    best = fidelity["map"] >= _STRONG and fidelity["map"] > fidelity["centre"] and alike.mean() < _ALIKE
    return FAITHFUL if best and gain["map"] > max(gain["random"], gain["centre"]) else WEAK


def _figures(judged: Faithfulness, rows: slice) -> Mapping[str, np.ndarray]:
    """Return the mean of each figure over some of the maps."""
    return MappingProxyType(
        {
            "deletion": np.nanmean(judged.deletion[rows], axis=0),
            "insertion": np.nanmean(judged.insertion[rows], axis=0),
            "mu_fidelity": judged.mu_fidelity[rows].mean(axis=0),
        }
    )


def _random_maps(shape: tuple[int, ...], seed: int | None) -> np.ndarray:
    """Return random maps, as smooth as those that mark parts of a picture; the same ones for each image."""
    _, height, width = shape
    noise = np.random.default_rng(seed).standard_normal((_RANDOM_MAPS, 1, height, width))
    return np.broadcast_to(gaussian_filter(noise, (0, 0, height / 16, width / 16)), (_RANDOM_MAPS, *shape))


def _centre(shape: tuple[int, ...]) -> np.ndarray:
    _, height, width = shape
    # An image is four deviations wide.
    rows, columns = (np.linspace(-2, 2, n) if n > 1 else np.zeros(1) for n in (height, width))
    return np.broadcast_to(np.exp(-(rows[:, None] ** 2 + columns**2) / 2), shape)


def _randomisation(attribution: Attribution, seed: int | None) -> tuple[np.ndarray | None, str | None]:
    explained = attribution.explained
    if explained is None:
        return None, "how the maps were made is not known."
    if not isinstance(explained.model, keras.Model):
        return None, "the weights of a black box are out of reach."
    try:
        strangers = [randomised(explained.model, one) for one in np.random.SeedSequence(seed).generate_state(_NETWORKS)]
        others = [explained.again(one, attribution.images, target=attribution.targets) for one in strangers]
    except InvalidArgument as error:
        return None, str(error)
    return np.stack([map_correlation(attribution.values, other.values) for other in others]), None


def _gap(attribution: Attribution) -> float | None:
    gaps, rises = (attribution.details.get(name) for name in ("completeness_gap", "score_rise"))
    if gaps is None or rises is None or not np.any(rises):
        return None
    return float(np.mean(gaps) / np.mean(np.abs(rises)))
