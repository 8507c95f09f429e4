"""`python -m kerasnas`."""

from kerasnas.cli import run

run()
