"""What is evaluated: the runs that params.yaml lists, with tasks and releases; and the evaluation of just them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fdpbench.bench.evaluate.evaluation import FOLDER, Evaluation, read_evaluation
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams

__all__ = ["Listed", "evaluation_of", "listed"]


@dataclass(frozen=True)
class Listed:
    """Names and entries as params.yaml lists them."""

    releases: list[str]
    tasks: dict[str, TaskParams]
    runs: dict[str, RunEntry]
    repetitions: int
    seed: int


def listed(planned: Planned) -> Listed:
    """What a stage that looks at all runs was planned for."""
    given = planned.settings
    return Listed(
        given["releases"],
        {name: section(TaskParams, content, f"tasks.{name}") for name, content in given["tasks"].items()},
        {name: section(RunEntry, content, f"runs.{name}") for name, content in given["runs"].items()},
        given["repetitions"],
        given["seed"],
    )


def evaluation_of(runs: Mapping[str, RunEntry]) -> Evaluation:
    """The evaluation of exactly these runs.

    Raises
    ------
    ParamsError
        If what stage `evaluate` wrote is of other runs, or of other entries of them.
    """
    evaluation = read_evaluation()
    entries = {score.run: score.entry for score in evaluation.scores}
    other = sorted(run for run in {*entries, *runs} if entries.get(run) != runs.get(run))
    if other:
        raise ParamsError(f"{FOLDER} is not of the runs of params.yaml ({', '.join(other)} differ): run `dvc repro`")
    return evaluation
