"""What every strategy must do; a new strategy is enrolled by one row of STRATEGIES."""

import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, RandomSearch, Range, Reinforce
from kerasnas.strategies.space import identity

STRATEGIES = {
    "random": RandomSearch,
    "reinforce": Reinforce,
    "reinforce-moving": lambda: Reinforce(baseline="moving"),
}
DECISIONS = [
    Discrete(name="kind", values=("conv", "dense")),
    Discrete(name="kernel", values=(3, 5, 7), ordered=True, conditions=(Condition("kind", ("conv",)),)),
    Range(name="units", low=1, high=500, scale="log", integer=True, conditions=(Condition("kind", ("dense",)),)),
    Range(name="lr", low=1e-4, high=1e-1, scale="log"),
]


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    made = STRATEGIES[request.param]()
    made.start(DECISIONS)
    return made


def score_of(choices):
    return -abs(np.log10(choices["lr"]) + 3) - (choices["kind"] == "dense")


def run(strategy, seed, trials):
    scores = []
    for t in range(trials):
        choices = strategy.propose(np.random.default_rng([seed, t]))
        strategy.observe(choices, score_of(choices))
        scores.append(score_of(choices))
    return scores


def test_proposals_hold_active_decisions_only(strategy):
    run(strategy, 0, 20)
    for t in range(50):
        choices = strategy.propose(np.random.default_rng(t))
        expected = {"kind", "lr", "kernel" if choices["kind"] == "conv" else "units"}
        assert set(choices) == expected
        assert len(identity(DECISIONS, choices)) == 3


def test_proposing_leaves_the_state_as_it_was(strategy):
    run(strategy, 0, 10)
    first = [strategy.propose(np.random.default_rng(1)) for _ in range(5)]
    assert first == [first[0]] * 5


def test_replaying_the_observations_gives_the_same_strategy(strategy):
    history = []
    for t in range(15):
        choices = strategy.propose(np.random.default_rng(t))
        score = np.nan if t % 5 == 0 else score_of(choices)
        strategy.observe(choices, score)
        history.append((choices, score))
    expected = [strategy.propose(np.random.default_rng(100 + t)) for t in range(5)]
    strategy.start(DECISIONS)
    for choices, score in history:
        strategy.observe(choices, score)
    assert [strategy.propose(np.random.default_rng(100 + t)) for t in range(5)] == expected


def test_extreme_scores_and_partial_choices_do_no_harm(strategy):
    for score in (np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 0.0):
        strategy.observe(strategy.propose(np.random.default_rng(0)), score)
    strategy.observe({"kind": "conv"}, 0.5)
    strategy.observe({"kind": "conv", "kernel": 3, "lr": 0.5, "unknown": 1}, 0.5)
    assert "lr" in strategy.propose(np.random.default_rng(0))


def test_no_decisions_at_all(strategy):
    strategy.start([])
    assert strategy.propose(np.random.default_rng(0)) == {}
    strategy.observe({}, 1.0)


def test_beliefs_sum_to_one(strategy):
    run(strategy, 0, 10)
    beliefs = strategy.beliefs()
    if beliefs is not None:
        assert set(beliefs) == {d.name for d in DECISIONS}
        assert all(sum(p.values()) == pytest.approx(1) for p in beliefs.values())


def test_reinforce_beats_random_search_in_the_mean():
    """40 seeds; the difference is about 14 standard errors, so a false alarm is out of the question."""
    means = {
        name: np.mean([np.mean(run(_started(STRATEGIES[name]), 1000 + 17 * s, 60)[30:]) for s in range(40)])
        for name in STRATEGIES
    }
    assert means["reinforce"] > means["random"] + 0.3
    assert means["reinforce-moving"] > means["random"] + 0.3


def _started(make):
    strategy = make()
    strategy.start(DECISIONS)
    return strategy
