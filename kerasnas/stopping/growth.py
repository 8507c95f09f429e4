"""What a learning curve will gain by its last epoch, with the uncertainty of that."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["Growth", "noise"]

Array = NDArray[np.float64]

# Chosen on the tables TUNED_ON of benchmarks/early_stopping.py.
_MARGIN = 0.5
_ALIKE = 0.5
# How many of a curve's own epochs the noise of the others is worth, and how far above it a curve's own may be.
_NOISE_EPOCHS, _NOISIEST = 4, 3.0
# The share of the epochs done, and of those left, that count as chances to be lucky: the others are lower on the curve.
_LUCKY = 0.5
# Where luck is averaged over the distribution of the rate: far into its upper tail, which decides.
_EDGES = np.geomspace(1e-8, 1.0, 65)
_ABOVE, _WEIGHTS = np.sqrt(_EDGES[1:] * _EDGES[:-1]), np.diff(_EDGES)
# Where a curve is put, in spreads, that is farther away or has no finite value yet.
_FAR = 1e6
# The prior, and how many curves it is worth: on the rate at slope 0 and gap 0, on its change with the slope and with the gap,
_RATE = np.array([0.0, 0.6, 0.0])
_CURVES = np.array([5.0, 0.3, 5.0])
# and on the deviation of the rate.
_DEGREES = 2.0
_DEVIATION = 0.3


@dataclass(frozen=True)
class Growth:
    """The predictive distribution of a curve's best value by its last epoch, in one objective.

    The gap of a curve is how far its best value so far lies below a reference beyond all values: half as far above the best as
    the upper quartile of the others lies below it. Along a power law the logarithm of the gap falls in proportion to that of
    the epoch. The rate of this fall from epoch t to the last is regressed on the rate from t / 2 to t and on the logarithm of
    the gap at t, over all curves that are longer than t. Curves that are alike in both count most; one that was stopped or
    still runs counts with its rate so far, the less the shorter it is.

    The regression is linear and Bayesian with a normal-inverse-gamma prior (the rate stays at a share of what it was): it
    works from the first curve on, and predicts a Student t with few degrees of freedom where few curves are alike. A best
    value never falls: what the distribution puts below the present one belongs to that one.

    Where a metric jumps from epoch to epoch, the best value is the curve's and luck: the present one has had some already, and
    each epoch to come is another chance.

    Args:
        now: best value so far.
        best: best value of all curves.
        spread: unit of the gaps, > 0.
        log_gap: logarithm of the present gap.
        horizon: logarithm of the last epoch over the present one.
        rate: location of the rate.
        deviation: scale of the rate.
        degrees: degrees of freedom.
        noise: standard deviation of an epoch's value from the smooth curve.
        done: number of epochs so far.
        left: number of epochs to come.
    Source:
        The law: Cortes et al. 1994; the conjugate regression: Murphy 2012, section 7.6.3.
    """

    now: float
    best: float
    spread: float
    log_gap: float
    horizon: float
    rate: float
    deviation: float
    degrees: float
    noise: float
    done: int
    left: int

    @classmethod
    def of(
        cls, own: Array, others: Array, lengths: NDArray[np.int64], *, learns: bool = True, noise: float = 0.0
    ) -> "Growth | None":
        """Predict a curve from others.

        Args:
            own: best values so far, shape (t,), the last one finite.
            others: the same of other curves, shape (n, epochs), epochs > t; after its end a curve stays as it is.
            lengths: shape (n,), the epochs that each of them really has.
            learns: False keeps the coefficients of the prior, so that only the deviation is learned.
            noise: standard deviation of an epoch's value from the smooth curve, as `noise` has it.
        Returns:
            The prediction, or None if no two values differ that it could be made of.
        """
        t, epochs = len(own), others.shape[1]
        ends = others[:, -1][np.isfinite(others[:, -1])]
        best = float(max(own[-1], ends.max(initial=-np.inf)))
        longer = (lengths > t) & np.isfinite(others[:, t - 1])
        others, lengths = others[longer], lengths[longer]
        spread = _spread(best, ends, [*others[:, t - 1], own[np.isfinite(own)][0]])
        if spread is None:
            return None
        half = (t + 1) // 2
        curves = np.vstack([own[[half - 1, t - 1, t - 1]], others[:, [half - 1, t - 1, epochs - 1]]])
        before, gap, after = _log_gap(curves, best, spread).T
        slope = (before - gap) / np.log(t / half) if t > half else np.zeros(len(gap))
        features = np.column_stack([np.ones(len(gap)), slope, gap - gap[0]])
        alike = 1 / (1 + ((slope - slope[0]) / _ALIKE) ** 2 + ((gap - gap[0]) / _ALIKE) ** 2)
        horizons = np.log(lengths / t)
        horizon = float(np.log(epochs / t))
        rate, deviation, degrees = _regress(
            features[1:], (gap - after)[1:] / horizons, alike[1:] * horizons / horizon, features[0], learns
        )
        return cls(float(own[-1]), best, spread, float(gap[0]), horizon, rate, deviation, degrees, noise, t, epochs - t)

    def below(self, values: Array) -> Array:
        """Return the probability that the curve ends at or below each of `values`, none of them above `best`."""
        rates = (self.log_gap - _log_gap(values, self.best, self.spread)) / self.horizon
        chances = special.stdtr(self.degrees, (rates - self.rate) / self.deviation)
        if self.noise > 0:
            # The height of the best value without the luck of the best of those so far (Blom 1958), and the best of those left.
            luck = special.ndtri(1 - 0.625 / (max(1.0, _LUCKY * self.done) + 0.25))
            heights = self._values(self.rate - self.deviation * special.stdtrit(self.degrees, _ABOVE)) - luck * self.noise
            below = special.ndtr((np.asarray(values)[:, None] - heights) / self.noise)
            chances = below ** max(1.0, _LUCKY * self.left) @ _WEIGHTS
        return np.asarray(np.where(values < self.now, 0.0, chances))

    def middle(self) -> tuple[float, float]:
        """Return the median of the value that the curve ends at, and half the distance between those one deviation off."""
        low, median, high = self._values(self.rate + self.deviation * np.array([-1.0, 0.0, 1.0]))
        return float(median), float(high / 2 - low / 2)

    def _values(self, rates: Array) -> Array:
        """Return the values that the smooth curve ends at with these rates, none below the present one."""
        gaps = np.exp(self.log_gap - np.maximum(rates, 0.0) * self.horizon) - _MARGIN
        with np.errstate(over="ignore"):
            return np.clip(self.best - gaps * self.spread, self.now, np.finfo(float).max)


def noise(own: Array, others: Array) -> float:
    """Return by how much an epoch's value deviates from the smooth curve, in the mean of its squares' root.

    Third differences are all but free of a smooth curve; those of independent noise have 20 times its variance. The curve's own
    are taken together with the usual ones, and none of them is taken for more than thrice those: a curve that falls off a cliff
    is not a lucky one.

    Args:
        own: values of a curve after each epoch, shape (t,).
        others: the same of other curves, shape (n, epochs); not finite where an epoch failed or was not trained.
    """
    each = _noise_squares(others)
    each = each[np.isfinite(each).any(axis=1)]
    usual = float(np.median(np.nanmedian(each, axis=1)) / special.chdtri(1, 0.5)) if len(each) else 0.0
    squares = _noise_squares(own[None])
    squares = np.minimum(squares[np.isfinite(squares)], _NOISIEST**2 * usual)
    return float(np.sqrt((squares.sum() + _NOISE_EPOCHS * usual) / (len(squares) + _NOISE_EPOCHS)))


def _noise_squares(values: Array) -> Array:
    """Return a twentieth of the squares of the third differences of each row, NaN where one has no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.diff(values, 3, axis=1) ** 2 / 20
    return np.asarray(np.where(np.isfinite(squares), squares, np.nan))


