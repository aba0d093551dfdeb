"""From the Parquet files of a task and of features to arrays in memory: the one place where training gets its data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fdpbench.prep.settings.problems import near
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.documents import DocumentError, read_object
from fdpbench.prep.task.inputs import INPUTS
from fdpbench.prep.task.table import TASK

__all__ = [
    "FEATURES",
    "ClipSet",
    "TaskInfo",
    "check_finite",
    "load_clips",
    "load_each_subject",
    "load_features",
    "load_index",
    "load_task_info",
    "task_folder",
]

# A row for each clip, a row group for each subject, as `bench.train.features` writes them.
FEATURES = pa.schema(
    [
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("features", pa.list_(pa.float64())),  # as the model's own `features` gave them, of one length
    ]
)


@dataclass(frozen=True)
class TaskInfo:
    """What a task's ``task.json`` says."""

    task: str
    classes: tuple[str, ...]
    inputs: tuple[str, ...]
    flow_side: int | None
    faces_may_be_published: bool
    rendered: bool
    sampling: str | None = None  # rule by which frames were picked
    simulated: tuple[str, ...] = ()  # releases whose form alone is theirs: rendered by `fdpbench simulate`
    lost_frames: int = 0  # clips that lack frames between onset and offset, kept by `index.lost_frames`
    given_crops: tuple[str, ...] = ()  # releases whose own crops of faces are used as they are


