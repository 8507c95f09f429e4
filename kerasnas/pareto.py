"""What is best when several things count: fronts, and the order of configurations that they give.

Everywhere here `scores` has the shape (configurations, objectives), and higher is better. A row with a value that is not finite
stands for a failure: every other row dominates it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasnas.errors import InvalidArgument

__all__ = [
    "crowding_distance",
    "hypervolume",
    "knee_distance",
    "knee_point",
    "non_dominated_sort",
    "pareto_front",
    "pareto_scores",
    "spread_scores",
    "weighted_scores",
]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def non_dominated_sort(scores: ArrayLike) -> Indices:
    """Return the number of each row's front: 0 for those that no row dominates, 1 for those that only these dominate, ...

    A row dominates another that is nowhere better and somewhere worse. Equal rows share a front; failed rows are the last one.

    Args:
        scores: shape (n, m), higher is better.
    Returns:
        Shape (n,).
    Raises:
        InvalidArgument: if `scores` is no matrix of numbers with at least one column.
    Source:
        Deb et al. 2002 (NSGA-II), section III.A.
    """
    scores = _matrix(scores)
    whole = np.isfinite(scores).all(axis=1)
    finite = scores[whole]
    beats = np.array([_dominates(row, finite) for row in finite]).reshape(len(finite), len(finite))
    better = beats.sum(axis=0)  # how many rows that have no front yet dominate each row
    fronts = np.full(len(finite), -1)
    front = 0
    while (fronts < 0).any():
        members = (better == 0) & (fronts < 0)
        fronts[members] = front
        better -= beats[members].sum(axis=0)
        front += 1
    ranks = np.full(len(scores), front)
    ranks[whole] = fronts
    return ranks


def pareto_front(scores: ArrayLike) -> Indices:
    """Return the indices of the rows that no other row dominates, in order; failed rows are never among them.

    Args:
        scores: shape (n, m), higher is better.
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    """
    scores = _matrix(scores)
    whole = np.flatnonzero(np.isfinite(scores).all(axis=1))
    return whole[~_dominated(scores[whole])]


def crowding_distance(front: ArrayLike) -> Array:
    """Return how far the neighbours of each row are apart, summed over the objectives; infinite at both ends of each.

    Each objective counts by its range within the front. Failed rows have distance 0.

    Args:
        front: shape (n, m), rows that do not dominate each other.
    Returns:
        Shape (n,), larger for rows that stand alone.
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    Source:
        Deb et al. 2002 (NSGA-II), section III.B; deviation: distances are not divided by the number of objectives, as in the
        authors' pseudo-code, and of rows that share an extreme value the first has the infinite distance.
    """
    front = _matrix(front)
    distances = np.zeros(len(front))
    whole = np.flatnonzero(np.isfinite(front).all(axis=1))
    for column in front[whole].T:
        order = np.argsort(column, kind="stable")
        values = column[order]
        if not len(values):
            break
        with np.errstate(over="ignore"):
            span = values[-1] - values[0]
        if 0 < span < np.inf:
            distances[whole[order[1:-1]]] += (values[2:] - values[:-2]) / span
        # Last, since an end of one objective may be in the middle of another.
        distances[whole[[order[0], np.argmax(column)]]] = np.inf
    return distances


def hypervolume(scores: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume between `reference` and the front of `scores`, exactly; 0 if no row is better than it everywhere.

    The time grows as n^(m - 1) with n rows on the front: a few hundred for three objectives are no matter.

    Args:
        scores: shape (n, m), higher is better.
        reference: shape (m,), the worst values that are of any worth.
    Returns:
        The volume in the product of the objectives' units.
    Raises:
        InvalidArgument: if `scores` is no matrix of numbers, or `reference` has not one finite number for each column.
    Source:
        Zitzler & Thiele 1998; computed by slicing objectives (While et al. 2006, HSO).
    """
    scores, corner = _matrix(scores), np.asarray(reference, float)
    if corner.shape != scores.shape[1:] or not np.isfinite(corner).all():
        raise InvalidArgument(f"Expected `reference` to hold {scores.shape[1]} finite numbers, got {reference!r}.")
    gains = scores[np.isfinite(scores).all(axis=1)] - corner
    return _volume(gains[(gains > 0).all(axis=1)])


def knee_distance(front: ArrayLike) -> Array:
    """Return how far each row bulges from the plane through the extremes of a front towards the ideal.

    Every objective is scaled to [0, 1] within the front. Where the extremes span no plane that faces the ideal (one of them is
    best in two objectives), the plane on which the scaled objectives sum to one is taken; with two objectives it is the same.

    Args:
        front: shape (n, m), rows that do not dominate each other.
    Returns:
        Shape (n,), larger for better compromises, in units of the scaled objectives; -inf for failed rows.
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    Source:
        Das 1999, "On characterizing the knee of the Pareto curve based on normal-boundary intersection".
    """
    front = _matrix(front)
    distances = np.full(len(front), -np.inf)
    whole = np.isfinite(front).all(axis=1)
    if whole.any():
        points = _unit(front[whole])
        normal = _normal(points[points.argmax(axis=0)])
        distances[whole] = (points @ normal - 1.0) / np.linalg.norm(normal)
    return distances


def knee_point(front: ArrayLike) -> int:
    """Return the index of the row that is the best compromise: the one of the largest `knee_distance`, the first of equals.

    Raises:
        InvalidArgument: if no row is finite, and as `non_dominated_sort`.
    """
    distances = knee_distance(front)
    if not np.isfinite(distances).any():
        raise InvalidArgument(f"Expected a front with at least one finite row, got {len(distances)} rows without.")
    return int(np.argmax(distances))


