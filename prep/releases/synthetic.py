"""The embedded release, read from disk like any other: image files and an annotation CSV.

::

    annotations.csv
    frames/s01/happiness_1/img001.png
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="synthetic",
    kind="frames",
    about="the embedded release: rendered faces, no licence needed",
    expects="annotations.csv and frames/s01/..., written by `fdpbench synthesize`",
    class_maps={
        "synthetic_3": {  # those of the MEGC2019 composite
            "negative": ("disgust", "repression"),
            "positive": ("happiness",),
            "surprise": ("surprise",),
        },
        "synthetic": one_each("disgust", "happiness", "repression", "surprise"),
    },
    faces_may_be_published=True,
    rendered=True,
)

FPS = 200.0


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "synthetic", sheet.name)
    annotate(result, rows_of(result, sheet), fps=FPS)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the embedded release written by `prep.demo.synth`; `add_clips` says what ``lost_frames`` does."""
    found = annotations_of(root / "annotations.csv")
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return root / "frames" / clip.subject / clip.recording

    add_clips(listing, found, root, folder, lost_frames=lost_frames, prefix="img")
    return listing
