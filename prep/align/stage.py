"""Stage `align`: find each clip's face, warp its frames onto level eyes, store them as Parquet shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.align.drift import DriftError
from fdpbench.prep.align.faces import FaceError, FaceMesh
from fdpbench.prep.align.faces_dlib import DlibFaces, require_dlib
from fdpbench.prep.align.placing import FaceFinder, place
from fdpbench.prep.index.manifest import holds_flow_images, load_manifest
from fdpbench.prep.runtime.progress import console, track
from fdpbench.prep.runtime.scratch import Scratch, hash_listing, key_of, open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.documents import read_object
from fdpbench.prep.store.extracted import extract_videos, file_of_frame, frames_of_videos, video_of
from fdpbench.prep.store.schema import FRAMES, Reason, rejected_table

__all__ = ["RejectedClip", "align_release", "aligned_clip", "run"]

SUBJECTS_PER_SHARD = 8


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    release = planned.item
    params = section(AlignParams, planned.settings, "align")
    manifest = load_manifest(release)
    align_release(release, paths.raw(release), manifest, paths.aligned(release), params, jobs, planned.made_by)


def align_release(
    release: str,
    root: Path,
    manifest: list[dict[str, Any]],
    out: Path,
    params: AlignParams,
    jobs: int,
    made_by: Mapping[str, Any] | None = None,
) -> None:
    """Align every clip of a manifest, as section ``align`` of params.yaml says.

    A clip with a damaged image or no face is left out of the shards and listed in
    ``rejected.parquet``. A killed run goes on with the clips that are left. Flow images are not aligned: their release
    gets files without rows.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder, to which the manifest's paths are relative.
    manifest
        Rows of the manifest, in order.
    out
        Folder of ``frames-000.parquet``, ..., their contents and checksums (`prep.store.contents`), and
        ``rejected.parquet``.
    params
        Section ``align`` of params.yaml.
    jobs
        Number of worker processes; it does not change a byte.
    made_by
        Code and versions; kept work of others is not used.

    Raises
    ------
    prep.align.faces_dlib.MissingDlibError
        If landmarks of dlib are asked for and it is not installed.
    """
    if holds_flow_images(manifest):
        manifest = []
    rows = {row["clip_id"]: row for row in manifest}
    if params.landmarks == "dlib" and params.mode != "given":
        require_dlib()
    key = key_of(
        params=params.model_dump(),
        manifest=manifest,
        files=hash_listing([root / video_of(path) for row in manifest for path in row["frames"]]),
        made_by=made_by,
    )
    extract_videos(release, root, frames_of_videos(path for row in manifest for path in row["frames"]), jobs)
    with open_scratch(f"align-{release}", key) as scratch:
        missing = scratch.missing(rows)
        units = (Unit(name, (rows[name], release, root, params)) for name in missing)
        finished = run_units(units, _align_clip, scratch, jobs)
        for _ in track(finished, f"align {release}", len(rows), len(rows) - len(missing), workers=jobs):
            pass
        scratch.publish({out: lambda staging: _collect(release, scratch, manifest, staging)})


class RejectedClip(Exception):
    """A clip cannot be aligned: the reason, and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@cache
def _finder(landmarks: str) -> FaceFinder:
    cv2.setNumThreads(1)
    return DlibFaces() if landmarks == "dlib" else FaceMesh()


def _align_clip(payload: tuple[dict[str, Any], str, Path, AlignParams], context: Context) -> None:
    """Write one clip as ``frames.parquet``, or ``rejected.json`` with the reason why not."""
    row, release, root, params = payload
    try:
        table = aligned_clip(row, root, params, release)
    except RejectedClip as rejection:
        text = json.dumps({"reason": rejection.reason, "detail": str(rejection)})
        (context.folder / "rejected.json").write_text(text, encoding="utf-8")
        return
    shards.write_table(table, context.folder / "frames.parquet")


def aligned_clip(row: dict[str, Any], root: Path, params: AlignParams, release: str = "") -> pa.Table:
    """Align one clip: rows of `prep.store.schema.FRAMES`.

    Parameters
    ----------
    row
        Its row of the manifest.
    root
        The release's folder.
    params
        Section ``align`` of params.yaml.
    release
        Name of the release, for clips that are videos: their frames are extracted below a folder of this name.

    Raises
    ------
    RejectedClip
        If an image is damaged or of another size, or the face is not found, not found again, or not alone.
    """
    records: list[dict[str, Any]] = []
    finder = None if params.mode == "given" else _finder(params.landmarks)
    try:
        for placed in place(_frames(row, root, release), params, finder):
            image = placed.frame if params.colour else geometry.to_grey(placed.frame)
            crop = geometry.warp(image, placed.transform, params.size, params.interpolation)
            landmarks = placed.landmarks
            records.append(
                {
                    "clip_id": row["clip_id"],
                    "subject": row["subject"],
                    "frame": row["frame_numbers"][len(records)],
                    "source": row["frames"][len(records)],
                    "image": images.encode_png(crop),
                    "landmarks": None if landmarks is None else landmarks.astype(np.float32).ravel().tolist(),
                    "transform": placed.transform.ravel().tolist(),
                }
            )
    except (FaceError, DriftError) as error:
        reason = Reason(error.reason) if isinstance(error, FaceError) else Reason.LOST_FACE
        raise RejectedClip(reason, f"{row['frames'][len(records)]}: {error}") from error
    return pa.Table.from_pylist(records, schema=FRAMES)


def _frames(row: dict[str, Any], root: Path, release: str) -> Iterator[NDArray[np.uint8]]:
    shape: tuple[int, ...] | None = None
    for source in row["frames"]:
        try:
            image = images.read_image(file_of_frame(release, root, source))
        except images.ImageError as error:
            raise RejectedClip(error.reason, f"{source}: {error.reason}") from error
        shape = shape or image.shape
        if image.shape != shape:
            detail = f"{source}: {image.shape[:2]}, but the first frame is {shape[:2]}"
            raise RejectedClip(Reason.WRONG_SIZE, detail)
        yield image


def _collect(release: str, scratch: Scratch, manifest: list[dict[str, Any]], out: Path) -> None:
    by_subject: dict[str, list[str]] = {}
    records: list[dict[str, Any]] = []
    rejected = []
    for row in manifest:
        unit = scratch.unit(row["clip_id"])
        reason = unit / "rejected.json"
        if reason.is_file():
            rejected.append({"clip_id": row["clip_id"], **read_object(reason, f"delete {unit} and run `dvc repro`")})
            console.print(f"align {release}: left out {row['clip_id']}: {rejected[-1]['detail']}")
        else:
            by_subject.setdefault(row["subject"], []).append(row["clip_id"])

    def subject_table(subject: str, shard: str) -> pa.Table:
        clips = [shards.read_table(scratch.unit(clip) / "frames.parquet", FRAMES) for clip in by_subject[subject]]
        records.extend(contents.clip_record(clip, shard) for clip in clips)
        return pa.concat_tables(clips)

    if manifest and not by_subject:
        raise ValueError(f"align {release}: no clip could be aligned; {len(rejected)} left out, see above")
    subjects = list(by_subject)
    for start in range(0, max(len(subjects), 1), SUBJECTS_PER_SHARD):
        path = out / f"frames-{start // SUBJECTS_PER_SHARD:03d}.parquet"
        group = subjects[start : start + SUBJECTS_PER_SHARD]
        shards.write_subjects(path, shards.marked(FRAMES), (subject_table(subject, path.name) for subject in group))
    contents.write_clips(records, out)
    shards.write_table(rejected_table(rejected), out / "rejected.parquet")
    contents.write_sums(out)
