"""The flagship: what it does with little data, much data, and trials under way."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from kerasnas.strategies import Condition, Discrete, Dyna, Range
from kerasnas.strategies.dyna import _checkpoint, _log_improvement, _train
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import AutoregressivePolicy
from kerasnas.strategies.space import identity, random_choices

DECISIONS = [Discrete(name=f"d{i}", values=("a", "b", "c")) for i in range(6)]
BEST = dict.fromkeys((d.name for d in DECISIONS), "b")


def score_of(choices):
    """Three points for each right decision, and three more for each right pair of neighbours."""
    right = [choices[d.name] == BEST[d.name] for d in DECISIONS]
    return 3 * sum(right) + 3 * sum(a and b for a, b in pairwise(right))


def search(strategy, trials, seed=0, score=score_of):
    history = []
    for t in range(trials):
        choices = strategy.propose(np.random.default_rng([seed, t]))
        strategy.observe(choices, score(choices))
        history.append(choices)
    return history


def started(decisions=DECISIONS, **settings):
    strategy = Dyna(**settings)
    strategy.start(decisions)
    return strategy


def test_it_finds_a_planted_optimum_among_729_within_40_trials():
    """Random search finds it with probability 40 / 729 = .05: four times in a row by chance in 1 of 100,000 runs."""
    for seed in range(4):
        assert BEST in [dict(c) for c in search(started(), 40, seed)]


def test_it_never_repeats_itself_until_the_space_is_used_up():
    decisions = DECISIONS[:3]
    history = search(started(decisions), 27, score=lambda c: float(c["d0"] == "a"))
    assert len({identity(decisions, c) for c in history}) == 27


def test_trials_under_way_are_not_proposed_and_count_as_predicted():
    """Asked twelve times without an answer it gives twelve configurations; believing one, the next has less to gain."""
    strategy = started()
    search(strategy, 25)
    pending = []
    for t in range(12):
        pending.append(dict(strategy.propose(np.random.default_rng(t), pending)))
    assert len({identity(DECISIONS, c) for c in pending}) == 12
    with_belief = strategy.propose(np.random.default_rng(99), pending[:1])
    assert (
        with_belief.why["log_expected_improvement"] < strategy.propose(np.random.default_rng(0)).why["log_expected_improvement"]
    )


def test_little_data_and_pure_noise_are_met_with_exploration():
    strategy = started()
    phases = [c.why["phase"] for c in search(strategy, 10)]
    assert phases == ["exploration"] * 10
    rng = np.random.default_rng(0)
    noise = [c.why for c in search(started(), 40, score=lambda _: float(rng.normal()))][10:]
    # No model ranks noise: whichever looks good at one checkpoint (chance: 1 / sqrt(n), .16 to .3) fails at the next.
    assert sum(why["phase"] == "exploration" for why in noise) >= 5
    assert all(max(why["rank_correlations"].values()) < 0.6 for why in noise if "rank_correlations" in why)


def test_a_region_that_fails_is_left_alone():
    """Whatever holds d0 = c fails: a third of random draws; of the last 20 proposals at most two."""

    def score(choices):
        return np.nan if choices["d0"] == "c" else score_of(choices)

    last = search(started(), 50, score=score)[30:]
    assert sum(c["d0"] == "c" for c in last) <= 2


def test_failures_by_chance_do_not_hide_what_is_good():
    """Three of ten trials fail whatever they are; the best of 40 is as near to the optimum of two real numbers as without."""
    found = []
    for seed in range(4):
        strategy, luck = Dyna(), np.random.default_rng(seed)
        strategy.start([Range(name=name, low=0.0, high=1.0) for name in "ab"])
        best = -np.inf
        for trial in range(40):
            choices = dict(strategy.propose(np.random.default_rng([seed, trial])))
            score = -((choices["a"] - 0.3) ** 2) - (choices["b"] - 0.6) ** 2
            fails = luck.random() < 0.3
            best = best if fails else max(best, score)
            strategy.observe(choices, np.nan if fails else score)
        found.append(best)
    assert np.mean(found) > -0.0005  # 28 random trials come to -0.011 in the mean


def test_nothing_but_failures_does_no_harm():
    history = search(started(), 15, score=lambda _: np.nan)
    assert len({identity(DECISIONS, c) for c in history}) == 15


def test_a_proposal_says_why():
    strategy = started()
    search(strategy, 30)
    proposal = strategy.propose(np.random.default_rng(1))
    why = proposal.why
    assert why["phase"] in ("policy", "mutation", "exploration")
    assert set(why["probabilities"]) == set(proposal)
    assert all(0 < p <= 1 for p in why["probabilities"].values())
    assert why["runner_up"] != dict(proposal)
    assert why["predicted"]["std"] > 0
    assert set(why["models"]) <= set(why["rank_correlations"])
    if why["phase"] == "mutation":
        assert {name: new for name, (_, new) in why["mutation"].items()} | {
            k: v for k, v in why["parent"].items() if k not in why["mutation"]
        } == dict(proposal)


def test_predicted_scores_are_in_the_unit_of_the_scores_and_right():
    """After 60 trials of a function without noise the mean absolute error is below a fifth of the scores' deviation."""
    strategy = started()
    search(strategy, 60)
    scores, errors = [], []
    for t in range(15):
        proposal = strategy.propose(np.random.default_rng(t))
        errors.append(abs(proposal.why["predicted"]["mean"] - score_of(proposal)))
        scores.append(score_of(random_choices(DECISIONS, np.random.default_rng(t))))
        strategy.observe(proposal, score_of(proposal))
    assert np.mean(errors) < np.std(scores) / 5


