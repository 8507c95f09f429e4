"""Search for the smallest, fastest or most accurate file that a trained classifier can be made into."""

import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.atomic import atomic_path
from kerasnas.compress import AlreadyWithinTarget, ScratchControl, from_scratch_control, prune_channels
from kerasnas.compress.channels.scratch import paired_error
from kerasnas.compress.clone import load_made_of
from kerasnas.compression_search.arrays import labelled, split
from kerasnas.compression_search.compression import Candidate, Compression, front_of, gain_caveat, loss_text, times
from kerasnas.compression_search.goal import Goal
from kerasnas.compression_search.journal import Journal
from kerasnas.compression_search.network_files import FORMATS_TRIED, LEAST_BYTES, Bench, check_formats, side_by_side
from kerasnas.compression_search.progress import CompressionProgress
from kerasnas.compression_search.proposer import Proposer
from kerasnas.compression_search.recipe import Recipe
from kerasnas.compression_search.results import chosen_path, replaced, write_chosen, write_result
from kerasnas.errors import DiskFull, InvalidArgument, KerasNASError
from kerasnas.export_checks import is_within
from kerasnas.guessing import warn_of_guessing
from kerasnas.search.project_lock import project_lock
from kerasnas.strategies import Dyna, Strategy

__all__ = ["compress"]

_CALIBRATION = 256  # samples that the ranges of 8-bit activations come from
_ROUNDS = 5
_SCREENED = 50  # networks in a row that cannot be the best, after which nothing better is expected


