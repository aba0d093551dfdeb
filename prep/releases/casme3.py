"""CAS(ME)^3 (Li et al., IEEE TPAMI 2023), 30 fps: part A, and part C, each a release of its own here.

::

    cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx       CAS(ME)3_part_C_ME.xlsx
    spNO.1/a/color/355.jpg                          01/a/color/1.jpg   or   01/color/1.jpg

A video of part A holds several micro-expressions; a clip is therefore named by video and onset, `a_355`.
Frames count from 0. Part C has no apex, and emotions of its own: negative, positive, surprise, others. Depth images
are not read. The authors say that lost frames are normal in part A; `index.lost_frames` keeps such clips. Part A is
written from its real sheet and descriptions of its folders; part C from descriptions, its emotions from its public
sheet.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.folders import FolderProblem, add_clips, first_folder, subfolder
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import COLUMNS, annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered
from fdpbench.prep.store.schema import Reason

__all__ = ["annotations_of", "read"]

FPS = 30.0
EMOTIONS = {
    "casme3_a": ("anger", "disgust", "fear", "happy", "others", "sad", "surprise"),
    "casme3_c": ("negative", "others", "positive", "surprise"),
}
SAME = {"other": "others", "happiness": "happy", "sadness": "sad"}

SHEETS = {
    "casme3_a": ("*part?A?ME*", "*part?A*"),
    "casme3_c": ("*part?C?ME*", "*part?C*"),
}
FOLDERS = {"casme3_a": ("part_A", "Part_A_ME_clip/frame", "part_A_ME_clip/frame"), "casme3_c": ("part_C",)}


def annotations_of(sheet: Path, release: str) -> Annotations:
    """Read the sheet of one part alone."""
    result = Annotations(release, release, sheet.name)
    if release == "casme3_a":
        table = rows_of(result, sheet)
        table["place"] = table["recording"]
        table["clip"] = [
            f"{video}_{onset}" if video.strip(".") else video  # no name of a folder: rejected by `annotate`
            for video, onset in zip(table["place"], table["onset"], strict=True)
        ]
    else:
        table = rows_of(result, sheet, [name for name in COLUMNS if name != "apex"])
        table["subject"] = table["subject"].map(lambda text: numbered(text, "{:02d}"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS[release], same=SAME, zero_is_missing=False)
    return result


def read(root: Path, release: str, lost_frames: LostFrames = "reject") -> Listing:
    """Read one part of CAS(ME)^3 from the folder that holds its sheet and its subjects.

    `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, *SHEETS[release]), release)
    frames = first_folder(root, *FOLDERS[release])

    def folder(clip: Annotation) -> Path:
        subject = subfolder(frames, clip.subject)
        if clip.place:
            return subfolder(subject, clip.place, "color")
        places = [path for path in (subject / "color", *sorted(subject.glob("*/color"))) if path.is_dir()]
        if len(places) != 1:
            raise FolderProblem(Reason.MISSING_FOLDER, f"{len(places)} folders 'color' in {subject.name}, expected one")
        return places[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, lost_frames=lost_frames)
    return listing
