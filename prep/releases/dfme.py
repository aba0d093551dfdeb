"""DFME (Zhao et al., IEEE TAC 2024): dynamic facial micro-expressions at 200, 300 and 500 fps.

::

    <any name with DFME or train>.xlsx or .csv     (Subject, Filename, OnsetFrame, ..., Emotion, Fps, AU)
    <subject>/<clip>/<frame>.jpg                   (or below a folder named train, frames or DFME)

The training sheet has 1,856 rows. Frames are taken by the sheet's numbers, or, where a folder holds just as
many files in a row, from 0 or 1 on, as there are from onset to offset, in order. Written from descriptions of
the sheet; the folders are a guess that follows the sheet's columns, and the reader has not met the real release.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips, first_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="dfme",
    kind="frames",
    about="DFME (Zhao et al. 2024), 1,856 clips in its training sheet",
    expects="the folder that holds the sheet (Subject, Filename, OnsetFrame, ...) and <subject>/<clip>/...",
    class_maps={"dfme_7": one_each("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")},
    longest=4.0,
)

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "others", "sadness", "surprise")
SAME = {"other": "others", "happy": "happiness", "sad": "sadness", "angry": "anger"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "dfme", sheet.name)
    annotate(result, rows_of(result, sheet), fps=None, emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read DFME from its folder; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, "*DFME*train*", "*train*", "*DFME*", avoid="*test*"))
    frames = first_folder(root, "train", "frames", "DFME")
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return subfolder(frames, clip.subject, clip.recording)

    add_clips(listing, found, root, folder, lost_frames=lost_frames, trimmed=True)
    return listing
