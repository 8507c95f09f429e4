"""`kerasnas report`."""

from pathlib import Path

import click

from kerasnas.cli.backend_command import BackendCommand

__all__ = ["command"]


@click.command(cls=BackendCommand, short_help="Make the page of a run.")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; RUN/report.html by default.")
@click.option(
    "--charts", type=click.Path(file_okay=False, path_type=Path), help="Folder that also takes each chart as an SVG file."
)
@click.option("--optuna", metavar="STORAGE", help="Also copy the trials to a study of Optuna there: sqlite:///run.db.")
@click.option("--study-name", help="Name of that study; that of the folder by default.")
def command(run: Path, out: Path | None, charts: Path | None, optuna: str | None, study_name: str | None) -> None:
    """Write one self-contained HTML page about RUN, from whatever the other commands have left in it.

    RUN may also be the project folder of a search that is still running, or the folder in which `kerasnas explain` or
    `kerasnas export` has left what it made of a .keras file.
    """
    from kerasnas.report import to_optuna, write_report

    page = write_report(run, out, charts=charts, tell=lambda what: click.echo(f"  {what[0].lower()}{what[1:]}", err=True))
    click.echo(f"wrote {page}")
    if optuna is not None:
        study = to_optuna(run, optuna, study_name=study_name)
        click.echo(f"wrote study {study.study_name} of {len(study.trials)} trials; see it with: optuna-dashboard {optuna}")
