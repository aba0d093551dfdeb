"""SMIC (Li et al., FG 2013): three cameras, each a release of its own here, without apex frames.

::

    SMIC-HS-E_annotation.xlsx                              (one sheet for each camera, or a file for each)
    HS/s03/micro/negative/s03_ne_01/image12345.jpg         (also VIS/, NIR/)

HS runs at 100 fps, VIS and NIR at 25. Subjects and clips are written `s1` and `s01`, `s1_ne_01` and
`s01_ne_01`: here always with two digits. A second layout of the sheet names its columns data, subject,
clip, label, onset_frame, apex_frame, offset_frame; its apex, where it has one, is not from the authors and
is read as given. A clip with more than one micro-expression gives its first. Written from descriptions; it
has not met the real release.
"""

from __future__ import annotations

import re
from pathlib import Path

from prep.releases.base import Annotation, Annotations, Listing, annotate, own_rows
from prep.releases.folders import FolderProblem, add_clips
from prep.releases.sheets import MISSING, ReleaseError, find_sheet, numbered, read_sheet
from prep.schema import Reason

__all__ = ["annotations_of", "read"]

FPS = {"smic_hs": 100.0, "smic_vis": 25.0, "smic_nir": 25.0}
EMOTIONS = ("negative", "positive", "surprise")
KINDS = ("xlsx", "xls", "csv")
NUMBERED = {"0": "negative", "1": "positive", "2": "surprise", "ne": "negative", "po": "positive", "sur": "surprise"}

COLUMNS = {
    "subject": ("Subject", "sub"),
    "clip": ("Filename", "clip"),
    "onset": ("OnsetF", "OnsetFrame", "Onset"),
    "offset": ("OffsetF", "OffsetFrame", "Offset"),
    "emotion": ("Emotion", "label"),
}
OPTIONAL = {
    "apex": ("ApexF", "ApexFrame", "Apex"),
    "second": ("Onset2F",),
    "data": ("data", "dataset"),
    "action_units": ("AU",),
}


def annotations_of(sheet: Path, release: str) -> Annotations:
    """Read the sheet alone, for the camera that the release's name ends with."""
    camera = release.removeprefix("smic_")
    result = Annotations(release, release, sheet.name)
    others = {name.removeprefix("smic_") for name in FPS} - {camera}
    table = read_sheet(sheet, COLUMNS, OPTIONAL, sheet=camera, others=others)
    if table["data"].str.contains("smic", case=False).any():  # the second layout may hold several data sets
        names = table["data"].str.lower()
        table = table[names.str.contains(camera) | (names == "smic")]
        if table.empty:
            found = ", ".join(sorted(set(names)))
            raise ReleaseError(f"{sheet}: no row of camera {camera.upper()}; column data says {found}")
    table = own_rows(result, sheet, table)
    table = table.assign(
        subject=table["subject"].map(lambda text: numbered(text, "s{:02d}", "s")),
        clip=table["clip"].map(clip_name),
    )
    more = table[~table["second"].str.lower().isin(MISSING | {"0"})]
    if len(more):
        result.notes.append(f"{len(more)} clips hold more than one micro-expression; the first of each is read")
    annotate(result, table, emotions=EMOTIONS, same=NUMBERED)
    return result


def read(root: Path, release: str) -> Listing:
    """Read one camera of SMIC from the folder that holds the sheet and the cameras' folders.

    Raises
    ------
    ReleaseError
        If the sheet or the camera's folder is not there.
    """
    camera = release.removeprefix("smic_").upper()
    found = annotations_of(
        find_sheet(root, *(f"SMIC-{name}*annotation*.{kind}" for name in (camera, "HS") for kind in KINDS)),
        release,
    )
    tops = (root / camera, root / f"SMIC-{camera}-E" / camera)
    places = next(filter(None, (sorted(top.glob("*/micro/*/*")) for top in tops)), [])
    folders: dict[str, list[Path]] = {}
    for path in places:
        folders.setdefault(clip_name(path.name), []).append(path)
    if not folders:
        raise ReleaseError(f"{root}: no {camera}/<subject>/micro/<emotion>/<clip> found; link the folder above it")

    def folder(clip: Annotation) -> Path:
        alike = folders.get(clip.clip, [])
        if len(alike) != 1:
            detail = f"{len(alike) or 'no'} folders {clip.clip} under {camera}/*/micro/*, expected one"
            raise FolderProblem(Reason.MISSING_FOLDER, detail)
        return alike[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, FPS[release])
    return listing


def clip_name(text: str) -> str:
    """Write a clip with two digits for its subject: ``s01_ne_01`` for ``s1_ne_01``."""
    match = re.fullmatch(r"s(\d+)(_.+)", text.lower())
    return f"s{int(match.group(1)):02d}{match.group(2)}" if match else text
