"""Stage `align`: find each clip's face, warp its frames onto level eyes, store them as Parquet shards."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from prep import align, images, shards
from prep.faces import FaceError, FaceMesh
from prep.params import AlignParams
from prep.progress import console, track
from prep.schema import FRAMES, Reason, rejected_table
from prep.scratch import Scratch, hash_code, hash_listing, key_of, open_scratch, versions
from prep.workers import Context, Unit, run_units

__all__ = ["CODE", "align_release"]

CODE = (
    "prep/align.py",
    "prep/crops.py",
    "prep/face_models/face_detection_short_range.tflite",
    "prep/face_models/face_landmark.tflite",
    "prep/faces.py",
    "prep/images.py",
    "prep/schema.py",
    "prep/shards.py",
)

SUBJECTS_PER_SHARD = 8


def align_release(
    release: str, root: Path, manifest: list[dict[str, Any]], out: Path, params: AlignParams, jobs: int
) -> None:
    """Align every clip of a manifest by its first frame.

    A clip with a damaged image or no face is left out of the shards and listed in
    ``rejected.parquet``. A killed run goes on with the clips that are left.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder, to which the manifest's paths are relative.
    manifest
        Rows of the manifest, in order.
    out
        Folder of ``frames-000.parquet``, ... and ``rejected.parquet``.
    params
        Section ``align`` of params.yaml.
    jobs
        Number of worker processes; it does not change a byte.
    """
    rows = {row["clip_id"]: row for row in manifest}
    key = key_of(
        params=params.model_dump(),
        manifest=manifest,
        files=hash_listing([root / path for row in manifest for path in row["frames"]]),
        code=hash_code(*CODE),
        versions=versions("numpy", "opencv-python", "pyarrow"),
    )
    with open_scratch(f"align-{release}", key) as scratch:
        missing = scratch.missing(rows)
        units = (Unit(name, (rows[name], root, params)) for name in missing)
        finished = run_units(units, _align_clip, scratch, jobs)
        for _ in track(finished, f"align {release}", total=len(rows), done=len(rows) - len(missing)):
            pass
        scratch.publish({out: lambda staging: _collect(release, scratch, manifest, staging)})


class _Rejected(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@cache
def _mesh() -> FaceMesh:
    cv2.setNumThreads(1)
    return FaceMesh()


def _align_clip(payload: tuple[dict[str, Any], Path, AlignParams], context: Context) -> None:
    """Write one clip as ``frames.parquet``, or ``rejected.json`` with the reason why not."""
    row, root, params = payload
    try:
        table = _aligned_rows(row, root, params)
    except _Rejected as rejection:
        text = json.dumps({"reason": rejection.reason, "detail": str(rejection)})
        (context.folder / "rejected.json").write_text(text, encoding="utf-8")
        return
    shards.write_table(table, context.folder / "frames.parquet")


def _aligned_rows(row: dict[str, Any], root: Path, params: AlignParams) -> pa.Table:
    first = _read(root, row["frames"][0])
    try:
        face = _mesh().find(first)
    except FaceError as error:
        raise _Rejected(Reason.NO_FACE, f"{row['frames'][0]}: {error}") from error
    left, right = face.eyes
    transform = align.eye_transform(left, right, params.size, params.eye_distance, params.eye_height)
    landmarks = align.transform_points(face.landmarks[:, :2], transform).astype(np.float32).ravel()
    records = []
    for position, (source, number) in enumerate(zip(row["frames"], row["frame_numbers"], strict=True)):
        image = first if position == 0 else _read(root, source)
        if image.shape != first.shape:
            raise _Rejected(Reason.WRONG_SIZE, f"{source}: {image.shape[:2]}, but the first frame is {first.shape[:2]}")
        crop = align.warp(image if params.colour else align.to_grey(image), transform, params.size)
        records.append(
            {
                "clip_id": row["clip_id"],
                "subject": row["subject"],
                "frame": number,
                "source": source,
                "image": images.encode_png(crop),
                "landmarks": landmarks.tolist() if position == 0 else None,
                "transform": transform.ravel().tolist(),
            }
        )
    return pa.Table.from_pylist(records, schema=FRAMES)


def _read(root: Path, source: str) -> np.ndarray:
    try:
        return images.read_image(root / source)
    except images.ImageError as error:
        raise _Rejected(Reason(error.reason), f"{source}: {error.reason}") from error


def _collect(release: str, scratch: Scratch, manifest: list[dict[str, Any]], out: Path) -> None:
    by_subject: dict[str, list[str]] = {}
    rejected = []
    for row in manifest:
        unit = scratch.unit(row["clip_id"])
        reason = unit / "rejected.json"
        if reason.is_file():
            rejected.append({"clip_id": row["clip_id"], **json.loads(reason.read_text(encoding="utf-8"))})
            console.print(f"align {release}: left out {row['clip_id']}: {rejected[-1]['detail']}")
        else:
            by_subject.setdefault(row["subject"], []).append(row["clip_id"])

    def subject_table(subject: str) -> pa.Table:
        clips = (scratch.unit(clip) / "frames.parquet" for clip in by_subject[subject])
        return pa.concat_tables([shards.read_table(path, FRAMES) for path in clips])

    if not by_subject:
        raise ValueError(f"align {release}: no clip could be aligned; {len(rejected)} left out, see above")
    subjects = list(by_subject)
    for start in range(0, len(subjects), SUBJECTS_PER_SHARD):
        path = out / f"frames-{start // SUBJECTS_PER_SHARD:03d}.parquet"
        group = subjects[start : start + SUBJECTS_PER_SHARD]
        shards.write_subjects(path, FRAMES, (subject_table(subject) for subject in group))
    shards.write_table(rejected_table(rejected), out / "rejected.parquet")
