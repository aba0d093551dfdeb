"""What stage `index` wrote of a release, as later stages read it: apart from the readers of releases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.documents import DocumentError, read_object
from fdpbench.prep.store.schema import MANIFEST

__all__ = ["has_given_crops", "holds_flow_images", "is_simulated", "load_manifest"]


def load_manifest(release: str) -> list[dict[str, object]]:
    """Read the manifest of a release, as rows in order of clip_id."""
    rows: list[dict[str, object]] = shards.read_table(
        paths.manifest(release) / "manifest.parquet", MANIFEST
    ).to_pylist()
    return rows


def holds_flow_images(manifest: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the files of a manifest's clips are flow images, one each, which are no numbered frames."""
    return any(row["frame_numbers"] is None for row in manifest)


def is_simulated(release: str) -> bool:
    """Whether the release that stage `index` read was written by `fdpbench simulate`.

    Raises
    ------
    DocumentError
        If the stage's report cannot be read, or does not say.
    """
    path, cure = paths.manifest(release) / "report.json", "delete it and run `dvc repro`"
    simulated = read_object(path, cure).get("simulated")
    if not isinstance(simulated, bool):
        raise DocumentError(f"{path}: expected simulated: true or false; {cure}")
    return simulated


def has_given_crops(release: str) -> bool:
    """Whether the frames that stage `index` read are the release's own crops of faces (`align.mode: given`)."""
    path, cure = paths.manifest(release) / "report.json", "delete it and run `dvc repro`"
    return read_object(path, cure).get("crops") == "given"
