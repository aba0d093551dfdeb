"""Stage `flow`: onset-to-apex optical flow u, v and strain of each clip, from its aligned frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep import align, images, shards
from prep.flow import flow_field
from prep.progress import say_left_out, track
from prep.schema import FLOW, FRAMES, Reason, rejected_table
from prep.scratch import open_scratch

__all__ = ["flow_of_release", "flow_row"]


def flow_of_release(release: str, manifest: list[dict[str, Any]], aligned: Path, out: Path) -> None:
    """Compute the flow of every aligned clip that has an onset and an apex.

    Parameters
    ----------
    release
        Name of the release.
    manifest
        Rows of its manifest.
    aligned
        Folder of its aligned frames.
    out
        Folder of ``flow.parquet`` and ``rejected.parquet``.
    """
    cv2.setNumThreads(1)
    marks = {row["clip_id"]: (row["onset"], row["apex"]) for row in manifest}
    rejected: list[dict[str, str]] = []

    def subjects() -> Iterator[pa.Table]:
        for shard in shards.frame_shards(aligned):
            columns = ["clip_id", "subject", "frame", "image"]
            for table in shards.read_subjects(shard, FRAMES, columns=columns):
                rows = []
                for clip_id, group in groupby(table.to_pylist(), key=lambda row: row["clip_id"]):
                    frames = {row["frame"]: row for row in group}
                    onset, apex = (frames.get(mark) for mark in marks[clip_id])
                    if onset is None or apex is None:
                        detail = f"onset and apex are {marks[clip_id]}; flow needs both among the clip's frames"
                        rejected.append({"clip_id": clip_id, "reason": Reason.NO_APEX, "detail": detail})
                        continue
                    field = flow_field(_grey(onset["image"]), _grey(apex["image"]))
                    rows.append(flow_row(clip_id, onset["subject"], field, "pixels"))
                yield pa.Table.from_pylist(rows, schema=FLOW)

    def build(staging: Path) -> None:
        total = len({row["subject"] for row in manifest})
        tables = track(subjects(), f"flow {release}", total=total, what="subjects")
        shards.write_subjects(staging / "flow.parquet", FLOW, tables)
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        say_left_out(f"flow {release}", rejected)

    with open_scratch(f"flow-{release}", "whole") as scratch:
        scratch.publish({out: build})


def _grey(png: bytes) -> NDArray[np.uint8]:
    crop = images.decode_png(png)
    return crop if crop.ndim == 2 else align.to_grey(crop)


def flow_row(clip_id: str, subject: str, field: NDArray[np.float32], unit: str) -> dict[str, Any]:
    """Row of `prep.schema.FLOW`; ``field`` is (3, side, side): u, v, strain, in ``unit``."""
    return {
        "clip_id": clip_id,
        "subject": subject,
        "unit": unit,
        "side": field.shape[1],
        "flow": field.ravel().tolist(),
    }
