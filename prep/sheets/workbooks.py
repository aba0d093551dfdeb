"""Files of annotation sheets, read row by row within fixed limits: .xlsx, .xls and .csv to grids of tidy text.

A sheet of a few kilobytes can unpack to gigabytes, by intent or because a stray cell stands in its last row. What a
file holds is therefore measured before it is built: bytes on disk and unpacked (counted as they are unpacked, not as
the archive says), elements, rows, columns and the length of a text. The largest sheets known, DFME's, are a tenth of
any limit.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias
from xml.parsers import expat

import openpyxl
import pandas as pd
import xlrd

from fdpbench.prep.releases import ReleaseError

__all__ = ["KINDS", "Grid", "decode", "read_grids"]

MOST_BYTES = 16 * 2**20
MOST_UNPACKED = 48 * 2**20
MOST_PARTS = 1000
MOST_ELEMENTS = 400_000  # cells and their values, and all else
MOST_STYLES = 100_000  # of them in parts that hold no cells, of each of which openpyxl makes an object
MOST_ROWS = 20_000
MOST_COLUMNS = 200
MOST_CHARACTERS = 32_767  # of a cell; Excel's own limit

CHUNK = 2**16
DELIMITERS = ",;\t|"
KINDS = (".xlsx", ".xlsm", ".xls", ".csv")

Grid: TypeAlias = pd.DataFrame

# In Windows-1252 two letters with accents within a word; in GB18030 one sign of those that GB 2312 lists as rare.
_ACCENTS = re.compile(
    rb"(?<![\x80-\xff])(?:(?<=[A-Za-z])[\xd8-\xf6\xf8-\xff][\xc0-\xd6\xd8-\xf6\xf8-\xff](?![\x80-\xff])"
    rb"|[\xd8-\xf6\xf8-\xff][\xc0-\xd6\xd8-\xf6\xf8-\xff](?=[A-Za-z]))"
)

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


class _TooLargeError(ReleaseError):
    """A sheet is beyond a limit; the message names it."""


def read_grids(path: Path, notes: list[str] | None = None) -> dict[str, Grid]:
    """Read every sheet of a file as a grid of tidy text.

    Parameters
    ----------
    path
        ``.xlsx``, ``.xlsm``, ``.xls`` or ``.csv`` (comma, semicolon, tab or bar; UTF-8, UTF-16, GB18030 or
        Windows-1252). A workbook is known by its first bytes, whatever its name ends with.
    notes
        Gets a line if a text file is not UTF-8.

    Returns
    -------
    For each sheet's name (of a CSV file: its own) a frame of text. Its index counts rows from 1, its
    columns from 0; blank rows are left out. Text is stripped, in Unicode's compatibility form (full-width
    digits become plain ones), with single spaces.

    Raises
    ------
    ReleaseError
        If the file is missing, cannot be read as what its name says, or is beyond a limit of this module.
    """
    if path.is_dir():
        raise ReleaseError(f"{path} is a folder; give the annotation sheet in it")
    if not path.is_file():
        raise ReleaseError(f"{path}: annotation sheet not found, no such file")
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise ReleaseError(f"{path}: a sheet of kind {kind!r} cannot be read; save it as .xlsx or .csv")
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _TooLargeError(f"it has {size:,} bytes; the limit is {MOST_BYTES:,}")
        data = path.read_bytes()
        if data.startswith(_ZIP) and kind != ".csv":
            return _read_xlsx(data)
        if data.startswith(_OLE) and kind != ".csv":
            return _read_xls(data)
        if kind == ".csv":
            return {path.name: _read_csv(data, notes)}
        return _read_xls(data) if kind == ".xls" else _read_xlsx(data)
    except _TooLargeError as error:
        raise ReleaseError(
            f"{path}: too large for an annotation sheet: {error}. Save the rows that are meant in a new file"
        ) from None
    except Exception as error:  # openpyxl, expat, zipfile and xlrd raise a dozen kinds for a damaged file
        raise ReleaseError(f"{path}: not a readable annotation sheet ({type(error).__name__}: {error})") from error


def decode(data: bytes) -> tuple[str, str]:
    """Decode a text file, and name its encoding.

    UTF-8 and UTF-16 are told by what they are. Of the two others, GB18030 writes Chinese in pairs of bytes above
    0x7F; Windows-1252 writes single ones, the accents of European words, and seldom two, as in ``Größe``: it is that
    where every pair is a rare sign by itself beside a Latin letter.

    Raises
    ------
    UnicodeDecodeError
        If it is none of the four.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding), encoding.removesuffix("-sig")
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) > len(data) // 4 and min(even, odd) == 0:
        encoding = "utf-16-be" if even else "utf-16-le"
        return data.decode(encoding), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        runs = re.findall(rb"[\x80-\xff]+", data)
        pairs = all(len(run) % 2 == 0 for run in runs)
        encoding = "gb18030" if pairs and len(_ACCENTS.findall(data)) < len(runs) else "cp1252"
        return data.decode(encoding), encoding


