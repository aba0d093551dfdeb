"""CAS(ME)^3, part A (Li et al., IEEE TPAMI 2023), 30 fps.

::

    cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx
    spNO.1/a/color/355.jpg

A video holds several micro-expressions; a clip is therefore named by video and onset, `a_355`. Frames count from 0.
Depth images are not read. The authors say that lost frames are normal; `index.lost_frames` keeps such clips. Written
from the real sheet and descriptions of the folders.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import KnownCounts, Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips, first_folder, subfolder
from fdpbench.prep.releases.common.videos import ClipVideos
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="casme3_a",
    kind="frames",
    about="CAS(ME)^3, part A (Li et al. 2023), 860 clips of 94 subjects",
    expects="the folder that holds cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx and spNO.1/a/color/...",
    class_maps={
        "casme3_4": {
            "negative": ("anger", "disgust", "fear", "sad"),
            "others": ("others",),
            "positive": ("happy",),
            "surprise": ("surprise",),
        },
        "casme3_7": one_each("anger", "disgust", "fear", "happy", "others", "sad", "surprise"),
    },
    known_counts=(
        KnownCounts(
            "v2",
            94,
            {"anger": 64, "disgust": 250, "fear": 86, "happy": 55, "others": 161, "sad": 57, "surprise": 187},
        ),
    ),
    longest=4.0,
)

FPS = 30.0
EMOTIONS = ("anger", "disgust", "fear", "happy", "others", "sad", "surprise")
SAME = {"other": "others", "happiness": "happy", "sadness": "sad"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "casme3_a", sheet.name)
    table = rows_of(result, sheet)
    table["place"] = table["recording"]
    table["clip"] = [
        f"{video}_{onset}" if video.strip(".") else video  # no name of a folder: rejected by `annotate`
        for video, onset in zip(table["place"], table["onset"], strict=True)
    ]
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME, zero_is_missing=False)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read part A from the folder that holds its sheet and its subjects; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, "*part?A?ME*", "*part?A*"))
    frames = first_folder(root, "part_A", "Part_A_ME_clip/frame", "part_A_ME_clip/frame")

    def folder(clip: Annotation) -> Path:
        return subfolder(frames, clip.subject, clip.place, "color")

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, lost_frames=lost_frames, videos=ClipVideos(RELEASE.name, root, first=0))
    return listing
