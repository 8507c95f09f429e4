"""`kerasnas verify`."""

from pathlib import Path

import click

from kerasnas.cli.backend_command import BackendCommand

__all__ = ["command"]


@click.command(cls=BackendCommand, short_help="Check an exported file against its certificate, on this machine.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate; NAME.json beside NAME.onnx by default.",
)
@click.option("--latency/--no-latency", default=True, show_default=True, help="Measure the latency here, too.")
@click.pass_context
def command(context: click.Context, file: Path, certificate: Path | None, latency: bool) -> None:
    """Check FILE, which `kerasnas export` wrote, against the certificate beside it.

    Is it the certified file, does it load, and does it give here what it gave where it was certified? Prints what was certified
    and what was found. Exit code 1 if something does not hold. No Keras model and no data are needed.
    """
    from kerasnas.export import Certificate
    from kerasnas.export.certificate import certificate_path
    from kerasnas.export.runner import format_of
    from kerasnas.export.samples import shapes_text

    kind = format_of(file)
    known = Certificate.load(certificate or certificate_path(file))
    check = known.check(file)
    click.echo(known)
    if latency and check.passed and kind.latency is not None:
        here = kind.latency(file, (known.latency or {}).get("shapes"))
        click.echo(f"  {'here':<12} median {here.median_ms:.3g} ms a call of {here.batch_size}{shapes_text(here.shapes)}")
    click.echo(f"\n{check}\n{file.name} {'holds' if check.passed else 'DOES NOT HOLD'} what its certificate says")
    context.exit(0 if check.passed else 1)
