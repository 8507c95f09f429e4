"""A sub-command that loads Keras before it runs, without the noise."""

import os
import re
import sys
import tempfile
from typing import Any

import click

__all__ = ["BackendCommand"]

_NOISE = re.compile(rb"(WARNING: All log messages before absl::InitializeLog|[IW]\d{4} |To enable the following instructions)")


class BackendCommand(click.Command):
    """Loads Keras and its backend once the arguments are known to be right; `--help` never gets here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Load Keras, then run."""
        _import_keras()
        return super().invoke(ctx)


def _import_keras() -> None:
    """Import Keras; what that writes to stderr is shown, but for known start-up notices.

    TensorFlow 2.21 writes "Could not find cuda drivers" and the like to file descriptor 2 before its own log level counts.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            import keras  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)
