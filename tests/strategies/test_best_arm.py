import numpy as np
import pytest

from kerasnas.strategies import Discrete, Range
from kerasnas.strategies.best_arm import best_arm
from kerasnas.strategies.space import enumerate_choices

DECISIONS = [Discrete(name=f"d{i}", values=tuple(range(4)), ordered=True) for i in range(4)]


def truth(choices):
    return 100.0 - sum((choices[d.name] - 2) ** 2 for d in DECISIONS)


def test_the_best_posterior_mean_beats_the_luckiest_run():
    """120 of 256 configurations with noise of three points, 20 times: the luckiest run loses 1.4 points, the other .65.

    The difference of .75 has a standard error of .17.
    """
    lucky, recommended = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tried = [c for c in enumerate_choices(DECISIONS)]
        observations = [(c, truth(c) + 3 * rng.normal()) for c in (tried[i] for i in rng.permutation(256)[:120])]
        best = max(truth(c) for c, _ in observations)
        lucky.append(best - truth(max(observations, key=lambda o: o[1])[0]))
        recommended.append(best - truth(observations[best_arm(DECISIONS, observations).index][0]))
    assert np.mean(recommended) < np.mean(lucky) - 0.25


def test_without_noise_it_is_the_best_one_and_the_means_are_the_scores():
    observations = [(c, truth(c)) for c in enumerate_choices(DECISIONS)][:50]
    arm = best_arm(DECISIONS, observations)
    scores = [score for _, score in observations]
    assert scores[arm.index] == max(scores)
    assert np.mean(np.abs(np.array(arm.mean) - scores)) < 0.5
    assert all(s >= 0 for s in arm.std)


def test_the_means_of_near_copies_say_how_far_they_can_be_trusted():
    """A search that has closed in on the best of three real numbers: 20 trials all over the space, 40 close to each other.

    Two deviations each way cover the truth in .92 of the cases; on ranks, most of whose scale is luck among the 40, in .79.
    """
    reals = [Range(name=name, low=0.0, high=1.0) for name in "abc"]
    covered = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        places = np.concatenate([rng.random((20, 3)), 0.5 + 0.08 * rng.uniform(-1, 1, (40, 3))])
        truths = -((places - 0.5) ** 2).sum(axis=1)
        observations = [
            (dict(zip("abc", place.tolist(), strict=True)), score)
            for place, score in zip(places, truths + 0.01 * rng.normal(size=60), strict=True)
        ]
        arm = best_arm(reals, observations)
        covered.append(np.mean(np.abs(np.array(arm.mean) - truths) < 2 * np.array(arm.std)))
    assert np.mean(covered) > 0.87


def test_failures_do_not_pull_down_what_is_near_them():
    """With three of ten trials failed at random, the deviations cover the truth as they do without failures."""
    reals = [Range(name=name, low=0.0, high=1.0) for name in "abc"]
    covered, bias = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        places = np.concatenate([rng.random((20, 3)), 0.5 + 0.08 * rng.uniform(-1, 1, (40, 3))])
        truths = -((places - 0.5) ** 2).sum(axis=1)
        scores = np.where(rng.random(60) < 0.3, np.nan, truths + 0.005 * rng.normal(size=60))
        observations = [(dict(zip("abc", p.tolist(), strict=True)), s) for p, s in zip(places, scores.tolist(), strict=True)]
        arm = best_arm(reals, observations)
        known = np.isfinite(scores)
        assert np.isnan(np.array(arm.mean)[~known]).all()
        off = (np.array(arm.mean) - truths)[known]
        covered.append(np.mean(np.abs(off) < 2 * np.array(arm.std)[known]))
        bias.append(off.mean())
    assert np.mean(covered) > 0.85
    assert abs(np.mean(bias)) < 0.002


def test_failed_observations_have_no_mean_and_never_win():
    observations = [
        ({"d0": 2, "d1": 2, "d2": 2, "d3": 2}, np.nan),
        ({"d0": 0, "d1": 0, "d2": 0, "d3": 0}, -1e6),
        ({"d0": 0}, np.inf),
    ]
    arm = best_arm(DECISIONS, observations)
    assert arm.index == 1
    assert np.isnan(arm.mean[0])
    assert np.isnan(arm.std[2])


def test_a_single_observation_is_the_best_one():
    assert best_arm(DECISIONS, [({"d0": 1, "d1": 1, "d2": 1, "d3": 1}, 0.3)]).index == 0


@pytest.mark.parametrize("scores", [[], [np.nan], [np.inf, -np.inf]])
def test_nothing_finite_is_an_error(scores):
    with pytest.raises(ValueError, match="at least one observation with a finite score"):
        best_arm(DECISIONS, [({"d0": 1}, score) for score in scores])
