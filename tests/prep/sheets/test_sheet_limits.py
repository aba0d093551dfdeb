"""Small files that unpack to gigabytes: refused by the limit that they pass, in seconds and little memory."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
import xlwt

from fdpbench.prep.releases import ReleaseError, read_annotations
from fdpbench.prep.sheets import workbooks as limits
from tests.support.grids import write_text, write_xlsx

HEAD = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"]
ROW = ["01", "EP02_01f", 1, 5, 9, "4", "happiness"]

# Address space of the reading process: of pandas and pyarrow alone it takes about half a gigabyte.
MEMORY, SECONDS = 1200 * 2**20, 30

READ = """
import resource, sys, time
from pathlib import Path
from fdpbench.prep.releases import ReleaseError, casme2, read_annotations
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
start = time.monotonic()
try:
    print(len(read_annotations("casme2", Path(sys.argv[1])).clips), "clips")
except ReleaseError as error:
    print(error)
assert time.monotonic() - start < int(sys.argv[3])
"""


def read_within_limits(path: Path) -> str:
    """What a process says that reads a sheet in little memory: the error, or the number of clips."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(MEMORY), str(SECONDS)],
        capture_output=True, text=True, env=os.environ | one, timeout=2 * SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout.strip()


def stray_cell(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEAD)
    sheet.append(ROW)
    sheet["XFD1048576"] = "x"
    book.save(path)


def with_part(path: Path, name: str, begin: bytes, middle: bytes, times: int, end: bytes) -> None:
    """A workbook one of whose parts is replaced by one that is long and packs well."""
    write_xlsx(path, {"Sheet1": [HEAD, ROW]})
    with zipfile.ZipFile(path) as source:
        parts = {entry: source.read(entry) for entry in source.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry, content in parts.items():
            if entry != name:
                target.writestr(entry, content)
        with target.open(name, "w", force_zip64=True) as stream:
            stream.write(begin)
            for _ in range(times):
                stream.write(middle)
            stream.write(end)


SHEET = "xl/worksheets/sheet1.xml"
SPACE = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
BEGIN = b"<worksheet " + SPACE + b"><sheetData>"
END = b"</sheetData></worksheet>"


def long_string(path: Path) -> None:
    begin, end = b"<sst " + SPACE + b"><si><t>", b"</t></si></sst>"
    with_part(path, "xl/sharedStrings.xml", begin, b"x" * 2**20, 300, end)


def long_cell(path: Path) -> None:
    begin = BEGIN + b'<row r="1"><c r="A1" t="inlineStr"><is><t>'
    with_part(path, SHEET, begin, b"x" * 2**20, 30, b"</t></is></c></row>" + END)


def many_cells_in_a_row(path: Path) -> None:
    with_part(path, SHEET, BEGIN + b"<row>", b"<c/>" * 2**18, 12, b"</row>" + END)


def many_rows(path: Path) -> None:
    with_part(path, SHEET, BEGIN, b"<row><c><v>1</v></c></row>" * 2**12, 300, END)


def row_far_down(path: Path) -> None:
    row = b'<row r="1000000000000"><c r="A1"><v>1</v></c></row>'
    with_part(path, SHEET, BEGIN, row, 1, END)


def many_styles(path: Path) -> None:
    begin, end = b"<styleSheet " + SPACE + b"><fonts>", b"</fonts></styleSheet>"
    with_part(path, "xl/styles.xml", begin, b"<font/>" * 2**12, 80, end)


def lying_header(path: Path) -> None:
    """The archive says of a part of 300 MB that it has 100 bytes."""
    long_string(path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"xl/sharedStrings.xml"))
    while data[entry + 46 : entry + 46 + 20] != b"xl/sharedStrings.xml":
        entry = data.index(b"PK\x01\x02", entry + 4)
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(data)


def entities(path: Path) -> None:
    laughs = b"".join(b'<!ENTITY a%d "%s">' % (k, b"&a%d;" % (k - 1) * 10) for k in range(1, 12))
    begin = b'<!DOCTYPE x [<!ENTITY a0 "ha">' + laughs + b"]>" + BEGIN
    with_part(path, SHEET, begin, b'<row r="1"><c r="A1"><v>&a11;</v></c></row>', 1, END)


def many_parts(path: Path) -> None:
    write_xlsx(path, {"Sheet1": [HEAD, ROW]})
    with zipfile.ZipFile(path, "a") as archive:
        for k in range(limits.MOST_PARTS):
            archive.writestr(f"xl/{k}.xml", "<a/>")


