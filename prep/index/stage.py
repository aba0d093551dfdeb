"""Stage `index`: a raw release becomes a manifest and a list of what was left out."""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.sheet_report import REPORT, report_lines, report_of_listing, write_report
from fdpbench.prep.releases import Listing, ReleaseError, read_release, release_info
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, paths, shards
from fdpbench.prep.store.documents import DocumentError, read_object

__all__ = ["index_release", "is_simulated", "load_manifest", "run", "write_listing"]

REJECT = IndexParams(lost_frames="reject")


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    release = planned.item
    params = section(IndexParams, planned.settings, "index")
    index_release(release, paths.raw(release), paths.manifest(release), params)


def index_release(release: str, root: Path, out: Path, params: IndexParams = REJECT) -> None:
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
    """
    if release_info(release).kind != "frames":
        raise ReleaseError(f"{release!r} is a release of flow images; use `fdpbench flow-images {release}`")
    listing = read_release(release, root, params.lost_frames)
    with open_scratch(f"index-{release}", "whole") as scratch:
        scratch.publish({out: lambda staging: write_listing(release, listing, staging)})
    for line in report_lines(report_of_listing(release, listing)):
        console.print(f"index {release}: {line}")
    if listing.rejected:
        console.print(f"index {release}: all that was left out is in {out / 'rejected.parquet'}")


def write_listing(release: str, listing: Listing, folder: Path) -> None:
    """Write a manifest's folder: what a release holds, what was left out, the report, and their checksums."""
    manifest, rejected = listing.tables()
    shards.write_table(manifest, folder / "manifest.parquet")
    shards.write_table(rejected, folder / "rejected.parquet")
    write_report(report_of_listing(release, listing), folder)
    contents.write_sums(folder)


def is_simulated(release: str) -> bool:
    """Whether the release that the index stage read was written by `fdpbench simulate`.

    Raises
    ------
    ReleaseError
        If the stage's report is not there, or does not say.
    """
    path = paths.manifest(release) / REPORT
    try:
        simulated = read_object(path, "delete it and run `dvc repro`").get("simulated")
    except DocumentError as error:
        raise ReleaseError(f"no report of the stage index that can be read: {error}") from error
    if not isinstance(simulated, bool):
        raise ReleaseError(f"{path}: expected simulated: true or false; delete it and run `dvc repro`")
    return simulated