def _spread(best: float, ends: Array, others: list[float]) -> float | None:
    """Return how far the upper quartile of `ends` is below `best`, or else the worst of `others`; None if that is nothing."""
    quartile = np.sort(ends)[3 * (len(ends) - 1) // 4] if len(ends) else best
    with np.errstate(over="ignore"):
        for spread in (best - quartile, best - min(others)):
            if 0 < spread < np.inf:
                return float(spread)
    return None


def _log_gap(values: Array, best: float, spread: float) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.log(np.minimum((best - values) / spread, _FAR) + _MARGIN))


def _regress(features: Array, targets: Array, weights: Array, point: Array, learns: bool) -> tuple[float, float, float]:
    """Return location, scale and degrees of freedom of Student's t for the target at `point`."""
    weighted = features.T * weights
    precision = np.diag(_CURVES) + weighted @ features
    coefficients = np.linalg.solve(precision, _CURVES * _RATE + weighted @ targets) if learns else _RATE
    degrees = _DEGREES + weights.sum()
    squares = _DEGREES * _DEVIATION**2 + weights @ (targets - features @ coefficients) ** 2
    squares += _CURVES @ (coefficients - _RATE) ** 2
    variance = squares / degrees * (1 + point @ np.linalg.solve(precision, point))
    return float(point @ coefficients), float(np.sqrt(variance)), float(degrees)
