"""What a person watches while a compression search runs."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kerasnas.compression_search.compression import Candidate
from kerasnas.compression_search.goal import Goal

__all__ = ["CompressionProgress"]


class CompressionProgress:
    """A live line above which a line for each trial is left; where the output is no terminal, only these are printed.

    Args:
        goal: what is searched for.
        total: trials to come to.
        enabled: False prints nothing.
    """

    def __init__(self, goal: Goal, total: int, *, enabled: bool) -> None:
        self._goal, self._total, self._enabled = goal, total, enabled
        self._console = Console(highlight=False)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._live.add_task("compression")

    def __enter__(self) -> "CompressionProgress":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def now(self, text: str) -> None:
        """Show what is being done."""
        self._live.update(self._task, description=text)

    def resume(self, done: int, best: Candidate | None) -> None:
        """Tell of the trials of an earlier process."""
        if done:
            self.say(f"Resuming after {done} trials{'' if best is None else f', best so far {_figures(best)}'}")

    def begin(self, number: int, trial: Mapping[str, Any]) -> None:
        """Begin to train a network."""
        self.now(f"trial {number}/{self._total}: {_choices(trial['choices'])}")

    def end(self, number: int, trial: Mapping[str, Any], best: Candidate | None) -> None:
        """Leave a line for a trial: its best file, or the one that comes nearest to the bounds."""
        rows = [Candidate.of(row) for row in trial["rows"]]
        head = (
            f"trial {number:>{len(str(self._total))}}/{self._total}  {trial['seconds']:6.1f} s  {_choices(trial['choices'])}: "
        )
        if not rows:
            self.say(f"{head}failed: {trial['failure']}")
            return
        row = self._goal.choose(rows, rows[0]) or min(rows, key=self._goal.excess)
        note = "breaks a bound" if self._goal.excess(row) else "best so far" if row == best else "not the best"
        self.say(f"{head}{_figures(row)}, {note}")

    def say(self, text: str) -> None:
        """Leave a line."""
        if self._enabled:
            self._console.print(text, markup=False, soft_wrap=True)


def _choices(choices: Mapping[str, Any]) -> str:
    shape = {"even": " of each layer", "global": " of the whole", "stages": ", more in some stages"}[choices["shape"]]
    epochs = f"{choices['epochs']} epoch{'s' * (choices['epochs'] != 1)}"
    return f"{choices['ratio']:.0%} of the channels{shape} removed (least {choices['importance']}), {epochs}"


def _figures(row: Candidate) -> str:
    return f"{row.format} {row.size_bytes / 1000:.1f} kB, {row.latency_ms:.3f} ms, loss {100 * row.loss:.2f} points"
