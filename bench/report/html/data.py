"""What the data page shows: of each release what was found, corrected and left out, of each task what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdpbench.bench.train.data import TaskInfo, load_index, load_task_info
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.documents import read_object
from fdpbench.prep.store.schema import REJECTED

__all__ = ["LeftOut", "Release", "Task", "releases_of", "tasks_of"]

MOST_LISTED = 200  # rejections named one by one; all of them are counted


@dataclass(frozen=True)
class LeftOut:
    """The rejections of one stage: how many for each reason, and the first of them one by one."""

    source: str
    total: int
    reasons: dict[str, int]
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Release:
    """What the stage `index` reported of a release, and what it, `align` and `flow` left out."""

    name: str
    report: dict[str, Any]
    left_out: list[LeftOut]
    source: str
    sha256: str


@dataclass(frozen=True)
class Task:
    """A task: its class map and the clips of each class."""

    info: TaskInfo
    params: TaskParams
    counts: dict[str, tuple[int, int]]  # class -> clips, subjects
    clips: int
    subjects: int
    left_out: LeftOut
    source: str
    sha256: str


def releases_of(names: Sequence[str]) -> list[Release]:
    """Read what is known of some releases.

    Raises
    ------
    ValueError
        If a release has not been indexed yet.
    """
    found = []
    for name in names:
        path = paths.manifest(name) / "report.json"
        if not path.is_file():
            raise ValueError(f"{path} not found: the stage `index` has not run; run `dvc repro`")
        folders = [paths.manifest(name), paths.aligned(name), paths.flow(name)]
        left_out = [_left_out(folder) for folder in folders if (folder / "rejected.parquet").is_file()]
        report = read_object(path, "delete it and run `dvc repro`")
        found.append(
            Release(name, report, left_out, path.as_posix(), hash_file(paths.manifest(name) / "manifest.parquet"))
        )
    return found


def tasks_of(params: Mapping[str, TaskParams]) -> list[Task]:
    """Read what is known of some tasks, in the order given."""
    found = []
    for name, one in params.items():
        folder = paths.task(name)
        info, clips = load_task_info(folder), load_index(folder)
        counts = {
            label: (sum(clip["label"] == k for clip in clips), len({c["subject"] for c in clips if c["label"] == k}))
            for k, label in enumerate(info.classes)
        }
        subjects = len({clip["subject"] for clip in clips})
        source = folder / "clips.parquet"
        found.append(
            Task(info, one, counts, len(clips), subjects, _left_out(folder), source.as_posix(), hash_file(source))
        )
    return found


def _left_out(folder: Path) -> LeftOut:
    path = folder / "rejected.parquet"
    rows = shards.read_table(path, REJECTED).to_pylist()
    reasons = dict(sorted(Counter(row["reason"] for row in rows).items()))
    return LeftOut(path.as_posix(), len(rows), reasons, rows[:MOST_LISTED])