def _read_csv(data: bytes, notes: list[str] | None) -> Grid:
    text, encoding = decode(data)
    if notes is not None and encoding != "utf-8":
        notes.append(f"the sheet is not UTF-8 but {encoding}, by its bytes; if a name looks wrong, save it as UTF-8")
    delimiter = max(DELIMITERS, key=lambda sign: (_separators(text, sign), text.count(sign)))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return _grid(enumerate(rows, start=1))


def _separators(text: str, delimiter: str) -> int:
    """How often a sign stands in rows that it cuts into as many cells: at most, over the numbers of cells.

    Prose above the header, decimal commas and commas in cells are not of as many in each row as separators are.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        widths = Counter(len(row) for row in rows if any(cell.strip() for cell in row))
    except csv.Error:  # such as a cell of more than 128 KiB, which the right sign would have cut
        return 0
    return max(((width - 1) * count for width, count in widths.items() if count > 1), default=0)


def _read_xls(data: bytes) -> dict[str, Grid]:
    # not by pandas, which gives up this format; ragged, so that a stray cell does not fill all before it
    with xlrd.open_workbook(file_contents=data, logfile=io.StringIO(), ragged_rows=True) as book:
        return {
            sheet.name: _grid((k + 1, [_old_cell(cell) for cell in row]) for k, row in enumerate(sheet.get_rows()))
            for sheet in book
        }


def _old_cell(cell: xlrd.sheet.Cell) -> str:
    """Text of a cell; this format knows no whole numbers, so that 46 is stored as 46.0."""
    if cell.ctype == xlrd.XL_CELL_NUMBER and float(cell.value).is_integer():
        return str(int(cell.value))
    return "" if cell.ctype == xlrd.XL_CELL_ERROR else str(cell.value)


def _read_xlsx(data: bytes) -> dict[str, Grid]:
    rows, columns = _measure(data)
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    try:
        return {
            sheet.title: _grid(
                (k, [_new_cell(value) for value in row])
                for k, row in enumerate(sheet.iter_rows(max_row=rows, max_col=columns, values_only=True), start=1)
            )
            for sheet in book.worksheets
        }
    finally:
        book.close()


def _new_cell(value: object) -> str:
    """Text of a cell; a number that is whole is written as one, whether stored as 46 or 46.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _measure(data: bytes) -> tuple[int, int]:
    """Last filled row and column over a workbook's sheets.

    Every part is unpacked once, a chunk at a time, so that nothing an archive says of itself is believed: a part that
    unpacks to more than it says fails its checksum here, before a library asks for it whole.
    """
    extent = _Extent()
    unpacked = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        if len(parts) > MOST_PARTS:
            raise _TooLargeError(f"the workbook has {len(parts):,} parts; the limit is {MOST_PARTS:,}")
        for part in parts:
            if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"part {part.filename!r} is packed in a way that workbooks are not")
            text = part.filename.lower().endswith((".xml", ".rels"))
            cells = "/worksheets/" in part.filename or "sharedstrings" in part.filename.lower()
            parser = extent.parser(MOST_ELEMENTS if cells else MOST_STYLES) if text else None
            with archive.open(part) as stream:
                while chunk := stream.read(CHUNK):
                    unpacked += len(chunk)
                    if unpacked > MOST_UNPACKED or part.file_size > MOST_UNPACKED:
                        raise _TooLargeError(f"unpacked it has more than {MOST_UNPACKED:,} bytes, the limit")
                    if parser is not None:
                        parser.Parse(chunk, False)
            if parser is not None:
                parser.Parse(b"", True)
    return extent.row, extent.column