def test_it_does_not_depend_on_the_unit_of_the_score():
    plain = [dict(c) for c in search(started(), 20)]
    assert plain == [dict(c) for c in search(started(), 20, score=lambda c: 1e9 * score_of(c) - 5)]
    assert plain == [dict(c) for c in search(started(), 20, score=lambda c: float(np.exp(score_of(c))))]


def test_an_earlier_search_replaces_the_random_beginning():
    rng = np.random.default_rng(3)
    earlier = [(c, -0.01 * score_of(c) ** 2) for c in (random_choices(DECISIONS, rng) for _ in range(60))]
    same = [(c, 100.0 + score_of(c)) for c, _ in earlier]
    strategy = started()
    strategy.learn_earlier(same)
    first = np.mean([score_of(c) for c in search(strategy, 5)])
    assert first > max(score_of(c) for c, _ in earlier) * 0.8
    misled = started()
    misled.learn_earlier(earlier)  # the other way round
    assert BEST in [dict(c) for c in search(misled, 60)]


def test_early_trials_are_near_the_best_where_points_are_given():
    point = dict.fromkeys(BEST, "a")
    strategy = started()
    strategy.learn_points([point])
    strategy.observe(point, 0.1)
    proposals = [strategy.propose(np.random.default_rng(seed)) for seed in range(200)]
    near = [p for p in proposals if p.why["phase"] == "mutation"]
    assert 0.65 < len(near) / 200 < 0.85
    assert all(p.why["parent"] == point and 1 <= len(p.why["mutation"]) <= 4 for p in near)
    assert {len(p.why["mutation"]) for p in near} == {1, 2, 3, 4}
    # Whatever comes out best is the next parent, failures apart.
    strategy.observe(BEST, 0.2)
    strategy.observe(dict.fromkeys(BEST, "c"), np.nan)
    proposals = [strategy.propose(np.random.default_rng(seed)) for seed in range(40)]
    assert all(p.why["parent"] == BEST for p in proposals if p.why["phase"] == "mutation")
    # Without points there is nobody to trust.
    assert all(started().propose(np.random.default_rng(seed)).why["phase"] == "exploration" for seed in range(40))


def test_hundreds_of_conditional_decisions():
    decisions = [Discrete(name="depth", values=tuple(range(1, 101)), ordered=True)]
    for i in range(100):
        deep = (Condition("depth", tuple(range(i + 1, 101))),)
        decisions.append(Discrete(name=f"kind_{i}", values=("x", "y", "z"), conditions=deep))
        decisions.append(Range(name=f"rate_{i}", low=1e-3, high=1.0, scale="log", conditions=deep))
    history = search(started(decisions), 14, score=lambda c: -abs(c["depth"] - 20))
    assert all(len(c) == 1 + 2 * c["depth"] for c in history)


