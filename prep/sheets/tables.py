"""Annotation sheets as tables with our column names, wherever a release's files and headers put them.

`prep.sheets.workbooks` makes a grid of text of a file, `prep.sheets.columns` knows columns by their names. Here a
release's sheet is found in its folder, and a grid becomes a table whose index is the row's number in the file.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.sheets.columns import ALIASES, fold, own_column, place_columns
from fdpbench.prep.sheets.workbooks import KINDS, read_grids

__all__ = [
    "HEADER_ROWS",
    "Sheet",
    "find_sheet",
    "is_unknown",
    "numbered",
    "read_grids",
    "read_sheet",
    "sheet_table",
    "whole_number",
]

# How sheets write that they do not know a value, beside signs alone (`/`, `-`, `?`) and Excel's errors (`#N/A`).
UNKNOWN = frozenset(
    "na,n/a,n.a.,n.a,nan,nat,none,null,nil,x,unknown,unk,unclear,undefined,missing,not available,not known,no apex,tbd,"
    "-1,-1.0,(none),(unknown),[],无,未知,不详,缺失,没有".split(",")
)

# A header stands within this many rows; SAMM's sheet has 13 rows of prose above its own.
HEADER_ROWS = 60

Sheet: TypeAlias = pd.DataFrame


def find_sheet(root: Path, *names: str, avoid: str = "") -> Path:
    """Find a release's annotation sheet in its folder, or else in the folders in it.

    Parameters
    ----------
    root
        The release's folder.
    names
        Patterns of file names without their suffix, without regard to case, in order of preference. Of several
        files that fit one, a workbook goes before a text file, and the last by name (the newest) before others.
    avoid
        A pattern of names that are sheets of something else.

    Raises
    ------
    ReleaseError
        Naming the patterns and the sheets that are there, if there is no such file.
    """
    others = []
    for folders in ([root], _folders(root)):
        files = [path for folder in folders for path in _sheets(folder)]
        for name in names:
            for kind in KINDS:
                found = [path for path in files if path.suffix.lower() == kind and _fits(path.stem, name)]
                found = [path for path in found if not (avoid and _fits(path.stem, avoid))]
                if found:
                    return max(found, key=lambda path: path.name)
        others += files
    there = f"; other sheets there: {', '.join(path.name for path in others[:5])}" if others else ""
    raise ReleaseError(
        f"{root}: no annotation sheet found; expected {' or '.join(names)} as {', '.join(KINDS)}{there}. Is it "
        "another release, or does the folder above or below hold the sheet?"
    )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _sheets(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:  # a folder that cannot be listed; its clips are listed as left out
        return
    for path in paths:
        if path.suffix.lower() in KINDS and not path.name.startswith(("~", ".")) and path.is_file():
            yield path


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(unicodedata.normalize("NFKC", name).casefold(), pattern.casefold())


def sheet_table(grid: Sheet, columns: Iterable[str], optional: Iterable[str] = ()) -> Sheet | None:
    """Find the header in a grid and take the columns below it.

    Parameters
    ----------
    grid
        From `read_grids`.
    columns
        Columns that must be there, by our names (`prep.sheets.columns`).
    optional
        Columns that may be missing; theirs is empty text then.

    Returns
    -------
    A frame with our column names, rows numbered as in the file, and in ``attrs["header"]`` the sheet's own names;
    None if no row holds all the columns.
    """
    wanted = [*columns, *optional]
    for number, cells in grid.head(HEADER_ROWS).iterrows():
        chosen = place_columns(((place, name) for place, name in cells.items() if name), wanted)
        if all(chosen[ours] is not None for ours in columns):
            below = grid.loc[grid.index > number]
            table = pd.DataFrame(
                {ours: "" if place is None else below[place] for ours, place in chosen.items()}, index=below.index
            )
            table = table[(table != "").any(axis=1)]
            table.attrs["header"] = {ours: cells[place] for ours, place in chosen.items() if place is not None}
            return table
    return None


def read_sheet(
    path: Path,
    columns: Iterable[str],
    optional: Iterable[str] = (),
    release: str = "",
    sheet: str | None = None,
    others: Iterable[str] = (),
    notes: list[str] | None = None,
) -> Sheet:
    """Read an annotation sheet by column names: the first sheet of the file that has them.

    Parameters
    ----------
    path, notes
        See `read_grids`.
    columns, optional
        See `sheet_table`.
    release
        The release whose sheet it should be.
    sheet
        If given, and the workbook has sheets whose names contain this text, only those are considered.
    others
        Texts that name sheets of something else: a workbook's sheets whose names contain one are not
        considered.

    Raises
    ------
    ReleaseError
        If the file cannot be read, no sheet in it has the columns (what was found is named), or it has a column
        that another release alone has.
    """
    columns = list(columns)
    grids = read_grids(path, notes)
    named = {name: grid for name, grid in grids.items() if sheet is not None and fold(sheet) in fold(name)}
    foreign = [name for name in grids if name != path.name and any(fold(other) in fold(name) for other in others)]
    grids = named or {name: grid for name, grid in grids.items() if name not in foreign}
    if foreign and not grids:
        raise ReleaseError(f"{path}: no sheet of {sheet}; the workbook has {', '.join(map(repr, foreign))}")
    for grid in grids.values():
        table = sheet_table(grid, columns, optional)
        if table is None:
            continue
        for name in table.attrs["header"].values():
            owner = own_column(name)
            if release and owner not in (None, release):
                raise ReleaseError(
                    f"{path}: looks like a sheet of {owner}, not of {release}: it has a column {name!r}. Give "
                    f"{release}'s sheet, or read this one as {owner}"
                )
        return table
    rows = [row for grid in grids.values() for row in grid.head(HEADER_ROWS).to_numpy()]
    lacking = min((_lacking(row, columns) for row in rows), key=len, default=columns)
    names = ", ".join(f"{ALIASES[ours][0]!r} (or {', '.join(ALIASES[ours][1:])})" for ours in lacking)
    found = "; ".join(f"{name!r}: {_widest_row(grid)}" for name, grid in grids.items() if len(grid)) or "no cell at all"
    without = (
        " Is it a challenge's test part, without labels? Nothing can be made of it" if lacking == ["emotion"] else ""
    )
    raise ReleaseError(f"{path}: column {names} not found; the sheet has {found}.{without}")


def is_unknown(text: str) -> bool:
    """Whether a cell says that its value is not known: empty, signs alone, ``n/a``, ``unknown``, an error of Excel."""
    return (
        text.lower() in UNKNOWN or bool(re.fullmatch("#[a-z/]+[0-9]?[!?]?", text.lower())) or not re.search(r"\w", text)
    )


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


def _lacking(row: Iterable[str], columns: list[str]) -> list[str]:
    """Columns that a row does not hold."""
    placed = place_columns(enumerate(row), columns)
    return [ours for ours in columns if placed[ours] is None]


def _widest_row(grid: Sheet) -> str:
    rows = (grid.head(HEADER_ROWS) != "").sum(axis=1)
    cells = [cell for cell in grid.loc[rows.idxmax()] if cell]
    return textwrap.shorten(", ".join(cells), 400, placeholder=" ...")
