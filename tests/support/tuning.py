"""Searches in miniature: a task of five subjects, training that is made up, and schedulers in place of processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fdpbench.bench.tune.data import TuningData, nested_data, whole_data
from fdpbench.bench.tune.fold import OUTCOME, FoldWork
from fdpbench.bench.tune.journal import Trial
from fdpbench.bench.tune.search import Search, make_search
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.workers import Context, Unit
from fdpbench.prep.store import paths
from tests.support.builders import params, task_rows, write_params, write_task

SUBJECTS = tuple(f"synthetic/s0{k}" for k in range(1, 6))


def tuning_params(**sections: Any) -> dict[str, Any]:
    """`tests.support.builders.PARAMS` with no run but one of majority, as a study has that is made for tuning."""
    content = params(**sections)
    content["runs"] = {"tiny-majority": {"task": "tiny", "model": "majority"}}
    return content


def write_tuning(rows: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Write params.yaml and the task ``tiny`` into the working directory; the rows of the task."""
    write_params(tuning_params())
    rows = task_rows(SUBJECTS, side=32, length=8) if rows is None else rows
    return write_task(paths.task("tiny"), rows, inputs=("frames", "dynamic_image", "flow", "apex"))


def search_of(model: str = "ststnet", data: TuningData | None = None, **sections: Any) -> Search:
    """A search on the task ``tiny``, by default on all of it with three folds."""
    return make_search(model, data or whole_data("tiny", 3, 1), tuning_params(**sections))


def inside(fold: str = SUBJECTS[0]) -> TuningData:
    """Training subjects of a fold that leaves one subject out, in two folds."""
    return nested_data("tiny", "subject", [fold], 2, 1)[0]


def made_up(work: FoldWork, context: Context) -> None:
    """In place of `train_folds`: what comes of a fold depends on settings and fold alone, and costs a second."""
    settings = work.run.settings
    assert settings.lr is not None
    outcomes = []
    for name, _, _, seed in work.folds:
        quality = 0.9 - 0.25 * abs(math.log10(settings.lr) + 2.2) - 0.3 * settings.model.get("dropout", 0.5)
        quality += 0.1 * np.random.default_rng([seed, round(1e6 * settings.lr)]).standard_normal()
        right = round(20 * min(max(quality, 0.05), 1.0))
        confusion = np.eye(3, dtype=int) * right + np.roll(np.eye(3, dtype=int), 1, axis=1) * (20 - right)
        outcomes.append({"fold": name, "confusion": confusion.tolist(), "seconds": 1.0, "refused": ""})
    (context.folder / OUTCOME).write_text(json.dumps(outcomes), encoding="utf-8")


Report = Callable[[Unit, dict[str, Any]], None]


def run_backwards(
    units: Iterable[Unit], function: Callable[[Any, Context], None], scratch: Scratch, jobs: int, report: Report
) -> Iterator[str]:
    """In place of `run_units`, in this process: of the units at work, `jobs` of them, the last is finished first."""
    queue, at_work = iter(units), []
    for _ in range(jobs):
        if (unit := next(queue, None)) is not None:
            at_work.append(unit)
    while at_work:
        unit = at_work.pop()
        function(unit.payload, Context(scratch.temporary(unit.name), lambda message: None, 0))
        scratch.finish(unit.name)
        if (following := next(queue, None)) is not None:
            at_work.append(following)
        yield unit.name


def told(trials: Iterable[Trial]) -> list[tuple[Any, ...]]:
    """Of the trials that count, all that repeats: not their numbers, which interruptions shift, nor their time."""
    return [
        (one.state, one.what, one.seed, dict(one.settings), one.uf1, one.pooled, one.by_fold, one.refused)
        for one in trials
        if one.counts
    ]


def journal_text(folder: Path) -> str:
    """All of a journal."""
    return (folder / "journal.jsonl").read_text(encoding="utf-8")
