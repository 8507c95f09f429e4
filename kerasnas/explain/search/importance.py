"""Which hyperparameters mattered, with what the trials leave open."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search.evidence import Evidence
from kerasnas.explain.search.main_effects import LEVEL, main_effects, p_values
from kerasnas.explain.search.optuna_importance import METHODS, Method, optuna_importance
from kerasnas.explain.search.permuted import permuted
from kerasnas.explain.whole_number import require_whole_number
from kerasnas.record import SearchRecord
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.one_thread import one_thread

__all__ = ["Importance", "ParameterImportance", "importance"]

Array = NDArray[np.float64]
Verdict = Literal["matters", "not enough trials", "fixed"]

_INTERVAL = (0.025, 0.975)
_SAMPLED = 2000  # configurations from which the chance is told that a decision is active
_MINIMUM = 20  # with fewer resamples no importance can be beyond the 95th percentile of the null


@dataclass(frozen=True)
class ParameterImportance:
    """How much one hyperparameter matters.

    Attributes:
        name: the hyperparameter.
        share: its share of all importance, from 0 to 1; no more than a guess unless the verdict is "matters".
        low: lower end of the 95 % interval of the share; 0 unless the verdict is "matters".
        high: upper end.
        verdict: "matters"; "not enough trials" if its importance cannot be told from that of a useless hyperparameter, be it
            useless or not; "fixed" if it has one value.
        p_value: chance that the most important of as many useless hyperparameters looks as important, at least 1 / (n + 1) of n
            permutations; 1 if fixed.
        active: in how many trials it was active.
    """

    name: str
    share: float
    low: float
    high: float
    verdict: Verdict
    p_value: float
    active: int


@dataclass(frozen=True)
class Importance:
    """How much each hyperparameter matters, the most important first.

    Attributes:
        objective: what it matters for.
        method: "ped_anova", "fanova" or "reward_model".
        trials: number of trials with a score.
        parameters: the hyperparameters; all of the space, none is left out.
    """

    objective: str
    method: str
    trials: int
    parameters: tuple[ParameterImportance, ...]

    def __getitem__(self, name: str) -> ParameterImportance:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each hyperparameter: plain values."""
        names = ("name", "share", "low", "high", "verdict", "p_value", "active")
        return [{name: getattr(parameter, name) for name in names} for parameter in self.parameters]

    def __str__(self) -> str:
        width = max((len(parameter.name) for parameter in self.parameters), default=0)
        lines = [f"Importance for {self.objective} ({self.method}, {self.trials} trials; share, 95 % interval):"]
        for p in self.parameters:
            # The share of what is not told apart from chance is no estimate, and is not written as one.
            share = f"{p.share:4.0%}" if p.verdict != "not enough trials" else "   ?"
            lines.append(f"  {p.name:<{width}}  {share}  [{p.low:4.0%}, {p.high:4.0%}]  {p.verdict}")
        return "\n".join(lines)


