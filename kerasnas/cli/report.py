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
def command(run: Path, out: Path | None, charts: Path | None) -> None:
    """Write one self-contained HTML page about RUN, from whatever the other commands have left in it.

    RUN may also be the project folder of a search that is still running, or the folder in which `kerasnas explain` or
    `kerasnas export` has left what it made of a .keras file.
    """
    from kerasnas.report import write_report

    page = write_report(run, out, charts=charts, tell=lambda what: click.echo(f"  {what[0].lower()}{what[1:]}", err=True))
    click.echo(f"wrote {page}")
