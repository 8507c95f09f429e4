"""The main effects of the decisions over the whole space, as the model of the reward sees them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasnas.explain.search.evidence import Evidence
from kerasnas.explain.search.permuted import permuted
from kerasnas.explain.search.reward_posterior import RewardPosterior
from kerasnas.strategies.encoding import Encoding

__all__ = ["LEVEL", "MainEffects", "main_effects", "p_values"]

Array = NDArray[np.float64]

# Configurations that stand for the space, and the groups of neighbouring values whose means are compared.
_ROWS, _GROUPS = 1024, 8

# Not the kernel that ranks these trials best: chosen by their scores it would favour them over permuted ones.
_KERNELS = ("pairwise",)

LEVEL = 0.05


class MainEffects(NamedTuple):
    """What each decision explains by itself of the variance over the space.

    Attributes:
        shares: in the posterior mean beside useless copies, shape (columns,).
        drawn: in draws of the posterior, shape (draws, columns).
        copies: those of the copies, shape (copies, columns).
        by_luck: chance that it explains as much when what the stronger ones leave of the scores is permuted, shape (columns,).
    """

    shares: Array
    drawn: Array
    copies: Array
    by_luck: Array


def main_effects(
    evidence: Evidence, columns: Sequence[int], rng: np.random.Generator, *, draws: int, copies: int
) -> MainEffects:
    """Return the share of the variance over the space that each decision explains by itself.

    The space is drawn uniformly. For a decision that is not always active the variance is that among the configurations that
    make it, times their share: Var(y) = Var(E[y | active]) + E[Var(y | active)].

    Args:
        evidence: the trials.
        columns: the decisions to judge.
        rng: source of all randomness.
        draws: number of draws of the posterior.
        copies: how often the model is fitted with a useless copy of each decision beside it, and to permuted scores.
    """
    posterior = RewardPosterior.of(evidence)
    rows = posterior.encoding.sample(_ROWS, rng)
    varied = _shares_of_variance(posterior.encoding, rows, posterior.draw(rows, draws, rng))[:, columns]
    count = len(evidence.decisions)
    beside, null = [], []
    with_copies = _with_copies(evidence)
    for _ in range(copies):
        pairs = np.hstack([posterior.units, permuted(posterior.units, rng)])
        fitted = RewardPosterior(with_copies, kernels=_KERNELS, units=pairs)
        rows = fitted.encoding.sample(_ROWS, rng)
        shares = _shares_of_variance(fitted.encoding, rows, fitted.mean(rows)[None])[0]
        beside.append(shares[:count][columns])
        null.append(shares[count:][columns])
    by_luck = _by_luck(evidence, posterior, columns, rng, permutations=copies)
    return MainEffects(np.mean(beside, axis=0), varied, np.array(null), by_luck)


def _by_luck(
    evidence: Evidence, posterior: RewardPosterior, columns: Sequence[int], rng: np.random.Generator, *, permutations: int
) -> Array:
    """Return for each decision the chance that one of those that are left explains as much variance by luck.

    Step by step: the decisions that explain more than any does in permuted scores are taken to be known, and what a model of
    these alone leaves of the scores is permuted next. In scores that are permuted whole a strong decision is noise, and drowns
    the weaker ones.
    """
    rows = posterior.encoding.sample(_ROWS, rng)

    def variances(scores: Array) -> Array:
        fitted = RewardPosterior(replace(evidence, scores=scores), kernels=_KERNELS, units=posterior.units)
        means = fitted.mean(rows)[None]
        return np.asarray(_shares_of_variance(fitted.encoding, rows, means)[0] * means.var())

    observed = variances(evidence.scores)
    chances = np.ones(len(observed))
    known: list[int] = []
    while left := [column for column in columns if column not in known]:
        expected = _without(evidence, posterior.units, known)
        rests = evidence.scores - expected
        largest = [variances(expected + rng.permutation(rests))[left].max() for _ in range(permutations)]
        chances[left] = p_values(observed[left], np.array(largest))
        new = [column for column in left if chances[column] <= LEVEL]
        if not new:
            break
        known += new
    return chances[columns]


def _without(evidence: Evidence, units: Array, known: list[int]) -> Array:
    """Return what the known decisions alone let expect of each trial."""
    if not known:
        return np.full(len(units), evidence.scores.mean())
    # Not NaN where the unknown are not active: that would tell of their parents. A known one still tells of its own.
    alone = np.full_like(units, 0.5)
    alone[:, known] = units[:, known]
    return RewardPosterior(evidence, kernels=_KERNELS, units=alone).mean(alone)


def p_values(observed: Array, largest: Array) -> Array:
    """Return for each observed importance the chance that the largest of all useless ones, shape (draws,), is as large."""
    return np.asarray((1 + (largest >= observed[:, None]).sum(axis=1)) / (len(largest) + 1))


def _with_copies(evidence: Evidence) -> Evidence:
    """Add to each decision another one of the same values that is active together with it."""
    names = [f"\0copy {i}" for i in range(len(evidence.decisions))]
    copies = tuple(replace(decision, name=name) for decision, name in zip(evidence.decisions, names, strict=True))
    return replace(evidence, decisions=(*evidence.decisions, *copies))


def _shares_of_variance(encoding: Encoding, rows: Array, scores: Array) -> Array:
    """Return the shares of `scores`, shape (draws, rows), that groups of each decision's values explain."""
    total = scores.var(axis=1)
    shares = np.zeros((len(scores), len(encoding)))
    for column, size in enumerate(encoding.sizes):
        active = ~np.isnan(rows[:, column])
        groups = size if size is not None and (size <= _GROUPS or not encoding.ordered[column]) else _GROUPS
        inside = scores[:, active]
        member = np.minimum((rows[active, column] * groups).astype(int), groups - 1)
        present, member = np.unique(member, return_inverse=True)
        if len(present) < 2 or len(member) <= len(present):
            continue
        hot = np.eye(len(present))[member]
        sizes = hot.sum(axis=0)
        means = inside @ hot / sizes
        within = ((inside - means @ hot.T) ** 2).sum(axis=1) / (len(member) - len(present))
        between = ((means - inside.mean(axis=1, keepdims=True)) ** 2 @ sizes - (len(present) - 1) * within) / len(member)
        shares[:, column] = np.divide(between * active.mean(), total, out=np.zeros(len(total)), where=total > 0)
    return np.maximum(shares, 0)
