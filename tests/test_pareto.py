"""Fronts, volumes and knees, against brute force and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.pareto import (
    crowding_distance,
    hypervolume,
    knee_distance,
    knee_point,
    non_dominated_sort,
    pareto_front,
    pareto_scores,
    spread_scores,
    weighted_scores,
)

NAN = math.nan


def matrices(elements, *, rows=8, min_rows=0):
    """Matrices of one to four columns, as lists of rows."""
    row = st.integers(1, 4).flatmap(
        lambda m: st.lists(st.lists(elements, min_size=m, max_size=m), min_size=min_rows, max_size=rows).map(
            lambda rows: np.array(rows, float).reshape(len(rows), m)
        )
    )
    return row


small = matrices(st.integers(0, 4).map(float) | st.just(NAN))
finite = matrices(st.integers(0, 5).map(float), min_rows=1)
wild = matrices(st.floats(allow_nan=True, allow_infinity=True))


def dominates(a, b):
    if any(map(math.isnan, a)):
        return False
    return any(map(math.isnan, b)) or (all(x >= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b))


@given(small)
def test_fronts_are_peeled_off_as_brute_force_does(scores):
    ranks, left = [None] * len(scores), set(range(len(scores)))
    for number in itertools.count():
        front = {i for i in left if not any(dominates(scores[j], scores[i]) for j in left)}
        for i in front:
            ranks[i] = number
        left -= front
        if not left:
            break
    assert non_dominated_sort(scores).tolist() == ranks
    whole = [i for i in range(len(scores)) if not np.isnan(scores[i]).any()]
    expected = [i for i in whole if not any(dominates(scores[j], scores[i]) for j in whole)]
    assert pareto_front(scores).tolist() == expected


@given(small, st.randoms())
def test_fronts_depend_neither_on_the_order_of_rows_nor_on_the_scale(scores, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    ranks = non_dominated_sort(scores)
    assert (non_dominated_sort(scores[order]) == ranks[order]).all()
    assert (non_dominated_sort(np.exp(scores) * 1e6) == ranks).all()


def test_crowding_in_closed_form():
    front = [[0.0, 10.0], [4.0, 1.0], [1.0, 6.0], [2.0, 5.0]]
    assert crowding_distance(front).tolist() == [math.inf, math.inf, 2 / 4 + 5 / 9, 3 / 4 + 5 / 9]
    assert crowding_distance([[1.0, 2.0], [NAN, 0.0], [2.0, 1.0]]).tolist() == [math.inf, 0.0, math.inf]
    assert crowding_distance(np.empty((0, 3))).tolist() == []


@given(finite)
def test_crowding_is_infinite_at_the_ends_and_what_the_neighbours_leave_elsewhere(front):
    distances = crowding_distance(front)
    expected = np.zeros(len(front))
    ends = set()
    for column in front.T:
        order = sorted(range(len(front)), key=lambda i: column[i])
        ends |= {order[0], list(column).index(max(column))}
        for before, at, after in zip(order, order[1:], order[2:], strict=False):
            if column.max() > column.min():
                expected[at] += (column[after] - column[before]) / (column.max() - column.min())
    for i, distance in enumerate(distances):
        assert distance == (math.inf if i in ends else pytest.approx(expected[i]))


def by_inclusion_exclusion(gains):
    total = 0.0
    for size in range(1, len(gains) + 1):
        for group in itertools.combinations(gains, size):
            total += (-1) ** (size + 1) * np.prod(np.min(group, axis=0))
    return total


@given(finite, st.integers(0, 2))
def test_hypervolume_equals_inclusion_and_exclusion(scores, corner):
    gains = [row - corner for row in scores if (row > corner).all()]
    reference = [float(corner)] * scores.shape[1]
    assert hypervolume(scores, reference) == pytest.approx(by_inclusion_exclusion(gains))


@given(finite)
def test_hypervolume_counts_the_unit_cubes_that_are_dominated(scores):
    cubes = itertools.product(range(6), repeat=scores.shape[1])
    count = sum(any((row >= np.array(cube) + 1).all() for row in scores) for cube in cubes)
    assert hypervolume(scores, [0.0] * scores.shape[1]) == pytest.approx(count)


def test_hypervolume_in_closed_form():
    assert hypervolume([[3.0, 1.0], [1.0, 3.0]], [0.0, 0.0]) == 5.0
    assert hypervolume([[3.0, 1.0], [1.0, 3.0], [NAN, 9.0], [0.5, 0.5]], [0.0, 0.0]) == 5.0
    assert hypervolume([[2.0, 2.0]], [2.0, 0.0]) == 0.0  # on the border
    assert hypervolume([[-1.0], [-3.0]], [-4.0]) == 3.0
    assert hypervolume(np.empty((0, 2)), [0.0, 0.0]) == 0.0
    assert hypervolume(np.ones((3, 5)) * 2, np.zeros(5)) == 32.0
    # The quarter of a circle, from below.
    angle = np.linspace(0, np.pi / 2, 400)
    assert hypervolume(np.stack([np.cos(angle), np.sin(angle)], 1), [0, 0]) == pytest.approx(np.pi / 4, abs=3e-3)


@pytest.mark.parametrize("reference", [[0.0], [0.0, NAN], [0.0, math.inf], 0.0, [0.0] * 3])
def test_a_reference_of_another_shape_is_refused(reference):
    with pytest.raises(InvalidArgument, match="2 finite numbers"):
        hypervolume([[1.0, 1.0]], reference)


def test_the_knee_in_closed_form():
    front = [[0.0, 100.0], [0.8, 90.0], [0.9, 50.0], [1.0, 0.0]]
    assert knee_point(front) == 1
    assert knee_distance(front) == pytest.approx([0.0, 0.7 / math.sqrt(2), 0.4 / math.sqrt(2), 0.0], abs=1e-12)
    assert knee_point([[NAN, 0.0], [5.0, 5.0]]) == 1
    # A plane through the extremes (1, 0, 0), (0, 1, 0), (0, 0, 1) of three objectives.
    three = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.4], [0.2, 0.2, 0.2]]
    assert knee_distance(three)[3:] == pytest.approx([0.4 / math.sqrt(3), -0.4 / math.sqrt(3)])
    with pytest.raises(InvalidArgument, match="finite row"):
        knee_point([[NAN, 1.0]])


@given(matrices(st.integers(-1000, 1000).map(float), min_rows=1), st.integers(1, 1000), st.integers(-1000, 1000))
def test_the_knee_does_not_depend_on_the_units(scores, scale, shift):
    front = scores[pareto_front(scores)]
    assert knee_distance(front * scale + shift) == pytest.approx(knee_distance(front), abs=1e-9)


@given(finite)
def test_scores_order_fronts_first_and_put_the_knee_of_the_pareto_front_at_0(scores):
    ranks, placed, spread = non_dominated_sort(scores), pareto_scores(scores), spread_scores(scores)
    for numbers in (placed, spread):
        assert (np.floor(numbers) == ranks).all()
    front = pareto_front(scores)
    knee = front[knee_point(scores[front])]
    assert placed[knee] == placed.min() == 0.0
    assert spread.min() == 0.0
    same = (scores[:, None] == scores[None]).all(axis=-1)
    assert (placed[:, None] == placed[None])[same].all()


@given(finite)
def test_the_spread_knows_no_scale(scores):
    assert (spread_scores(np.exp(3 * scores)) == spread_scores(scores)).all()


def test_a_lonely_trial_comes_before_a_crowded_one():
    front = [[0.0, 10.0], [1.0, 9.0], [2.0, 8.0], [3.0, 7.0], [6.0, 1.0]]
    assert spread_scores([*front, [2.5, 7.5]]).tolist() == [0.0, 2 / 6, 2 / 6, 2 / 6, 0.0, 2 / 6]
    assert spread_scores([[0, 4], [1, 3], [1, 3], [2, 2], [4, 0]]).argmax() in (1, 2)


@given(finite, st.integers(0, 60))
def test_weights_put_nothing_that_is_dominated_before_what_dominates_it(scores, more):
    scores = np.concatenate([scores, np.repeat(scores[:1], more, axis=0)])  # other numbers of rows, other weights
    distances = weighted_scores(scores)
    behind = np.array([((row >= scores).all(axis=1) & (row > scores).any(axis=1)) for row in scores])
    assert (distances[:, None] < distances[None])[behind].all()
    assert (weighted_scores(np.exp(3 * scores)) == distances).all()


def test_weights_come_to_every_point_of_a_hollow_front():
    # No weighted sum is best at an inner point of it.
    front = np.array([[0.0, 10.0], [1.0, 4.0], [3.0, 3.0], [4.0, 1.0], [10.0, 0.0]])
    behind = [front[[0]] - 1.0] * 200
    best = {int(weighted_scores(np.concatenate([front, *behind[:n]])).argmin()) for n in range(200)}
    assert best == {0, 1, 2, 3, 4}


def test_weighted_distances_in_closed_form():
    scores = [[1.0, 5.0], [2.0, 4.0], [NAN, 9.0], [0.5, 1.0]]
    a, b = np.random.default_rng(4).dirichlet([1.0, 1.0])
    whole = [0.5 * a * 1.05, 0.5 * b * 1.05, max(a, b) + 0.05 + 0.3]
    expected = [whole[0], whole[1], 1 + max(whole), whole[2]]
    assert weighted_scores(scores) == pytest.approx(expected, abs=1e-12)
    assert weighted_scores([[3.0]]).tolist() == [0.0]
    assert weighted_scores([[NAN]]).tolist() == [1.0]


@given(wild)
def test_nothing_that_is_a_number_breaks_anything(scores):
    ranks = non_dominated_sort(scores)
    failed = ~np.isfinite(scores).all(axis=1)
    assert ranks.shape == (len(scores),)
    assume(failed.any() and not failed.all())
    assert ranks[failed].min() > ranks[~failed].max()
    assert not set(pareto_front(scores)) & set(np.flatnonzero(failed))
    for numbers in (pareto_scores(scores), spread_scores(scores)):
        assert np.isfinite(numbers).all()
        assert (np.floor(numbers) == ranks).all()
    distances = weighted_scores(scores)
    assert np.isfinite(distances).all()
    assert distances[failed].min() >= distances[~failed].max() + 1
    assert not np.isnan(crowding_distance(scores)).any()
    assert (knee_distance(scores)[failed] == -np.inf).all()


@pytest.mark.parametrize("wrong", [3.0, [1.0], np.empty((3, 0)), [["a"]], [[1.0], [1.0, 2.0]], None])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(InvalidArgument, match="configurations, objectives"):
        non_dominated_sort(wrong)
