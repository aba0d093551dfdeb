"""Stage `flow-images`: releases that are exchanged as optical-flow images, manifest and flow at once.

The one place that knows their channel order: red u, green v, blue strain. OpenCV reads images
reversed, and a wrong order costs points silently; `prep.store.images` gives RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fdpbench.prep.flow.methods import flow_row, varies
from fdpbench.prep.index.sheet_report import report_lines, report_of_listing
from fdpbench.prep.index.stage import write_listing
from fdpbench.prep.releases import ReleaseError, read_release, release_info
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.store import contents, images, shards
from fdpbench.prep.store.schema import FLOW, Reason

__all__ = ["flow_of_images"]


def flow_of_images(release: str, root: Path, manifest_out: Path, out: Path) -> None:
    """Read a release of flow images: its manifest and its flow at once.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder.
    manifest_out
        Folder of ``manifest.parquet``, ``rejected.parquet`` and ``report.json``. A clip whose image is
        damaged or flat is listed there.
    out
        Folder of ``flow.parquet`` and its checksum.
    """
    if release_info(release).kind != "flow":
        raise ReleaseError(f"{release!r} is a release of image frames, not of flow images; use index, align and flow")
    listing = read_release(release, root)
    rows: dict[str, list[dict[str, Any]]] = {}
    good = []
    for clip in sorted(listing.clips, key=lambda clip: clip["clip_id"]):
        source = clip["frames"][0]
        try:
            image = images.read_image(root / source)
        except images.ImageError as error:
            listing.reject(clip["clip_id"], Reason(error.reason), f"{source}: {error.reason}", clip["emotion"])
            continue
        if image.shape[0] != image.shape[1]:
            detail = f"{source}: {image.shape[:2]}, expected a square image"
            listing.reject(clip["clip_id"], Reason.WRONG_SIZE, detail, clip["emotion"])
            continue
        field = np.moveaxis(image, 2, 0).astype(np.float32) / np.float32(255)  # (3, H, W): u, v, strain
        if not varies(field):
            detail = f"{source}: the image is flat, as where the apex is the onset"
            listing.reject(clip["clip_id"], Reason.NO_VARIATION, detail, clip["emotion"])
            continue
        good.append(clip)
        rows.setdefault(clip["subject"], []).append(flow_row(clip["clip_id"], clip["subject"], field, "image"))
    listing.clips = good

    def write_manifest(staging: Path) -> None:
        write_listing(release, listing, staging)

    def write_flow(staging: Path) -> None:
        tables = (pa.Table.from_pylist(group, schema=FLOW) for group in rows.values())
        shards.write_subjects(staging / "flow.parquet", shards.marked(FLOW), tables)
        contents.write_sums(staging)

    with open_scratch(f"flow-images-{release}", "whole") as scratch:
        scratch.publish({manifest_out: write_manifest, out: write_flow})
    for line in report_lines(report_of_listing(release, listing)):
        console.print(f"flow-images {release}: {line}")
