"""A task's clips as a torch data set, for training loops of one's own, with the folds of leave-one-subject-out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fdpbench.bench.train.data import load_clips, load_task_info, task_folder
from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.prep.settings.problems import near
from fdpbench.prep.store import shards

__all__ = ["TaskDataset", "TaskFold"]


class TaskFold(NamedTuple):
    """A fold of leave-one-subject-out: the subject that is tested, and indices of the clips to train on and to test."""

    subject: str
    train: list[int]
    test: list[int]


class TaskDataset(Dataset[tuple[dict[str, Tensor], int]]):
    """Clips of a task in memory, in order of clip id: item k is its inputs by name, and its class index.

    Parameters
    ----------
    name
        Name of the task.
    inputs
        Names of the inputs to read (`prep.task.inputs`); None: all that the task gives.
    project
        Folder of the project.

    Attributes
    ----------
    name
        Name of the task.
    classes
        Names of the C classes, in order of index.
    clip_ids, subjects
        Of each of the N clips: dataset/subject/clip, dataset/subject.
    labels
        Class index of each clip, (N,) int64.
    inputs
        By name, the inputs of all clips as they are stored: frames (N, T, 1, H, W), dynamic_image (N, 1, H, W) and apex
        (N, 1, H, W) uint8, 0..255; flow (N, 3, h, w) float32, u, v and strain, scaled as the task says; landmarks
        (N, T, K, 2) float32, pixels.
    arithmetic
        ``pinned`` or ``native``: how the data were computed.

    Raises
    ------
    ValueError
        If the task's data are not made, or it does not give an input; the message names what there is.
    """

    def __init__(self, name: str, inputs: Sequence[str] | None = None, project: Path = Path()) -> None:
        folder = task_folder(name, project)
        about = load_task_info(folder)
        wanted = about.inputs if inputs is None else tuple(inputs)
        for one in wanted:
            if one not in about.inputs:
                raise ValueError(
                    f"task {name!r} gives no {one!r}{near(one, about.inputs)}; it gives {', '.join(about.inputs)}"
                )
        clips = load_clips(folder, wanted)
        self.name, self.classes = name, about.classes
        self.clip_ids, self.subjects = clips.clip_ids, clips.subjects
        self.labels = torch.from_numpy(clips.labels)
        self.inputs = {key: torch.from_numpy(array) for key, array in clips.inputs.items()}
        self.arithmetic = "native" if shards.is_native(folder / "clips.parquet") else "pinned"

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return f"TaskDataset({self.name}: {len(self)} clips, {len(set(self.subjects))} subjects; {shapes})"

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        return {name: values[index] for name, values in self.inputs.items()}, int(self.labels[index])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one clip for each input, as models take it."""
        return {name: tuple(values.shape[1:]) for name, values in self.inputs.items()}

    def folds(self) -> list[TaskFold]:
        """Folds of leave-one-subject-out, in order of subject; those that runs of the project are trained on."""
        place = {clip_id: k for k, clip_id in enumerate(self.clip_ids)}
        return [
            TaskFold(fold.name, [place[clip] for clip in fold.train], [place[clip] for clip in fold.test])
            for fold in leave_one_subject_out(dict(zip(self.clip_ids, self.subjects, strict=True)))
        ]
