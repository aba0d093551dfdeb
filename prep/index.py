"""Stage `index`: a raw release becomes a manifest and a list of what was left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from prep import paths, shards
from prep.progress import console
from prep.releases import ReleaseError, read_release, release_info
from prep.schema import MANIFEST
from prep.scratch import open_scratch

__all__ = ["index_release", "load_manifest"]


def index_release(release: str, root: Path, out: Path) -> None:
    """Read a release and write ``manifest.parquet`` and ``rejected.parquet``.

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

    def build(staging: Path) -> None:
        shards.write_table(manifest, staging / "manifest.parquet")
        shards.write_table(rejected, staging / "rejected.parquet")

    with open_scratch(f"index-{release}", "whole") as scratch:
        scratch.publish({out: build})
    subjects = len(set(manifest.column("subject").to_pylist()))
    emotions = Counter(manifest.column("emotion").to_pylist())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(emotions.items()))
    for note in listing.notes:
        console.print(f"index {release}: {note}")
    console.print(f"index {release}: {manifest.num_rows} clips of {subjects} subjects ({counts})")
    if rejected.num_rows:
        reasons = Counter(rejected.column("reason").to_pylist())
        text = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        console.print(f"index {release}: left out {rejected.num_rows} ({text}), listed in {out / 'rejected.parquet'}")


def load_manifest(release: str) -> list[dict[str, object]]:
    """Read the manifest of a release, as rows in order of clip_id."""
    rows: list[dict[str, object]] = shards.read_table(
        paths.manifest(release) / "manifest.parquet", MANIFEST
    ).to_pylist()
    return rows
