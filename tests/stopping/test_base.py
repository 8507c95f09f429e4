import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.stopping import ASHA, LearningCurve
from kerasnas.stopping.base import Curves
from kerasnas.stopping.by_name import BY_NAME, by_name

RULES = [ASHA(), LearningCurve()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(
    ("curve", "others", "epochs"),
    [
        ([1.0, 2.0], [], 5),
        (np.zeros((0, 1)), [], 5),
        (np.zeros((3, 0)), [], 5),
        (np.zeros((6, 1)), [], 5),
        (np.zeros((3, 1)), [], 5.0),
        (np.zeros((3, 1)), [], True),
        (np.zeros((3, 1)), [np.zeros((3, 2))], 5),
        (np.zeros((3, 1)), [np.zeros(3)], 5),
        ([["a"]], [], 5),
        ([[1.0], [2.0, 3.0]], [], 5),
    ],
)
def test_wrong_shapes(rule, curve, others, epochs):
    with pytest.raises(InvalidArgument, match="Expected"):
        rule.should_stop(curve, others, epochs=epochs)


def test_curves_are_the_best_so_far():
    curves = Curves.of([[np.nan], [2.0], [1.0]], [[[1.0], [np.inf], [3.0], [2.0], [9.0]], np.zeros((0, 1)), [[4.0]]], epochs=4)
    assert curves.own[:, 0].tolist() == [-np.inf, 2, 2]
    assert curves.others[..., 0].tolist() == [[1, 1, 3, 3], [-np.inf] * 4, [4] * 4]
    assert curves.lengths.tolist() == [4, 0, 1]
    assert curves.finals.tolist() == [[3], [-np.inf], [4]]


def test_constant_columns():
    latencies = [np.column_stack([np.arange(4.0), np.full(4, latency)]) for latency in (3.0, 4.0)]
    assert Curves.of([[0.0, 5.0]], latencies, epochs=4).constant.tolist() == [False, True]
    assert Curves.of([[0.0, 5.0], [0.0, 5.1]], latencies, epochs=4).constant.tolist() == [False, False]
    # One epoch tells nothing, and what is the same everywhere may be a network that does not learn.
    assert Curves.of([[0.0, 5.0]], [latencies[0][:1]], epochs=4).constant.tolist() == [False, False]
    assert Curves.of([[0.0, 3.0]], latencies[:1], epochs=4).constant.tolist() == [False, False]
    assert Curves.of([[0.0, 5.0]], [], epochs=4).constant.tolist() == [False, False]


def test_by_name():
    assert {name: type(by_name(name)) for name in BY_NAME} == {"asha": ASHA, "learning-curve": LearningCurve}
    assert by_name(None) is None
    assert by_name(RULES[0]) is RULES[0]
    for wrong in ("hyperband", ASHA, 3):
        with pytest.raises(InvalidArgument, match="'asha', 'learning-curve'"):
            by_name(wrong)