def commas(path: Path) -> None:
    path.write_bytes(b"," * 50 * 2**20)


def commas_in_the_limit(path: Path) -> None:
    path.write_bytes(b"," * (limits.MOST_BYTES - 2) + b"x")


def lines(path: Path) -> None:
    path.write_bytes(b"1,2\n" * (limits.MOST_ROWS + 1))


def wide_line(path: Path) -> None:
    write_text(path, [HEAD, [*ROW, *[""] * 300, "x"]])


def long_text(path: Path) -> None:
    path.write_text(",".join(HEAD) + "\n" + "x" * 40_000 + "\n")


def old_stray_cell(path: Path) -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("a")
    rows: list[list[object]] = [[*HEAD], [*ROW]]
    for k, row in enumerate(rows):
        for j, cell in enumerate(row):
            sheet.write(k, j, cell)
    sheet.write(65535, 255, "x")
    book.save(str(path))


BOMBS: list[tuple[Callable[[Path], None], str, str]] = [
    (stray_cell, ".xlsx", "a cell in row 1,048,576, column 16,384; the limit is 20,000 rows and 200 columns"),
    (long_string, ".xlsx", "unpacked it has more than 50,331,648 bytes, the limit"),
    (long_cell, ".xlsx", "a cell has more than 32,767 characters, the limit"),
    (many_cells_in_a_row, ".xlsx", "more cells, styles and other elements than the limit, 400,000"),
    (many_rows, ".xlsx", "the limit is 20,000 rows"),
    (row_far_down, ".xlsx", "a cell in row 1,000,000,000,000"),
    (many_styles, ".xlsx", "than the limit, 400,000 in all and 100,000 beside the cells"),
    (lying_header, ".xlsx", "not a readable annotation sheet"),
    (entities, ".xlsx", "declares a document type"),
    (many_parts, ".xlsx", "parts; the limit is 1,000"),
    (commas, ".csv", "it has 52,428,800 bytes; the limit is 16,777,216"),
    (commas_in_the_limit, ".csv", "the limit is 20,000 rows and 200 columns"),
    (lines, ".csv", "a cell in row 20,001"),
    (wide_line, ".csv", "a cell in row 2, column 308"),
    (long_text, ".csv", "a cell of 40,000 characters; the limit is 32,767"),
    (old_stray_cell, ".xls", "a cell in row 65,536, column 256"),
]


@pytest.mark.parametrize(("write", "suffix", "message"), BOMBS, ids=lambda value: getattr(value, "__name__", None))
def test_a_file_beyond_a_limit(tmp_path: Path, write: Callable[[Path], None], suffix: str, message: str) -> None:
    path = tmp_path / f"CASME2-coding{suffix}"
    write(path)
    if write is not commas:
        assert path.stat().st_size <= limits.MOST_BYTES
    said = read_within_limits(path)
    assert message in said and said.startswith(f"{path}: ") and "\n" not in said


def test_blank_cells_far_out_are_no_fault(tmp_path: Path) -> None:
    """A sheet whose last row and column were coloured once, and hold nothing."""
    row = b'<row r="1048576"><c r="XFD1048576" s="0"/></row>'
    path = tmp_path / "CASME2-coding.xlsx"
    write_xlsx(path, {"Sheet1": [HEAD, ROW]})
    with zipfile.ZipFile(path) as source:
        sheet = source.read(SHEET).replace(b"</sheetData>", row + b"</sheetData>")
    begin, _, end = sheet.partition(b"<sheetData>")
    with_part(path, SHEET, begin + b"<sheetData>", end, 1, b"")
    assert read_within_limits(path) == "1 clips"


def test_a_sheet_of_the_largest_size_is_read(tmp_path: Path) -> None:
    rows = [[f"{k % 90 + 1:02d}", f"EP{k}", 1, 5, 9, "4+7", "happiness"] for k in range(4000)]
    for path in (
        write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [HEAD, *rows]}),
        write_text(tmp_path / "a.csv", [HEAD, *rows]),
    ):
        assert read_within_limits(path) == "4000 clips"


def test_a_workbook_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "CASME2-coding.xlsx", {"Sheet1": [HEAD, ROW]})
    assert len(read_annotations("casme2", path.rename(path.with_suffix(".xls"))).clips) == 1


def test_rows_that_do_not_rise(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with_part(path, SHEET, BEGIN, b'<row r="3"><c r="A3"><v>1</v></c></row>', 2, END)
    with pytest.raises(ReleaseError, match=re.escape("row 3 stands behind row 3")):
        read_annotations("casme2", path)
