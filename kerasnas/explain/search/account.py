"""A search in plain sentences, each with the numbers that it rests on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search.ablation_path import AblationPath, ablation_path
from kerasnas.explain.search.beliefs import beliefs
from kerasnas.explain.search.counterfactuals import counterfactuals
from kerasnas.explain.search.evidence import Evidence
from kerasnas.explain.search.importance import Importance, importance
from kerasnas.explain.search.reward_posterior import RewardPosterior
from kerasnas.record import SearchRecord
from kerasnas.strategies.one_thread import one_thread

__all__ = ["Account", "Sentence", "account"]

_DRAWS = 4000
_LISTED = 5  # more names than this are counted
_SURE = 2.0


@dataclass(frozen=True)
class Sentence:
    """One statement.

    Attributes:
        text: the sentence.
        evidence: names to the numbers that it rests on; what is told of several hyperparameters is a mapping of theirs.
    """

    text: str
    evidence: Mapping[str, Any]

    def __str__(self) -> str:
        return self.text


class Account(tuple[Sentence, ...]):
    """The sentences of an account, in order; `str()` is the text."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(sentence.text for sentence in self)


@one_thread
def account(
    record: SearchRecord, *, seed: int = 0, importances: Sequence[Importance] = (), path: AblationPath | None = None
) -> Account:
    """Tell what a search did, what it found and how sure that is.

    What the trials do not bear out is said to be unknown: hyperparameters that cannot be told from useless ones, and whatever
    rests on a model of the reward that does not rank held-out trials; whether a hyperparameter matters is tested by itself, as
    `importance` describes. Gains are positive where better, also of an objective
    that is minimised. Of several objectives it tells what matters for each; a gain in their common score has no unit.

    Args:
        record: a search, finished or running.
        seed: of all resampling, >= 0.
        importances: what `importance` has told of this record's objectives already; the others are computed.
        path: what `ablation_path` or `measured_path` has told of this record already; its measured gains are told, too.
    Returns:
        A tuple of sentences.
    Raises:
        InvalidArgument: if `record` is none, or `importances` or `path` holds something else.
    """
    if not isinstance(record, SearchRecord):
        raise InvalidArgument(f"Expected a kerasnas.SearchRecord, got {record!r}. SearchRecord.load(folder) makes one.")
    if not all(isinstance(told, Importance) for told in importances):
        raise InvalidArgument(f"Expected `importances` to hold what `importance` returns, got {importances!r}.")
    if path is not None and not isinstance(path, AblationPath):
        raise InvalidArgument(f"Expected `path` to be None or what `ablation_path` returns, got {path!r}.")
    sentences = [*_trials(record)]
    try:
        evidence = Evidence.of(record)
    except InvalidArgument:
        count = len(record.completed)
        sentences.append(_sentence("There are not enough trials to explain the search any further.", completed=count))
        return Account(sentences)
    known = {told.objective: told for told in importances}
    if len(record.objectives) > 1:
        sentences += _front(record)
        for name, _ in record.objectives:
            sentences += _importances(record, name, known.get(name) or _importance(record, name, seed))
        return Account([*sentences, *_policy(record)])
    posterior = RewardPosterior.of(evidence)
    check = posterior.check
    sentences += [*_winner(record), *(_luck(record) if check.is_reliable else ())]
    told = known.get(record.objective) or _importance(record, record.objective, seed)
    sentences += _importances(record, record.objective, told)
    rests = {"trials": check.trials, "rank_correlation": check.correlation, "rank_correlation_low": check.low}
    if check.is_reliable:
        text = f"A model of the score ranks trials that it has not seen (rank correlation {check.correlation:.2f})."
        sentences.append(_sentence(text, **rests))
        predicted = [*_default(path or ablation_path(record), record), *_changes(record)]
        sentences += [*predicted, *_doubts(predicted, told), *_best(evidence, posterior, record, seed)]
    else:
        text = (
            "There are not enough trials for a model that ranks unseen ones, so that neither the gain over the default nor "
            "other values for the winner, nor how sure it is that the winner is the best, can be predicted."
        )
        sentences += [_sentence(text, **rests), *_measured(path)]
    return Account([*sentences, *_policy(record)])


def _sentence(text: str, **evidence: Any) -> Sentence:
    return Sentence(text, MappingProxyType(evidence))


def _trials(record: SearchRecord) -> Iterator[Sentence]:
    completed, failed = len(record.completed), sum(t.status in ("FAILED", "INVALID") for t in record.trials)
    stopped = sum(trial.stopped is not None for trial in record.trials)
    text = f"The search began {_count(len(record.trials), 'trial')}, and {completed} came to a score."
    yield _sentence(text, trials=len(record.trials), completed=completed)
    if failed:
        yield _sentence(f"{_count(failed, 'trial')} failed.", failed=failed)
    if stopped:
        known = sum(t.stopped is not None and t.score is not None and t.expected_score != t.score for t in record.trials)
        text = f"{_count(stopped, 'trial')} {_was(stopped)} stopped early; {known} of them count by the score expected of them."
        yield _sentence(text, stopped=stopped, expected=known)
    if record.rejected:
        twins = sum(one.twin is not None for one in record.rejected)
        text = (
            f"{_count(len(record.rejected), 'proposal')} {_was(len(record.rejected))} rejected before training, {twins} of "
            "them because an earlier trial trains the same network."
        )
        yield _sentence(text, rejected=len(record.rejected), twins=twins)


