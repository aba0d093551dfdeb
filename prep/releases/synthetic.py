"""The embedded release, read from disk like any other: image files and an annotation CSV.

::

    annotations.csv
    frames/s01/happiness_1/img001.png
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import ACTION_UNITS, COLUMNS, Annotations, Listing, annotate, own_rows
from prep.releases.folders import add_clips
from prep.releases.sheets import read_sheet

__all__ = ["annotations_of", "read"]

FPS = 200.0


def annotations_of(sheet: Path, release: str = "synthetic") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "synthetic", sheet.name)
    annotate(result, own_rows(result, sheet, read_sheet(sheet, COLUMNS, ACTION_UNITS)))
    return result


def read(root: Path, release: str = "synthetic") -> Listing:
    """Read the embedded release written by `prep.synth`."""
    found = annotations_of(root / "annotations.csv")
    listing = Listing.of(found)
    add_clips(listing, found, root, lambda clip: root / "frames" / clip.subject / clip.clip, FPS, prefix="img")
    return listing
