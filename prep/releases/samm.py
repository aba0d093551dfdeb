"""SAMM (Davison et al., IEEE TAC 2018), 200 fps, 2040x1088, grey.

::

    SAMM_Micro_FACS_Codes_v2.xlsx              (sheet MICRO_ONLY, prose above the header)
    006/006_1_2/006_05562.jpg

`Other` and `Others` are one emotion. Some copies order the columns otherwise. Written from descriptions of
the release and its real sheet; it has met the sheet, not the frames.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.folders import add_clips, first_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered

__all__ = ["annotations_of", "read"]

FPS = 200.0
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "other", "sadness", "surprise")
SAME = {"others": "other", "happy": "happiness", "sad": "sadness"}


def annotations_of(sheet: Path, release: str = "samm") -> Annotations:
    """Read the sheet alone."""
    result = Annotations(release, "samm", sheet.name)
    table = rows_of(result, sheet)
    table["subject"] = table["subject"].map(lambda text: numbered(text, "{:03d}"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, release: str = "samm", lost_frames: LostFrames = "reject") -> Listing:
    """Read SAMM from its folder; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, "SAMM*FACS_Codes*", "SAMM*", avoid="*long*"))
    frames = first_folder(root, "SAMM", "SAMM_MICRO")
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return subfolder(frames, clip.subject, clip.recording)

    add_clips(listing, found, root, folder, lost_frames=lost_frames)
    return listing
