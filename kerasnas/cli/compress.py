"""`kerasnas compress`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasnas.cli.backend_command import BackendCommand
from kerasnas.cli.options import data_option, image_size_option, model_argument, out_option

if TYPE_CHECKING:
    from kerasnas.cli.run_folder import Run

__all__ = ["command", "compress"]


@click.command(cls=BackendCommand, short_help="Prune a model for a smaller download.")
@model_argument
@data_option
@image_size_option
@click.option("--sparsity", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.5, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=4, show_default=True, help="Epochs of fine-tuning.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@out_option
def command(model: Path, data: str | None, image_size: Any, sparsity: float, epochs: int, seed: int, out: Path | None) -> None:
    """Prune MODEL, a run folder or a .keras file, and fine-tune it on its training pictures.

    A share of the weights becomes exactly zero: a smaller download, not a faster network. Writes OUT/model-pruned.keras and
    pruning.json.
    """
    from kerasnas.cli.run_folder import Run

    run = Run.open(model, data=data, image_size=image_size or None, out=out)
    result = compress(run, sparsity=sparsity, epochs=epochs, seed=seed)
    click.echo(
        f"{result['sparsity']:.0%} of the kernel weights are zero, gzip {result['gzip_bytes_before'] / 1024:.1f} -> "
        f"{result['gzip_bytes'] / 1024:.1f} KB, test accuracy {result['accuracy_before']:.4f} -> {result['accuracy']:.4f}; "
        f"wrote {run.folder}/{run.name}-pruned.keras"
    )


def compress(run: "Run", *, sparsity: float, epochs: int, seed: int = 0) -> dict[str, Any]:
    """Prune the model of `run`; return what was measured before and after."""
    from kerasnas.compress import sparsity_report

    data = run.required_data
    pruned = run.classifier.compress(data.x_train, data.y_train, sparsity=sparsity, epochs=epochs, seed=seed)
    before, after = sparsity_report(run.classifier.model_), sparsity_report(pruned.model_)
    result = {
        "sparsity": after.sparsity,
        "sparsity_before": before.sparsity,
        "gzip_bytes": after.gzip_bytes,
        "gzip_bytes_before": before.gzip_bytes,
        "weights_bytes": after.weights_bytes,
        "accuracy": pruned.evaluate(data.x_test, data.y_test)["accuracy"],
        "accuracy_before": run.classifier.evaluate(data.x_test, data.y_test)["accuracy"],
        "epochs": epochs,
    }
    run.write("pruning.json", result)
    run.save_model(pruned.model_, f"{run.name}-pruned.keras")
    return result
