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

from fdpbench.prep.releases import Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips, require_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="fourdme",
    kind="frames",
    about="4DME (Li et al. 2023), grey clips",
    expects="the folder that holds 4DME_Labelling_Micro_release v1.xlsx and gray_micro/<subject>/<clip>/...",
    class_maps={"fourdme_5": one_each("negative", "others", "positive", "repression", "surprise")},
    longest=4.0,
)

FPS = 60.0


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "fourdme", sheet.name)
    annotate(result, rows_of(result, sheet), fps=FPS, same={"other": "others"})
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
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
