"""Which of the tried configurations is the best, luck aside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasnas.strategies.base import Observation
from kerasnas.strategies.decision import Decision
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.reward.scale import near_copies, scale_for
from kerasnas.strategies.reward.surrogate import Surrogate

__all__ = ["BestArm", "best_arm"]

# Share of what the models leave unexplained that is not luck.
_PARTICULAR = 0.25


@dataclass(frozen=True)
class BestArm:
    """The configuration with the best posterior mean.

    Attributes:
        index: its place among the observations.
        mean: posterior mean of each observation's score, in the unit of the scores; NaN for failed ones.
        std: posterior standard deviation of each, likewise.
    """

    index: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@one_thread
def best_arm(decisions: Sequence[Decision], observations: Sequence[Observation]) -> BestArm:
    """Return the observation whose configuration scores best in the mean, as far as all observations together tell.

    The score of a single training is the mean of its configuration plus luck. A reward model fitted to all of them says what
    similar configurations let expect; where a score differs from that, three quarters of the difference are taken for luck, one
    quarter for what is particular to the configuration. Single trainings cannot tell the two apart.

    Args:
        decisions: the space.
        observations: configurations and their scores, higher is better; NaN for a failed one.
    Raises:
        ValueError: if no score is finite.
    """
    scores = np.array([score for _, score in observations], float)
    if not np.isfinite(scores).any():
        raise ValueError(f"Expected at least one observation with a finite score, got {len(scores)} without.")
    encoding = Encoding(decisions)
    scored = np.flatnonzero(np.isfinite(scores))  # a failure says nothing of how well its neighbours score
    units = encoding.encode([choices for choices, score in observations if np.isfinite(score)])
    scale = scale_for(units, scores[scored], near_copies(units, encoding.sizes))
    surrogate = Surrogate(encoding, networks=False)  # a report should not have to start a backend
    surrogate.tune(units, scale.targets)
    surrogate.fit(units, scale.targets)
    mean, deviation = surrogate.predict(units)
    mean = mean + _PARTICULAR * (scale.targets - mean)
    low, middle, high = (scale.scores(m) for m in (mean - deviation, mean, mean + deviation))
    told = np.full((2, len(scores)), np.nan)
    told[:, scored] = middle, (high - low) / 2
    return BestArm(int(scored[np.argmax(mean)]), *(tuple(row.tolist()) for row in told))
