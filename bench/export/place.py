"""Where an export goes: a new folder, whole or not at all, and outside the project where a licence forbids to share."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fdpbench.bench.plan.params import load_tasks
from fdpbench.bench.train.data import TaskInfo, load_index
from fdpbench.prep.releases import RELEASES, SIMULATED
from fdpbench.prep.runtime.durable import flush
from fdpbench.prep.settings.params import PARAMS_FILE
from fdpbench.prep.store import paths, shards

__all__ = ["CLIPS", "NOTICE", "README", "ExportError", "clip_name", "new_folder", "write_list"]

NOTICE = "DO-NOT-SHARE.txt"
README = "README.txt"
CLIPS = "clips.csv"

# What makes a folder one whose content may be committed or pushed: a git repository, a project of ours.
MARKS = {".git": "a git repository", "params.yaml": "a project of FDP-Bench", "dvc.yaml": "a project of DVC"}

_ABOUT = """{what} of the task {task}, written by `fdpbench export`.

Classes, by index: {classes}.
Arithmetic of the data: {arithmetic}.
{how}
"""

_NOTICE = """{what} of the task {task}: made of a licensed release.

Its licence most likely forbids to share images of its subjects and what is derived of them, such as these. Do not
commit, upload, mail or print what is in this folder, and delete it when it is of no more use. What your licence says
is what holds.
"""

_SIMULATED = """{what} of the task {task}, whose faces are rendered. Scores on them say nothing about real faces.

Leave this file where it is: by it reports and tables say that what they show is simulated.
"""


class ExportError(ValueError):
    """A task cannot be exported as asked; the message names the folder or the clip, and what to do."""


@contextmanager
def new_folder(target: Path, task: TaskInfo, what: str, how: str) -> Iterator[Path]:
    """Build an export beside its place and rename it there when it is whole.

    Parameters
    ----------
    target
        The folder: a new one, or an empty one.
    task
        The task.
    what, how
        What is exported, and how it is read back, for ``README.txt``.

    Yields
    ------
    The folder to write into.

    Raises
    ------
    ExportError
        If the folder holds something, or lies in a repository or project although the task has a licensed release.
    """
    target = Path(os.path.abspath(target.expanduser()))
    licensed = not _may_be_published(task)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target}: there is something already; give a new or an empty folder")
    if licensed:
        _refuse_inside(target, task.task)
    if target.is_symlink() or os.path.ismount(target):
        raise ExportError(f"{target} is a link or a mount; give a new folder in it")
    staging = target.parent / f".staging-{target.name}"
    shutil.rmtree(staging, ignore_errors=True)  # of an export that was killed
    staging.mkdir(parents=True)
    if licensed:  # first: an export may be killed
        (staging / NOTICE).write_text(_NOTICE.format(what=what, task=task.task), encoding="utf-8")
    try:
        yield staging
        native = shards.is_native(paths.task(task.task) / "clips.parquet")
        about = {"what": what, "task": task.task, "how": how}
        about |= {"classes": ", ".join(f"{k} {name}" for k, name in enumerate(task.classes))}
        about |= {"arithmetic": "native" if native else "pinned"}
        texts = {README: _ABOUT}
        texts |= {SIMULATED: _SIMULATED} if task.rendered else {}
        for name, text in texts.items():
            (staging / name).write_text(text.format(**about), encoding="utf-8")
        flush(staging)
        if target.exists():
            target.rmdir()
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def clip_name(clip_id: str, subject: str) -> tuple[str, str, str]:
    """Data set, subject and clip that an id is made of.

    Raises
    ------
    ExportError
        If one of them cannot be the name of a folder.
    """
    dataset, _, person = subject.partition("/")
    clip = clip_id.removeprefix(f"{subject}/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in (*subject.split("/"), *clip.split("/"))):
        raise ExportError(f"{clip_id}: its name cannot be that of a file")
    return dataset, person, clip


def write_list(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]], line_end: str = "\n") -> None:
    """Write a list: UTF-8, commas, a line for each row; no line of names where ``head`` is empty."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator=line_end)
        writer.writerows([head, *rows] if head else rows)


def _may_be_published(task: TaskInfo) -> bool:
    """Whether faces of a task may be published: as its data say, and as all of its releases say now.

    The releases are those that params.yaml gives the task, or the data sets of its clips where it has no such task.
    """
    tasks = load_tasks() if PARAMS_FILE.is_file() else {}
    listed = tasks[task.task].releases if task.task in tasks else []
    names = listed or {clip["dataset"] for clip in load_index(paths.task(task.task))}
    known = [RELEASES[name] for name in names if name in RELEASES]
    return task.faces_may_be_published and len(known) == len(names) and all(one.faces_may_be_published for one in known)


def _refuse_inside(target: Path, task: str) -> None:
    for place in dict.fromkeys((target, target.resolve())):
        for folder in (place, *place.parents):
            for mark, kind in MARKS.items():
                if (folder / mark).exists():
                    raise ExportError(
                        f"{target}: inside {folder}, {kind}, where files may be committed or pushed; task {task!r} has "
                        f"a licensed release. Give a folder outside, such as ~/exports/{target.name}"
                    )
