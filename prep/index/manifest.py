"""The manifest that stage `index` writes, as later stages read it: apart from the readers of releases."""

from __future__ import annotations

from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import MANIFEST

__all__ = ["load_manifest"]


def load_manifest(release: str) -> list[dict[str, object]]:
    """Read the manifest of a release, as rows in order of clip_id."""
    rows: list[dict[str, object]] = shards.read_table(
        paths.manifest(release) / "manifest.parquet", MANIFEST
    ).to_pylist()
    return rows