def compress(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    goal: str = "smallest",
    max_loss: float = 0.01,
    max_bytes: float | None = None,
    max_latency_ms: float | None = None,
    smaller: float | None = None,
    faster: float | None = None,
    max_trials: int = 12,
    max_time: float | None = None,
    epochs: int = 8,
    batch_size: int = 64,
    formats: Sequence[str] = FORMATS_TRIED,
    held_out: float | tuple[Any, Any] = 0.2,
    test: tuple[Any, Any] | None = None,
    control: bool = True,
    strategy: Strategy | None = None,
    export: Mapping[str, Any] | None = None,
    directory: str | os.PathLike[str] = "compression",
    overwrite: bool = False,
    seed: int = 0,
    verbose: int = 1,
) -> Compression:
    """Find out how to compress a trained classifier: how far to prune each stage, how to fine-tune, in which file format.

    A trial prunes the original's channels and fine-tunes what is left; that network is written in all formats at once, and each
    file is run on held-out samples and timed beside the original. The first trials find, by halving, how much can go;
    then a strategy (model-based reinforcement learning, `Dyna`) varies shares of stages, measure of importance, epochs, teacher
    and learning rate. A network whose weights alone are too many to be the best is not trained. A search that was
    killed goes on when it is started again.

    Accuracies that choose are those on held-out samples, on which no candidate is trained: give some that the original has not
    seen either. A stratified share of `x` does, but if the original was trained on it, it is too good there, all losses look
    larger than they are, and less is pruned than could be. The best of many on few samples is flattered; so a loss counts with
    its standard error, which more held-out samples make smaller, and the loss on `test` has the last word.

    Args:
        model: a built Functional or Sequential classifier, outputs (batch, classes), on the TensorFlow backend; left unchanged.
        x: inputs, shape (n, ...) as the model takes them; or the pair of inputs and labels.
        y: n class indices or one-hot rows.
        goal: "smallest" (file), "fastest" (latency of one sample on one thread here) or "most accurate", which wants a bound.
        max_loss: largest loss of accuracy against the original's float file, a share: 0.01 is one point. The measured loss and
            its standard error together must keep to it. Of no account with "most accurate".
        max_bytes: largest size of the file, bytes.
        max_latency_ms: largest latency on this machine, milliseconds.
        smaller: how many times smaller than the original's float file it must be, at least, >= 1.
        faster: how many times as fast, measured side by side, >= 1.
        max_trials: networks to train, >= 0; with 0 the formats of the original are compared.
        max_time: seconds for the search; no trial begins that is expected to end after it. None for any.
        epochs: of fine-tuning at most, >= 1.
        batch_size: rows per training step.
        formats: names from `kerasnas.export.quantization_formats.FORMATS`, or "LiteRT float16", "LiteRT int8" and "LiteRT
            int16" for .tflite files; "float32" is always tried, too.
        held_out: inputs and labels that the files are judged on, or the share of `x`, in (0, 1), that is split off for it.
        test: inputs and labels for the last word: nothing is chosen by them. The control and the certificate are measured on
            them; without them on the held-out samples, which flatter what they chose, and that is told with the figures.
        control: whether the chosen network is compared with one of its size from scratch, trained for as long.
        strategy: proposes after the first trials; None is `Dyna`.
        export: further arguments of `to_onnx`, such as labels and preprocessing.
        directory: takes compressed.onnx (or compressed.tflite) with its certificate beside it, compressed.keras,
            compression.json with all figures, compression.png, and in `networks` the files that no other beats.
        overwrite: whether an earlier search there is deleted instead of resumed.
        seed: of the split, the training and the proposals.
        verbose: 0 for silence, 1 for a line per trial.
    Returns:
        Compression: the chosen file, its network, all candidates and the front; `print` shows the table, `save` draws it.
    Raises:
        InvalidArgument: if an argument is not as described, or the directory holds another search.
        KerasNASError: if the original cannot be exported.
    Example:
        >>> small = compress(model, x, y, goal="smallest", max_loss=0.01, test=(x_test, y_test))  # doctest: +SKIP
        >>> print(small)  # doctest: +SKIP
        >>> small.save("pareto.png")  # doctest: +SKIP

    Source:
        He et al. 2018, "AMC", for the idea of learning shares of layers; Liu et al. 2019 for the control.
    """
    aim = Goal(goal, max_loss, max_bytes, max_latency_ms, smaller, faster)
    _check(max_trials, max_time, epochs, batch_size, held_out, seed)
    check_formats(formats)
    if not (strategy is None or isinstance(strategy, Strategy)):
        raise InvalidArgument(
            f"Expected a kerasnas.strategies.Strategy or None, got {strategy!r}. Make one, such as Evolution()."
        )
    train, held = split(model, x if y is None else (x, y), held_out, seed)
    exam = None if test is None else labelled(model, test)
    rng = np.random.default_rng(seed)
    calibration = train[0][np.sort(rng.permutation(len(train[0]))[:_CALIBRATION])]
    bench = Bench(tuple(dict.fromkeys(f for f in formats if f != "float32")), calibration, *held, _ROUNDS, dict(export or {}))
    recipe = Recipe(model, epochs)
    folder = Path(directory)
    shared = {"epochs": epochs, "batch_size": batch_size, "formats": bench.formats, "seed": seed, "export": bench.export}
    with project_lock(folder, other="directory"), CompressionProgress(aim, max_trials, enabled=bool(verbose)) as progress:
        journal = Journal(folder, [*train, *held, *model.get_weights()], model, shared, overwrite=overwrite)
        replaces = replaced(folder, aim)
        if replaces is not None:
            progress.say(replaces)
        search = _Search(model, train, bench, recipe, journal, aim, batch_size, seed, progress)
        caveat = search.run(strategy or Dyna(initial=6), max_trials, max_time)
        original, rows, chosen = search.judge()
        trial = next(trial for trial in journal.trials if trial["number"] == chosen.trial)
        network = model if chosen.trial == 0 else load_made_of(model, journal.model_path(chosen.trial))
        samples, told = held, "held-out samples, which also chose it"
        if exam is not None:
            samples, told = exam, "test samples, which chose nothing"
        scratch = None
        if control and network.count_params() < model.count_params():
            progress.now("the control: the same size from scratch")
            scratch = search.control(network, trial["settings"], samples, told, folder)
        examined = None if exam is None else _examine(bench, journal, original, chosen, exam)
        before = original.accuracy if examined is None else examined["original"]
        steps = [{"method": "prune_channels", **trial["settings"]}] if chosen.trial else []
        origin = {"goal": str(aim), "trial": chosen.trial}
        atol = bench.export.get("atol") if journal.path(chosen).suffix == ".onnx" else None  # `Bench.write` has it for these
        certificate = write_chosen(folder, journal.path(chosen), network, samples, told, before, steps, origin, atol)
        result = Compression(
            path=chosen_path(folder, journal.path(chosen)),
            model=network,
            goal=aim,
            original=original,
            chosen=chosen,
            rows=tuple(rows),
            pareto=tuple(front_of([row for row in rows if journal.path(row).exists()])),
            settings=trial["settings"],
            n_held_out=len(held[1]),
            control=scratch,
            test=examined,
            reason=f"{_reason(aim, chosen, rows, len(held[1]))} {caveat}".rstrip(),
            seconds=journal.seconds,
            sha256=certificate.file["sha256"],
            replaces=replaces,
        )
        write_result(folder, result)
    return result


