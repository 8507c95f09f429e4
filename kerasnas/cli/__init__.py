"""The command line; one file per sub-command, and nothing heavy is imported before one runs."""

import difflib
import importlib
import logging
import os
import sys

import click

import kerasnas

__all__ = ["main"]

# What an error of the library advises, as the command line calls it.
_OPTIONS = {
    "overwrite=True": "--overwrite",
    "or another project_name": "or another --out",
    "or another directory": "or another --out",
}
# What click calls a number within bounds, as people do.
_KINDS = {"a valid float range": "a number", "a valid integer range": "a whole number"}
_COMMANDS = ("demo", "search", "explain", "retrain", "compress", "export", "verify", "report")


class _Commands(click.Group):
    """Sub-commands found by name: kerasnas.cli.NAME holds `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"kerasnas.cli.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], _COMMANDS, 1)
        if near and args[0] not in _COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(kerasnas.__version__, prog_name="kerasnas")
@click.pass_context
def cli(context: click.Context) -> None:
    """Search for a Keras network, explain it, compress it and ship it as a verified ONNX file.

    `search` writes a run folder; the other commands work on it, or on any .keras file.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a failure, 2 for a mistake of the user, 130 if interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each trial's network is traced anew, and it warns of that
    try:
        code = cli(arguments, prog_name="kerasnas", standalone_mode=False)  # what context.exit said, else None
    except click.ClickException as error:
        text = " ".join(error.format_message().split())
        for kind, name in _KINDS.items():
            text = text.replace(kind, name)
        click.echo(f"kerasnas: error: {text}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("kerasnas: interrupted; an unfinished search is resumed by the same command", err=True)
        return 130
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError, PermissionError) as error:
        click.echo(f"kerasnas: error: {error.strerror}: {error.filename}", err=True)
        return 2
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        click.echo(f"kerasnas: error: {error.strerror}: {error.filename}", err=True)
        return 1
    except Exception as error:
        from kerasnas.errors import InvalidArgument, KerasNASError, MissingExtra

        if not isinstance(error, KerasNASError):
            raise
        text = " ".join(str(error).split())
        for argument, option in _OPTIONS.items():
            text = text.replace(argument, option)
        click.echo(f"kerasnas: error: {text}", err=True)
        return 2 if isinstance(error, InvalidArgument | MissingExtra) else 1
    return code if isinstance(code, int) else 0


def run() -> None:
    """Entry point of the `kerasnas` script."""
    # On many CPUs TensorFlow uses it only if told to: see kerasnas.search.onednn.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.exit(main())
