"""CAS(ME)^2 (Qu et al., IEEE TAC 2018), 30 fps: its micro-expressions, cut from the long videos.

::

    CAS(ME)^2code_final.xlsx                                   (no header; three sheets)
    rawpic/s15/15_0101disgustingteeth/img001.jpg           (or rawvideo/s15/15_0101disgustingteeth.avi)

The first sheet has a row for each expression: subject number, video (`anger1_1`: the stimulus and which
expression on it), onset, apex, offset (0 where unknown), action units, emotion, macro- or micro-expression,
self-reported emotion. Sheet "naming rule1" gives a subject number's folder (`s15`), "naming rule2" a
stimulus' number (101 for `disgust1`), which the folder of a video begins with: `15_0101...`. Having no
header, the columns are told by what they hold. A macro-expression is listed as left out; so is a
micro-expression without an offset, whose end nobody knows. Written from descriptions; it has not met the
frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fdpbench.prep.releases import KnownCounts, Release, ReleaseError, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import FolderProblem, add_clips, require_folder, subfolder
from fdpbench.prep.releases.common.videos import is_video
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import annotate
from fdpbench.prep.sheets.tables import Sheet, find_sheet, read_grids, whole_number
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="casme_sq",
    kind="frames",
    about="the micro-expressions of CAS(ME)^2 (Qu et al. 2018), 57 of 14 subjects",
    expects="the folder that holds CAS(ME)^2code_final.xlsx and rawpic/s15/...",
    class_maps={"casme_sq_4": one_each("negative", "others", "positive", "surprise")},
    known_counts=(KnownCounts("final", 14, {"negative": 21, "others": 19, "positive": 8, "surprise": 9}),),
    longest=4.0,
)

FPS = 30.0
EMOTIONS = ("negative", "others", "positive", "surprise")
COLUMNS = ("number", "clip", "onset", "apex", "offset", "action_units", "emotion", "kind")


def annotations_of(sheet: Path) -> Annotations:
    """Read the workbook alone."""
    result = Annotations(RELEASE.name, "casme_sq", sheet.name)
    grids = read_grids(sheet, result.notes)
    rows = [row for grid in grids.values() for row in _expressions(grid)]
    if not rows:
        raise ReleaseError(
            f"{sheet}: no row holds a subject number, a video such as anger1_1, three frame numbers and "
            "micro-expression or macro-expression; expected the workbook CAS(ME)^2code_final.xlsx"
        )
    subjects, stimuli = _subjects(grids), _stimuli(grids)
    micro = []
    for row in rows:
        where = f"row {row['row']}"
        subject = subjects.get(whole_number(row["number"]))
        stimulus = stimuli.get(row["clip"].rpartition("_")[0].lower())
        if row["kind"].lower().startswith("macro"):
            name = f"{row['clip']}_{row['onset']}"
            result.reject(subject or row["number"], name, Reason.MACRO_EXPRESSION, where)
        elif subject is None or stimulus is None:
            rule = "subject number by naming rule1" if subject is None else "video by naming rule2"
            result.reject(row["number"], row["clip"], Reason.BAD_ROW, f"{where}: no {rule}")
        else:
            micro.append(row | {"subject": subject, "place": f"{subject[1:]}_{stimulus:04d}"})
    if micro:
        table = pd.DataFrame(micro).set_index("row")
        annotate(result, table, fps=FPS, emotions=EMOTIONS, same={"other": "others"})
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the micro-expressions of CAS(ME)^2 from its folder; `add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the workbook or the folder ``rawpic`` is not there.
    """
    found = annotations_of(find_sheet(root, "*code_final*", "CAS(ME)^2*", "CAS(ME)2*"))
    frames = require_folder(root, "rawpic", "rawvideo")

    def folder(clip: Annotation) -> Path:
        subject = subfolder(frames, clip.subject)
        found = sorted(subject.glob(f"{clip.place}*"))
        places = [path for path in found if path.is_dir()] or [path for path in found if is_video(path)]
        if len(places) != 1:
            count = f"{len(places)} folders" if places else "no folder"
            raise FolderProblem(Reason.MISSING_FOLDER, f"{count} {frames.name}/{clip.subject}/{clip.place}*")
        return places[0]

    listing = Listing.of(found)
    add_clips(listing, found, root, folder, lost_frames=lost_frames, prefix="img")
    return listing


def _expressions(grid: Sheet) -> Iterator[dict[str, str]]:
    """Rows of expressions: the kind's cell tells a row, and what stands left of it is known by its place to it."""
    for number, cells in grid.iterrows():
        for place, cell in cells.items():
            if re.fullmatch(r"(micro|macro)-?\s?expression", cell.lower()) and place >= len(COLUMNS) - 1:
                left = cells.loc[place - len(COLUMNS) + 1 : place]
                yield {"row": str(number)} | dict(zip(COLUMNS, left, strict=True))
                break  # what is right of the kind is self-reported, and may say anything


def _subjects(grids: dict[str, Sheet]) -> dict[int | None, str]:
    """Naming rule 1: subject number -> folder. In each row the folder is `s` and digits, the number the last one."""
    rule: dict[int | None, str] = {}
    for grid in grids.values():
        for _, cells in grid.iterrows():
            folders = [cell.lower() for cell in cells if re.fullmatch(r"[sS]\d+", cell)]
            numbers = [number for cell in cells if (number := whole_number(cell)) is not None]
            if len(folders) == 1 and numbers:
                rule[numbers[-1]] = folders[0]
    return rule


def _stimuli(grids: dict[str, Sheet]) -> dict[str, int]:
    """Naming rule 2: stimulus -> number. In each row there is one number of three digits and one name."""
    rule: dict[str, int] = {}
    for grid in grids.values():
        for _, cells in grid.iterrows():
            filled = [cell for cell in cells if cell]
            names = [cell.lower() for cell in filled if re.fullmatch(r"[A-Za-z]+\d+", cell)]
            numbers = [number for cell in filled if (number := whole_number(cell)) is not None and number >= 100]
            if len(filled) == 2 and len(names) == len(numbers) == 1:
                rule[names[0]] = numbers[0]
    return rule
