"""Stage `flow`: onset-to-apex optical flow u, v and strain of each clip, from its aligned frames or its flow image.

The crop of the apex frame goes with it: the input ``apex`` of tasks that ask for it. A flow image has none.

Where the sheet names no apex, or names the onset, params.yaml says what happens: the clip is rejected, or its apex is
estimated (`prep.flow.apex`) and marked as such in the table. A clip whose face does not move from onset to apex, as
where one frame was stored twice, is rejected: an input without variation holds nothing to learn, whatever its label.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.flow.apex import estimate_apex, face_region
from fdpbench.prep.flow.flow_images import FlowImageError, read_flow_image
from fdpbench.prep.flow.methods import add_strain, flow_field, flow_row, varies
from fdpbench.prep.index.manifest import holds_flow_images, load_manifest
from fdpbench.prep.runtime.progress import console, say_left_out, track
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import FLOW, FRAMES, Reason, rejected_table

__all__ = ["flow_of_release", "run"]


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    release = planned.item
    params = section(FlowParams, planned.settings, "flow")
    manifest = load_manifest(release)
    flow_of_release(release, paths.raw(release), manifest, paths.aligned(release), paths.flow(release), params)


def flow_of_release(
    release: str, root: Path, manifest: list[dict[str, Any]], aligned: Path, out: Path, params: FlowParams
) -> None:
    """Compute the flow of every aligned clip that has an onset and an apex, or take it from the clip's flow image.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder, to which the manifest's paths are relative.
    manifest
        Rows of its manifest, in order.
    aligned
        Folder of its aligned frames.
    out
        Folder of ``flow.parquet`` and ``rejected.parquet``, and their checksums.
    params
        Section ``flow`` of params.yaml. With ``missing_apex: estimate`` a clip whose manifest has no apex
        gets one, and so does one whose apex is its onset; any other apex that the manifest has is never replaced.
        Flow images are taken as they are.
    """
    cv2.setNumThreads(1)
    rejected: list[dict[str, str]] = []
    sources: list[str] = []
    if holds_flow_images(manifest):
        clips = _of_images(manifest, root, rejected)
    else:
        clips = _of_frames(manifest, aligned, params, rejected)

    def subjects() -> Iterator[pa.Table]:
        for rows in clips:
            sources.extend(row["apex_source"] for row in rows)
            yield pa.Table.from_pylist(rows, schema=FLOW)

    def build(staging: Path) -> None:
        total = len({row["subject"] for row in manifest})
        tables = track(subjects(), f"flow {release}", total=total, what="subjects")
        schema = shards.marked(FLOW, *shards.frame_shards(aligned))
        shards.write_subjects(staging / "flow.parquet", schema, tables)
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        contents.write_sums(staging)
        estimated = sources.count("estimated")
        if estimated:
            console.print(
                f"flow {release}: the sheet has no apex for {estimated} of {len(sources)} clips, or the onset; theirs "
                "is estimated, and column apex_source of flow.parquet says so"
            )
        say_left_out(f"flow {release}", rejected)

    with open_scratch(f"flow-{release}", "whole") as scratch:
        scratch.publish({out: build})


Rows = list[dict[str, Any]]


def _of_frames(manifest: Rows, aligned: Path, params: FlowParams, rejected: list[dict[str, str]]) -> Iterator[Rows]:
    """Rows of each subject's clips, from aligned frames."""
    marks = {row["clip_id"]: (row["onset"], row["apex"]) for row in manifest}
    columns = ["clip_id", "subject", "frame", "image", "landmarks"]
    for shard in shards.frame_shards(aligned):
        for table in shards.read_subjects(shard, FRAMES, columns=columns):
            rows = []
            for clip_id, group in groupby(table.to_pylist(), key=lambda row: row["clip_id"]):
                try:
                    rows.append(_clip_row(list(group), *marks[clip_id], params))
                except _NoFlow as error:
                    rejected.append({"clip_id": clip_id, "reason": error.reason, "detail": str(error)})
            yield rows


def _of_images(manifest: Rows, root: Path, rejected: list[dict[str, str]]) -> Iterator[Rows]:
    """Rows of each subject's clips, from flow images."""
    subjects: dict[str, Rows] = {}
    for clip in manifest:
        subjects.setdefault(clip["subject"], []).append(clip)
    for subject, clips in subjects.items():
        rows = []
        for clip in clips:
            try:
                rows.append(flow_row(clip["clip_id"], subject, read_flow_image(root, clip["frames"][0]), "image"))
            except FlowImageError as error:
                rejected.append({"clip_id": clip["clip_id"], "reason": error.reason, "detail": str(error)})
        yield rows


class _NoFlow(Exception):
    """A clip without two frames that differ to find flow between; the message says why."""

    def __init__(self, detail: str, reason: Reason = Reason.NO_APEX) -> None:
        super().__init__(detail)
        self.reason = reason


def _clip_row(clip: list[dict[str, Any]], onset: int | None, apex: int | None, params: FlowParams) -> dict[str, Any]:
    """Row of `prep.store.schema.FLOW` for a clip's frames, which are in order."""
    frames = {row["frame"]: row for row in clip}
    estimate = apex in (None, onset) and params.missing_apex == "estimate"
    if onset not in frames or not (estimate or apex in frames):
        raise _NoFlow(f"onset and apex are {(onset, apex)}; flow needs both among the clip's frames")
    if apex == onset and not estimate:
        detail = f"onset and apex are both {onset}: nothing moves between them; flow.missing_apex can estimate the apex"
        raise _NoFlow(detail, Reason.APEX_IS_ONSET)
    first = _grey(frames[onset]["image"])
    if estimate:
        later = [number for number in frames if number > onset]
        region = face_region(clip[0]["landmarks"], first.shape[0])
        found = estimate_apex(first, (_grey(frames[number]["image"]) for number in later), region, params.method)
        if found is None:
            named, reason = (
                ("has no apex", Reason.NO_APEX) if apex is None else ("has the onset as apex", Reason.APEX_IS_ONSET)
            )
            detail = f"the sheet {named}, and nothing moves in the {len(later)} frames after onset {onset}"
            raise _NoFlow(detail, reason)
        apex, field = later[found[0]], add_strain(found[1])
        shown = _grey(frames[apex]["image"])
    else:
        shown = _grey(frames[apex]["image"])
        field = flow_field(first, shown, params.method)
        if not varies(field):
            detail = f"the face does not move from onset {onset} to apex {apex}: are the two files one frame?"
            raise _NoFlow(detail, Reason.NO_VARIATION)
    source = "estimated" if estimate else "annotated"
    return flow_row(
        clip[0]["clip_id"], clip[0]["subject"], field, "pixels", apex, source, apex_image=images.encode_png(shown)
    )


def _grey(png: bytes) -> NDArray[np.uint8]:
    crop = images.decode_png(png)
    return crop if crop.ndim == 2 else geometry.to_grey(crop)
