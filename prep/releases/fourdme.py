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

from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.folders import add_clips, require_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet

__all__ = ["annotations_of", "read"]

FPS = 60.0


def annotations_of(sheet: Path, release: str = "fourdme") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "fourdme", sheet.name)
    annotate(result, rows_of(result, sheet), fps=FPS, same={"other": "others"})
    return result


def read(root: Path, release: str = "fourdme", lost_frames: LostFrames = "reject") -> Listing:
    """Read 4DME from its folder; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "4DME*Micro*", "4DME*"))
    frames = require_folder(root, "gray_micro")
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return subfolder(frames, clip.subject, clip.recording)

    add_clips(listing, found, root, folder, lost_frames=lost_frames, trimmed=True)
    return listing
