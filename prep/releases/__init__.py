"""Readers of releases: folders and annotation sheet -> manifest rows. One file for each release."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from prep.releases.base import Listing, ReleaseError

__all__ = ["RELEASES", "Release", "read_release", "release_info"]


@dataclass(frozen=True)
class Release:
    """What the project knows of a release before it reads it.

    ``kind`` is ``frames`` (image files of each clip) or ``flow`` (one optical-flow image a clip).
    ``faces_may_be_published`` guards every picture that the project draws; scores on a ``rendered``
    release say nothing about real faces, and the tables say so.
    """

    name: str
    module: str
    kind: str
    faces_may_be_published: bool
    about: str
    expects: str
    rendered: bool = False


RELEASES = {
    release.name: release
    for release in (
        Release(
            "synthetic",
            "prep.releases.synthetic",
            "frames",
            True,
            "the embedded release: rendered faces, no licence needed",
            "written by `python -m prep synthesize`",
            rendered=True,
        ),
        Release(
            "casme2",
            "prep.releases.casme2",
            "frames",
            False,
            "CASME II (Yan et al. 2014), under licence from its authors",
            "the folder that holds CASME2-coding-*.xlsx and CASME2_RAW_selected/sub01/...",
        ),
        Release(
            "megc2019_flow",
            "prep.releases.megc2019_flow",
            "flow",
            False,
            "MEGC2019 composite as 28x28 optical-flow images, derived from licensed releases",
            "the folder that holds STSNet_whole_norm_u_v_os/ (with its CSV) or three_norm_u_v_os/",
        ),
    )
}


def release_info(name: str) -> Release:
    """Look up a release.

    Raises
    ------
    ReleaseError
        Naming the known releases.
    """
    if name not in RELEASES:
        raise ReleaseError(f"unknown release {name!r}; known releases: {', '.join(RELEASES)}")
    return RELEASES[name]


def read_release(name: str, root: Path) -> Listing:
    """Read a release from its folder.

    Raises
    ------
    ReleaseError
        If the folder or its sheet is not there or cannot be read.
    """
    release = release_info(name)
    if not root.is_dir():
        raise ReleaseError(
            f"{root}: folder of release {name!r} not found. Expected {release.expects}. "
            f"Point the project at it: python -m prep link {name} /path/to/the/release"
        )
    listing: Listing = importlib.import_module(release.module).read(root)
    if not listing.clips:
        first = "; ".join(f"{row['clip_id']}: {row['detail']}" for row in listing.rejected[:3])
        raise ReleaseError(f"{root}: no clip of {name!r} could be used. Expected {release.expects}. {first}")
    return listing
