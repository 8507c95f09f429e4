"""The certificates of exported files, and their rows of figures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kerasnas.cli.export_table import EXPLAINED

if TYPE_CHECKING:
    import numpy as np

    from kerasnas import explain
    from kerasnas.cli.export import Exported
    from kerasnas.cli.run_folder import Run
    from kerasnas.errors import ExportMismatch

__all__ = ["certified_rows", "pixels", "some"]


def certified_rows(run: "Run", exported: "list[Exported]") -> "tuple[list[dict[str, Any]], list[ExportMismatch]]":
    """Certify the files; return a row of figures for each, and why others, which are removed, could not be certified."""
    from kerasnas.cli.run_folder import remove_exported
    from kerasnas.compress import sparsity_report
    from kerasnas.errors import ExportMismatch
    from kerasnas.export import benchmark, certify
    from kerasnas.export.certificate import certificate_path
    from kerasnas.export.samples import shapes_of
    from kerasnas.export.session import open_file
    from kerasnas.image_data import to_codes

    data, provenance = run.data, run.provenance()
    maps = _maps(run)
    x = None if data is None else pixels(data.x_test)
    y = None if data is None else to_codes(data.y_test, run.classifier.classes_)
    # Side by side and five times each, the quietest counts: another process must not decide which file looks faster.
    shapes = [{} if x is None else shapes_of(open_file(one.path).inputs, [x]) for one in exported]
    timed = list(zip(exported, shapes, strict=True))
    latencies = list(zip(*[[benchmark(one.path, shapes=shape) for one, shape in timed] for _ in range(5)], strict=True))
    rows: list[dict[str, Any]] = []
    failures: list[ExportMismatch] = []
    for one, measured in zip(exported, latencies, strict=True):
        model, latency = one.variant.classifier.model_, min(measured, key=lambda latency: latency.median_ms)
        judged = _judged(one)
        try:
            certificate = certify(
                one.file,
                model=model,
                x=x,
                y=y,
                latency=latency,
                compression=one.variant.compression,
                provenance=provenance,
                min_agreement=0.0,  # what has fewer bits was judged when it was made, on more pictures
            )
        except ExportMismatch as error:
            chosen = one.variant.file
            if chosen is None or chosen.resolve() != one.path.resolve():  # or it is not this command's to remove
                remove_exported(one.path)
            failures.append(error)
            continue
        if judged is not None:
            certificate = replace(certificate, accuracy=judged[0], measured={**certificate.measured, **judged[1]})
            certificate.write(certificate_path(one.path))
        accuracy = certificate.accuracy or {"file": None, "model": None}
        row = {
            "name": one.path.stem,
            "file": one.path.name,
            "certificate": certificate_path(one.path).name,
            "parameters": int(model.count_params()),
            "sparsity": sparsity_report(model).sparsity,
            "accuracy": accuracy["file"],
            "keras_accuracy": accuracy["model"],
            "samples": accuracy.get("samples"),
            "verification": certificate.parity,
            "drift": _same_maps(maps, one),
            "latency": certificate.latency,
            **one.facts,
        }
        rows.append(row)
    return rows, failures


def _maps(run: "Run") -> "explain.Attribution | None":
    """Return what the Keras model looks at; None without data, or of a model that cannot be explained."""
    from kerasnas.errors import InvalidArgument

    if run.data is None:
        return None
    try:
        return run.uncompressed().explain(some(run.data.x_test, EXPLAINED), method="occlusion")
    except InvalidArgument:  # figures about a file must not stand in its way
        return None


def _same_maps(maps: "explain.Attribution | None", one: "Exported") -> "Mapping[str, float | None] | None":
    """Return how far the file looks at the same as the Keras model does; None where that cannot be had."""
    from kerasnas.errors import InvalidArgument
    from kerasnas.explain import drift

    try:
        return None if maps is None else drift(maps, one.path).to_dict()
    except InvalidArgument:
        return None


def _judged(one: "Exported") -> tuple[Any, dict[str, str]] | None:
    """Return the accuracy of a file that a compression chose, and how it was measured: half of the pictures chose it."""
    import hashlib

    from kerasnas.errors import InvalidArgument
    from kerasnas.export import Certificate
    from kerasnas.export.certificate import certificate_path

    if one.variant.file is None:
        return None
    try:
        known = Certificate.load(certificate_path(one.variant.file))
    except InvalidArgument:
        return None
    if known.accuracy is None or known.file["sha256"] != hashlib.sha256(one.path.read_bytes()).hexdigest():
        return None
    return known.accuracy, {name: text for name, text in known.measured.items() if name.startswith("accuracy.")}


def some(pictures: "np.ndarray", number: int) -> "np.ndarray":
    """Return so many pictures, or labels, drawn from all."""
    from kerasnas.datasets import places_of_some

    return pictures[places_of_some(pictures, number)]


def pixels(pictures: "np.ndarray") -> "np.ndarray":
    """Return the pixels as an exported file takes them."""
    from kerasnas.image_data import to_images

    return to_images(pictures).astype("float32")
