"""4DME (Li et al., IEEE TAC 2023), 60 fps: its grey micro-expression clips.

::

    4DME_Labelling_Micro_release v1.xlsx           (sub_ID, fold_name, Emotion, Onset, Apex, Offset, AUs)
    gray_micro/<subject>/<clip>/

A clip may carry two emotions at once (`positive surprise`); the sheet's words are kept in lower case. The
sheet counts frames of the recording, the folders may hold a clip's frames alone: as many in a row, from 0
or 1 on, as the sheet counts. Written from descriptions; it has not met the real release.
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import ACTION_UNITS, Annotations, Listing, annotate
from prep.releases.folders import add_clips, require_folder, subfolder
from prep.releases.sheets import find_sheet, read_sheet

__all__ = ["annotations_of", "read"]

FPS = 60.0
COLUMNS = {
    "subject": ("sub_ID",),
    "clip": ("fold_name",),
    "onset": ("Onset", "Onset frame"),
    "apex": ("Apex", "Apex frame"),
    "offset": ("Offset", "Offset frame"),
    "emotion": ("Emotion",),
}


def annotations_of(sheet: Path, release: str = "fourdme") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "fourdme", sheet.name)
    annotate(result, read_sheet(sheet, COLUMNS, ACTION_UNITS), same={"other": "others"})
    return result


def read(root: Path, release: str = "fourdme") -> Listing:
    """Read 4DME from its folder.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "4DME*Micro*.xlsx", "4DME*Micro*.xls", "4DME*Micro*.csv"))
    frames = require_folder(root, "gray_micro")
    listing = Listing.of(found)
    add_clips(listing, found, root, lambda clip: subfolder(frames, clip.subject, clip.clip), FPS, trimmed=True)
    return listing
