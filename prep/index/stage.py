"""Stage `index`: a raw release becomes a manifest and a list of what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fdpbench.prep.index.sheet_report import report_lines, report_of_listing, write_report
from fdpbench.prep.releases import read_release
from fdpbench.prep.releases.common.base import Listing
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.release import declared
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, paths, shards

__all__ = ["index_release", "run"]

REJECT = IndexParams(lost_frames="reject")


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    release = planned.item
    settings = declared(planned.settings)
    crops = settings.pop("crops", False)
    params = section(IndexParams, settings, "index")
    index_release(release, paths.raw(release), paths.manifest(release), params, crops)


def index_release(release: str, root: Path, out: Path, params: IndexParams = REJECT, crops: bool = False) -> None:
    """Read a release; write ``manifest.parquet``, ``rejected.parquet``, ``report.json`` and their checksums.

    Parameters
    ----------
    release
        Name of a known release.
    root
        Its folder.
    out
        Folder to write into.
    params
        Section ``index`` of params.yaml.
    crops
        Whether the release's own crops are read, since `align.mode` is given.
    """
    listing = read_release(release, root, params.lost_frames, crops)
    report = report_of_listing(release, listing)
    with open_scratch(f"index-{release}", "whole") as scratch:
        scratch.publish({out: lambda staging: _write(listing, report, staging)})
    for line in report_lines(report):
        console.print(f"index {release}: {line}")
    if listing.rejected:
        console.print(f"index {release}: all that was left out is in {out / 'rejected.parquet'}")


def _write(listing: Listing, report: dict[str, Any], folder: Path) -> None:
    manifest, rejected = listing.tables()
    shards.write_table(manifest, folder / "manifest.parquet")
    shards.write_table(rejected, folder / "rejected.parquet")
    write_report(report, folder)
    contents.write_sums(folder)
