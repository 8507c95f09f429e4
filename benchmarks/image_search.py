"""What the benchmarks that search for image classifiers share: data, settings, and runs that can be interrupted."""

import argparse
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.atomic import write_json

EPOCHS, BATCH, PATIENCE = 10, 64, 3


def cifar10() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the CIFAR-10 of $KERASNAS_DATA."""
    from PIL import Image

    folder = Path(os.environ.get("KERASNAS_DATA", "../shared/data")) / "image"
    parts = []
    for part in ("train", "test"):
        file = folder / f"cifar10_jpeg_{part}.bin.xz"
        if not file.exists():
            sys.exit(f"{file} is missing: set KERASNAS_DATA to the folder that holds image/{file.name}.")
        raw = lzma.decompress(file.read_bytes())
        count, length = struct.unpack_from("<II", raw)
        header, place = raw[8 : 8 + length], 8 + length
        labels = np.frombuffer(raw, "u1", count, place).astype("int64")
        sizes = np.frombuffer(raw, "<u2", count, place + count)
        place += 3 * count
        images = np.empty((count, 32, 32, 3), "uint8")
        for i, size in enumerate(sizes.tolist()):
            images[i] = np.asarray(Image.open(io.BytesIO(header + raw[place : place + size])))
            place += size
        parts.append((images.astype("float32"), labels))
    return parts[0], parts[1]


def data(name: str, limit: int | None, seed: int) -> tuple[Any, Any, Any]:
    """Return (training, validation, test) pairs; the split follows from the seed."""
    if name == "cifar10":
        (x, y), test = cifar10()
    else:
        from kerasnas.datasets import load

        loaded = load("fashion_mnist")
        names, y = np.unique(loaded.y_train, return_inverse=True)
        x = loaded.x_train.astype("float32")
        test = loaded.x_test.astype("float32"), np.searchsorted(names, loaded.y_test)
    x, test = (x[..., None], (test[0][..., None], test[1])) if x.ndim == 3 else (x, test)
    order = np.random.default_rng(seed).permutation(len(x))[: limit or len(x)]
    cut = len(order) // 5
    return (x[order[cut:]], y[order[cut:]]), (x[order[:cut]], y[order[:cut]]), test


class Clock:
    """Wall-clock seconds, without those spent on testing."""

    def __init__(self) -> None:
        self._start, self._paused = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start - self._paused

    def without(self, action: Any) -> Any:
        """Return what `action` returns; the clock stands still."""
        start = time.perf_counter()
        result = action()
        self._paused += time.perf_counter() - start
        return result


def machine() -> dict[str, Any]:
    """Return the processor's name, its 8-bit arithmetic, and how many cores this process may use."""
    from kerasnas.export.processor import processor

    return {"cpu": (found := processor())["cpu"], "int8": found["int8"], "cores": len(os.sched_getaffinity(0))}


def arguments(description: str | None, results: Path) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all these benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["fashion", "cifar10"], default="fashion")
    parser.add_argument("--limit", type=int, help="use only so many training images, validation included")
    parser.add_argument("--budget", type=float, default=900.0, help="seconds of each search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=results, help="folder of what was measured; default: %(default)s")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # the process of one run: where its result goes
    return parser


def in_own_process(
    script: str, options: argparse.Namespace, seed: int, further: Sequence[str] = (), *, python: str = sys.executable
) -> dict[str, Any]:
    """Return the result of one run, which is kept in `options.results` and not repeated.

    Args:
        script: called with `--run FILE`, the seed as `--seeds`, the other options and `further`.
        options: of `arguments`.
        seed: of the run.
        further: what else tells this run from others.
        python: the interpreter.
    """
    options.results.mkdir(parents=True, exist_ok=True)
    what = [value.replace(" ", "_") for value in further if not value.startswith("--")]
    name = "-".join([options.data, str(options.limit or "all"), f"{options.budget:g}", *what, str(seed)])
    file = options.results / f"{name}.json"
    if not file.exists():
        print(name, file=sys.stderr, flush=True)
        command = [python, script, "--data", options.data, "--budget", str(options.budget), "--seeds", str(seed), *further]
        command += ["--limit", str(options.limit)] if options.limit else []
        draft = file.with_suffix(".draft")
        package = str(Path(__file__).resolve().parents[1])  # where the interpreter has no kerasnas
        found = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        subprocess.run([*command, "--run", str(draft)], check=True, env=os.environ | {"PYTHONPATH": found})
        write_json(file, json.loads(draft.read_text("utf-8")) | {"machine": machine()})
        draft.unlink()
    result: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return result
