"""DFME (Zhao et al., IEEE TAC 2024): dynamic facial micro-expressions at 200, 300 and 500 fps.

::

    <any name with DFME or train>.xlsx or .csv     (Subject, Filename, OnsetFrame, ..., Emotion, Fps, AU)
    <subject>/<clip>/<frame>.jpg                   (or below a folder named train, frames or DFME)

The training sheet has 1,856 rows. Frames are taken by the sheet's numbers, or, where a folder holds just as
many files in a row, from 0 or 1 on, as there are from onset to offset, in order. Written from descriptions of
the sheet; the folders are a guess that follows the sheet's columns, and the reader has not met the real release.
"""

from __future__ import annotations

import re
from pathlib import Path

from prep.releases.base import ACTION_UNITS, COLUMNS, Annotations, Listing, annotate, own_rows
from prep.releases.folders import add_clips, first_folder, subfolder
from prep.releases.sheets import find_sheet, read_sheet

__all__ = ["annotations_of", "read"]

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "others", "sadness", "surprise")


def annotations_of(sheet: Path, release: str = "dfme") -> Annotations:
    """Read the sheet alone. Frames per second are kept as what a clip carries beside its place."""
    result = Annotations(release, "dfme", sheet.name)
    table = own_rows(result, sheet, read_sheet(sheet, COLUMNS, {"place": ("Fps",), **ACTION_UNITS}))
    annotate(result, table, emotions=EMOTIONS, same={"other": "others"})
    return result


def read(root: Path, release: str = "dfme") -> Listing:
    """Read DFME from its folder.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    patterns = (f"*{name}*.{kind}" for name in ("DFME", "train") for kind in ("xlsx", "xls", "csv"))
    found = annotations_of(find_sheet(root, *patterns))
    frames = first_folder(root, "train", "frames", "DFME")
    listing = Listing.of(found)
    add_clips(listing, found, root, lambda clip: subfolder(frames, clip.subject, clip.clip), fps=None, trimmed=True)
    rates = {f"{found.dataset}/{clip.subject}/{clip.clip}": clip.place for clip in found.clips}
    for row in listing.clips:
        rate = rates[row["clip_id"]]
        row["fps"] = float(rate) if re.fullmatch(r"[0-9]{1,5}(\.[0-9]*)?", rate) and float(rate) else None
    return listing
