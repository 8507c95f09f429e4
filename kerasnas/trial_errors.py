"""What the message of a failed trial comes to."""

import re

__all__ = ["error_of", "reason_of"]

_ERROR = re.compile(r"^([A-Za-z_][\w.]*)(?:: ?(.*))?$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 160


def error_of(message: str | None) -> tuple[str, str, str] | None:
    """Return class and text of the last error that `message` tells of, and what stands below them; None if it tells of none.

    Args:
        message: a traceback, or the line `Class: text` of an error.
    """
    # Below the frames, which are indented, stands the error itself.
    last = (message or "").rpartition("Traceback (most recent call last):\n")[2]
    error = _ERROR.search(last)
    return None if error is None else (error[1], error[2] or "", last[error.end() :].strip())


def reason_of(message: str | None) -> str:
    """Return in one line why a trial failed."""
    text = _COLOURS.sub("", message or "").strip() or "no message"
    if (error := error_of(text)) is None:
        return text.splitlines()[-1][:_LONGEST]
    name, said, below = error
    # Keras says which layer was called, and in the sentence below what was wrong.
    if below and said.startswith("Exception encountered when calling"):
        said = below.splitlines()[0]
    return f"{name}: {said}"[:_LONGEST] if said else name
