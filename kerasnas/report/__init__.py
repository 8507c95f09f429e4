"""One self-contained page about a search and what became of its winner."""

from kerasnas.report.layers import layer_table
from kerasnas.report.page import write_report

__all__ = ["layer_table", "write_report"]
