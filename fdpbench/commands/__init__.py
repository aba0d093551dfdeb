"""The commands of `fdpbench`: thin shells around the stages."""

# in the order in which `fdpbench --help` lists them
# isort: off
from fdpbench.commands.app import app
from fdpbench.commands import data, runs, results, predictions, study

__all__ = ["app", "data", "predictions", "results", "runs", "study"]
