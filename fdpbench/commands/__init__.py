"""The commands of `fdpbench`: thin shells around the stages."""

# in the order in which `fdpbench --help` lists them
# isort: off
from fdpbench.commands.app import app
from fdpbench.commands import data, export, runs, tune, results, predict, predictions, study

__all__ = ["app", "data", "export", "predict", "predictions", "results", "runs", "study", "tune"]
