"""CAS(ME)^3, part C (Li et al., IEEE TPAMI 2023), 30 fps, without apex frames.

::

    CAS(ME)3_part_C_ME.xlsx
    01/a/color/1.jpg   or   01/color/1.jpg

A subject has one recording. Frames count from 0. The emotions are its own: negative, positive, surprise, others. Depth
images are not read. Written from descriptions, the emotions from the public sheet.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import Release, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import FolderProblem, add_clips, first_folder, subfolder
from fdpbench.prep.releases.common.videos import ClipVideos
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import COLUMNS, annotate, rows_of
from fdpbench.prep.sheets.tables import find_sheet, numbered
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="casme3_c",
    kind="frames",
    about="CAS(ME)^3, part C (Li et al. 2023), 165 clips of 30 subjects, without apex frames",
    expects="the folder that holds CAS(ME)3_part_C_ME.xlsx and 01/color/...",
    class_maps={"casme3_c_4": one_each("negative", "others", "positive", "surprise")},
    longest=4.0,
    without_apex=True,
)

FPS = 30.0
EMOTIONS = ("negative", "others", "positive", "surprise")
SAME = {"other": "others"}


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet alone."""
    result = Annotations(RELEASE.name, "casme3_c", sheet.name)
    table = rows_of(result, sheet, [name for name in COLUMNS if name != "apex"])
    table["subject"] = table["subject"].map(lambda text: numbered(text, "{:02d}"))
    annotate(result, table, fps=FPS, emotions=EMOTIONS, same=SAME, zero_is_missing=False)
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read part C from the folder that holds its sheet and its subjects; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the sheet is not there.
    """
    found = annotations_of(find_sheet(root, "*part?C?ME*", "*part?C*"))
    frames = first_folder(root, "part_C")

    def folder(clip: Annotation) -> Path:
        subject = subfolder(frames, clip.subject)
        places = [path for path in (subject / "color", *sorted(subject.glob("*/color"))) if path.is_dir()]
        if len(places) != 1:
            raise FolderProblem(Reason.MISSING_FOLDER, f"{len(places)} folders 'color' in {subject.name}, expected one")
        return places[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, lost_frames=lost_frames, videos=ClipVideos(RELEASE.name, root, first=0))
    return listing
