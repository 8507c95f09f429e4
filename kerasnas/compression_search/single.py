"""Pruning of channels with all that a search does around it: measured files, the control, a certificate."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.compress import from_scratch_control, prune_channels
from kerasnas.compression_search.arrays import labelled
from kerasnas.compression_search.compression import Compression, front_of, gain_caveat, loss_text, times
from kerasnas.compression_search.network_files import FORMATS_TRIED, Bench, check_formats
from kerasnas.compression_search.results import chosen_path, replaced, write_chosen, write_result
from kerasnas.errors import KerasNASError
from kerasnas.guessing import warn_of_guessing

__all__ = ["prune_and_measure"]

_CALIBRATION, _ROUNDS = 256, 5


def prune_and_measure(
    model: keras.Model,
    data: tuple[Any, Any],
    held_out: tuple[Any, Any],
    *,
    directory: str | os.PathLike[str] = "compression",
    formats: Sequence[str] = FORMATS_TRIED,
    control: bool = True,
    export: Mapping[str, Any] | None = None,
    epochs: int = 8,
    batch_size: int = 64,
    distill: float = 0.5,
    learning_rate: float = 2e-3,
    seed: int = 0,
    **how: Any,
) -> Compression:
    """Prune a classifier as `prune_channels` does, and measure its files beside those of the original.

    Args:
        model: as for `compress`.
        data: inputs and labels to fine-tune on.
        held_out: inputs and labels that the files are judged on.
        directory: takes compressed.onnx, its certificate compressed.json, compressed.keras, compression.json,
            compression.png, and in `pruned` the files of the original (0-*) and of the pruned network (1-*). It may be that
            of a search, whose trials and files stay.
        formats: names from `kerasnas.export.quantization_formats.FORMATS` that are measured beside float32.
        control: whether a network of that size is trained from scratch for as long.
        export: further arguments of `to_onnx`.
        epochs: of fine-tuning, >= 1.
        batch_size: rows per training step.
        distill: the teacher's share of the loss.
        learning_rate: Adam's first one.
        seed: of the training.
        **how: ratio, macs, parameters, size_bytes, or cost and target; importance, scope, divisor, steps.
    Returns:
        Compression whose chosen file is the pruned network's float file; `goal` is None.
    Raises:
        InvalidArgument: if an argument does not fit.
        KerasNASError: if training diverges, a network cannot be exported, or its float file gives NaN.
    """
    check_formats(formats)
    train, held = labelled(model, data), labelled(model, held_out)
    folder, start = Path(directory), time.perf_counter()
    tuning: dict[str, Any] = {"epochs": epochs, "distill": distill, "learning_rate": learning_rate}
    small = prune_channels(model, train[0], train[1], **how, **tuning, batch_size=batch_size, seed=seed)
    few = train[0][np.sort(np.random.default_rng(seed).permutation(len(train[0]))[:_CALIBRATION])]
    bench = Bench([name for name in formats if name != "float32"], few, *held, _ROUNDS, dict(export or {}))
    networks = folder / "pruned"
    networks.mkdir(parents=True, exist_ok=True)
    for stale in networks.glob("[01]-*.*"):
        stale.unlink()
    files, unwritten = zip(*(bench.write(network, networks, str(i)) for i, network in enumerate((model, small))), strict=True)
    original = files[0]["float32"], bench.right(files[0]["float32"])
    caveat = warn_of_guessing(float(original[1].mean()), held[1])
    measured = [bench.measure(network, files[i], i, original) for i, network in enumerate((model, small))]
    rows = [row for found, _ in measured for row in found]
    failures = {**unwritten[1], **measured[1][1]}
    if "float32" in failures:
        raise KerasNASError(
            f"The pruned network cannot be used: {failures['float32']} Prune less, or fine-tune it at a lower learning_rate."
        )
    scratch = None
    untouched = small.count_params() == model.count_params()
    if control and not untouched:
        settings = {**tuning, "epochs": epochs * how.get("steps", 1) + 1, "batch_size": batch_size, "seed": seed}
        scratch = from_scratch_control(small, *train, held, teacher=model, **settings)
    settings = {**{name: getattr(value, "__name__", value) for name, value in how.items()}, **tuning}
    chosen = next(row for row in rows if row.trial == 1 and row.format == "float32")
    steps = [] if untouched else [{"method": "prune_channels", **settings}]
    replaces = replaced(folder, None, settings)
    certificate = write_chosen(
        folder, files[1]["float32"], small, held, "held-out samples", rows[0].accuracy, steps, {}, bench.export.get("atol")
    )
    what = "the pruned network"
    if untouched:
        why = "within the target already: nothing was removed"
        if not {"macs", "parameters", "size_bytes", "cost"} & set(how):
            why = "no channel was removed: the share is less than one channel of each layer"
            why += f", of which a multiple of {how['divisor']} stays" if how.get("divisor", 1) > 1 else ""
        what = f"the network as it was, {why}"
    result = Compression(
        path=chosen_path(folder, files[1]["float32"]),
        model=small,
        goal=None,
        original=rows[0],
        chosen=chosen,
        rows=tuple(rows),
        pareto=tuple(front_of(rows)),
        settings=settings,
        n_held_out=len(held[1]),
        control=scratch,
        test=None,
        reason=(
            f"It is {what}, in float32: {times(chosen.reduction, 'smaller', 'larger')} "
            f"and {times(chosen.speedup, 'faster', 'slower')} than the original, with "
            f"{loss_text(chosen.loss, chosen.loss_error)} on {len(held[1]):,} held-out samples.{gain_caveat(chosen)}"
            + "".join(f" There is no {name} file of it: {why}" for name, why in failures.items())
            + (f" {caveat}" if caveat else "")
        ),
        seconds=time.perf_counter() - start,
        sha256=certificate.file["sha256"],
        replaces=replaces,
    )
    write_result(folder, result)
    return result
