"""The files that a compression leaves."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasnas.atomic import atomic_path, write_json
from kerasnas.compression_search.compression import Compression
from kerasnas.export import certify

__all__ = ["CHOSEN", "write_chosen", "write_result"]

CHOSEN = "compressed.onnx"


def write_chosen(
    folder: Path,
    file: Path,
    network: keras.Model,
    held_out: tuple[Any, Any],
    steps: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Write the chosen file, its certificate and its network.

    Args:
        folder: where they go.
        file: the chosen one.
        network: in Keras.
        held_out: inputs and classes on which the certificate tells the accuracy.
        steps: what was done to the network.
        provenance: where it comes from.
    """
    target = folder / CHOSEN
    with atomic_path(target) as draft:
        shutil.copyfile(file, draft)
    with atomic_path(target.with_suffix(".keras")) as draft:
        network.save(draft)
    x, y = held_out
    # However many classes 8 bits change, the file was chosen by its accuracy.
    certify(target, model=network, x=x, y=y, compression=steps, provenance=provenance, min_agreement=0.0)


def write_result(folder: Path, result: Compression) -> None:
    """Write the table and the chart."""
    write_json(folder / "compression.json", result.to_dict())
    result.save(folder / "compression.png")