class _Search:
    """Trials, until there are enough."""

    def __init__(
        self,
        model: keras.Model,
        train: tuple[Any, Any],
        bench: Bench,
        recipe: Recipe,
        journal: Journal,
        goal: Goal,
        batch_size: int,
        seed: int,
        progress: CompressionProgress,
    ) -> None:
        self._model, self._train, self._bench, self._recipe, self._journal = model, train, bench, recipe, journal
        self._goal, self._batch_size, self._seed, self._progress = goal, batch_size, seed, progress
        self._least = min(LEAST_BYTES.get(name, 1.0) for name in ("float32", *bench.formats))

    def run(self, strategy: Strategy, max_trials: int, max_time: float | None) -> str:
        """Measure the original, then networks that a strategy proposes; return what is to be said against the original."""
        if not self._journal.trials:
            self._progress.now("the original")
            self._add({"number": 0, "choices": {}, "phase": "original", "settings": {}}, self._model)
        self._right = self._bench.right(self._original_file)
        caveat = warn_of_guessing(float(self._right.mean()), self._bench.truth)
        if not self._recipe.decisions:
            return caveat
        proposer = Proposer(self._recipe, strategy, self._seed)
        screened = 0  # in a row
        for trial in self._journal.trials[1:]:
            self._tell(proposer, trial)
            screened = screened + 1 if trial.get("goal") == str(self._goal) else 0
        self._progress.resume(self._trained, self._best())
        while self._trained < max_trials and screened < _SCREENED and self._has_time(max_time):
            proposal = proposer.propose()
            if proposal is None:
                break
            choices, phase = proposal
            trial = {"number": len(self._journal.trials), "choices": choices, "phase": phase}
            trial["settings"] = self._recipe.settings(choices)
            size = self._recipe.parameters(choices) * self._least
            reason = self._goal.hopeless(size, self._best(), self._journal.rows[0])
            if reason is not None:
                screened += 1
                told = {"screened": size, "goal": str(self._goal), "failure": reason}
                self._keep({**trial, "rows": [], "seconds": 0.0, **told})
            else:
                screened = 0
                self._try(trial)
            self._tell(proposer, self._journal.trials[-1])
        return caveat

    def judge(self) -> tuple[Candidate, list[Candidate], Candidate]:
        """Return the original's float file, all files, those of the front timed once more in turns, and the chosen one."""
        rows = self._journal.rows
        first, best = front_of(rows), self._best()
        kept = [row for row in rows if self._journal.path(row).exists()]
        front = [row for row in kept if row in first or row == rows[0] or row == best]
        files = {str(i): self._journal.path(row) for i, row in enumerate(front)}
        timed = side_by_side(files, self._original_file, _ROUNDS, self._bench.x)
        again = {
            id(row): replace(row, latency_ms=ms, original_ms=base)
            for row, (ms, base) in zip(front, timed.values(), strict=True)
        }
        # Files are compared with the original in their own rounds, and told in milliseconds of the last ones.
        base = next(iter(timed.values()))[1]
        rows = [again.get(id(row)) or replace(row, latency_ms=base / row.speedup, original_ms=base) for row in rows]
        original = rows[0]
        kept = [row for row in rows if self._journal.path(row).exists()]
        return original, rows, self._goal.choose(kept, original) or min(kept, key=self._goal.excess)

    def control(
        self, network: keras.Model, settings: Mapping[str, Any], samples: tuple[Any, Any], told: str, folder: Path
    ) -> ScratchControl:
        """Compare a network with one from scratch: the same training, and an epoch more for what pruning itself took."""
        result = from_scratch_control(
            network,
            *self._train,
            samples,
            epochs=settings["epochs"] + 1,
            teacher=self._model,
            distill=settings["distill"],
            learning_rate=settings["learning_rate"],
            batch_size=self._batch_size,
            seed=self._seed,
        )
        with atomic_path(folder / "from-scratch.keras") as draft:
            result.model.save(draft)
        return replace(result, samples=told)

    @property
    def _original_file(self) -> Path:
        return self._journal.networks / "0-float32.onnx"

    @property
    def _trained(self) -> int:
        return sum("screened" not in trial for trial in self._journal.trials) - 1

    @property
    def _kept(self) -> list[Candidate]:
        """The files that are there: an earlier search for another goal deleted what was of no use to it."""
        return [row for row in self._journal.rows if self._journal.path(row).exists()]

    def _best(self) -> Candidate | None:
        return self._goal.choose(self._kept, self._journal.rows[0])

    def _has_time(self, max_time: float | None) -> bool:
        if max_time is None:
            return True
        lengths = [trial["seconds"] for trial in self._journal.trials[1:] if trial["seconds"]]
        ahead = float(np.mean(lengths)) if lengths else 0.0
        return self._journal.seconds + 2 * ahead <= max_time  # one more trial, and the control

    def _try(self, trial: dict[str, Any]) -> None:
        self._progress.begin(self._trained + 1, trial)
        start = time.perf_counter()
        settings = {**trial["settings"], "batch_size": self._batch_size, "seed": self._seed + trial["number"]}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AlreadyWithinTarget)  # small shares of narrow layers; the file's size says so
                small = prune_channels(self._model, *self._train, **settings)
        except (DiskFull, InvalidArgument):  # the data or the model do not fit: no other trial would do better
            raise
        except KerasNASError as error:
            self._fail(trial, error, start)
        else:
            try:
                self._add(trial, small, start)
            except KerasNASError as error:  # a network that cannot be exported
                self._fail(trial, error, start)
        self._progress.end(self._trained, self._journal.trials[-1], self._best())

    def _add(self, trial: dict[str, Any], network: keras.Model, start: float | None = None) -> None:
        start = time.perf_counter() if start is None else start
        journal, number = self._journal, trial["number"]
        files, failures = self._bench.write(network, journal.networks, str(number))
        right = self._right if number else self._bench.right(files["float32"])
        rows, more = self._bench.measure(network, files, number, (self._original_file, right))
        if number:
            with atomic_path(journal.model_path(number)) as draft:
                network.save(draft)
        content: dict[str, Any] = {"rows": [row.to_dict() for row in rows], "seconds": time.perf_counter() - start}
        content["failures"] = {**failures, **more}
        if not rows:
            content["failure"] = more["float32"]
        self._keep({**trial, **content}, rows)

    def _fail(self, trial: Mapping[str, Any], error: KerasNASError, start: float) -> None:
        self._keep({**trial, "rows": [], "seconds": time.perf_counter() - start, "failure": str(error)})

    def _keep(self, trial: dict[str, Any], rows: Sequence[Candidate] = ()) -> None:
        known = [*self._kept, *rows]
        best = self._goal.choose(known, known[0])
        self._journal.add(trial, keep=[] if best is None else [best])

    def _tell(self, proposer: Proposer, trial: Mapping[str, Any]) -> None:
        original = self._journal.rows[0]
        rows = [Candidate.of(row) for row in trial["rows"]]
        if "screened" in trial:
            another = trial.get("goal", str(self._goal)) != str(self._goal)
            if another and self._goal.hopeless(trial["screened"], self._best(), original) is None:
                return  # nothing speaks against it now
            merit, wants_less = self._goal.merit_of_size(trial["screened"], original), True
        else:
            merit = max((self._goal.merit(row, original) for row in rows), default=math.nan)
            wants_less = self._goal.wants_less(rows)
        proposer.observe(trial["choices"], trial["phase"], merit, wants_less=wants_less)


