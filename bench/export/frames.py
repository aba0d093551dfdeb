"""Export a task's frames or dynamic images: the PNG files of the task's table, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from fdpbench.bench.export.place import CLIPS, ExportError, clip_name, new_folder, write_list
from fdpbench.bench.train.data import load_task_info, task_folder
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.store import shards
from fdpbench.prep.task.table import TASK

__all__ = ["export_pictures"]

WHAT = {"frames": "Frames", "dynamic_image": "Dynamic images"}
HOW = {
    "frames": f"""
One folder for each clip, <data set>/<subject>/<clip>/, with the frames that models see, in order: aligned, grey, 8
bits.
{CLIPS} lists the clips and their folders.
""",
    "dynamic_image": f"""
One image for each clip, <data set>/<subject>/<clip>.png: approximate rank pooling of the task's frames, grey, 8 bits,
scaled by its own range.
{CLIPS} lists the clips and their images.
""",
}


def export_pictures(task: str, target: Path, kind: Literal["frames", "dynamic_image"]) -> int:
    """Write the sampled frames, or the dynamic image, of each clip of a task as PNG, and a list of the clips.

    Parameters
    ----------
    task
        Name of the task, of which data/task/TASK is there.
    target
        A new folder.
    kind
        Which input of models is exported.

    Returns
    -------
    int
        Number of clips.

    Raises
    ------
    ExportError
        If the task does not give this input; see also `bench.export.place.new_folder`.
    """
    folder = task_folder(task)
    about = load_task_info(folder)
    if kind not in about.inputs:
        raise ExportError(
            f"task {task!r} gives no {kind} (it gives {', '.join(about.inputs)}): see tasks.{task}.sampling"
        )
    rows: list[tuple[Any, ...]] = []
    with new_folder(target, about, WHAT[kind], HOW[kind]) as staging:
        total = len(shards.subjects_of(folder / "clips.parquet"))
        for subject in track(_subjects(folder, kind), f"export {task}", total=total, what="subjects"):
            for row in subject:
                dataset, person, clip = clip_name(row["clip_id"], row["subject"])
                place = f"{dataset}/{person}/{clip}"
                if kind == "frames":
                    files = {f"{place}/{number:03d}.png": png for number, png in enumerate(row[kind], start=1)}
                else:
                    place = f"{place}.png"
                    files = {place: row[kind]}
                for name, png in files.items():
                    (staging / name).parent.mkdir(parents=True, exist_ok=True)
                    (staging / name).write_bytes(png)
                rows.append((dataset, person, clip, row["label"], row["class"], place, len(files)))
        write_list(staging / CLIPS, ("dataset", "subject", "clip", "label", "class", "path", "images"), sorted(rows))
    return len(rows)


def _subjects(folder: Path, kind: str) -> Iterator[list[dict[str, Any]]]:
    columns = ["clip_id", "subject", "label", "class", kind]
    for table in shards.read_subjects(folder / "clips.parquet", TASK, columns=columns):
        yield table.to_pylist()
