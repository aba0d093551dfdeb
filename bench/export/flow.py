"""Export a task's flow as images, in the layouts of `prep.releases.common.flow_layouts`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

from fdpbench.bench.export.place import ExportError, clip_name, new_folder, write_list
from fdpbench.bench.train.data import load_each_subject, load_task_info, task_folder
from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.prep.flow.flow_images import encode_flow_image
from fdpbench.prep.releases.common.flow_layouts import HEAD, SHEET, TEST, THREE, TRAIN, WHOLE, image_name
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.store import shards

__all__ = ["MOST_FILES", "Layout", "export_flow_images"]

Layout = Literal["whole", "three", "both"]

MOST_FILES = 250_000  # in layout `three` each clip is there once for each subject; MEGC2019 has 442 x 68 = 30,056

HOW = f"""
Red is horizontal flow u, green vertical flow v, blue optical strain: the task's values in 0..1, rounded to 8 bits.
To read them back: fdpbench link flow_images <this folder>. {SHEET} is the list of clips.
"""


class _Image(NamedTuple):
    dataset: str
    subject: str
    clip: str
    label: int
    png: bytes

    @property
    def name(self) -> str:
        return image_name(self.subject, self.clip)


def export_flow_images(task: str, target: Path, layout: Layout = "both") -> int:
    """Write the flow of a task's clips as images.

    Parameters
    ----------
    task
        Name of the task, of which data/task/TASK is there.
    target
        A new folder.
    layout
        ``whole``: one folder; ``three``: a folder for each fold; or both. The list is written with each.

    Returns
    -------
    int
        Number of clips.

    Raises
    ------
    ExportError
        If the task has no flow, its flow is not scaled to 0..1, two clips would have one name, or layout ``three``
        would have too many files; see also `bench.export.place.new_folder`.
    """
    folder = task_folder(task)
    about = load_task_info(folder)
    if "flow" not in about.inputs:
        raise ExportError(f"task {task!r} gives no flow (it gives {', '.join(about.inputs)}): set tasks.{task}.flow")
    with new_folder(target, about, "Flow images", HOW) as staging:
        images = _images(task, folder)
        if layout in ("whole", "both"):
            (staging / WHOLE).mkdir()
            for one in images.values():
                (staging / WHOLE / one.name).write_bytes(one.png)
        if layout in ("three", "both"):
            _write_folds(images, staging / THREE)
        rows = [_row(one, about.classes) for one in images.values()]
        write_list(staging / SHEET, HEAD, rows)
    return len(images)


def _images(task: str, folder: Path) -> dict[str, _Image]:
    """Image of each clip by its id, in order."""
    subjects = shards.subjects_of(folder / "clips.parquet")
    found: dict[str, _Image] = {}
    for clips in track(load_each_subject(folder, ["flow"]), f"export {task}", total=len(subjects), what="subjects"):
        for clip_id, subject, label, field in zip(
            clips.clip_ids, clips.subjects, clips.labels, clips.inputs["flow"], strict=True
        ):
            dataset, person, clip = clip_name(clip_id, subject)
            _check_name(clip_id, person, clip)
            try:
                png = encode_flow_image(field)
            except ValueError as error:
                raise ExportError(
                    f"{clip_id}: {error}. Images hold 0..1: tasks.{task}.flow must have scaling per_image, or fixed "
                    "with limits that suit the motion"
                ) from error
            found[clip_id] = _Image(dataset, person, clip, int(label), png)
    _check_apart(found)
    return dict(sorted(found.items()))


def _row(one: _Image, classes: tuple[str, ...]) -> tuple[object, ...]:
    return (
        one.dataset,
        one.subject,
        one.clip,
        one.label,
        "",
        f"{one.name.removesuffix(' .png')}.jpg",
        "",
        classes[one.label],
    )


def _write_folds(images: dict[str, _Image], out: Path) -> None:
    folds = leave_one_subject_out({clip_id: one.subject for clip_id, one in images.items()})
    if len(images) * len(folds) > MOST_FILES:
        raise ExportError(
            f"layout three has each clip once for each subject: {len(images)} x {len(folds)} files, more than "
            f"{MOST_FILES:,}; take --layout whole, of which code for large data sets makes its own folds"
        )
    for fold in track(folds, "export folds", total=len(folds), what="folds"):
        for part, clip_ids in ((TRAIN, fold.train), (TEST, fold.test)):
            for clip_id in clip_ids:
                one = images[clip_id]
                place = out / fold.name / part / str(one.label)
                place.mkdir(parents=True, exist_ok=True)
                (place / one.name).write_bytes(one.png)


def _check_name(clip_id: str, subject: str, clip: str) -> None:
    """Refuse a name that the layout or its list does not keep."""
    for part in (subject, clip):
        if "/" in part or part != " ".join(unicodedata.normalize("NFKC", part).split()):
            raise ExportError(f"{clip_id}: the layout of flow images cannot hold the name {part!r} (slash or spaces)")


def _check_apart(images: dict[str, _Image]) -> None:
    """Refuse two data sets with a subject of one name, whose folds or files would be one."""
    datasets: dict[str, str] = {}
    for one in images.values():
        other = datasets.setdefault(one.subject, one.dataset)
        if other != one.dataset:
            raise ExportError(
                f"subject {one.subject!r} is in {other} and in {one.dataset}: the layout of flow images names no data "
                "sets; export a task of each"
            )
    names = Counter(one.name for one in images.values())
    name, count = names.most_common(1)[0]
    if count > 1:
        raise ExportError(f"{count} clips would have the image {name!r}: the layout of flow images cannot hold them")
