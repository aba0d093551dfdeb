"""Stages `flow` and `flow-images`: onset-to-apex optical flow u, v and strain of each clip.

`flow` computes it from aligned frames. `flow-images` reads releases that are exchanged as flow images;
it is the one place that knows their channel order: red u, green v, blue strain (OpenCV would read
them reversed, and a wrong order costs points silently).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep import align, images, shards
from prep.crops import shard_files
from prep.flow import flow_field
from prep.progress import console, track
from prep.releases import read_release
from prep.releases.base import rejected_table
from prep.schema import FLOW, FRAMES, Reason
from prep.scratch import open_scratch

__all__ = ["flow_of_images", "flow_of_release"]


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
        for shard in shard_files(aligned):
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
                    rows.append(_row(clip_id, onset["subject"], field, "pixels"))
                yield pa.Table.from_pylist(rows, schema=FLOW)

    def build(staging: Path) -> None:
        total = len({row["subject"] for row in manifest})
        tables = track(subjects(), f"flow {release}", total=total, what="subjects")
        shards.write_subjects(staging / "flow.parquet", FLOW, tables)
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        _say_left_out(f"flow {release}", rejected)

    with open_scratch(f"flow-{release}", "whole") as scratch:
        scratch.publish({out: build})


def flow_of_images(release: str, root: Path, manifest_out: Path, out: Path) -> None:
    """Read a release of flow images: its manifest and its flow at once.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder.
    manifest_out
        Folder of ``manifest.parquet`` and ``rejected.parquet``. A clip whose image is damaged is
        listed there.
    out
        Folder of ``flow.parquet``.
    """
    listing = read_release(release, root)
    rows: dict[str, list[dict[str, Any]]] = {}
    good = []
    for clip in sorted(listing.clips, key=lambda clip: clip["clip_id"]):
        source = clip["frames"][0]
        try:
            image = images.read_image(root / source)
        except images.ImageError as error:
            listing.reject(clip["clip_id"], Reason(error.reason), f"{source}: {error.reason}")
            continue
        if image.shape[0] != image.shape[1]:
            listing.reject(clip["clip_id"], Reason.WRONG_SIZE, f"{source}: {image.shape[:2]}, expected a square image")
            continue
        good.append(clip)
        field = np.moveaxis(image, 2, 0).astype(np.float32) / np.float32(255)  # (3, H, W): u, v, strain
        rows.setdefault(clip["subject"], []).append(_row(clip["clip_id"], clip["subject"], field, "image"))
    listing.clips = good
    manifest, rejected = listing.tables()

    def write_manifest(staging: Path) -> None:
        shards.write_table(manifest, staging / "manifest.parquet")
        shards.write_table(rejected, staging / "rejected.parquet")

    def write_flow(staging: Path) -> None:
        tables = (pa.Table.from_pylist(group, schema=FLOW) for group in rows.values())
        shards.write_subjects(staging / "flow.parquet", FLOW, tables)

    with open_scratch(f"flow-images-{release}", "whole") as scratch:
        scratch.publish({manifest_out: write_manifest, out: write_flow})
    for note in listing.notes:
        console.print(f"flow-images {release}: {note}")
    _say_left_out(f"flow-images {release}", rejected.to_pylist())


def _grey(png: bytes) -> NDArray[np.uint8]:
    crop = images.decode_png(png)
    return crop if crop.ndim == 2 else align.to_grey(crop)


def _row(clip_id: str, subject: str, field: NDArray[np.float32], unit: str) -> dict[str, Any]:
    return {
        "clip_id": clip_id,
        "subject": subject,
        "unit": unit,
        "side": field.shape[1],
        "flow": field.ravel().tolist(),
    }


def _say_left_out(label: str, rejected: list[dict[str, str]]) -> None:
    if rejected:
        reasons = ", ".join(
            f"{reason} {count}" for reason, count in sorted(Counter(r["reason"] for r in rejected).items())
        )
        console.print(f"{label}: left out {len(rejected)} ({reasons}), listed in rejected.parquet")
