"""What a search may look at: the tuning data, all of a task or the training subjects of one outer fold, and its folds.

Nothing of a subject outside the tuning data has an influence, not even on a hash: inputs are read by subject, and the
folds within are drawn of the tuning data alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fdpbench.bench.plan.params import load_tasks, run_names
from fdpbench.bench.train.data import load_clips, load_index, load_task_info, task_folder
from fdpbench.bench.train.folds import SUBJECT, Fold, Split, SubjectKFold, clips_of, folds_of, split_text
from fdpbench.prep.runtime.scratch import folder_name
from fdpbench.prep.settings.problems import near

__all__ = [
    "WHOLE",
    "TuneError",
    "TuningData",
    "check_unreported",
    "hash_clips",
    "nested_data",
    "parsed_split",
    "whole_data",
]

WHOLE = "whole"  # part of a task that is tuning data as a whole

# Nothing of it can be tuned, so that its runs report nothing that was chosen.
UNTUNED = "majority"


class TuneError(ValueError):
    """A search cannot be made or continued; the message says why, and what to do."""


@dataclass(frozen=True)
class TuningData:
    """The clips that a search may look at.

    Attributes
    ----------
    task
        Name of the task.
    folder
        Of its data.
    part
        `WHOLE`, or the outer split and fold, such as ``5-folds/fold-1``: a relative path of safe names.
    where
        The same in words, for people.
    subjects
        Names of the subjects, sorted.
    classes
        Names of the classes.
    folds
        The folds within, by whole subjects: each clip is held out once.
    subject_of
        Subject of each clip.
    """

    task: str
    folder: Path
    part: str
    where: str
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    subject_of: dict[str, str]

    def sides(self, fold: Fold) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Subjects that a fold trains on, and those that it holds out."""
        held_out = {self.subject_of[clip] for clip in fold.test}
        return tuple(name for name in self.subjects if name not in held_out), tuple(sorted(held_out))


def whole_data(task: str, folds: int, seed: int) -> TuningData:
    """All subjects of a task as tuning data: for a release that is reported nowhere (`check_unreported`).

    Parameters
    ----------
    task
        Name of a task whose data are made.
    folds
        Number of folds within.
    seed
        ``train.seed`` of params.yaml.

    Raises
    ------
    TuneError
        If a class has no clip, or the folds cannot be made.
    """
    folder = task_folder(task)
    rows = load_index(folder)
    return _data(task, folder, WHOLE, f"all of task {task}", rows, folds, seed)


def nested_data(task: str, split: Split, names: Sequence[str], folds: int, seed: int) -> list[TuningData]:
    """The training subjects of outer folds of a task, each as tuning data of its own.

    The outer folds are those of every run of the task with this split and seed.

    Parameters
    ----------
    task, folds, seed
        As of `whole_data`.
    split
        The outer split.
    names
        Outer folds, by name; none: all.

    Raises
    ------
    TuneError
        If there is no such fold, a class has no clip, or the folds cannot be made.
    """
    folder = task_folder(task)
    rows = load_index(folder)
    outer = {fold.name: fold for fold in folds_of(split, clips_of(rows), seed)}
    for name in names:
        if name not in outer:
            raise TuneError(f"--fold: task {task} has no fold {name!r}{near(name, outer)}; folds: {', '.join(outer)}")
    how = split_text(split) or "leave one subject out"
    place = split_text(split).replace(" ", "-") or "subject"
    found = []
    for name in dict.fromkeys(names or outer):
        train = set(outer[name].train)
        inside = [row for row in rows if row["clip_id"] in train]
        part = f"{place}/{folder_name(name)}"
        found.append(_data(task, folder, part, f"training subjects of fold {name} ({how})", inside, folds, seed))
    return found


def _data(
    task: str, folder: Path, part: str, where: str, rows: list[dict[str, Any]], folds: int, seed: int
) -> TuningData:
    classes = load_task_info(folder).classes
    absent = [name for label, name in enumerate(classes) if not any(row["label"] == label for row in rows)]
    if absent:
        raise TuneError(
            f"{where}: no clip is labelled {', '.join(absent)}, so that UF1 is not defined over these clips"
        )
    try:
        inner = folds_of(SubjectKFold(subject_kfold=folds), clips_of(rows), seed)
    except ValueError as error:
        raise TuneError(f"{where}: {str(error).replace('subject_kfold', '--folds')}") from None
    subject_of = {row["clip_id"]: row["subject"] for row in rows}
    return TuningData(
        task, folder, part, where, tuple(sorted(set(subject_of.values()))), classes, tuple(inner), subject_of
    )


def parsed_split(text: str) -> Split:
    """An outer split by its text on the command line: ``subject``, or a number of folds of subjects.

    Raises
    ------
    TuneError
        If it is neither.
    """
    if text == SUBJECT:
        return SUBJECT
    if text.isascii() and text.isdecimal() and int(text) >= 2:
        return SubjectKFold(subject_kfold=int(text))
    raise TuneError(
        f"--split: expected subject (leave one subject out) or a number of folds of 2 or more, found {text!r}"
    )


def check_unreported(task: str, params: dict[str, Any]) -> None:
    """Refuse a task as tuning data as a whole where a run reports on its releases.

    Raises
    ------
    TuneError
        Naming the run.
    """
    tasks = load_tasks(params)
    mine = set(tasks[task].releases)
    for name, entry in run_names(params).items():
        other = tasks.get(entry.task)
        shared = sorted(mine & set(other.releases)) if other and entry.model != UNTUNED else []
        if shared:
            raise TuneError(
                f"--whole: task {task} has clips of {', '.join(shared)}, which run {name} of params.yaml reports on: "
                "settings would be chosen on subjects that are tested. Leave --whole out, to tune inside the "
                "training subjects of each fold, or tune on a release without runs, as params.tuning.yaml does"
            )


def hash_clips(data: TuningData, inputs: Sequence[str] | None) -> str:
    """Hash of the tuning clips: SHA-256 of ids, subjects and labels, or of their inputs.

    Parameters
    ----------
    data
        The tuning data.
    inputs
        Names of the inputs to hash; None: ids, subjects and labels in their place.
    """
    digest = hashlib.sha256()
    for subject in data.subjects:  # one at a time: all clips of a large release do not fit into memory twice
        clips = load_clips(data.folder, inputs or (), subject.__eq__)
        if inputs is None:
            digest.update(repr((clips.clip_ids, clips.subjects, clips.labels.tolist())).encode())
            continue
        for name in inputs:
            array = np.ascontiguousarray(clips.inputs[name])
            digest.update(repr((name, array.shape, array.dtype.str)).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
