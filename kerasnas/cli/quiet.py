"""TensorFlow without the lines that its C++ side writes before anyone can stop it."""

import os
import re
import sys
import tempfile

__all__ = ["load_backend_quietly"]

_NOISE = re.compile(rb"(WARNING: All log messages before absl::InitializeLog|[IW]\d{4} |To enable the following instructions)")


def load_backend_quietly() -> None:
    """Import Keras, and with it its backend; what that writes to stderr is shown but for known start-up notices.

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
