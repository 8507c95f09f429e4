"""Logs of a search for TensorBoard, written without TensorFlow on every backend of Keras."""

from kerasnas.search.tensorboard.log import TensorBoardLog

__all__ = ["TensorBoardLog"]