def test_log_improvement_equals_the_integral():
    for z in (-5.9, -3.0, 0.0, 2.5):
        value, _ = quad(lambda f, z=z: f * norm.pdf(f - z), 0, 12)
        assert _log_improvement(np.array([z]))[0] == pytest.approx(np.log(value), abs=1e-5)
    z = np.linspace(-40, 8, 400)
    assert (np.diff(_log_improvement(z)) > 0).all()
    np.testing.assert_allclose(_log_improvement(np.array([-6.0001])), _log_improvement(np.array([-5.9999])), atol=0.1)


def test_a_policy_trained_in_imagination_prefers_what_is_rewarded():
    encoding = Encoding(DECISIONS)
    policy = AutoregressivePolicy(encoding)
    rows = encoding.encode([BEST])
    before = policy.log_probability(rows)[0]
    _train(policy, lambda units: -np.abs(units - rows[0]).sum(axis=1), 30, np.random.default_rng(0))
    assert before == pytest.approx(6 * np.log(1 / 3))
    assert policy.log_probability(rows)[0] > before + 3


def test_checkpoints_are_a_function_of_the_count_alone():
    found = [_checkpoint(count, 10) for count in range(10, 300)]
    assert found == sorted(found)
    assert all(checkpoint <= count < 1.15 * checkpoint + 2 for count, checkpoint in enumerate(found, 10))
    assert len(set(found)) < 30


@pytest.mark.parametrize("wrong", [1, 2.5, None])
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="initial must be"):
        Dyna(initial=wrong)


def test_decisions_without_a_choice_do_not_hide_repeats():
    """A real number with one value and a list that names a value twice: 9 configurations in all, each tried once."""
    decisions = [
        Discrete(name="a", values=(1, 1, 2, 3)),
        Discrete(name="b", values=("x", "y", "z")),
        Range(name="fixed", low=2.0, high=2.0),
    ]
    history = search(started(decisions, initial=2), 9, score=lambda c: float(c["a"]))
    assert len({identity(decisions, c) for c in history}) == 9


def test_an_earlier_search_from_which_nothing_can_be_learnt_changes_nothing():
    strategy = started()
    strategy.learn_earlier([(BEST, 1.0)])
    strategy.learn_earlier([(random_choices(DECISIONS, np.random.default_rng(i)), np.nan) for i in range(20)])
    assert [dict(c) for c in search(strategy, 12)] == [dict(c) for c in search(started(), 12)]


def test_near_copies_of_the_best_do_not_keep_it_from_other_architectures():
    """A learning rate can be refined for ever: luck among near-copies is no reason to leave 72 architectures untried."""
    decisions = [
        Discrete(name="block", values=("plain", "residual", "inception", "mobile")),
        Discrete(name="activation", values=("relu", "gelu", "tanh")),
        Discrete(name="optimizer", values=("sgd", "adam", "rmsprop")),
        Discrete(name="normalization", values=("none", "batch")),
        Range(name="learning_rate", low=1e-4, high=1e-1, scale="log"),
        Range(name="dropout", low=0.0, high=0.6),
    ]
    gains = {"residual": 0.04, "inception": 0.03, "mobile": 0.02, "adam": 0.01, "batch": 0.01}
    best_rates = {"sgd": -1.3, "adam": -3.0, "rmsprop": -3.3}

    def accuracy(choices):
        away = np.log10(choices["learning_rate"]) - best_rates[choices["optimizer"]]
        gain = sum(gains.get(value, 0.0) for value in choices.values())
        return 0.8 + gain - 0.03 * away**2 - 0.1 * (choices["dropout"] - 0.3) ** 2

    regrets = []
    for seed in range(5):
        luck = np.random.default_rng(seed + 7)
        history = search(started(decisions), 50, seed, lambda choices, luck=luck: accuracy(choices) + 0.004 * luck.normal())
        regrets.append(0.86 - max(accuracy(choices) for choices in history))
    assert np.mean(regrets) < 0.003  # ranks alone: 0.008
