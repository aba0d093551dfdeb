"""Export the lists of a task: clips with their marks, folds, and the official list where it is the composite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdpbench.bench.export.place import CLIPS, ExportError, clip_name, new_folder, write_list
from fdpbench.bench.train.data import load_task_info, task_folder
from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.prep.releases.common.composite import CLASSES, OFFICIAL, composite_key
from fdpbench.prep.store import shards
from fdpbench.prep.task.table import TASK

__all__ = ["FOLDS", "export_lists"]

FOLDS = "folds.csv"
MARKS = ("emotion", "onset", "apex", "offset", "fps", "action_units")
HOW = f"""
{CLIPS}: a row for each clip; marks are frame numbers as the release's sheet counts them, empty where it has none.
{FOLDS}: leave-one-subject-out, a row for each clip of each fold; fold is the subject that is tested, part train or
test.
{OFFICIAL}, where the task is the MEGC2019 composite: data set, subject, clip, label, without a header.
"""


def export_lists(task: str, target: Path, manifest: Mapping[str, Mapping[str, Any]]) -> int:
    """Write ``clips.csv`` and ``folds.csv``, and ``combined_3class_gt.csv`` where all clips are the composite's.

    Parameters
    ----------
    task
        Name of the task, of which data/task/TASK is there.
    target
        A new folder.
    manifest
        Row of each clip in the manifest of its release.

    Returns
    -------
    int
        Number of clips.

    Raises
    ------
    ExportError
        If a clip is in no manifest; see also `bench.export.place.new_folder`.
    """
    folder = task_folder(task)
    about = load_task_info(folder)
    columns = ["clip_id", "subject", "label", "class"]
    clips = sorted(shards.read_rows(folder / "clips.parquet", TASK, columns=columns), key=lambda row: row["clip_id"])
    names = {row["clip_id"]: clip_name(row["clip_id"], row["subject"]) for row in clips}
    with new_folder(target, about, "Lists", HOW) as staging:
        rows = []
        for row in clips:
            if row["clip_id"] not in manifest:
                raise ExportError(f"{row['clip_id']}: in {folder}, but in no manifest of its releases; run `dvc repro`")
            marks = [manifest[row["clip_id"]][mark] for mark in MARKS]
            rows.append([*names[row["clip_id"]], row["label"], row["class"], *marks])
        write_list(staging / CLIPS, ("dataset", "subject", "clip", "label", "class", *MARKS), rows)
        folds = leave_one_subject_out({row["clip_id"]: row["subject"] for row in clips})
        parts = [
            (fold.name, part, clip) for fold in folds for part in ("train", "test") for clip in getattr(fold, part)
        ]
        write_list(staging / FOLDS, ("fold", "part", "clip_id"), parts)
        keys = [composite_key(subject, clip, dataset) for dataset, subject, clip in names.values()]
        if about.classes == tuple(CLASSES) and keys == list(names.values()):
            official = [(*names[row["clip_id"]], row["label"]) for row in clips]
            write_list(staging / OFFICIAL, (), official, line_end="\r\n")
    return len(clips)