def _check(max_trials: Any, max_time: Any, epochs: Any, batch_size: Any, held_out: Any, seed: Any) -> None:
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected Keras to run on TensorFlow, through which files are made, got {keras.backend.backend()!r}."
        )
    counts = {"max_trials": (max_trials, 0), "epochs": (epochs, 1), "batch_size": (batch_size, 1), "seed": (seed, 0)}
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InvalidArgument(f"Expected {name} to be an integer of at least {least}, got {value!r}.")
    if max_time is not None and not (isinstance(max_time, int | float) and max_time > 0):
        raise InvalidArgument(f"Expected max_time > 0 in seconds, or None, got {max_time!r}.")
    if isinstance(held_out, int | float) and not 0 < held_out < 1:
        raise InvalidArgument(f"Expected held_out as (inputs, labels) or in (0, 1), got {held_out!r}. 0.2 judges by a fifth.")


def _examine(bench: Bench, journal: Journal, original: Candidate, chosen: Candidate, exam: tuple[Any, Any]) -> dict[str, float]:
    right, left = (bench.right(journal.path(row), *exam) for row in (original, chosen))
    figures = {"n": len(right), "original": float(right.mean()), "chosen": float(left.mean())}
    error = 0.0 if chosen == original else paired_error(right, left)  # a file against itself loses nothing, surely
    return {**figures, "loss": figures["original"] - figures["chosen"], "loss_error": error}


