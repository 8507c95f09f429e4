"""What TensorBoard reads, written on every backend and without a kill leaving half of it."""

from kerasnas.event_files.run_file import RunFile
from kerasnas.event_files.summaries import histogram_summary, images_summary

__all__ = ["RunFile", "histogram_summary", "images_summary"]
