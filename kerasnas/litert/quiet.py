"""Quiet for the parts of TensorFlow and LiteRT that print from C++ whatever the log level."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the process's standard error and TensorFlow's logger silent for the length of the block.

    The converter's messages are in its exceptions, too. What other threads write to standard error meanwhile is lost.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            logger.setLevel(logging.CRITICAL + 1)
            yield
    finally:
        logger.setLevel(level)
        os.dup2(kept, 2)
        os.close(kept)
