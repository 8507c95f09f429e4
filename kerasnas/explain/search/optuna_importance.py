"""Optuna's evaluators of importance, on the rows of an encoding."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kerasnas.errors import MissingExtra
from kerasnas.strategies.decision import Decision, Range

__all__ = ["METHODS", "Method", "optuna_importance", "quiet_optuna"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Method = Literal["ped_anova", "fanova"]
METHODS = ("ped_anova", "fanova")

# PED-ANOVA asks what tells the best trials from the rest: this share of them, but at least so many.
_BEST_SHARE, _FEWEST_BEST = 0.1, 8
# Optuna grows 64 trees; the intervals come from resampling, and the mean over the resamples is that of many more trees.
_TREES = 8
_FEWEST = 4  # trials in which a hyperparameter must be active


def optuna_importance(
    decisions: tuple[Decision, ...], units: Array, scores: Array, *, method: Method, chances: Array, seed: int = 0
) -> Array:
    """Return how important each decision is, as Optuna measures it; 0 where too few trials made the decision.

    Decisions enter by their position on their own scale, on which a search draws uniformly: fANOVA would otherwise average over
    a learning rate as it is, not over its logarithm. Of a decision that is not always active Optuna's PED-ANOVA is the
    conditional one: it compares the best of the trials with it to all trials with it, and weighs what it finds by the square of
    the share of the best trials that have it, over the share of all. What no best trial has gets 0, whatever it does to the
    scores of the others. Optuna's fANOVA leaves such decisions out without a word. Here what a trial lacks is drawn from the
    values of the other trials: a tree finds out that it matters only where it is active. If that has the chance p in the space,
    the effect of the decision averaged over the space is p times that among the active, its variance p^2 times, and what the
    decision explains of all variance p times: so that what fANOVA finds is divided by p.

    Args:
        decisions: one for each column; one may stand there several times.
        units: rows of an `Encoding`, shape (trials, decisions), NaN where a decision is not active.
        scores: shape (trials,), finite, higher is better.
        method: "ped_anova" or "fanova".
        chances: shape (decisions,), how likely each decision is active where the space is drawn uniformly.
        seed: of what is drawn, and of the forest.
    Returns:
        Shape (decisions,), >= 0; of fANOVA the share of the variance of the scores.
    Raises:
        MissingExtra: if Optuna is not installed.
    Source:
        Watanabe et al. 2023 (PED-ANOVA, arXiv 2304.10255); "Conditional PED-ANOVA" (arXiv 2601.20800), as Optuna has it from
        version 5 on; Hutter et al. 2014 (fANOVA).
    """
    importances = np.zeros(len(decisions))
    active = ~np.isnan(units)
    columns = np.flatnonzero(active.sum(axis=0) >= _FEWEST)
    if len(scores) < _FEWEST or np.ptp(scores) == 0 or not len(columns):
        return importances
    with quiet_optuna() as optuna:
        if method == "ped_anova":
            share = min(max(_BEST_SHARE, _FEWEST_BEST / len(scores)), 0.5)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
            return _ask(optuna, evaluator, decisions, units, scores, columns)
        filled, rng = units.copy(), np.random.default_rng(seed)
        for column in columns:
            lacking = np.flatnonzero(~active[:, column])
            filled[lacking, column] = rng.choice(units[active[:, column], column], len(lacking))
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
        found = _ask(optuna, evaluator, decisions, filled, scores, columns)
        return np.divide(found, chances, out=importances, where=chances > 0)


def _ask(optuna: Any, evaluator: Any, decisions: tuple[Decision, ...], units: Array, scores: Array, columns: Indices) -> Array:
    """Return what Optuna finds for `columns`, and 0 for all others."""
    found = np.zeros(len(decisions))
    distributions = {str(c): _distribution(optuna, decisions[c]) for c in columns}
    values = {c: _values(decisions[c], units[:, c]) for c in columns}
    study = optuna.create_study(direction="maximize")
    trials = []
    for row, score in enumerate(scores):
        made = [c for c in columns if not np.isnan(units[row, c])]
        params = {str(c): values[c][row] for c in made}
        trials.append(
            optuna.create_trial(params=params, distributions={str(c): distributions[str(c)] for c in made}, value=float(score))
        )
    study.add_trials(trials)
    # Without normalising: a zero stays a zero.
    told = optuna.importance.get_param_importances(
        study, evaluator=evaluator, params=[str(c) for c in columns], normalize=False
    )
    for name, value in told.items():
        found[int(name)] = value
    return found


def _distribution(optuna: Any, decision: Decision) -> Any:
    size = decision.size
    if size is None or (isinstance(decision, Range) and decision.scale != "linear"):
        return optuna.distributions.FloatDistribution(0.0, 1.0)
    if decision.is_ordered:
        return optuna.distributions.IntDistribution(0, size - 1)
    return optuna.distributions.CategoricalDistribution(range(size))


def _values(decision: Decision, units: Array) -> list[Any]:
    size = decision.size
    if size is None or (isinstance(decision, Range) and decision.scale != "linear"):
        return [float(u) for u in units]
    return [int(min(np.floor(u * size), size - 1)) if u == u else None for u in units]


@contextmanager
def quiet_optuna() -> Iterator[Any]:
    """Yield Optuna with its log and its warnings (experimental arguments, regimes of few trials) silenced."""
    try:
        import optuna
        import optuna.importance
    except ImportError:
        raise MissingExtra("Optuna", "explain") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)
