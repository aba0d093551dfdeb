"""Stage `dynamic`: sample each clip's frames and draw its ground-truth dynamic image.

The dynamic image is made of exactly the frames that models see: grey, the task's T of them, weighted
by approximate rank pooling (`prep.rank_pooling`), min-max scaled and cut to uint8.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep import align, images, paths, rank_pooling, sampling, shards
from prep.params import TaskParams
from prep.progress import console, say_left_out
from prep.schema import DYNAMIC, FRAMES, Reason, rejected_table
from prep.scratch import open_scratch

__all__ = ["draw_dynamic_image", "dynamic_images"]


def draw_dynamic_image(frames: NDArray[np.uint8], rule: rank_pooling.Rule) -> NDArray[np.uint8]:
    """Ground-truth dynamic image of grey frames.

    Parameters
    ----------
    frames
        Array of shape (T, H, W), uint8.
    rule
        Rule of `prep.rank_pooling.coefficients`.

    Returns
    -------
    Array of shape (H, W), uint8: scaled to 0..255 by its own range and cut, not rounded, as the
    released FDP code does; a static clip gives a flat 127.
    """
    unit = rank_pooling.scale_to_unit(rank_pooling.dynamic_image(frames, rule), magnitude=255.0)
    return (unit * 255).astype(np.uint8)


def dynamic_images(name: str, task: TaskParams, out: Path) -> None:
    """Write ``dynamic.parquet`` and ``rejected.parquet`` of a task.

    Parameters
    ----------
    name
        Name of the task.
    task
        Its entry in params.yaml. A task without frames gets empty tables.
    out
        Folder to write into.
    """
    rejected: list[dict[str, str]] = []

    def build(staging: Path) -> None:
        count = shards.write_subjects(staging / "dynamic.parquet", DYNAMIC, _subjects(task, rejected))
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        if task.sampling is None:
            console.print(f"dynamic {name}: this task has no frames, nothing to draw")
        else:
            console.print(f"dynamic {name}: {count} dynamic images of {task.sampling.frames} frames each")
            say_left_out(f"dynamic {name}", rejected)

    with open_scratch(f"dynamic-{name}", "whole") as scratch:
        scratch.publish({out: build})


def _subjects(task: TaskParams, rejected: list[dict[str, str]]) -> Iterator[pa.Table]:
    if task.sampling is None or task.rank_pooling is None:
        return
    for release in task.releases:
        for shard in shards.frame_shards(paths.aligned(release)):
            columns = ["clip_id", "subject", "frame", "image"]
            for table in shards.read_subjects(shard, FRAMES, columns=columns):
                rows = []
                for clip_id, group in groupby(table.to_pylist(), key=lambda row: row["clip_id"]):
                    frames = list(group)
                    try:
                        picks = sampling.RULES[task.sampling.rule](len(frames), task.sampling.frames)
                    except sampling.SamplingError as error:
                        rejected.append({"clip_id": clip_id, "reason": Reason.TOO_FEW_FRAMES, "detail": str(error)})
                        continue
                    rows.append(_dynamic_row([frames[k] for k in picks], task.rank_pooling))
                yield pa.Table.from_pylist(rows, schema=DYNAMIC)


def _dynamic_row(sampled: list[dict[str, Any]], rule: rank_pooling.Rule) -> dict[str, Any]:
    crops = [images.decode_png(row["image"]) for row in sampled]
    grey = np.stack([crop if crop.ndim == 2 else align.to_grey(crop) for crop in crops])  # (T, H, W)
    return {
        "clip_id": sampled[0]["clip_id"],
        "subject": sampled[0]["subject"],
        "sampled": [row["frame"] for row in sampled],
        "frames": [images.encode_png(frame) for frame in grey],
        "dynamic_image": images.encode_png(draw_dynamic_image(grey, rule)),
    }