def _front(record: SearchRecord) -> Iterator[Sentence]:
    size, knee = len(record.pareto_front()), _number(record, record.knee_point().trial_id)
    what = f"Of {len(record.objectives)} objectives, {_count(size, 'trial')} {_was(size)} beaten by no other"
    text = f"{what}; the best compromise is trial {knee}."
    yield _sentence(text, objectives=len(record.objectives), front=size, knee=knee)


def _winner(record: SearchRecord) -> Iterator[Sentence]:
    winner, first = record.best, record.completed[0]
    sign = 1 if record.direction == "max" else -1
    score, start = winner.score or 0.0, first.score or 0.0
    number = _number(record, winner.trial_id)
    running = any(trial.status == "RUNNING" for trial in record.trials)
    text = f"Trial {number} {'leads so far' if running else 'won'} with {record.objective} {score:.4g}."
    yield _sentence(text, winner=number, score=score)
    if winner is not first:
        gain = sign * (score - start)
        more = f"{abs(gain):.3g} {_better(gain)} than" if gain else "as good as"
        text = f"As measured, that is {more} the first trial with a score ({start:.4g})."
        yield _sentence(text, gain_over_first=gain, first_score=start)
    alike = [trial for trial in record.completed if trial.score == score and trial is not winner]
    if alike:
        equals = [_number(record, trial.trial_id) for trial in alike]
        names = _names([f"trial {i}" for i in equals], "and")
        prices = {(trial.metrics.get("macs"), trial.metrics.get("parameters")) for trial in (winner, *alike)}
        which = "cheapest" if len(prices) > 1 else "earliest"
        text = f"{names[0].upper()}{names[1:]} scored the same and {_is(equals)} as good; of equals the {which} is the winner."
        yield _sentence(text, as_good=tuple(equals))


def _luck(record: SearchRecord) -> Iterator[Sentence]:
    """Name the trial that a model of the score expects more of than of the winner, if there is one."""
    other = record.preferred
    if other.trial_id != record.best.trial_id and other.score != record.best.score:
        last = _number(record, other.trial_id)
        text = f"The score of the winner is partly luck: all trials together expect more of trial {last} ({other.score:.4g})."
        yield _sentence(text, expected_best=last, its_score=other.score)


def _importance(record: SearchRecord, objective: str, seed: int) -> Importance | None:
    try:
        return importance(record, seed=seed, objective=objective)
    except InvalidArgument:  # one of several, which few trials have a value of
        return None


def _importances(record: SearchRecord, objective: str, told: Importance | None) -> Iterator[Sentence]:
    if told is None:
        text = f"There are not enough trials to tell what matters for {objective}."
        yield _sentence(text, completed=len(record.completed))
        return
    matter = [p for p in told.parameters if p.verdict == "matters"]
    unknown = [p.name for p in told.parameters if p.verdict == "not enough trials"]
    if matter:
        listed = [f"{p.name} ({_percent(p.share)}, 95 % interval {_percent(p.low)} to {_percent(p.high)})" for p in matter]
        text = f"What matters for {objective} beyond chance, with its share of all importance: {_names(listed, 'and')}."
        numbers = {
            p.name: MappingProxyType({"share": p.share, "low": p.low, "high": p.high, "p_value": p.p_value}) for p in matter
        }
        yield _sentence(text, method=told.method, trials=told.trials, shares=MappingProxyType(numbers))
    if unknown:
        text = f"There are not enough trials to tell whether {_names(unknown, 'or')} {_matter(unknown)} for {objective} at all."
        p_values = {p.name: p.p_value for p in told.parameters if p.name in unknown}
        yield _sentence(text, method=told.method, trials=told.trials, p_values=MappingProxyType(p_values))


def _default(path: AblationPath, record: SearchRecord) -> Iterator[Sentence]:
    if not path.steps:
        yield _sentence("The winner is the default configuration.", changes=0)
        return
    unsure = "" if abs(path.gain) > _SURE * path.std else ", which may be none"
    start = path.start.items()
    same = [(i, t) for i, t in enumerate(record.trials, 1) if start <= record.configuration(t).items()]
    tried = [i for i, t in same if t.score is not None]
    origin = f"is that of trial {tried[0]}" if tried else "was not tried itself"
    if same and not tried:
        origin = f"is that of trial {same[0][0]}, which {'is still running' if same[0][1].status == 'RUNNING' else 'failed'}"
    beyond = f"; {path.reaches_beyond}" if path.reaches_beyond else ""
    text = (
        f"Over the default configuration, which {origin}, the winner gains {path.gain:+.3g} +- {path.std:.2g} as "
        f"predicted{unsure}{beyond}."
    )
    yield _sentence(text, gain=path.gain, std=path.std, unlike=path.unlike, **({"default": tried[0]} if tried else {}))
    sure = [step for step in path.steps if step.gain > _SURE * step.std][:3]
    if sure:
        listed = ", then ".join(f"{step.name} ({step.gain:+.3g} +- {step.std:.2g})" for step in sure)
        text = f"On the way there the model expects most of changing {listed}."
        steps = {step.name: MappingProxyType({"gain": step.gain, "std": step.std}) for step in sure}
        yield _sentence(text, steps=MappingProxyType(steps))
    yield from _measured(path)


