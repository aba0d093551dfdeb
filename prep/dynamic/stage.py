"""Stage `dynamic`: sample each clip's frames and draw its ground-truth dynamic image.

The dynamic image is made of exactly the frames that models see: grey, the task's T of them, weighted
by approximate rank pooling (`prep.dynamic.rank_pooling`), min-max scaled and cut to uint8. Under the rule ``all``
it is made of every aligned frame; these are not stored again, and models see the dynamic image alone.
Under ``tim`` frames are interpolated, and ``sampled`` holds the numbers of the frames nearest to them.

A task with landmarks gets those that stage `align` found in the sampled frames, under ``tim`` in the nearest ones.
A clip in one of whose sampled frames no face was found is left out of such a task: nothing is filled in. So is a clip
in whose sampled frames nothing changes, from any task with frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.dynamic import rank_pooling, sampling, tim
from fdpbench.prep.runtime.progress import console, say_left_out
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import Sampling, TaskParams
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FRAMES, Reason, rejected_table

__all__ = ["draw_dynamic_image", "dynamic_images", "run"]


def draw_dynamic_image(frames: NDArray[np.uint8], rule: rank_pooling.Rule) -> NDArray[np.uint8]:
    """Ground-truth dynamic image of grey frames.

    Parameters
    ----------
    frames
        Array of shape (T, H, W), uint8.
    rule
        Rule of `prep.dynamic.rank_pooling.coefficients`.

    Returns
    -------
    Array of shape (H, W), uint8: scaled to 0..255 by its own range and cut, not rounded, as the
    released FDP code does; a static clip gives a flat 127.
    """
    unit = rank_pooling.scale_to_unit(rank_pooling.dynamic_image(frames, rule), magnitude=255.0)
    return (unit * 255).astype(np.uint8)


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    name = planned.item
    dynamic_images(name, section(TaskParams, planned.settings, f"tasks.{name}"), paths.dynamic(name))


def dynamic_images(name: str, task: TaskParams, out: Path) -> None:
    """Write ``dynamic.parquet`` and ``rejected.parquet`` of a task, and their checksums.

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
        places = [paths.aligned(release) for release in task.releases] if task.sampling else []
        schema = shards.marked(DYNAMIC, *(shard for place in places for shard in shards.frame_shards(place)))
        count = shards.write_subjects(staging / "dynamic.parquet", schema, _subjects(task, rejected))
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        contents.write_sums(staging)
        if task.sampling is None:
            console.print(f"dynamic {name}: this task has no frames, nothing to draw")
        else:
            console.print(f"dynamic {name}: {count} dynamic images {_in_words(task.sampling)}")
            say_left_out(f"dynamic {name}", rejected)

    with open_scratch(f"dynamic-{name}", "whole") as scratch:
        scratch.publish({out: build})


def _subjects(task: TaskParams, rejected: list[dict[str, str]]) -> Iterator[pa.Table]:
    if task.sampling is None or task.rank_pooling is None:
        return
    for release in task.releases:
        for shard in shards.frame_shards(paths.aligned(release)):
            columns = ["clip_id", "subject", "frame", "image", *(["landmarks"] if task.landmarks else [])]
            for table in shards.read_subjects(shard, FRAMES, columns=columns):
                rows = []
                for clip_id, group in groupby(table.to_pylist(), key=lambda row: row["clip_id"]):
                    try:
                        rows.append(_dynamic_row(list(group), task.sampling, task.rank_pooling, task.landmarks))
                    except (sampling.SamplingError, _LostFace, _StillError) as error:
                        reason = _REASONS[type(error)]
                        rejected.append({"clip_id": clip_id, "reason": reason, "detail": str(error)})
                yield pa.Table.from_pylist(rows, schema=DYNAMIC)


class _LostFace(Exception):
    """A sampled frame without landmarks; the message names it."""


class _StillError(Exception):
    """Frames among which nothing changes."""


_REASONS: dict[type[Exception], Reason] = {
    sampling.SamplingError: Reason.TOO_FEW_FRAMES,
    _LostFace: Reason.LOST_FACE,
    _StillError: Reason.NO_VARIATION,
}


def _dynamic_row(
    clip: list[dict[str, Any]], wanted: Sampling, rule: rank_pooling.Rule, landmarks: bool
) -> dict[str, Any]:
    """Row of `prep.store.schema.DYNAMIC` for a clip's frames, which are in order."""
    picks, frames = _sample(clip, wanted)
    drawn = draw_dynamic_image(frames, rule)
    if drawn.min() == drawn.max():
        raise _StillError(f"nothing changes in frames {clip[0]['frame']} to {clip[-1]['frame']}: the image is flat")
    return {
        "clip_id": clip[0]["clip_id"],
        "subject": clip[0]["subject"],
        "sampled": [clip[k]["frame"] for k in picks],
        "frames": None if wanted.rule == "all" else [images.encode_png(frame) for frame in frames],
        "dynamic_image": images.encode_png(drawn),
        "landmarks": _landmarks([clip[k] for k in picks]) if landmarks else None,
    }


def _landmarks(rows: list[dict[str, Any]]) -> list[list[float]]:
    """Landmarks x0, y0, x1, y1, ... of each sampled frame."""
    for row in rows:
        if row["landmarks"] is None:
            raise _LostFace(f"frame {row['frame']}, one of the sampled ones: no face was found in it, or more than one")
    return [row["landmarks"] for row in rows]


def _sample(clip: list[dict[str, Any]], wanted: Sampling) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The frames that a task sees: their places in the clip, (T,), and their pixels, grey, (T, H, W)."""
    if wanted.frames is None:  # rule all
        picks = sampling.every(len(clip))
    elif wanted.rule == "tim":
        return sampling.nearest(len(clip), wanted.frames), tim.interpolate(_grey(clip), wanted.frames)
    else:
        picks = sampling.RULES[wanted.rule](len(clip), wanted.frames)
    return picks, _grey([clip[k] for k in picks])


def _grey(rows: list[dict[str, Any]]) -> NDArray[np.uint8]:
    crops = [images.decode_png(row["image"]) for row in rows]
    return np.stack([crop if crop.ndim == 2 else geometry.to_grey(crop) for crop in crops])  # (T, H, W)


def _in_words(wanted: Sampling) -> str:
    if wanted.frames is None:
        return "of all frames of their clips"
    return f"of {wanted.frames} frames each" + (", interpolated" if wanted.rule == "tim" else "")
