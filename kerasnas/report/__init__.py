"""One self-contained page about a search and what became of its winner, and a study of Optuna for dashboards."""

from kerasnas.report.layers import layer_table
from kerasnas.report.optuna_study import to_optuna
from kerasnas.report.page import write_report

__all__ = ["layer_table", "to_optuna", "write_report"]
