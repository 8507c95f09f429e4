"""What a person watches while a search runs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kerasnas.objectives import MnasNetReward
from kerasnas.search.onednn import onednn_hint
from kerasnas.trial_errors import reason_of

__all__ = ["SearchProgress", "score_parts"]


class SearchProgress:
    """A live line (trial, epoch, best so far, time left) above which a line for each finished trial is left.

    Where the output is not a terminal, only the lines of finished trials are printed.

    Args:
        objective: name of the objective.
        direction: "max" or "min".
        total: number of trials to come to in all; None if unlimited.
        epochs: epochs of one trial, for the estimate of the time left.
        several: whether the objective is made of several, which have no one best value.
        trials: returns so many of the best trials of the search, other workers' too; all, if there are fewer.
        enabled: False prints nothing.
    """

    def __init__(
        self,
        *,
        objective: str,
        direction: str,
        total: int | None,
        epochs: int,
        several: bool = False,
        trials: Callable[[int], Sequence[Any]] = lambda _: (),
        enabled: bool = True,
    ) -> None:
        self._trials = trials
        self._objective, self._sign, self._several = objective, 1 if direction == "max" else -1, several
        self._total, self._epochs, self._enabled = total, max(epochs, 1), enabled
        self._console = Console(highlight=False)
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[epoch]}"),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._live.add_task("search", total=total, epoch="", best="", left="")
        self._best: float | None = None
        self._done = 0
        self._seconds: list[float] = []
        self._trial_start = time.perf_counter()

    def __enter__(self) -> "SearchProgress":
        hint = onednn_hint() if self._enabled else None
        if hint is not None:
            self._console.print(hint)
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def resume(self) -> None:
        """Take in the trials of an earlier run."""
        self._done = sum(trial.status in ("COMPLETED", "FAILED") for trial in self._trials(1_000_000))
        self._best = self._best_of_all()
        if self._done and self._enabled:
            best = "" if self._several else f", best {self._objective} {_number(self._best)}"
            self._console.print(f"Resuming after {self._done} trials{best}")
        self._show("")

    def begin_trial(self, number: int) -> None:
        """Begin trial `number`, counted from 1."""
        self._trial_start = time.perf_counter()
        self._live.update(self._task, description=f"trial {number}" + (f"/{self._total}" if self._total else ""))
        self._show("building")

    def end_epoch(self, done: int, logs: dict[str, Any]) -> None:
        """Show that `done` epochs of the trial are done."""
        value = logs.get(self._objective)
        text = f"epoch {done}/{self._epochs}" + (f" {self._objective} {_number(value)}" if value is not None else "")
        self._show(text, part=min(done / self._epochs, 1.0))

    def say(self, text: str) -> None:
        """Leave a line of any text."""
        if self._enabled:
            self._console.print(text, markup=False, soft_wrap=True)

    def end_trial(
        self,
        number: int,
        score: float | None,
        history: Mapping[str, Any],
        message: str | None,
        parts: Mapping[str, float] | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Leave a line for the finished trial.

        Args:
            number: of the trial, counted from 1.
            score: None if it failed. Of several objectives below 1 on the front of all trials so far.
            history: what its `history.json` holds.
            message: why it failed.
            parts: what the score was made of, if of several metrics.
            again: whether it had ended before, and went on; with a message it could not.
        """
        parameters, stopped = history.get("parameters"), history.get("stopped")
        seconds = time.perf_counter() - self._trial_start
        self._seconds.append(seconds)
        self._done += not again
        best = False
        if score is not None and math.isfinite(score) and not self._several:
            of_all = self._best_of_all()  # this trial's, too; another worker's may be better
            of_all = score if of_all is None else of_all
            best = (self._best is None or self._sign * score > self._sign * self._best) and score == of_all
            self._best = of_all if self._best is None or self._sign * of_all > self._sign * self._best else self._best
        if self._enabled:
            width = len(str(self._total or number))
            count = f"{number:>{width}}" + (f"/{self._total}" if self._total else "")
            size = f"{parameters:>10,} parameters" if parameters is not None else ""
            if score is None:
                result = f"failed: {reason_of(message)}"
            else:
                made = ", ".join(f"{name} {_number(value)}" for name, value in (parts or {}).items())
                if self._several:
                    result = f"{made}, {'on the front so far' if score < 1 else 'not on the front'}"
                else:
                    result = f"{self._objective} {_number(score)} {f'({made}) ' if made else ''}"
                    result += "best so far" if best else f"(best {_number(self._best)})"
            if stopped and score is not None:
                epochs = max((len(values) for run in history["executions"] for values in run.values()), default=0)
                result += f", stopped after epoch {epochs}: {stopped['reason']}"
            if again and score is not None:
                result += f", could not go on: {reason_of(message)}" if message else ", taken up again"
            self.say(f"trial {count}  {size}  {seconds:6.1f} s  {result}")
        self._show("")

    def _best_of_all(self) -> float | None:
        """Return the best score of the search; None if there is none, or no one best."""
        best = [] if self._several else self._trials(1)
        scores = [trial.score for trial in best if trial.status == "COMPLETED" and trial.score is not None]
        return next(filter(math.isfinite, scores), None)

    def _show(self, epoch: str, part: float = 0.0) -> None:
        left = ""
        if self._total and self._seconds:
            seconds = (self._total - self._done - part) * sum(self._seconds) / len(self._seconds)
            left = f"about {_duration(max(seconds, 0))} left"
        best = f"best {_number(self._best)}" if self._best is not None else ""
        self._live.update(self._task, completed=self._done + part, epoch=epoch, best=best, left=left)


def score_parts(objective: Any, trial: Any) -> dict[str, float]:
    """Return the metrics of which the score of a trial is made, if it is made of several."""
    metrics = trial.metrics.metrics
    names = [part.name for part in getattr(objective, "objectives", ())]
    names += [objective.metric, objective.cost] if isinstance(objective, MnasNetReward) else []
    last = {name: metrics[name].get_last_value() for name in names if name in metrics}
    return {name: float(value) for name, value in last.items() if value is not None}


def _number(value: float | None) -> str:
    return "none" if value is None else f"{float(value):.4f}" if 1e-3 < abs(value) < 1e4 else f"{float(value):.4g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
