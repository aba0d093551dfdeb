"""CASME II (Yan et al., PLoS ONE 2014), 200 fps, 640x480.

::

    CASME2-coding-20140508.xlsx                 (or another version, .xls or .csv: the newest by name is read)
    CASME2_RAW_selected/sub01/EP02_01f/img46.jpg    (numbers not padded)
    Cropped/sub01/EP02_01f/reg_img46.jpg            (the release's own crops, read where there are no raw frames)

The version of 2019 has a column more (Objective Classes) and other emotions for a few clips. Written from
descriptions of the release and its real sheet of 2014; it has met the sheet, not the frames.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import KnownCounts, Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips, require_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered

__all__ = ["RELEASE", "annotations_of", "read"]

_COUNTS = {"disgust": 63, "fear": 2, "happiness": 32, "others": 99, "repression": 27}

RELEASE = Release(
    name="casme2",
    kind="frames",
    about="CASME II (Yan et al. 2014), 255 clips of 26 subjects",
    expects="the folder that holds CASME2-coding-*.xlsx and CASME2_RAW_selected/sub01/...",
    class_maps={
        "casme2_5": one_each("disgust", "happiness", "others", "repression", "surprise"),
        "casme2_3": {"negative": ("disgust", "repression"), "positive": ("happiness",), "surprise": ("surprise",)},
    },
    known_counts=(
        KnownCounts("2014", 26, _COUNTS | {"sadness": 7, "surprise": 25}),
        KnownCounts("2019", 26, _COUNTS | {"sadness": 4, "surprise": 28}),
    ),
    has_crops=True,
)

FPS = 200.0
RAW = ("CASME2_RAW_selected", "CASME2-RAW", "CASME2_RAW", "CASME2/CASME2-RAW")
CROPPED = ("Cropped", "CASME2_Cropped")
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
SAME = {"other": "others", "happy": "happiness", "sad": "sadness"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "casme2", sheet.name)
    table = rows_of(result, sheet)
    table["subject"] = table["subject"].map(lambda text: numbered(text, "sub{:02d}", "sub"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, lost_frames: LostFrames, crops: bool = False) -> Listing:
    """Read CASME II from its folder, or its crops; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    found = annotations_of(find_sheet(root, "CASME2-coding-*", "CASME*2*coding*", "CASME*2*", "CASME*II*"))
    frames = require_folder(root, *(() if crops else RAW), *CROPPED)
    listing = Listing.of(found)

    def folder(clip: Annotation) -> Path:
        return subfolder(frames, clip.subject, clip.recording)

    add_clips(listing, found, root, folder, lost_frames=lost_frames, prefix="img")
    return listing