@one_thread
def importance(
    record: SearchRecord,
    *,
    method: str = "reward_model",
    seed: int = 0,
    resamples: int = 100,
    objective: str | None = None,
) -> Importance:
    """Say how much each hyperparameter matters, and for which ones the trials cannot tell.

    "reward_model" computes what share each main effect has in the variance over the whole space, drawn uniformly, from the
    posterior of the reward model; in planted searches of 15 and 50 trials its intervals held the truth in 88 to 95 % of them
    (benchmarks/importance_calibration.py). "ped_anova" asks what tells the best tenth of the trials (at least 8) from the rest,
    "fanova" what share of the variance each main effect explains. These two are Optuna's, and speak of the trials as they were
    sampled: a search that has found the good values of a hyperparameter varies it less. Their intervals are of that quantity,
    not of the share in the space: with 50 trials the forest of fANOVA makes a strong hyperparameter stronger than it is.

    Of each importance the mean importance of a useless copy of the hyperparameter is subtracted: of the same values, permuted
    among the trials in which it is active. For Optuna's methods the interval is that of a bootstrap over trials, for
    "reward_model" that of draws of the posterior; it begins at 0 where the verdict is "not enough trials". The verdict compares
    the importance in all trials with the largest of all useless copies, drawn anew each time, and asks that the interval be
    above 0. Copies that are resampled along with the trials are no yardstick: they vary by the luck of the sample and of the
    resampling together, and with PED-ANOVA at 50 trials a hyperparameter that explains 70 % is then mostly not told apart.
    "reward_model" also asks that the hyperparameter explain more of the variance than any one explains by luck, in scores of
    which all that the stronger ones leave is permuted: beside a hyperparameter that is lucky its copies look worse than luck. A
    search that learns may bring a useless hyperparameter and the score together, which no permutation undoes.

    Args:
        record: a search with at least four trials that have a score. A trial that was stopped early stands for the score that
            it was expected to come to; failed trials are left out.
        method: "reward_model", "ped_anova" or "fanova"; of 50 trials the first takes some seconds, the last a minute.
        seed: of the resampling, >= 0.
        resamples: how often trials are resampled and values permuted, >= 20; "reward_model" permutes a fifth as often.
        objective: one of several objectives; None for the score that strategies are told.
    Raises:
        InvalidArgument: for an argument out of range, or a record of too few trials.
        MissingExtra: if Optuna is not installed and the method needs it.
    Source:
        Watanabe et al. 2023 (PED-ANOVA; where a hyperparameter is not always active, arXiv 2601.20800); Hutter et al. 2014
        (fANOVA); Kursa & Rudnicki 2010 (permuted copies); Westfall & Young 1993 (the largest of all copies, step by step);
        Freedman & Lane 1983 (what is left is permuted).
    """
    if method not in (*METHODS, "reward_model"):
        raise InvalidArgument(f"Expected `method` to be one of {[*METHODS, 'reward_model']}, got {method!r}.")
    require_whole_number("seed", seed, 0)
    require_whole_number("resamples", resamples, _MINIMUM)
    evidence = Evidence.of(record, objective)
    encoding = Encoding(evidence.decisions)
    units = encoding.encode(evidence.choices)
    open_ = [i for i, decision in enumerate(evidence.decisions) if decision.size != 1]
    decisions = tuple(evidence.decisions[i] for i in open_)
    rng = np.random.default_rng(seed)
    if method == "reward_model":
        effects = main_effects(evidence, open_, rng, draws=resamples, copies=max(_MINIMUM, resamples // 5))
        observed, varied, null = effects.shares, effects.drawn, effects.copies
        useless = null.mean(axis=0)
        by_luck = effects.by_luck
    else:
        active_shares = (~np.isnan(encoding.sample(_SAMPLED, rng))).mean(axis=0)[open_]
        ask = partial(optuna_importance, decisions * 2, method=cast(Method, method), chances=np.tile(active_shares, 2))
        by_luck = np.zeros(len(open_))
        observed, varied, null, useless = _resampled(ask, units[:, open_], evidence.scores, resamples, rng)
    shares = _shares(np.maximum(observed - null.mean(axis=0), 0))
    spread = _shares(np.maximum(varied - useless, 0))
    chances = np.maximum(p_values(observed, null.max(axis=1, initial=0.0)), by_luck)
    names = [decision.name for decision in decisions]
    active = (~np.isnan(units[:, open_])).sum(axis=0)
    found = []
    for name in dict.fromkeys(decision.name for decision in evidence.decisions):
        columns = [i for i, other in enumerate(names) if other == name]
        if not columns:
            count = int((~np.isnan(units[:, [d.name == name for d in evidence.decisions]])).sum())
            found.append(ParameterImportance(name, 0.0, 0.0, 0.0, "fixed", 1.0, count))
            continue
        low, high = (float(end) for end in np.quantile(spread[:, columns].sum(axis=1), _INTERVAL))
        share, p = float(shares[columns].sum()), float(chances[columns].min())
        verdict: Verdict = "matters" if p <= LEVEL and low > 0 else "not enough trials"
        low, high = min(low, share) if verdict == "matters" else 0.0, max(high, share)
        found.append(ParameterImportance(name, share, low, high, verdict, p, int(active[columns].sum())))
    found.sort(key=lambda parameter: -parameter.share)
    return Importance(evidence.objective, method, len(evidence.scores), tuple(found))


def _resampled(
    ask: Callable[..., Array], units: Array, scores: Array, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Return the importances, those of resampled trials, those of useless copies, and their mean in resampled trials."""
    count = units.shape[1]
    observed, varied, null, useless = [], [], [], []
    for number in range(resamples):
        # Beside their copies also in all trials: the trees of fANOVA share out what they cannot tell apart.
        pairs = np.hstack([units, permuted(units, rng)])
        told = ask(pairs, scores, seed=number)
        observed.append(told[:count])
        null.append(told[count:])
        rows = rng.integers(len(scores), size=len(scores))
        told = ask(pairs[rows], scores[rows], seed=number)
        varied.append(told[:count])
        useless.append(told[count:])
    return np.mean(observed, axis=0), np.array(varied), np.array(null), np.mean(useless, axis=0)


def _shares(importances: Array) -> Array:
    """Divide by the sum over the decisions; of no importance at all each has an equal share of nothing: 0."""
    total = importances.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(importances, total, out=np.zeros_like(importances), where=total > 0))
