"""MMEW (Ben et al., IEEE TPAMI 2022), 90 fps, 1920x1080.

::

    MMEW_Micro_Exp.xlsx                            (Subject, Filename, OnsetFrame, ApexFrame, ...)
    Micro_Expression/<emotion>/<clip>/1.jpg

The sheet counts frames of the recording, the folders hold a clip's frames alone, numbered from 1: as many
in a row as the sheet counts, or the clip is left out. In the public copy of the sheet every onset is 1. A clip whose
folder is under another emotion than its row says is left out. Written from descriptions; it has not met the frames.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import KnownCounts, Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import FolderProblem, add_clips, check_emotion, require_folder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="mmew",
    kind="frames",
    about="MMEW (Ben et al. 2022), 300 clips of 30 subjects",
    expects="the folder that holds MMEW_Micro_Exp.xlsx and Micro_Expression/<emotion>/<clip>/...",
    class_maps={"mmew_6": one_each("anger", "disgust", "fear", "happiness", "sadness", "surprise")},
    known_counts=(
        KnownCounts(
            "paper",
            30,
            {"anger": 8, "disgust": 72, "fear": 16, "happiness": 36, "others": 66, "sadness": 13, "surprise": 89},
        ),
    ),
)

FPS = 90.0
EMOTIONS = ("anger", "disgust", "fear", "happiness", "others", "sadness", "surprise")
# what some copies call repression are the others of the paper
SAME = {"other": "others", "repression": "others", "happy": "happiness", "sad": "sadness"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "mmew", sheet.name)
    table = rows_of(result, sheet)
    table["subject"] = table["subject"].map(lambda text: numbered(text, "S{:02d}", "s"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the micro-expressions of MMEW from its folder; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "MMEW_Micro*", "MMEW*"))
    frames = require_folder(root, "Micro_Expression", "MMEW/Micro_Expression")
    folders: dict[str, list[Path]] = {}
    for path in sorted(frames.glob("*/*")):
        folders.setdefault(path.name.casefold(), []).append(path)

    def folder(clip: Annotation) -> Path:
        places = folders.get(clip.recording.casefold(), [])
        if len(places) != 1:
            detail = f"{len(places)} folders {clip.recording} under Micro_Expression/*"
            raise FolderProblem(Reason.MISSING_FOLDER, detail)
        check_emotion(clip, places[0].parent.name, EMOTIONS, SAME)
        return places[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, lost_frames=lost_frames, trimmed=True)
    return listing
