"""The commands of `fdpbench`: thin shells around the stages."""

# isort: off  # the order of use is that of `fdpbench --help`
from fdpbench.commands import data, predictions, results, runs, study
from fdpbench.commands.app import app

__all__ = ["app", "data", "predictions", "results", "runs", "study"]
