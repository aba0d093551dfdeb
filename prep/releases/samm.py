"""SAMM (Davison et al., IEEE TAC 2018), 200 fps, 2040x1088, grey.

::

    SAMM_Micro_FACS_Codes_v2.xlsx              (sheet MICRO_ONLY, prose above the header)
    006/006_1_2/006_05562.jpg

`Other` and `Others` are one emotion. Some copies order the columns otherwise. Written from descriptions of
the release and its real sheet; it has met the sheet, not the frames.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import KnownCounts, Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips, first_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="samm",
    kind="frames",
    about="SAMM (Davison et al. 2018), 159 clips of 29 subjects",
    expects="the folder that holds SAMM_Micro_FACS_Codes_v2.xlsx and 006/006_1_2/...",
    class_maps={
        "samm_5": one_each("anger", "contempt", "happiness", "other", "surprise"),
        "samm_3": {
            "negative": ("anger", "contempt", "disgust", "fear", "sadness"),
            "positive": ("happiness",),
            "surprise": ("surprise",),
        },
    },
    known_counts=(
        KnownCounts(
            "v2",
            29,
            {
                "anger": 57, "contempt": 12, "disgust": 9, "fear": 8, "happiness": 26, "other": 26, "sadness": 6,
                "surprise": 15,
            },
        ),
    ),
)  # fmt: skip

FPS = 200.0
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "other", "sadness", "surprise")
SAME = {"others": "other", "happy": "happiness", "sad": "sadness"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "samm", sheet.name)
    table = rows_of(result, sheet)
    table["subject"] = table["subject"].map(lambda text: numbered(text, "{:03d}"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
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
