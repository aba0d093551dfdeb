"""Stage `index`: a raw release becomes a manifest and a list of what was left out."""

from __future__ import annotations

from pathlib import Path

from prep import contents, paths, shards
from prep.progress import console
from prep.releases import ReleaseError, read_release, release_info
from prep.schema import MANIFEST
from prep.scratch import open_scratch
from prep.sheet_report import report_lines, report_of_listing, write_report

__all__ = ["index_release", "load_manifest"]


def index_release(release: str, root: Path, out: Path) -> None:
    """Read a release; write ``manifest.parquet``, ``rejected.parquet``, ``report.json`` and their checksums.

    Parameters
    ----------
    release
        Name of a known release.
    root
        Its folder.
    out
        Folder to write into.
    """
    if release_info(release).kind != "frames":
        raise ReleaseError(f"{release!r} is a release of flow images; use `python -m prep flow-images {release}`")
    listing = read_release(release, root)
    manifest, rejected = listing.tables()
    report = report_of_listing(release, listing)

    def build(staging: Path) -> None:
        shards.write_table(manifest, staging / "manifest.parquet")
        shards.write_table(rejected, staging / "rejected.parquet")
        write_report(report, staging)
        contents.write_sums(staging)

    with open_scratch(f"index-{release}", "whole") as scratch:
        scratch.publish({out: build})
    for line in report_lines(report):
        console.print(f"index {release}: {line}")
    if rejected.num_rows:
        console.print(f"index {release}: all that was left out is in {out / 'rejected.parquet'}")


def load_manifest(release: str) -> list[dict[str, object]]:
    """Read the manifest of a release, as rows in order of clip_id."""
    rows: list[dict[str, object]] = shards.read_table(
        paths.manifest(release) / "manifest.parquet", MANIFEST
    ).to_pylist()
    return rows
