"""Quiet for tf2onnx and TensorFlow."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["silence"]


@contextmanager
def silence() -> Iterator[None]:
    """Keep tf2onnx and TensorFlow quiet: what they log is found again by looking at the file itself.

    Log levels, warning filters and TF_CPP_MIN_LOG_LEVEL (which tf2onnx sets when imported) are put back.
    """
    loggers = [logging.getLogger("tf2onnx"), logging.getLogger("tensorflow")]
    levels = [logger.level for logger in loggers]
    variable = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if variable is None:
            os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = variable
