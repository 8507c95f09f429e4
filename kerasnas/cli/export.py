"""`kerasnas export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run

__all__ = ["command", "export", "print_table"]

_EXPLAINED = 4  # test pictures whose maps are compared


@click.command(cls=BackendCommand, short_help="Write verified ONNX files and measure them.")
@model_argument
@data_option
@image_size_option
@click.option("--atol", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Largest difference.")
@out_option
def command(model: Path, data: str | None, image_size: Any, atol: float, out: Path | None) -> None:
    """Export MODEL, a run folder or a .keras file, to ONNX.

    Writes OUT/model.onnx, model-pruned.onnx where there is a pruned model, and verification.json. A file that does not agree
    with its Keras model is not written.
    """
    from kerasnas.cli.run_folder import Run

    run = Run.open(model, data=data, image_size=image_size or None, out=out)
    print_table(export(run, atol=atol))
    click.echo(f"wrote {run.folder}/{run.name}.onnx")


def export(run: "Run", *, atol: float = 1e-4) -> list[dict[str, Any]]:
    """Export the model of `run` and its pruned one; return one row of figures for each file."""
    import numpy as np

    from kerasnas.cli.evaluation import accuracy_of_file
    from kerasnas.compress import sparsity_report
    from kerasnas.explain import drift
    from kerasnas.export import benchmark, to_onnx

    maps = None if run.data is None else run.classifier.explain(run.data.x_test[:_EXPLAINED], method="occlusion")
    classifiers = {run.name: run.classifier, f"{run.name}-pruned": run.pruned()}
    rows: list[dict[str, Any]] = []
    for stem, classifier in classifiers.items():
        if classifier is None:
            continue
        samples = None if run.data is None else np.asarray(run.data.x_test[:64])
        path = run.folder / f"{stem}.onnx"
        if run.model.is_file() and run.data is None:  # a bare model: of its labels and pixels nothing is known
            file = to_onnx(classifier.model_, path, atol=atol)
        else:
            file = classifier.export(path, x=samples, atol=atol)
        row = {
            "name": stem,
            "file": file.path.name,
            "parameters": int(classifier.model_.count_params()),
            "sparsity": sparsity_report(classifier.model_).sparsity,
            "accuracy": None,
            "keras_accuracy": None,
            "verification": file.verification.to_dict(),
            "drift": None if maps is None else drift(maps, file).to_dict(),
        }
        if run.data is not None:
            row["accuracy"] = accuracy_of_file(file.path, classifier, run.data)
            row["keras_accuracy"] = classifier.evaluate(run.data.x_test, run.data.y_test)["accuracy"]
        rows.append(row)
    # Side by side and five times each, the quietest counts: another process must not decide which file looks faster.
    latencies = [[benchmark(run.folder / row["file"]) for row in rows] for _ in range(5)]
    for row, measured in zip(rows, zip(*latencies, strict=True), strict=True):
        row["latency"] = min(measured, key=lambda latency: latency.median_ms).to_dict()
    run.write("verification.json", {"files": rows})
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print accuracy, parameters, size, latency, difference from Keras and drift of the explanations of each file."""
    from rich.console import Console
    from rich.table import Table

    caption = (
        "latency: median of one picture on one thread, onnxruntime on this CPU; same maps: rank correlation of the occlusion "
        f"maps of {_EXPLAINED} pictures with those of the Keras model before it was pruned"
    )
    table = Table(caption=caption, caption_justify="left")
    for title in (
        "file",
        "test accuracy",
        "parameters",
        "zero weights",
        "KB",
        "gzip KB",
        "latency ms",
        "difference from Keras",
        "same maps",
    ):
        table.add_column(title, justify="left" if title == "file" else "right", no_wrap=title == "file")
    for row in rows:
        latency, worst = row["latency"], max(row["verification"]["max_abs_difference"].values())
        table.add_row(
            row["file"],
            "" if row["accuracy"] is None else f"{row['accuracy']:.4f}",
            f"{row['parameters']:,}",
            f"{row['sparsity']:.0%}",
            f"{latency['size_bytes'] / 1024:.1f}",
            f"{latency['gzip_bytes'] / 1024:.1f}",
            f"{latency['median_ms']:.3f}",
            f"{worst:.1e}",
            "" if row["drift"] is None else f"{row['drift']['rank_correlation']:.2f}",
        )
    Console(width=None if Console().is_terminal else 120).print(table)