class _Extent:
    """The last filled row and column of worksheets, found in a stream of XML that is not kept."""

    def __init__(self) -> None:
        self.row = self.column = 1
        self._elements = 0

    def parser(self, most: int) -> expat.XMLParserType:
        """Parser for one more part of the workbook, which may have as many elements."""
        self._most = min(self._elements + most, MOST_ELEMENTS)
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        self._row = self._place = self._length = 0
        self._in_cell = False
        return parser

    def _doctype(self, *_: object) -> None:
        raise ValueError("its XML declares a document type, which no workbook has")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > self._most:
            raise _TooLargeError(
                f"it has more cells, styles and other elements than the limit, {MOST_ELEMENTS:,} in all and "
                f"{MOST_STYLES:,} beside the cells"
            )
        self._length = 0
        name = name.rpartition(":")[2]
        if name == "row":
            number = int(attributes.get("r", self._row + 1))
            if number <= self._row:
                raise ValueError(f"row {number} stands behind row {self._row}")
            self._row, self._place = number, 0
        elif name == "c":
            letters = re.match("[A-Za-z]{1,3}", attributes.get("r", ""))
            self._place = _column(letters.group()) if letters else self._place + 1
            self._in_cell = True

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] == "c":
            self._in_cell = False

    def _text(self, text: str) -> None:
        self._length += len(text)
        if self._length > MOST_CHARACTERS:
            raise _TooLargeError(f"a cell has more than {MOST_CHARACTERS:,} characters, the limit")
        if self._in_cell and not text.isspace():
            _check_place(self._row, self._place)
            self.row, self.column = max(self.row, self._row), max(self.column, self._place)


def _column(letters: str) -> int:
    """Number of a column: A is 1, XFD is 16,384."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _check_place(row: int, column: int) -> None:
    if row > MOST_ROWS or column > MOST_COLUMNS:
        raise _TooLargeError(
            f"a cell in row {row:,}, column {column:,}; the limit is {MOST_ROWS:,} rows and {MOST_COLUMNS} columns"
        )


def _grid(rows: Iterable[tuple[int, Sequence[str]]]) -> Grid:
    """Frame of the rows that are not blank, tidied, as wide as the widest."""
    tidy = dict(_filled(rows))
    width = max(map(len, tidy.values()), default=0)
    return pd.DataFrame(
        [cells + [""] * (width - len(cells)) for cells in tidy.values()],
        index=pd.Index(list(tidy), dtype="int64"),
        columns=pd.RangeIndex(width),
        dtype=str,
    )


def _filled(rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, list[str]]]:
    for number, row in rows:
        last = next((place for place in range(len(row), 0, -1) if row[place - 1] and not row[place - 1].isspace()), 0)
        if not last:
            continue
        _check_place(number, last)
        cells = []
        for cell in row[:last]:
            if len(cell) > MOST_CHARACTERS:
                raise _TooLargeError(f"row {number} has a cell of {len(cell):,} characters; the limit is 32,767")
            cells.append(" ".join(unicodedata.normalize("NFKC", cell).split()))
        if any(cells):
            yield number, cells