def _reason(goal: Goal, chosen: Candidate, rows: Sequence[Candidate], n_held_out: int) -> str:
    fit = sum(not goal.excess(row) for row in rows)
    text = f"The goal was the {goal}: {fit} of {len(rows)} measured files keep these bounds, this is the {goal.best} of them"
    if goal.excess(chosen):
        text = f"NONE OF THE {len(rows)} MEASURED FILES KEEPS THE BOUNDS ({goal}); this one comes nearest"
    too_few = _too_few(goal, n_held_out) if goal.excess(chosen) or chosen == rows[0] else ""  # else some gained by more
    if chosen == rows[0]:
        return f"{text}: it is the original's float file. {n_held_out:,} held-out samples chose it.{too_few}"
    return (
        f"{text}: {times(chosen.reduction, 'smaller', 'larger')} and "
        f"{times(chosen.speedup, 'faster', 'slower')} than the original's float file, with "
        f"{loss_text(chosen.loss, chosen.loss_error)} on {n_held_out:,} held-out samples, which also chose it."
        f"{gain_caveat(chosen)}{too_few}"
    )


def _too_few(goal: Goal, n_held_out: int) -> str:
    """Say that so few samples cannot show that a file keeps the bound on the loss, if that is so."""
    agree = np.ones(n_held_out, bool)
    least = paired_error(agree, agree)
    if goal.best == "most accurate" or is_within(least, goal.max_loss):
        return ""
    enough = f"keep at least {math.ceil(math.sqrt(2) / goal.max_loss) - 2:,} apart, or " if goal.max_loss else ""
    return (
        f" {n_held_out:,} samples are too few to show so small a loss: that of a file which agrees on all of them has a "
        f"standard error of {100 * least:.2f} points. To have more than the original, {enough}allow a larger max_loss."
    )
