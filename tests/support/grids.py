"""Simulated sheets as grids of cells that a test can spoil and write again, in every form that is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import xlwt

from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import read_annotations
from fdpbench.prep.releases.common.base import Annotations

# The columns of each release's sheet: ours -> the name in the sheet.
COLUMNS: dict[str, dict[str, str]] = {
    "casme2": {
        "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
        "emotion": "Estimated Emotion",
    },
    "samm": {
        "subject": "Subject", "clip": "Filename", "onset": "Onset Frame", "apex": "Apex Frame",
        "offset": "Offset Frame", "emotion": "Estimated Emotion",
    },
    "smic_hs": {
        "subject": "Subject", "clip": "Filename", "onset": "OnsetF", "offset": "OffsetF", "emotion": "Emotion",
    },
    "casme3_a": {
        "subject": "Subject", "clip": "Filename", "onset": "Onset", "apex": "Apex", "offset": "Offset",
        "emotion": "emotion",
    },
    "casme3_c": {"subject": "sub", "clip": "count", "onset": "onset", "offset": "offset", "emotion": "emotion"},
    "mmew": {
        "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
        "emotion": "Estimated Emotion",
    },
    "fourdme": {
        "subject": "sub_ID", "clip": "fold_name", "onset": "Onset", "apex": "Apex", "offset": "Offset",
        "emotion": "Emotion",
    },
    "dfme": {
        "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
        "emotion": "Emotion",
    },
}  # fmt: skip

Row = list[Any]


@dataclass
class Grid:
    """A simulated sheet: all its rows, the header among them, and what a reader finds in it."""

    release: str
    sheet: str
    rows: list[Row]
    others: dict[str, list[Row]]

    @classmethod
    def of(cls, release: str, written: Simulated) -> Grid:
        """Load the first sheet of a simulated release; the others are kept beside it."""
        book = openpyxl.load_workbook(written.sheet)
        first, *others = book.worksheets
        return cls(release, first.title, _rows(first), {sheet.title: _rows(sheet) for sheet in others})

    @property
    def header(self) -> int:
        """Index of the header's row."""
        names = set(COLUMNS[self.release].values())
        return next(index for index, row in enumerate(self.rows) if names <= set(row))

    def place(self, column: str) -> int:
        """Index of a column, by our name for it."""
        return self.rows[self.header].index(COLUMNS[self.release][column])

    def row(self, index: int, **cells: Any) -> Row:
        """A copy of a row with other cells."""
        row = list(self.rows[index])
        for column, value in cells.items():
            row[self.place(column)] = value
        return row

    def number(self, index: int, column: str) -> int:
        """A mark of a row."""
        return int(self.rows[index][self.place(column)])

    def book(self) -> dict[str, list[Row]]:
        """All sheets."""
        return {self.sheet: self.rows, **self.others}


def _rows(sheet: Any) -> list[Row]:
    return [list(row) for row in sheet.iter_rows(values_only=True)]


def write_xlsx(path: Path, sheets: Mapping[str, Iterable[Sequence[Any]]]) -> Path:
    """Write sheets as .xlsx."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def write_xls(path: Path, sheets: Mapping[str, Iterable[Sequence[Any]]]) -> Path:
    """Write sheets as .xls, the form before 2007."""
    book = xlwt.Workbook()
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for i, row in enumerate(rows):
            for j, cell in enumerate(row):
                if cell is not None:
                    sheet.write(i, j, cell)
    book.save(str(path))
    return path


def write_text(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",", bom: bool = False) -> Path:
    """Write one sheet as .csv, as Excel does: with its byte-order mark or not."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    return path


def found(annotations: Annotations) -> dict[str, tuple]:
    """What annotations say of each clip."""
    clips = {
        annotations.clip_id(clip.subject, clip.clip): (clip.onset, clip.apex, clip.offset, clip.emotion)
        for clip in annotations.clips
    }
    assert len(clips) == len(annotations.clips)
    return clips


def reasons(annotations: Annotations) -> list[str]:
    """Reasons of the rows that are left out."""
    return [row["reason"] for row in annotations.rejected]


def read(grid: Grid, path: Path) -> Annotations:
    """Write a grid as a workbook and read it."""
    return read_annotations(grid.release, write_xlsx(path, grid.book()))