@dataclass(frozen=True)
class ClipSet:
    """Clips in memory.

    ``inputs`` holds, by name, those that were asked for, as `prep.task.inputs` gives them: ``frames`` (N, T, 1, H, W)
    uint8, ``flow`` (N, 3, h, w) float32 and so on; or ``features`` (N, D) float64 alone. Clips of a corpus have
    ``units`` (N, U) float32 too: whether each action unit moves, 0 to 1.
    """

    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: NDArray[np.int64]
    inputs: dict[str, NDArray[Any]]
    units: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.clip_ids)

    def of(self, subjects: Collection[str]) -> ClipSet:
        """The clips of some subjects, in order."""
        chosen = [k for k, subject in enumerate(self.subjects) if subject in subjects]
        return ClipSet(
            tuple(self.clip_ids[k] for k in chosen),
            tuple(self.subjects[k] for k in chosen),
            self.labels[chosen],
            {name: array[chosen] for name, array in self.inputs.items()},
            None if self.units is None else self.units[chosen],
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one clip for each input."""
        return {name: tuple(array.shape[1:]) for name, array in self.inputs.items()}


def task_folder(name: str, project: Path = Path()) -> Path:
    """Folder of a task whose data are made.

    Parameters
    ----------
    name
        Name of the task.
    project
        Folder of the project.

    Raises
    ------
    ValueError
        If its data are not made; the message names the tasks that are.
    """
    folder = project / paths.task(name)
    if name and (folder / "task.json").is_file():
        return folder
    made = sorted(path.parent.name for path in folder.parent.glob("*/task.json")) if name else []
    raise ValueError(
        f"{folder / 'task.json'} not found: there is no task {name!r}{near(name, made)}, or it is not made; tasks made "
        f"here: {', '.join(made) or 'none'}. `dvc repro task@{name}` makes it"
    )


def load_task_info(folder: Path) -> TaskInfo:
    """Read a task's description.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or not what the stage writes.
    """
    path = folder / "task.json"
    if not path.is_file():
        raise shards.ShardError(f"{path} not found: the task stage has not run; run `dvc repro`")
    cure = "delete it and run `dvc repro`"
    content = read_object(path, cure)
    lists = {key: content.get(key, []) for key in ("classes", "inputs", "simulated", "given_crops")}
    for key, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DocumentError(f"{path}: {key}: expected a list of names; {cure}")
    try:
        return TaskInfo(**(content | {key: tuple(names) for key, names in lists.items()}))
    except TypeError:
        expected = ", ".join(field.name for field in fields(TaskInfo))
        raise DocumentError(f"{path}: expected the keys {expected}; {cure}") from None


def load_index(folder: Path) -> list[dict[str, Any]]:
    """Rows (clip_id, dataset, subject, label) of a task, without its pixels."""
    columns = ["clip_id", "dataset", "subject", "label"]
    return list(shards.read_rows(folder / "clips.parquet", TASK, columns=columns))


def load_clips(folder: Path, inputs: Sequence[str], keep: Callable[[str], bool] = lambda subject: True) -> ClipSet:
    """Read the clips of some subjects; the bytes of the others are not touched.

    Parameters
    ----------
    folder
        The task's folder, ``data/task/<task>``.
    inputs
        Names of the inputs to read.
    keep
        Says of each subject whether to read it.

    Returns
    -------
    Clips in order of clip id.

    Raises
    ------
    ValueError
        If no clip is left, an input is missing for a clip, or a flow value is not finite.
    """
    tables = list(_read(folder, inputs, keep))
    if not tables:
        raise ValueError(f"{folder}: no clip of the subjects asked for")
    return _decoded(folder, inputs, pa.concat_tables(tables))


def load_each_subject(folder: Path, inputs: Sequence[str]) -> Iterator[ClipSet]:
    """Read the clips of one subject after the other, as `load_clips` gives them."""
    for table in _read(folder, inputs, lambda subject: True):
        yield _decoded(folder, inputs, table)


def _read(folder: Path, inputs: Sequence[str], keep: Callable[[str], bool]) -> Iterator[pa.Table]:
    return shards.read_subjects(folder / "clips.parquet", TASK, keep, ["clip_id", "subject", "label", *inputs])


def _decoded(folder: Path, inputs: Sequence[str], table: pa.Table) -> ClipSet:
    table = table.sort_by("clip_id").combine_chunks()
    clip_ids = table.column("clip_id").to_pylist()
    for name in inputs:
        for clip_id, absent in zip(clip_ids, table.column(name).is_null().to_pylist(), strict=True):
            if absent:
                raise ValueError(f"{clip_id}: no {name} in {folder}; run `dvc repro`")
    arrays = {name: INPUTS[name].decode(table.column(name)) for name in inputs}
    for name, array in arrays.items():
        check_finite(clip_ids, name, array)
    labels = table.column("label").to_numpy().astype(np.int64)
    return ClipSet(tuple(clip_ids), tuple(table.column("subject").to_pylist()), labels, arrays)


def load_features(path: Path, folder: Path, keep: Callable[[str], bool] = lambda subject: True) -> ClipSet:
    """Read the features of some subjects' clips, with their labels; the bytes of the others are not touched.

    Parameters
    ----------
    path
        The run's features.
    folder
        The task's folder, whose labels alone are read.
    keep
        Says of each subject whether to read it.

    Returns
    -------
    Clips in order of clip id, with the one input ``features``.

    Raises
    ------
    ValueError
        If no clip is left, or the features are not those of the task's clips, not finite or not of one length.
    """
    clips = load_clips(folder, (), keep)
    tables = list(shards.read_subjects(path, FEATURES, keep)) or [FEATURES.empty_table()]
    table = pa.concat_tables(tables).sort_by("clip_id").combine_chunks()
    found = table.column("clip_id").to_pylist()
    if found != list(clips.clip_ids):
        differing = sorted(set(found) ^ set(clips.clip_ids)) or sorted(
            {name for name in found if found.count(name) > 1}
        )
        raise ValueError(f"{path}: not the clips of {folder}, {differing[0]} among others; delete it, run `dvc repro`")
    column = table.column("features")
    lengths = set(pc.list_value_length(column).to_pylist())
    if len(lengths) != 1 or not all(lengths):
        raise ValueError(f"{path}: features of lengths {sorted(map(str, lengths))}; delete it, run `dvc repro`")
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]).reshape(len(found), -1)
    check_finite(found, "features", values)
    return ClipSet(clips.clip_ids, clips.subjects, clips.labels, {"features": values})


def check_finite(clip_ids: Sequence[str], name: str, array: NDArray[Any]) -> None:
    """Refuse NaN and infinite values of an input (N, ...), naming the first clip that has them."""
    for clip_id, clip in zip(clip_ids, array, strict=True):
        if not np.isfinite(clip).all():
            raise ValueError(f"{clip_id}: {name} holds NaN or infinite values")
