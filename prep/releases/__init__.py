"""Readers of releases: folders and annotation sheet -> manifest rows. One file for each release."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from fdpbench.prep.releases.base import Annotations, Listing
from fdpbench.prep.releases.folders import is_simulated
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.tables import ReleaseError

__all__ = ["RELEASES", "Listing", "Release", "ReleaseError", "read_annotations", "read_release", "release_info"]


@dataclass(frozen=True)
class Release:
    """What the project knows of a release before it reads it.

    ``kind`` is ``frames`` (image files of each clip) or ``flow`` (one optical-flow image a clip).
    ``faces_may_be_published`` guards every picture that the project draws; scores on a ``rendered``
    release say nothing about real faces, and the tables say so. ``file`` names the reader under
    `prep/releases`, where it is not the release's own name: some files read several parts of one release.
    """

    name: str
    kind: str
    about: str
    expects: str
    file: str = ""
    faces_may_be_published: bool = False
    rendered: bool = False


_CASME3 = "the folder that holds {sheet} and {folder}"

RELEASES = {
    release.name: release
    for release in (
        Release(
            "synthetic",
            "frames",
            "the embedded release: rendered faces, no licence needed",
            "annotations.csv and frames/s01/..., written by `fdpbench synthesize`",
            faces_may_be_published=True,
            rendered=True,
        ),
        Release(
            "casme2",
            "frames",
            "CASME II (Yan et al. 2014), 255 clips of 26 subjects",
            "the folder that holds CASME2-coding-*.xlsx and CASME2_RAW_selected/sub01/...",
        ),
        Release(
            "samm",
            "frames",
            "SAMM (Davison et al. 2018), 159 clips of 29 subjects",
            "the folder that holds SAMM_Micro_FACS_Codes_v2.xlsx and 006/006_1_2/...",
        ),
        *(
            Release(
                f"smic_{camera.lower()}",
                "frames",
                f"SMIC, camera {camera} (Li et al. 2013)",
                f"the folder that holds SMIC-*_annotation.xlsx and {camera}/s01/micro/negative/... or "
                f"{camera}/s01/s01_ne_01/...",
                file="smic",
            )
            for camera in ("HS", "VIS", "NIR")
        ),
        Release(
            "casme_sq",
            "frames",
            "the micro-expressions of CAS(ME)^2 (Qu et al. 2018), 57 of 14 subjects",
            "the folder that holds CAS(ME)^2code_final.xlsx and rawpic/s15/...",
        ),
        Release(
            "casme3_a",
            "frames",
            "CAS(ME)^3, part A (Li et al. 2023), 860 clips of 94 subjects",
            _CASME3.format(sheet="cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", folder="spNO.1/a/color/..."),
            file="casme3",
        ),
        Release(
            "casme3_c",
            "frames",
            "CAS(ME)^3, part C (Li et al. 2023), 165 clips of 30 subjects, without apex frames",
            _CASME3.format(sheet="CAS(ME)3_part_C_ME.xlsx", folder="01/color/..."),
            file="casme3",
        ),
        Release(
            "mmew",
            "frames",
            "MMEW (Ben et al. 2022), 300 clips of 30 subjects",
            "the folder that holds MMEW_Micro_Exp.xlsx and Micro_Expression/<emotion>/<clip>/...",
        ),
        Release(
            "fourdme",
            "frames",
            "4DME (Li et al. 2023), grey clips",
            "the folder that holds 4DME_Labelling_Micro_release v1.xlsx and gray_micro/<subject>/<clip>/...",
        ),
        Release(
            "dfme",
            "frames",
            "DFME (Zhao et al. 2024), 1,856 clips in its training sheet",
            "the folder that holds the sheet (Subject, Filename, OnsetFrame, ...) and <subject>/<clip>/...",
        ),
        Release(
            "megc2019",
            "frames",
            "MEGC2019 composite from frames (See et al. 2019), 442 clips of 68 subjects",
            "the folder that holds combined_3class_gt.csv and casme2/, samm/, smic_hs/ (folders or links)",
        ),
        Release(
            "megc2019_flow",
            "flow",
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


def read_annotations(name: str, sheet: Path) -> Annotations:
    """Read a release's annotation sheet alone, without frames.

    Raises
    ------
    ReleaseError
        If the release is unknown, or the sheet is not there or not that release's.
    """
    annotations: Annotations = _reader(release_info(name)).annotations_of(sheet, name)
    annotations.simulated = is_simulated(sheet.parent)
    return annotations


def read_release(name: str, root: Path, lost_frames: LostFrames = "reject") -> Listing:
    """Read a release from its folder.

    Parameters
    ----------
    name, root
        The release and its folder.
    lost_frames
        Section ``index`` of params.yaml: what becomes of a clip that lacks frames.

    Raises
    ------
    ReleaseError
        If the folder or its sheet is not there or cannot be read.
    """
    release = release_info(name)
    if not root.is_dir():
        raise ReleaseError(
            f"{root}: folder of release {name!r} not found. Expected {release.expects}. "
            f"Point the project at it: fdpbench link {name} /path/to/the/release"
        )
    listing: Listing = _reader(release).read(root, name, lost_frames)
    listing.simulated |= is_simulated(root)
    if not listing.clips:
        first = "; ".join(f"{row['clip_id']}: {row['detail']}" for row in listing.rejected[:3])
        raise ReleaseError(f"{root}: no clip of {name!r} could be used. Expected {release.expects}. {first}")
    return listing


def _reader(release: Release):  # type: ignore[no-untyped-def]  # a module
    return importlib.import_module(f"prep.releases.{release.file or release.name}")
