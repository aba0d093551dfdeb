"""The embedded release, read from disk like any other: image files and an annotation CSV.

::

    annotations.csv
    frames/s01/happiness_1/img001.png
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import COLUMNS, Listing, add_rows, read_sheet

__all__ = ["read"]

FPS = 200.0


def read(root: Path) -> Listing:
    """Read the embedded release written by `prep.synth`."""
    listing = Listing("synthetic")
    sheet = read_sheet(root / "annotations.csv", COLUMNS)
    add_rows(listing, sheet, root, lambda subject, clip: root / "frames" / subject / clip, "img*.png", FPS)
    return listing
