"""Decoded inputs of a run: written once into its scratch, a file for each subject and input, read by all its folds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.train.data import ClipSet, load_clips, load_each_subject
from fdpbench.prep.runtime.scratch import Scratch, folder_name
from fdpbench.prep.store import shards

__all__ = ["StoredClips", "store_clips"]

UNIT = "inputs"


@dataclass(frozen=True)
class StoredClips:
    """Clips of some subjects, on disk. A fold's training is given those of its training subjects, and no path else.

    Attributes
    ----------
    task
        Folder of the task's data, of which labels are read.
    folders
        By subject, the folder with a file for each input, ``<input>.npy``: the subject's clips in order of clip id.
    """

    task: Path
    folders: Mapping[str, Path]

    def of(self, subjects: Collection[str]) -> StoredClips:
        """Those of some subjects."""
        return StoredClips(self.task, {subject: self.folders[subject] for subject in subjects})

    def load(self, inputs: Sequence[str]) -> ClipSet:
        """Read the clips into memory, as `bench.train.data.load_clips` gives them.

        Parameters
        ----------
        inputs
            Names of the inputs to read, out of those that were stored.

        Raises
        ------
        ValueError
            If a subject's arrays do not fit its clips or the other subjects' arrays.
        """
        clips = load_clips(self.task, (), self.folders.__contains__)
        places: dict[str, list[int]] = {}
        for place, subject in enumerate(clips.subjects):
            places.setdefault(subject, []).append(place)
        arrays: dict[str, NDArray[Any]] = {}
        for name in inputs:
            for subject, chosen in places.items():
                path = self.folders[subject] / f"{name}.npy"
                # mapped: its pages are those of all workers, and only the copy is this one's
                stored = np.load(path, mmap_mode="r", allow_pickle=False)
                if name not in arrays:
                    arrays[name] = np.empty((len(clips), *stored.shape[1:]), stored.dtype)
                whole = arrays[name]
                if stored.shape != (len(chosen), *whole.shape[1:]) or stored.dtype != whole.dtype:
                    raise ValueError(
                        f"{subject}: {name} of {stored.shape} {stored.dtype}, expected {len(chosen)} clips of "
                        f"{whole.shape[1:]} {whole.dtype}, as of the other subjects; run `dvc repro`"
                    )
                whole[chosen] = stored
        return ClipSet(clips.clip_ids, clips.subjects, clips.labels, arrays)


def store_clips(task: Path, inputs: Sequence[str], scratch: Scratch) -> StoredClips:
    """Decode a task's clips, unless an earlier, interrupted run has done so.

    Parameters
    ----------
    task
        Folder of the task's data.
    inputs
        Names of the inputs to decode; without any nothing is written.
    scratch
        Where to keep them, as the unit ``inputs``.

    Raises
    ------
    ValueError
        If an input is missing for a clip, damaged or not finite.
    """
    if inputs and not scratch.has(UNIT):
        folder = scratch.temporary(UNIT)
        for clips in load_each_subject(task, inputs):
            place = folder / folder_name(clips.subjects[0])
            place.mkdir()
            for name, array in clips.inputs.items():
                np.save(place / f"{name}.npy", array, allow_pickle=False)
        scratch.finish(UNIT)
    subjects = shards.subjects_of(task / "clips.parquet")
    return StoredClips(task, {subject: scratch.unit(UNIT) / folder_name(subject) for subject in subjects})