def pareto_scores(scores: ArrayLike) -> Array:
    """Return one number for each row, lower is better: its front, and within the front its place by `knee_distance`.

    2.25 says: on the third front, with a quarter of that front's places before it. 0.0 is the knee of the Pareto front.

    Args:
        scores: shape (n, m), higher is better.
    Returns:
        Shape (n,); equal rows have equal numbers.
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    """
    return _by_front(scores, knee_distance)


def spread_scores(scores: ArrayLike) -> Array:
    """Return one number for each row, lower is better: its front, and within the front its place by crowding, lonely first.

    A search that is rewarded with these looks for the whole front, not for one point of it. The crowding is measured among the
    ranks of the values, so that no objective's scale counts.

    Args:
        scores: shape (n, m), higher is better.
    Returns:
        Shape (n,).
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    """
    return _by_front(scores, lambda front: crowding_distance(_ranks(front)))


def weighted_scores(scores: ArrayLike) -> Array:
    """Return one number for each row, lower is better: its distance from the ideal under weights that each new row changes.

    Each objective counts by its rank among all rows, so that no unit or scale does. Of the weighted distances from the best
    rank the largest counts, and a little of their sum, and each front that a row is behind the first counts like 0.3 of all
    ranks. A search that is rewarded with these looks for one part of the front after the other, and everywhere for what is not
    dominated. The weights are drawn by the number of rows alone.

    Args:
        scores: shape (n, m), higher is better.
    Returns:
        Shape (n,), >= 0; a failed row has one more than the worst that did not fail.
    Raises:
        InvalidArgument: as `non_dominated_sort`.
    Source:
        Knowles 2006 (ParEGO), eq. 2; deviations: ranks instead of values, weights from the whole simplex instead of a grid, and
        the number of the front, without which evolution lost what it gains by dominance (benchmarks/several_objectives.py).
    """
    scores = _matrix(scores)
    whole = np.isfinite(scores).all(axis=1)
    result = np.ones(len(scores))
    if whole.any():
        weights = np.random.default_rng(len(scores)).dirichlet(np.ones(scores.shape[1]))
        distances = weights * (1 - _unit(_ranks(scores[whole])))
        fronts = non_dominated_sort(scores[whole])
        result[whole] = distances.max(axis=1) + 0.05 * distances.sum(axis=1) + 0.3 * fronts
        result[~whole] += result[whole].max()
    return result


def _matrix(scores: ArrayLike) -> Array:
    try:
        matrix = np.asarray(scores, float)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"Expected scores of shape (configurations, objectives), got {scores!r}.") from error
    if matrix.ndim != 2 or matrix.shape[1] < 1:
        raise InvalidArgument(f"Expected scores of shape (configurations, objectives), got shape {matrix.shape}.")
    return matrix


def _dominates(row: Array, scores: Array) -> NDArray[np.bool_]:
    """Tell which rows of `scores` are dominated by `row`."""
    return np.asarray((scores <= row).all(axis=1) & (scores < row).any(axis=1))


def _dominated(scores: Array) -> NDArray[np.bool_]:
    """Tell of each row whether another dominates it."""
    dominated = np.zeros(len(scores), bool)
    # What dominates something comes before it in this order, so that most rows are gone before their turn.
    for i in np.lexsort(-scores.T):
        if not dominated[i]:
            dominated |= _dominates(scores[i], scores)
    return dominated


def _volume(gains: Array) -> float:
    """Return the volume between the origin and positive `gains`."""
    if not len(gains):
        return 0.0
    if gains.shape[1] == 1:
        return float(gains.max())
    gains = gains[~_dominated(gains)]
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    depths = gains[:, -1] - np.append(gains[1:, -1], 0.0)
    # A slice is bounded by all rows that reach as deep.
    return float(sum(depth * _volume(gains[: i + 1, :-1]) for i, depth in enumerate(depths) if depth > 0))


def _unit(points: Array) -> Array:
    """Scale each column to [0, 1]; a column of one value becomes 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    # Halved first: the difference of two huge numbers may overflow.
    span = high / 2 - low / 2
    return np.asarray(np.where(span > 0, (points / 2 - low / 2) / np.where(span > 0, span, 1.0), 1.0))


def _normal(extremes: Array) -> Array:
    """Return n of the plane n x = 1 through the rows of `extremes`, or of the plane on which the objectives sum to one."""
    flat = np.ones(extremes.shape[1])
    if np.linalg.matrix_rank(extremes) < len(extremes):
        return flat
    normal = np.linalg.solve(extremes, flat)
    return np.asarray(normal if (normal > 0).all() else flat, float)


def _ranks(front: Array) -> Array:
    """Replace each value by its place among the distinct values of its column; failed rows stay as they are."""
    whole = np.isfinite(front).all(axis=1)
    ranks = np.full(front.shape, np.nan)
    for i, column in enumerate(front[whole].T):
        ranks[whole, i] = np.unique(column, return_inverse=True)[1]
    return ranks


def _by_front(scores: ArrayLike, merit: Callable[[Array], Array]) -> Array:
    """Return the front of each row plus the share of that front with more merit."""
    scores = _matrix(scores)
    ranks = non_dominated_sort(scores)
    places = np.zeros(len(scores))
    for front in np.unique(ranks):
        rows = np.flatnonzero(ranks == front)
        merits = merit(scores[rows])
        places[rows] = [(merits > own).mean() for own in merits]
    return np.asarray(ranks + places, float)
