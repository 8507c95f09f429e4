import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.stopping import ASHA


def column(*values):
    return np.array(values, float)[:, None]


def search(rule, curves):
    """Run trials one after another; return how many epochs each got."""
    seen = []
    for curve in curves:
        stops = (t for t in range(1, len(curve) + 1) if rule.should_stop(curve[:t], seen, epochs=len(curve)))
        seen.append(curve[: next(stops, len(curve))])
    return [len(curve) for curve in seen]


@pytest.mark.parametrize(
    ("reduction", "min_epochs", "epochs", "rungs"),
    [(3, 1, 27, (1, 3, 9)), (3, 1, 28, (1, 3, 9, 27)), (2, 3, 50, (3, 6, 12, 24, 48)), (4, 5, 5, ()), (2, 1, 1, ())],
)
def test_rungs(reduction, min_epochs, epochs, rungs):
    assert ASHA(reduction, min_epochs=min_epochs).rungs(epochs) == rungs


@settings(max_examples=60)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_equals_the_algorithm_written_as_in_the_paper(reduction, min_epochs, seed):
    rng = np.random.default_rng(seed)
    curves = rng.integers(0, 6, (12, 20)).astype(float)  # with many ties
    rungs = [min_epochs * reduction**k for k in range(10) if min_epochs * reduction**k < 20]
    reached = {rung: [] for rung in rungs}
    lengths = []
    for curve in curves:
        lengths.append(20)
        for rung in rungs:
            loss = -max(curve[:rung])
            reached[rung].append(loss)
            top = sorted(reached[rung])[: max(1, len(reached[rung]) // reduction)]
            if loss > top[-1]:
                lengths[-1] = rung
                break
    assert search(ASHA(reduction, min_epochs=min_epochs), list(curves[..., None])) == lengths


@settings(max_examples=60)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_in_the_end_the_best_of_each_rung_have_gone_on(reduction, min_epochs, seed):
    rule, epochs = ASHA(reduction, min_epochs=min_epochs), 20
    rng = np.random.default_rng(seed)
    whole = np.cumsum(rng.normal(size=(15, epochs)), axis=1)[..., None]
    lengths, waiting, taken_up = [], set(), 0

    def train(i):
        while True:
            lengths[i] += 1
            if lengths[i] == epochs:
                return
            others = [whole[j, : lengths[j]] for j in range(len(lengths)) if j != i]
            if rule.should_stop(whole[i, : lengths[i]], others, epochs=epochs) is not None:
                waiting.add(i)
                return

    while len(lengths) < len(whole) or waiting:
        curves = [whole[j, :length] for j, length in enumerate(lengths)]
        chosen = rule.take_up(curves, sorted(waiting), epochs=epochs) if waiting else None
        if chosen is None and len(lengths) == len(whole):
            break
        if chosen is None:
            lengths.append(0)
        else:
            waiting.remove(chosen)
            taken_up += 1
        train(len(lengths) - 1 if chosen is None else chosen)
    for rung in rule.rungs(epochs):
        reached = sorted((i for i, length in enumerate(lengths) if length >= rung), key=lambda i: -whole[i, :rung].max())
        assert all(lengths[i] > rung for i in reached[: len(reached) // reduction])


def test_takes_up_the_highest_rung_first_and_nothing_that_is_not_waiting():
    curves = [column(*[value] * length) for value, length in ((3, 3), (2, 3), (1, 3), (2.5, 1), (0, 1), (0, 1), (0, 1))]
    rule = ASHA(3)
    assert rule.take_up(curves, [0, 3], epochs=9) == 0
    assert rule.take_up(curves, [1, 2, 4], epochs=9) is None  # 1 is second of three at its rung
    assert rule.take_up(curves, [1, 3], epochs=9) == 3  # second of seven at the first one
    assert rule.take_up(curves[:2], [1], epochs=9) is None
    assert rule.take_up([column(np.nan), column(np.nan), column(np.nan)], [0, 1, 2], epochs=9) is None


def test_ever_better_trials_all_go_on_and_ever_worse_ones_stop_at_the_first_rung():
    rising = [column(*[i] * 9) for i in range(10)]
    assert search(ASHA(3), rising) == [9] * 10
    assert search(ASHA(3), rising[::-1]) == [9] + [1] * 9
    assert search(ASHA(3), [column(*[0] * 9)] * 5) == [9] * 5


def test_stops_only_at_rungs_and_says_why():
    others = [column(*[1.0] * 9)] * 5
    stopped = {t for t in range(1, 10) if ASHA(3, min_epochs=2).should_stop(column(*[0.0] * t), others, epochs=9)}
    assert stopped == {2, 6}
    stop = ASHA(3, min_epochs=2).should_stop(column(0, 0), others, epochs=9)
    assert stop.reason == "place 6 of 6 after 2 epochs, the first 2 go on"
    assert stop.details == {"rung": 2, "place": 6, "reached": 6, "places": 2}
    assert "after 1 epoch, the" in ASHA(3).should_stop(column(0), others, epochs=9).reason


def test_those_that_have_not_reached_the_rung_do_not_count():
    others = [column(5, 5, 5), column(9, 9), column(8)]
    assert ASHA(3).should_stop(column(6, 6, 6), others, epochs=9) is None
    assert ASHA(3).should_stop(column(4, 4, 4), others, epochs=9) is not None


def test_values_that_are_not_finite_are_worse_than_all():
    nan = np.nan
    assert ASHA(2).should_stop(column(nan), [], epochs=4) is None
    assert ASHA(2).should_stop(column(nan), [column(-1e9)], epochs=4) is not None
    assert ASHA(2).should_stop(column(-1e9), [column(nan), column(np.inf)], epochs=4) is None
    # Its best so far counts.
    assert ASHA(2).should_stop(column(3, nan), [column(2, 2)], epochs=4) is None


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_only_the_order_of_the_values_counts(seed, objectives):
    rng = np.random.default_rng(seed)
    curves = [rng.normal(size=(9, objectives)) for _ in range(8)]
    assert search(ASHA(2), curves) == search(ASHA(2), [np.exp(3 * curve) + 7 for curve in curves])


def test_several_objectives_go_by_fronts_and_then_by_crowding():
    first = np.array([[0.0, 4], [2, 2], [4, 0]])
    others = [row[None] for row in first]
    goes_on = lambda *point: ASHA(4).should_stop(np.array([point]), others, epochs=4) is None  # noqa: E731
    assert goes_on(3, 4)  # one place, and it dominates two
    assert goes_on(5, 1)  # an end of the front
    assert not goes_on(1, 1)  # dominated
    assert not goes_on(2.1, 1.9)  # on the front, amid others


@settings(max_examples=60)
@given(st.data())
def test_takes_any_curves(data):
    m = data.draw(st.integers(1, 3))
    curve = st.lists(st.lists(st.floats(), min_size=m, max_size=m), min_size=1, max_size=8)
    others = [np.array(other) for other in data.draw(st.lists(curve, max_size=5))]
    ASHA(2).should_stop(np.array(data.draw(curve)), others, epochs=8)  # a warning is an error in these tests


@pytest.mark.parametrize("settings", [{"reduction": 1}, {"reduction": 2.5}, {"min_epochs": 0}, {"reduction": True}])
def test_settings_out_of_range(settings):
    with pytest.raises(InvalidArgument, match=next(iter(settings))):
        ASHA(**settings)
