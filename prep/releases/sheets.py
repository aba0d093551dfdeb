"""Annotation sheets as text: workbooks and CSV files, read by column name, never by position.

Releases come with sheets saved by Excel, LibreOffice and scripts: prose above the header, blank columns
and rows, columns in another order, `.xls`, `.xlsx` and `.csv`. Here a sheet becomes a grid of tidy text,
and a grid becomes a table with our column names whose index is the row's number in the file.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import xlrd

__all__ = [
    "MISSING",
    "ReleaseError",
    "Sheet",
    "find_sheet",
    "numbered",
    "read_grids",
    "read_sheet",
    "sheet_table",
    "whole_number",
]

# How sheets write that they do not know a value.
MISSING = frozenset({"", "/", "\\", "-", "--", "?", "na", "n/a", "nan", "none", "null", "x"})

WORKBOOKS = {".xlsx", ".xlsm"}
DELIMITERS = ",;\t"
# A header stands within this many rows; SAMM's sheet has 13 rows of prose above its own.
HEADER_ROWS = 60

Sheet: TypeAlias = pd.DataFrame


class ReleaseError(ValueError):
    """A release cannot be read at all; the message names the file, what was expected, what to do."""


def find_sheet(root: Path, *patterns: str) -> Path:
    """Find a release's annotation sheet: of the first pattern that matches, the last by name (the newest).

    Raises
    ------
    ReleaseError
        Naming the patterns, if there is no such file.
    """
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file() and not path.name.startswith(("~", ".")))
        if found:
            return found[-1]
    raise ReleaseError(
        f"{root}: no annotation sheet found; expected {' or '.join(patterns)}. Is it another release, or does "
        "the folder above or below hold the sheet?"
    )


def read_grids(path: Path) -> dict[str, Sheet]:
    """Read every sheet of a file as a grid of tidy text.

    Parameters
    ----------
    path
        ``.xlsx``, ``.xlsm``, ``.xls`` or ``.csv`` (UTF-8; comma, semicolon or tab).

    Returns
    -------
    For each sheet's name (of a CSV file: its own) a frame of text. Its index counts rows from 1, its
    columns from 0; blank rows are left out. Text is stripped, in Unicode's compatibility form (full-width
    digits become plain ones), with single spaces.

    Raises
    ------
    ReleaseError
        If the file is missing or cannot be read as what its name says.
    """
    if path.is_dir():
        raise ReleaseError(f"{path} is a folder; give the annotation sheet in it")
    if not path.is_file():
        raise ReleaseError(f"{path}: annotation sheet not found, no such file")
    kind = path.suffix.lower()
    if kind not in {*WORKBOOKS, ".xls", ".csv"}:
        raise ReleaseError(f"{path}: a sheet of kind {kind!r} cannot be read; save it as .xlsx or .csv")
    try:
        if kind == ".csv":
            grids = {path.name: _read_csv(path)}
        elif kind == ".xls":
            grids = _read_xls(path)
        else:
            grids = pd.read_excel(
                path, sheet_name=None, header=None, dtype=str, keep_default_na=False, engine="openpyxl"
            )
    except Exception as error:  # pandas, openpyxl and xlrd raise a dozen kinds for a damaged file
        raise ReleaseError(f"{path}: not a readable annotation sheet ({type(error).__name__}: {error})") from error
    return {str(name): _tidy(grid) for name, grid in grids.items()}


def sheet_table(
    grid: Sheet, columns: Mapping[str, tuple[str, ...]], optional: Mapping[str, tuple[str, ...]] | None = None
) -> Sheet | None:
    """Find the header in a grid and take the columns below it.

    Parameters
    ----------
    grid
        From `read_grids`.
    columns
        Our name of each column that must be there -> the names under which it is seen, compared without
        case, spaces, underscores, dots and hyphens.
    optional
        Columns that may be missing; theirs is empty text then.

    Returns
    -------
    A frame with our column names, rows numbered as in the file; None if no row holds all the columns.
    """
    for number, cells in grid.head(HEADER_ROWS).iterrows():
        places = {_fold(name): place for place, name in reversed(list(cells.items())) if name}
        chosen = {
            ours: next((places[_fold(name)] for name in names if _fold(name) in places), None)
            for ours, names in {**columns, **(optional or {})}.items()
        }
        if all(chosen[ours] is not None for ours in columns):
            below = grid.loc[grid.index > number]
            table = pd.DataFrame(
                {ours: "" if place is None else below[place] for ours, place in chosen.items()}, index=below.index
            )
            return table[(table != "").any(axis=1)]
    return None


def read_sheet(
    path: Path,
    columns: Mapping[str, tuple[str, ...]],
    optional: Mapping[str, tuple[str, ...]] | None = None,
    sheet: str | None = None,
    others: Iterable[str] = (),
) -> Sheet:
    """Read an annotation sheet by column names: the first sheet of the file that has them.

    Parameters
    ----------
    path, columns, optional
        See `read_grids` and `sheet_table`.
    sheet
        If given, and the workbook has sheets whose names contain this text, only those are considered.
    others
        Texts that name sheets of something else: a workbook's sheets whose names contain one are not
        considered.

    Raises
    ------
    ReleaseError
        If the file cannot be read, or no sheet in it has the columns; what was found is named.
    """
    grids = read_grids(path)
    named = {name: grid for name, grid in grids.items() if sheet is not None and _fold(sheet) in _fold(name)}
    foreign = [name for name in grids if name != path.name and any(_fold(other) in _fold(name) for other in others)]
    grids = named or {name: grid for name, grid in grids.items() if name not in foreign}
    if foreign and not grids:
        raise ReleaseError(f"{path}: no sheet of {sheet}; the workbook has {', '.join(map(repr, foreign))}")
    for grid in grids.values():
        table = sheet_table(grid, columns, optional)
        if table is not None:
            return table
    rows = (row for grid in grids.values() for row in grid.head(HEADER_ROWS).to_numpy())
    lacking = min((_lacking(row, columns) for row in rows), key=len, default=[names[0] for names in columns.values()])
    found = "; ".join(f"{name!r}: {_widest_row(grid)}" for name, grid in grids.items() if len(grid)) or "no cell at all"
    raise ReleaseError(f"{path}: column {', '.join(map(repr, lacking))} not found; the sheet has {found}")


def whole_number(text: str) -> int | None:
    """Return a whole number written as ``46`` or ``46.0``; None for anything else (``/``, empty, 4.5)."""
    match = re.fullmatch(r"([+-]?[0-9]{1,9})(\.0*)?", text)
    return int(match.group(1)) if match else None


def numbered(text: str, form: str, prefix: str = "") -> str:
    """Write a subject one way, whether a sheet has it as a number or as text.

    Parameters
    ----------
    text
        A cell.
    form
        How the number is written, such as ``sub{:02d}``.
    prefix
        What may stand before the number, in either case.

    Returns
    -------
    The text itself if it is no number.
    """
    bare = text[len(prefix) :] if text.lower().startswith(prefix) else text
    number = whole_number(bare)
    return text if number is None else form.format(number)


def _read_csv(path: Path) -> Sheet:
    text = path.read_bytes().decode("utf-8-sig")
    delimiter = max(DELIMITERS, key=text.count)  # over all rows: prose above the header holds commas of its own
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    width = max(map(len, rows), default=0)
    return pd.DataFrame([row + [""] * (width - len(row)) for row in rows], dtype=str)


def _read_xls(path: Path) -> dict[str, Sheet]:
    # not by pandas, which gives up this format
    with xlrd.open_workbook(path, logfile=io.StringIO()) as book:
        return {
            sheet.name: pd.DataFrame([[_old_cell(cell) for cell in row] for row in sheet.get_rows()], dtype=str)
            for sheet in book
        }


def _old_cell(cell: xlrd.sheet.Cell) -> str:
    """Text of a cell; this format knows no whole numbers, so that 46 is stored as 46.0."""
    if cell.ctype == xlrd.XL_CELL_NUMBER and float(cell.value).is_integer():
        return str(int(cell.value))
    return "" if cell.ctype == xlrd.XL_CELL_ERROR else str(cell.value)


def _tidy(grid: Sheet) -> Sheet:
    tidy = grid.map(lambda cell: " ".join(unicodedata.normalize("NFKC", str(cell)).split()))
    tidy.index = pd.RangeIndex(1, len(tidy) + 1)
    tidy.columns = pd.RangeIndex(len(tidy.columns))
    return tidy[(tidy != "").any(axis=1)]


def _fold(name: object) -> str:
    return re.sub(r"[\s_.\-]", "", unicodedata.normalize("NFKC", str(name))).lower()


def _lacking(row: Iterable[str], columns: Mapping[str, tuple[str, ...]]) -> list[str]:
    """First names of the columns that a row does not hold."""
    cells = {_fold(cell) for cell in row}
    return [names[0] for names in columns.values() if not cells & {_fold(name) for name in names}]


def _widest_row(grid: Sheet) -> str:
    rows = (grid.head(HEADER_ROWS) != "").sum(axis=1)
    cells = [cell for cell in grid.loc[rows.idxmax()] if cell]
    return ", ".join(cells)
