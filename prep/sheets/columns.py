"""Names under which the columns of annotation sheets are seen: one table for all readers.

Copies of a sheet in circulation name their columns otherwise than the authors did, mostly after another release's
sheet. Any name here is therefore taken for any release; which release a sheet belongs to is told by how it names its
clips (`prep.sheets.names`) and by the few columns that one release alone has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["ALIASES", "MORE", "fold", "own_column", "place_columns"]

# Expressions that a row may hold beside its first: their marks are columns of their own.
MORE = (2, 3, 4, 5)

# Our name of a column -> its names in sheets, compared as `fold` writes them; of several the first counts.
ALIASES: dict[str, tuple[str, ...]] = {
    "subject": ("Subject", "Sub", "Subject ID", "sub_ID", "Subject No", "Subject Number", "Participant", "Person"),
    "clip": (
        "Filename", "Clip", "Clip Name", "Filename o", "fold_name", "Folder", "Video", "Video Name", "Material", "File",
        "Sample", "count",
    ),
    "onset": ("OnsetFrame", "Onset", "OnsetF", "OnsetF1", "Onset1F", "Onset Index", "StartFrame", "Start"),
    "apex": ("ApexFrame", "Apex", "ApexF", "ApexF1", "Apex1F", "Apex Index", "PeakFrame", "Peak"),
    "offset": ("OffsetFrame", "Offset", "OffsetF", "OffsetF1", "Offset1F", "Offset Index", "EndFrame", "End"),
    "emotion": (
        "Estimated Emotion", "Emotion", "Emotions", "Emotion Label", "Emotion Class", "Emotion Category", "Label",
        "Labels", "Expression Label", "Class",
    ),
    "action_units": ("Action Units", "Action Unit", "AUs", "AU"),
    "fps": ("Fps", "Frame Rate", "Frames Per Second"),
    "dataset": ("Data", "Dataset", "Database", "Source"),
    "path": ("Paths", "Path"),
    **{
        f"{mark}{k}": tuple(form.format(mark, k) for form in ("{0}{1}F", "{0}F{1}", "{0}{1}", "{0}Frame{1}"))
        for k in MORE
        for mark in ("onset", "apex", "offset")
    },
}  # fmt: skip

# Columns that the sheet of one release alone has.
_ONLY = {"foldname": "fourdme", "count": "casme3_c"}


def fold(name: object) -> str:
    """Write a name without case, spaces, underscores, dots, hyphens and brackets, in Unicode's compatibility form."""
    return re.sub(r"[\s_.\-()\[\]]", "", unicodedata.normalize("NFKC", str(name))).lower()


def place_columns(cells: Iterable[tuple[int, str]], wanted: Iterable[str]) -> dict[str, int | None]:
    """Find columns in a row that may be a header.

    Parameters
    ----------
    cells
        Place and text of each cell.
    wanted
        Keys of `ALIASES`.

    Returns
    -------
    The place of each; None if the row does not hold it. Of two columns of one name the first is meant.
    """
    places: dict[str, int] = {}
    for place, name in cells:
        places.setdefault(fold(name), place)
    return {ours: next((places[fold(name)] for name in ALIASES[ours] if fold(name) in places), None) for ours in wanted}


def own_column(header: str) -> str | None:
    """Name the release whose sheet alone has a column of this name; None if several have."""
    return _ONLY.get(fold(header))
