"""SAMM (Davison et al., IEEE TAC 2018), 200 fps, 2040x1088, grey.

::

    SAMM_Micro_FACS_Codes_v2.xlsx              (sheet MICRO_ONLY, prose above the header)
    006/006_1_2/006_05562.jpg

`Other` and `Others` are one emotion. Some copies order the columns otherwise. Written from descriptions of
the release and its real sheet; it has met the sheet, not the frames.
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import ACTION_UNITS, COLUMNS, Annotations, Listing, annotate, own_rows
from prep.releases.folders import add_clips, first_folder, subfolder
from prep.releases.sheets import find_sheet, numbered, read_sheet

__all__ = ["annotations_of", "read"]

FPS = 200.0
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "other", "sadness", "surprise")


def annotations_of(sheet: Path, release: str = "samm") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "samm", sheet.name)
    table = own_rows(result, sheet, read_sheet(sheet, COLUMNS, ACTION_UNITS))
    table["subject"] = table["subject"].map(lambda text: numbered(text, "{:03d}"))
    annotate(result, table, emotions=EMOTIONS, same={"others": "other"})
    return result


def read(root: Path, release: str = "samm") -> Listing:
    """Read SAMM from its folder.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, "SAMM*FACS_Codes*.xlsx", "SAMM*FACS_Codes*.xls", "SAMM*FACS_Codes*.csv"))
    frames = first_folder(root, "SAMM", "SAMM_MICRO")
    listing = Listing.of(found)
    add_clips(listing, found, root, lambda clip: subfolder(frames, clip.subject, clip.clip), FPS)
    return listing
