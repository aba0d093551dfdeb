"""Annotation sheets, written so that the same rows give the same bytes."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import openpyxl

__all__ = ["Cell", "write_csv", "write_workbook"]

Cell = str | int | float | None

# Any fixed moment: openpyxl writes the present one, and so does every zip file.
MOMENT = datetime(2020, 1, 1)


def write_workbook(path: Path, sheets: Mapping[str, Iterable[Sequence[Cell]]]) -> None:
    """Write an .xlsx file.

    Parameters
    ----------
    path
        The file.
    sheets
        Name of each sheet -> its rows; None is an empty cell, text that begins with ``=`` a formula.
    """
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.properties.created = MOMENT
    written = io.BytesIO()
    book.save(written)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                stamp = MOMENT.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
                content = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + stamp, content)
            entry = zipfile.ZipInfo(name, MOMENT.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, content)


def write_csv(path: Path, rows: Iterable[Sequence[Cell]], line_end: str = "\n") -> None:
    """Write a .csv file: UTF-8, commas, one line for each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator=line_end).writerows(rows)
