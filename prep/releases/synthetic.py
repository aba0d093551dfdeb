"""The embedded release, read from disk like any other: image files and an annotation CSV.

::

    annotations.csv
    frames/s01/happiness_1/img001.png
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.folders import add_clips
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of

__all__ = ["annotations_of", "read"]

FPS = 200.0


def annotations_of(sheet: Path, release: str = "synthetic") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "synthetic", sheet.name)
    annotate(result, rows_of(result, sheet), fps=FPS)
    return result


def read(root: Path, release: str = "synthetic", lost_frames: LostFrames = "reject") -> Listing:
    """Read the embedded release written by `prep.demo.synth`; `add_clips` says what ``lost_frames`` does."""
    found = annotations_of(root / "annotations.csv")
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return root / "frames" / clip.subject / clip.recording

    add_clips(listing, found, root, folder, lost_frames=lost_frames, prefix="img")
    return listing
