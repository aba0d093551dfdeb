"""CASME II (Yan et al., PLoS ONE 2014), 200 fps, 640x480.

::

    CASME2-coding-20140508.xlsx                 (or another version, .xls or .csv: the newest by name is read)
    CASME2_RAW_selected/sub01/EP02_01f/img46.jpg    (numbers not padded)

The version of 2019 has a column more (Objective Classes) and other emotions for a few clips. Written from
descriptions of the release and its real sheet of 2014; it has met the sheet, not the frames.
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import ACTION_UNITS, COLUMNS, Annotations, Listing, annotate, own_rows
from prep.releases.folders import add_clips, require_folder, subfolder
from prep.releases.sheets import find_sheet, numbered, read_sheet

__all__ = ["annotations_of", "read"]

FPS = 200.0
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")


def annotations_of(sheet: Path, release: str = "casme2") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "casme2", sheet.name)
    table = own_rows(result, sheet, read_sheet(sheet, COLUMNS, ACTION_UNITS))
    table["subject"] = table["subject"].map(lambda text: numbered(text, "sub{:02d}", "sub"))
    annotate(result, table, emotions=EMOTIONS, same={"other": "others"})
    return result


def read(root: Path, release: str = "casme2") -> Listing:
    """Read CASME II from its folder.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "CASME2-coding-*.xlsx", "CASME2-coding-*.xls", "CASME2-coding-*.csv"))
    frames = require_folder(root, "CASME2_RAW_selected", "CASME2-RAW", "CASME2_RAW")
    listing = Listing.of(found)
    add_clips(listing, found, root, lambda clip: subfolder(frames, clip.subject, clip.clip), FPS, prefix="img")
    return listing
