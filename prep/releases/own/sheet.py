"""The sheet of a data set of one's own: columns by the names that params.yaml maps, cells as people write them."""

from __future__ import annotations

import math
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pandas as pd

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.releases.common.base import Annotations
from fdpbench.prep.settings.problems import near
from fdpbench.prep.settings.release import COLUMNS, FolderRelease
from fdpbench.prep.sheets.columns import fold
from fdpbench.prep.sheets.rows import annotate
from fdpbench.prep.sheets.tables import HEADER_ROWS, Sheet, is_unknown, read_grids
from fdpbench.prep.store.schema import Reason

__all__ = ["annotations_of", "decimal"]

MARKS = ("onset", "apex", "offset")
PER_SECOND = {"seconds": 1, "milliseconds": 1000}


def annotations_of(name: str, settings: FolderRelease, sheet: Path) -> Annotations:
    """Read the sheet alone.

    Times become frame numbers, at the nearest frame. A clip that has several rows with other marks holds several
    expressions; the further ones are named by number (``_2``).

    Raises
    ------
    ReleaseError
        If the sheet cannot be read, or lacks a column that is mapped.
    """
    result = Annotations(name, name, sheet.name)
    table = _mapped(settings, sheet, read_grids(sheet, result.notes))
    rows, places, numbered = [], [], 0
    seen: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        fps = decimal(cells["fps"])
        if not is_unknown(cells["fps"]) and (fps is None or fps <= 0):
            said = f"row {number}: fps {cells['fps']!r}, expected a number"
            result.reject(cells["subject"], cells["clip"], Reason.BAD_ROW, said)
            continue
        fps = fps or (Fraction(str(settings.fps)) if settings.fps else None)
        for mark in MARKS:
            cells[mark] = _frame_number(cells[mark], settings, fps)
        if cells["apex"] == "0" and cells["onset"] != "0" and (cells["onset"] or settings.first_frame):
            cells["apex"] = ""
        recording = cells["clip"].replace("\\", "/").strip("/")
        clip = recording.replace("/", "_")
        marks = tuple(cells[mark] for mark in MARKS)
        there = seen.setdefault((cells["subject"], clip), set())
        if there and marks not in there:
            numbered += 1
            clip = f"{clip}_{len(there) + 1}"
        there.add(marks)
        places.append(number)
        rows.append(cells | {"clip": clip, "recording": recording, "fps": "" if fps is None else str(float(fps))})
    if numbered:
        result.notes.append(f"{numbered} rows are further expressions of a clip with other marks, named by number (_2)")
    table = pd.DataFrame(rows, index=places, columns=[*COLUMNS, "recording"])
    annotate(result, table, fps=settings.fps, zero_is_missing=False, whole_clips=True)
    return result


def decimal(text: str) -> Fraction | None:
    """A number of plain digits with a decimal point or comma; None for anything else."""
    match = re.fullmatch(r"([+-]?[0-9]{1,12})(?:[.,]([0-9]{0,40}))?", text)
    return Fraction(f"{match.group(1)}.{match.group(2) or 0}") if match else None


def _frame_number(cell: str, settings: FolderRelease, fps: Fraction | None) -> str:
    """A mark as a frame number; empty where it is not known, the cell itself where it is no number of this unit."""
    value = decimal(cell)
    if is_unknown(cell):
        return ""
    if settings.unit == "frames":
        return str(int(value)) if value is not None and value.denominator == 1 else cell
    if value is None or fps is None:
        return cell
    return str(math.floor(value / PER_SECOND[settings.unit] * fps + Fraction(1, 2)) + settings.first_frame)


def _mapped(settings: FolderRelease, sheet: Path, grids: dict[str, Sheet]) -> Sheet:
    """The mapped columns, of the first sheet of the file whose header has all of them."""
    wanted = {ours: theirs for ours in COLUMNS if (theirs := getattr(settings.columns, ours)) is not None}
    nearest: list[str] = []
    for grid in grids.values():
        for number, cells in grid.head(HEADER_ROWS).iterrows():
            places = {fold(cell): place for place, cell in reversed(list(cells.items())) if cell}
            found = {ours: places[fold(theirs)] for ours, theirs in wanted.items() if fold(theirs) in places}
            if len(found) == len(wanted):
                below = grid.loc[grid.index > number]
                columns = {ours: below[found[ours]] if ours in found else "" for ours in COLUMNS}
                table = pd.DataFrame(columns, index=below.index)
                return table[(table != "").any(axis=1)]
            names = [cell for cell in cells if cell]
            if Counter(map(fold, names)).keys() & set(map(fold, wanted.values())) and not nearest:
                nearest = names
    nearest = nearest or next(
        ([cell for cell in row if cell] for grid in grids.values() for row in grid.to_numpy()), []
    )
    known = set(map(fold, nearest))
    lacking = [
        f"{ours}: {theirs!r}{near(theirs, nearest)}" for ours, theirs in wanted.items() if fold(theirs) not in known
    ]
    raise ReleaseError(
        f"{sheet}: no row of it holds all the columns that params.yaml maps; not there: {', '.join(lacking)}. Its "
        f"header has {', '.join(nearest) or 'nothing'}"
    )
