"""`kerasnas demo`."""

import time
from pathlib import Path

import click

from kerasnas.cli.backend_command import BackendCommand

__all__ = ["command"]


@click.command(cls=BackendCommand, short_help="Do all of it on scikit-learn's digits, in a few minutes.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="kerasnas-demo", show_default=True)
@click.option("--max-trials", type=click.IntRange(1), default=12, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=15, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Begin anew instead of resuming the search in OUT.")
def command(out: Path, max_trials: int, epochs: int, seed: int, overwrite: bool) -> None:
    """Search for a classifier of 8x8 handwritten digits, explain it, prune it, export it, verify the files, make the page."""
    from kerasnas.cli.compress import compress
    from kerasnas.cli.explain import explain
    from kerasnas.cli.export import export
    from kerasnas.cli.export_table import print_table
    from kerasnas.cli.run_folder import Run
    from kerasnas.cli.search import search
    from kerasnas.report import write_report

    start = time.perf_counter()
    click.echo(f"1/5 searching {max_trials} networks for scikit-learn's digits")
    result = search(
        "digits", out, max_trials=max_trials, epochs=epochs, batch_size=32, space="tiny", seed=seed, overwrite=overwrite
    )
    click.echo(
        f"    {time.perf_counter() - start:.0f} s; winner on {result['samples']} held-out digits: {result['accuracy']:.4f}"
    )
    run = Run.open(out, data=None, image_size=None, out=None)
    click.echo("2/5 explaining test pictures")
    explain(run)
    click.echo("3/5 pruning half of the weights")
    compress(run, sparsity=0.5, epochs=6, seed=seed)
    click.echo("4/5 exporting and verifying")
    print_table(export(run))
    click.echo("5/5 writing the page")
    page = write_report(out)
    click.echo(f"done in {time.perf_counter() - start:.0f} s; open {page}")
