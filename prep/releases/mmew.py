"""MMEW (Ben et al., IEEE TPAMI 2022), 90 fps, 1920x1080.

::

    MMEW_Micro_Exp.xlsx                            (Subject, Filename, OnsetFrame, ApexFrame, ...)
    Micro_Expression/<emotion>/<clip>/1.jpg

The sheet counts frames of the recording, the folders hold a clip's frames alone, numbered from 1: as many
in a row as the sheet counts, or the clip is left out. Written from descriptions; it has not met the real
release.
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import ACTION_UNITS, COLUMNS, Annotation, Annotations, Listing, annotate, own_rows
from prep.releases.folders import FolderProblem, add_clips, require_folder
from prep.releases.sheets import find_sheet, numbered, read_sheet
from prep.schema import Reason

__all__ = ["annotations_of", "read"]

FPS = 90.0
EMOTIONS = ("anger", "disgust", "fear", "happiness", "others", "sadness", "surprise")


def annotations_of(sheet: Path, release: str = "mmew") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "mmew", sheet.name)
    table = own_rows(result, sheet, read_sheet(sheet, COLUMNS, ACTION_UNITS))
    table["subject"] = table["subject"].map(lambda text: numbered(text, "S{:02d}", "s"))
    # what some copies call repression are the others of the paper
    annotate(result, table, emotions=EMOTIONS, same={"other": "others", "repression": "others"})
    return result


def read(root: Path, release: str = "mmew") -> Listing:
    """Read the micro-expressions of MMEW from its folder.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "MMEW_Micro*.xlsx", "MMEW_Micro*.xls", "MMEW_Micro*.csv"))
    frames = require_folder(root, "Micro_Expression", "MMEW/Micro_Expression")
    folders: dict[str, list[Path]] = {}
    for path in sorted(frames.glob("*/*")):
        folders.setdefault(path.name.casefold(), []).append(path)

    def folder(clip: Annotation) -> Path:
        places = folders.get(clip.clip.casefold(), [])
        if len(places) != 1:
            raise FolderProblem(Reason.MISSING_FOLDER, f"{len(places)} folders {clip.clip} under Micro_Expression/*")
        return places[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, FPS, trimmed=True)
    return listing
