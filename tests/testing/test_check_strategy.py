"""Each broken strategy breaks one promise; the suite must catch every one of them, and say what it expected."""

import random

import broken_strategies
import numpy as np
import pytest

from kerasnas.strategies import RandomSearch
from kerasnas.testing import check_strategy

BROKEN = {
    broken_strategies.InactiveToo: "Expected values for active decisions only, got",
    broken_strategies.LacksOne: "Expected a value for the active decision 'lr', got",
    broken_strategies.OutOfRange: "Expected a value of Range(name='real'",
    broken_strategies.OffTheList: "Expected a value of Discrete(name='steps'",
    broken_strategies.FloatForInteger: "Expected a value of Range(name='units'",
    broken_strategies.BooleanAsInteger: "Expected a value of Discrete(name='b'",
    broken_strategies.NumpyScalars: "Expected a plain Python scalar for",
    broken_strategies.FirstOfTheName: "'one name twice': Expected a value of Discrete(name='units'",
    broken_strategies.NotADictionary: "Expected a dictionary of choices, got",
    broken_strategies.CannotDecideNothing: "'nothing to decide': Expected no exception",
    broken_strategies.NoPending: "Expected no exception, got TypeError",
    broken_strategies.CountsProposals: "however often it was asked",
    broken_strategies.RemembersPending: "a strategy that was not asked|leaves as it was",
    broken_strategies.OwnProposalsCountMore: "a replay of the observations to give the same proposals",
    broken_strategies.OwnGenerator: "however often it was asked",
    broken_strategies.LearnsAtRandom: "a strategy that was not asked before",
    broken_strategies.GlobalNumpy: "however often it was asked",
    broken_strategies.GlobalRandom: "a strategy that was not asked before",
    broken_strategies.SeedsTheGlobalGenerator: "the global generators of numpy and random to be left alone",
    broken_strategies.ReadsTheGlobalGenerator: "not from the global generators",
    broken_strategies.StartForgetsNothing: "`start` to forget",
    broken_strategies.StartKeepsTheEarlierSearch: "`start` to forget",
    broken_strategies.StartKeepsTheSpace: "replay: Expected",
    broken_strategies.SharedState: "Expected",
    broken_strategies.KeepsTheCallersDictionary: "no change when the caller changes",
    broken_strategies.KeepsTheCallersList: "arguments: Expected",
    broken_strategies.ChangesWhatItGets: "`observe` to leave its argument alone",
    broken_strategies.ChangesPending: "`propose` to leave `pending` alone",
    broken_strategies.GivesItsStateAway: "no change when the caller changes",
    broken_strategies.CannotFail: "cannot convert float NaN to integer",
    broken_strategies.CannotBeConstant: "constant scores",
    broken_strategies.NeedsEveryDecision: "observations that lack decisions",
    broken_strategies.NeedsKnownNames: "observations that lack decisions or have unknown ones: Expected no exception",
    broken_strategies.PendingMustBeWhole: "Expected no exception, got KeyError",
    broken_strategies.BeliefsAboutLess: "beliefs about every decision, and about no other",
    broken_strategies.BeliefsNotNormalised: "probabilities and sum to one",
    broken_strategies.BeliefsNan: "probabilities and sum to one",
    broken_strategies.BeliefsChangeTheState: "`advantage` and `beliefs` to leave the state",
    broken_strategies.InfiniteAdvantage: "an advantage of score 1e+300 that is a finite number or None, got inf",
    broken_strategies.NanAdvantage: "an advantage of score nan that is a finite number or None, got nan",
    broken_strategies.AdvantageChangesTheState: "`advantage` and `beliefs` to leave the state",
    broken_strategies.WhyNotJson: "Expected a `why` that JSON can hold",
    broken_strategies.WhyNan: "Expected a `why` that JSON can hold",
    broken_strategies.ImpossibleProbability: "Expected a probability in (0, 1]",
    broken_strategies.ProbabilitiesOfOthers: "Expected probabilities of chosen values only",
    broken_strategies.ReasonsAtRandom: "and the same reasons",
    broken_strategies.EarlierMustHaveSucceeded: "an earlier search: Expected no exception",
    broken_strategies.PointsMustBeTwo: "replay: Expected no exception, got IndexError",
    broken_strategies.EarlierMustNotBeEmpty: "an earlier search without trials: Expected no exception",
    broken_strategies.EarlierAtRandom: "the same proposals after the same earlier search",
    broken_strategies.GivesUpWhenAllIsKnown: "Expected no exception, got StopIteration()",
}


def test_a_sound_strategy_passes():
    check_strategy(broken_strategies.Sound)


def test_the_global_generators_are_left_as_they_were():
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = np.random.RandomState(5).rand(), random.Random(5).random()
    check_strategy(RandomSearch)
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_caught_and_named(broken):
    with pytest.raises(AssertionError) as caught:
        check_strategy(broken)
    assert any(part in str(caught.value) for part in BROKEN[broken].split("|")), str(caught.value)
