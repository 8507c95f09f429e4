"""The files that a compression leaves."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from kerasnas.atomic import write_json
from kerasnas.compression_search.compression import Compression
from kerasnas.compression_search.goal import Goal
from kerasnas.errors import InvalidArgument
from kerasnas.export import Certificate, certify
from kerasnas.export.certificate import certificate_path, check_replaceable

__all__ = ["chosen_path", "read_result", "replaced", "write_chosen", "write_result"]


def chosen_path(folder: Path, file: Path) -> Path:
    """Return where the chosen file goes: compressed.onnx, or compressed.tflite."""
    return folder / f"compressed{file.suffix}"


def read_result(folder: Path, name: str = "compression.json") -> dict[str, Any] | None:
    """Return what compression.json tells, its "goal" among it, None where there was none; None if it is missing or damaged."""
    try:
        known = json.loads((folder / name).read_text(encoding="utf-8"))
        whole = isinstance(known["path"], str) and (known["goal"] is None or isinstance(known["goal"]["best"], str))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if whole else None


def replaced(folder: Path, goal: Goal | None, settings: Mapping[str, Any] | None = None) -> str | None:
    """Tell which file lies in the folder for another goal, or for other settings where there is none; None for no such file."""
    known = read_result(folder)
    try:
        earlier = None if known is None or known["goal"] is None else Goal(**known["goal"])
    except (InvalidArgument, TypeError):  # of another version
        return None
    if known is None or not isinstance(known.get("settings"), dict):
        return None
    told, file = known["settings"], folder / known["path"]
    if not file.exists() or (earlier == goal and (goal is not None or told == json.loads(json.dumps(settings)))):
        return None
    how = ", ".join(f"{name} {value}" for name, value in told.items())
    what = f"the goal {earlier}" if earlier is not None else f"pruning by {how}"
    return f"The new file replaces the file made for {what}: {file}. Another directory keeps both."


def write_chosen(
    folder: Path,
    file: Path,
    network: keras.Model,
    samples: tuple[Any, Any],
    told: str,
    original: float,
    steps: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    atol: float | None = None,
) -> Certificate:
    """Write the chosen file, its certificate and its network; all of an earlier one stays if the file cannot be certified.

    Args:
        folder: where they go.
        file: the chosen one.
        network: in Keras.
        samples: inputs and classes on which the certificate tells the accuracy.
        told: what these samples are, in words.
        original: the accuracy of the original's float file on them.
        steps: what was done to the network.
        provenance: where it comes from.
        atol: largest difference from `network` that was allowed when the file was made; None for that of its format.
    Raises:
        InvalidArgument: if another file than a certificate lies where the certificate would go.
        ExportMismatch: if the file is not what `network` computes.
    """
    target = chosen_path(folder, file)
    paper = certificate_path(target)
    check_replaceable(paper)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{target.name}.") as place:
        draft = Path(place) / target.name
        shutil.copyfile(file, draft)
        x, y = samples
        # However many classes 8 bits change, the file was chosen by its accuracy.
        record = certify(draft, model=network, x=x, y=y, compression=steps, provenance=provenance, atol=atol, min_agreement=0.0)
        words = {name: f"{record.measured[name]}; on {told}" for name in ("accuracy.file", "accuracy.model")}
        words["accuracy.original"] = "likewise, of the float file of the network before it was compressed"
        record = replace(
            record, accuracy={**(record.accuracy or {}), "original": original}, measured={**record.measured, **words}
        )
        network.save(draft.with_suffix(".keras"))
        # Without a certificate between the two, a kill leaves no file beside the certificate of another one.
        for other in (chosen_path(folder, Path(end)) for end in ("_.onnx", "_.tflite")):
            certificate_path(other).unlink(missing_ok=True)
            if other != target:
                other.unlink(missing_ok=True)
        for name in (draft.name, draft.with_suffix(".keras").name):
            os.replace(Path(place) / name, folder / name)
        record.write(paper)
    return record


def write_result(folder: Path, result: Compression) -> None:
    """Write the table and the chart."""
    write_json(folder / "compression.json", result.to_dict())
    result.save(folder / "compression.png")