def _measured(path: AblationPath | None) -> Iterator[Sentence]:
    """Say what was measured, which holds whatever the model of the score is worth."""
    if path is not None and path.finding:
        known = {"measured": path.measured, "error": path.measured_error} if path.measured is not None else {}
        yield _sentence(path.finding, **known, predicted=path.gain, std=path.std)


def _changes(record: SearchRecord) -> Iterator[Sentence]:
    told = counterfactuals(record)
    losses = sorted((item for item in told.items if item.is_loss), key=lambda item: item.difference)
    if losses:
        worst = losses[0]
        yield _sentence(
            f"The winner depends most on {worst.name}: {worst} (a loss).",
            name=worst.name,
            difference=worst.difference,
            std=worst.std,
        )
    if told.free:
        names = _names(list(told.free), "or")
        text = f"Another value of {names} is predicted to cost nothing, or less than one standard deviation."
        worst_of = {
            name: min((item for item in told.items if item.name == name), key=lambda item: item.difference)
            for name in told.free
        }
        differences = {name: MappingProxyType({"difference": i.difference, "std": i.std}) for name, i in worst_of.items()}
        yield _sentence(text, worst=MappingProxyType(differences))


def _doubts(predicted: Sequence[Sentence], told: Importance | None) -> Iterator[Sentence]:
    """Say of what the model is sure of, and the test of importance is not, how both can be."""
    named = [name for one in predicted for name in (*one.evidence.get("steps", ()), one.evidence.get("name")) if name]
    p_values = {} if told is None else {p.name: p.p_value for p in told.parameters if p.verdict == "not enough trials"}
    names = [name for name in dict.fromkeys(named) if name in p_values]
    if names:
        listed = _names(names, "and")
        text = (
            f"What is said of {listed} is what the model of the score expects; the stricter test of importance cannot yet tell "
            f"{'it' if len(names) == 1 else 'them'} apart from a hyperparameter without effect, so that it may be luck."
        )
        yield _sentence(text, p_values=MappingProxyType({name: p_values[name] for name in names}))


def _best(evidence: Evidence, posterior: RewardPosterior, record: SearchRecord, seed: int) -> Iterator[Sentence]:
    draws = posterior.draw(posterior.units, _DRAWS, np.random.default_rng(seed))
    number = _number(record, record.best.trial_id)
    keys = posterior.encoding.keys(posterior.units)
    mine = keys[evidence.trials.index(number)]
    same = np.array([key == mine for key in keys])
    margin = 1e-6 * float(np.ptp(evidence.scores))  # equal configurations have equal scores
    chance = float((draws[:, same].max(axis=1) >= draws.max(axis=1) - margin).mean())
    text = (
        f"That the winner is indeed the best configuration that was tried has a chance of {_percent(chance)}, given all trials."
    )
    yield _sentence(text, chance=chance, draws=_DRAWS, configurations=len(set(keys)))


def _policy(record: SearchRecord) -> Iterator[Sentence]:
    told = [trial for trial in beliefs(record).trials if trial.entropy] if record.completed else []
    if len(told) < 2:
        return
    before, after = (float(np.mean(list((trial.entropy or {}).values()))) for trial in (told[0], told[-1]))
    text = (
        f"The entropy of the policy went from {before:.2f} to {after:.2f} of that of blind choice between trial "
        f"{told[0].trial} and trial {told[-1].trial}."
    )
    yield _sentence(text, entropy_first=before, entropy_last=after)


def _number(record: SearchRecord, trial_id: str) -> int:
    return next(i for i, trial in enumerate(record.trials, 1) if trial.trial_id == trial_id)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _is(numbers: list[int]) -> str:
    return "is" if len(numbers) == 1 else "are"


def _better(gain: float) -> str:
    return "better" if gain >= 0 else "worse"


def _percent(share: float) -> str:
    text = f"{100 * share:.0f} %"
    return {"100 %": "more than 99 %", "0 %": "less than 1 %"}.get(text, text) if 0 < share < 1 else text


def _matter(names: list[str]) -> str:
    return "matters" if len(names) == 1 else "matter"


def _names(names: list[str], word: str) -> str:
    shown = names[:_LISTED] + ([f"{len(names) - _LISTED} more"] if len(names) > _LISTED else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {word} {shown[-1]}"
