"""Sheets with faults: the row at fault is listed with its reason, and every good clip survives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import ReleaseError, read_annotations, read_release
from fdpbench.prep.store.schema import Reason
from tests.support.grids import COLUMNS, Grid, found, read, reasons, write_text, write_xls, write_xlsx

Write = Callable[..., Simulated]

# Column, the cell at fault, the reason; a callable makes the cell from a good row's onset and offset.
CELLS: list[tuple[str, Any, Reason]] = [
    ("subject", None, Reason.BAD_ROW),
    ("subject", "..", Reason.BAD_ROW),
    ("subject", "a/b", Reason.BAD_ROW),
    ("clip", None, Reason.BAD_ROW),
    ("clip", "..", Reason.BAD_ROW),
    ("clip", "../EP02", Reason.BAD_ROW),
    ("clip", "a\\b", Reason.BAD_ROW),
    ("clip", "a／b", Reason.BAD_ROW),  # a full-width slash is one
    ("clip", "‥", Reason.BAD_ROW),  # two dots in one character
    ("onset", None, Reason.BAD_ROW),
    ("onset", "/", Reason.BAD_ROW),
    ("onset", "NaN", Reason.BAD_ROW),
    ("onset", "first", Reason.BAD_ROW),
    ("onset", "4o", Reason.BAD_ROW),
    ("onset", "1e3", Reason.BAD_ROW),
    ("onset", 4.5, Reason.BAD_ROW),
    ("onset", -3, Reason.BAD_ROW),
    ("offset", "99999999999", Reason.BAD_ROW),
    ("offset", "/", Reason.BAD_ROW),
    ("apex", "after lunch", Reason.BAD_ROW),
    ("apex", lambda onset, offset: onset - 1, Reason.BAD_MARKS),
    ("apex", lambda onset, offset: offset + 1, Reason.BAD_MARKS),
    ("onset", lambda onset, offset: offset + 1, Reason.BAD_MARKS),
    ("offset", lambda onset, offset: onset, Reason.BAD_MARKS),
    ("emotion", None, Reason.BAD_ROW),
    ("emotion", "nan", Reason.BAD_ROW),
    ("emotion", "boredom", Reason.UNKNOWN_EMOTION),
]
OPEN = {"fourdme"}  # releases whose emotions are not known in full


@pytest.mark.parametrize("release", COLUMNS)
def test_cells_at_fault(simulated: Write, tmp_path: Path, release: str) -> None:
    """All faults in one sheet, each in a row of its own."""
    grid = Grid.of(release, simulated(release))
    good = len(grid.rows) - 1
    onset, offset = grid.number(good, "onset"), grid.number(good, "offset")
    expected = {}
    for number, (column, fault, reason) in enumerate(CELLS):
        if column in COLUMNS[release] and not (reason == Reason.UNKNOWN_EMOTION and release in OPEN):
            cell = fault(onset, offset) if callable(fault) else fault
            expected[f"row {len(grid.rows) + 1}"] = (column, cell, str(reason))
            grid.rows.append(grid.row(good, **({"clip": f"zz{number}"} | {column: cell})))
    again = read(grid, tmp_path / "spoilt.xlsx")
    assert found(again) == {
        clip.clip_id: (clip.onset, clip.apex, clip.offset, clip.emotion) for clip in simulated(release).clips
    }
    left_out = {row["detail"].partition(":")[0]: row["reason"] for row in again.rejected}
    assert left_out == {row: reason for row, (_, _, reason) in expected.items()}, expected
    assert len(expected) >= 20


@pytest.mark.parametrize("release", [release for release in COLUMNS if "apex" in COLUMNS[release]])
def test_an_unknown_apex_is_no_fault(simulated: Write, tmp_path: Path, release: str) -> None:
    grid = Grid.of(release, simulated(release))
    good = len(grid.rows)
    for number, apex in enumerate(("/", "NaN", None, "?", "n/a")):
        grid.rows.append(grid.row(good - 1, clip=f"zz{number}", apex=apex))
    again = read(grid, tmp_path / "sheet.xlsx")
    assert again.rejected == [] and [clip.apex for clip in again.clips][-5:] == [None] * 5


@pytest.mark.parametrize("release", COLUMNS)
def test_a_row_twice(simulated: Write, tmp_path: Path, release: str) -> None:
    grid = Grid.of(release, simulated(release))
    good = found(read(grid, tmp_path / "good.xlsx"))
    grid.rows.append(grid.row(-1))
    again = read(grid, tmp_path / "twice.xlsx")
    assert found(again) == good and reasons(again) == [Reason.DUPLICATE]
    assert f"row {len(grid.rows) - 1}" in again.rejected[0]["detail"]  # names the first of the two


@pytest.mark.parametrize("release", COLUMNS)
def test_a_column_is_missing(simulated: Write, tmp_path: Path, release: str) -> None:
    for column, name in COLUMNS[release].items():
        grid = Grid.of(release, simulated(release))
        grid.rows[grid.header][grid.place(column)] = "Remarks"
        path = tmp_path / f"{column}.xlsx"
        with pytest.raises(ReleaseError, match=f"{column}.xlsx: column '.*' .* not found; the sheet has") as caught:
            read(grid, path)
        assert name[-4:].lower() in str(caught.value).partition("not found")[0].lower()


@pytest.mark.parametrize("release", COLUMNS)
def test_other_forms_of_a_sheet_say_the_same(simulated: Write, tmp_path: Path, release: str) -> None:
    grid = Grid.of(release, simulated(release))
    good = found(read(grid, tmp_path / "good.xlsx"))
    blank: list[Any] = [None] * len(grid.rows[-1])
    spread = [line for row in grid.rows for line in (row, blank)]
    wider = [[None, *row, "  "] for row in grid.rows]
    text = [[f" {cell} " if isinstance(cell, str) else cell for cell in row] for row in grid.rows]
    mixed = [*grid.rows[: grid.header], *(row[::-1] for row in grid.rows[grid.header :])]
    shapes = {"blank_rows": [blank, *spread], "blank_column": wider, "spaces": text, "columns_reversed": mixed}
    for name, rows in shapes.items():
        again = read_annotations(release, write_xlsx(tmp_path / f"{name}.xlsx", {grid.sheet: rows} | grid.others))
        assert found(again) == good and again.rejected == [], name
    forms = {
        "first_is_last": write_xlsx(tmp_path / "a.xlsx", {"Notes": [["see below"]], **grid.others} | grid.book()),
        "xls": write_xls(tmp_path / "b.xls", grid.book()),
        "comma": write_text(tmp_path / "c.csv", grid.rows),
        "semicolon": write_text(tmp_path / "d.csv", grid.rows, ";", bom=True),
        "tab": write_text(tmp_path / "e.csv", grid.rows, "\t"),
        "old_mac": tmp_path / "f.csv",
        "upper_case": tmp_path / "g.CSV",
    }
    forms["old_mac"].write_bytes(forms["comma"].read_bytes().replace(b"\r\n", b"\r"))
    forms["upper_case"].write_bytes(forms["comma"].read_bytes())
    for name, path in forms.items():
        again = read_annotations(release, path)
        assert found(again) == good and again.rejected == [], name


@pytest.mark.parametrize(
    ("release", "suffix"),
    [("casme_sq", ".xls"), *((release, suffix) for release in COLUMNS for suffix in (".xls", ".csv"))],
)
def test_a_sheet_of_another_kind_is_found(simulated: Write, tmp_path: Path, release: str, suffix: str) -> None:
    written = simulated(release)
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    grid = Grid.of(release, written)
    path = (root / written.sheet.name).with_suffix(suffix)
    path.with_suffix(".xlsx").unlink()
    if suffix == ".xls":
        write_xls(path, grid.book())
    else:
        write_text(path, grid.rows)
    assert {row["clip_id"] for row in read_release(release, root).clips} == {clip.clip_id for clip in written.clips}


@pytest.mark.parametrize("release", COLUMNS)
def test_full_width_digits(simulated: Write, tmp_path: Path, release: str) -> None:
    grid = Grid.of(release, simulated(release))
    good = found(read(grid, tmp_path / "good.xlsx"))
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    for row in grid.rows[grid.header + 1 :]:
        for column in ("subject", "clip", "onset", "offset"):
            row[grid.place(column)] = str(row[grid.place(column)]).translate(wide)
    assert found(read(grid, tmp_path / "wide.xlsx")) == good


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "text": lambda data: b"Subject,Filename\n1,2\n",
    "page": lambda data: b"<html><table><tr><td>Subject</td></tr></table></html>",
    "zeros": lambda data: data[:64] + bytes(len(data) - 64),
}


@pytest.mark.parametrize("release", ["casme2", "smic_hs", "casme_sq"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", [".xlsx", ".xls"])
def test_a_damaged_workbook(simulated: Write, tmp_path: Path, release: str, damage: str, suffix: str) -> None:
    grid = Grid.of(release, simulated(release)) if release in COLUMNS else Grid(release, "a", [["x"]], {})
    path = tmp_path / f"sheet{suffix}"
    (write_xlsx if suffix == ".xlsx" else write_xls)(path, grid.book())
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(ReleaseError, match=f"sheet{suffix}: not a readable annotation sheet"):
        read_annotations(release, path)


def test_what_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "sheet.txt").write_text("Subject")
    (tmp_path / "sheet.csv").write_bytes(b"Subject,Filename\n\x81,1\n")  # in none of the encodings that are read
    (tmp_path / "sheet.xlsx").mkdir()
    for name, text in (("sheet.txt", "save it as .xlsx"), ("sheet.csv", "not a readable"), ("sheet.xlsx", "a folder")):
        with pytest.raises(ReleaseError, match=text):
            read_annotations("casme2", tmp_path / name)


def test_sheets_of_casme_sq(simulated: Write, tmp_path: Path) -> None:
    """No header, so nothing but the cells tells the sheets and columns apart."""
    written = simulated("casme_sq")
    good = read_annotations("casme_sq", written.sheet)
    book = Grid.of("casme_sq", written).book()
    blank: list[Any] = [None] * 9
    spread = {name: [line for row in rows for line in (blank, row)] for name, rows in book.items()}
    wider = {name: [[None, *row] for row in rows] for name, rows in book.items()}
    forms = [
        write_xlsx(tmp_path / "order.xlsx", dict(reversed(book.items()))),
        write_xlsx(tmp_path / "spread.xlsx", spread),
        write_xlsx(tmp_path / "wider.xlsx", wider),
        write_xls(tmp_path / "old.xls", book),
    ]
    for path in forms:
        again = read_annotations("casme_sq", path)
        assert found(again) == found(good), path.name
        assert sorted(reasons(again)) == sorted(reasons(good)), path.name


@pytest.mark.parametrize(
    ("place", "cell", "reason"),
    [
        (0, 99, Reason.BAD_ROW),  # no such number by naming rule 1
        (0, "x", Reason.BAD_ROW),
        (1, "yawn1_1", Reason.BAD_ROW),  # no such stimulus by naming rule 2
        (1, "../anger2_7", Reason.BAD_ROW),
        (2, "/", Reason.BAD_ROW),
        (4, 0, Reason.BAD_MARKS),
        (6, "boredom", Reason.UNKNOWN_EMOTION),
        (7, "Macro-expression", Reason.MACRO_EXPRESSION),
    ],
)
def test_a_cell_at_fault_in_casme_sq(simulated: Write, tmp_path: Path, place: int, cell: Any, reason: Reason) -> None:
    book = Grid.of("casme_sq", simulated("casme_sq")).book()
    rows = book["CASFEcode_final"]
    good = read_annotations("casme_sq", simulated("casme_sq").sheet)
    row = [next(row for row in rows if row[7] == "micro-expression")][0].copy()
    row[1] = str(row[1]).replace("_1", "_77")
    row[place] = cell
    rows.append(row)
    again = read_annotations("casme_sq", write_xlsx(tmp_path / "spoilt.xlsx", book))
    assert found(again) == found(good)
    assert sorted(reasons(again)) == sorted([*reasons(good), reason])


def test_a_self_reported_emotion_is_no_kind(simulated: Write, tmp_path: Path) -> None:
    book = Grid.of("casme_sq", simulated("casme_sq")).book()
    for row in book["CASFEcode_final"]:
        row[8] = "macro-expression"
    good = read_annotations("casme_sq", simulated("casme_sq").sheet)
    again = read_annotations("casme_sq", write_xlsx(tmp_path / "spoilt.xlsx", book))
    assert found(again) == found(good) and sorted(reasons(again)) == sorted(reasons(good))


@pytest.mark.parametrize(
    ("cell", "fps"),
    [(300, 300.0), ("29.97", 29.97), (None, None), (0, None), ("fast", None), ("1e3", None), ("፩", None)],
)
def test_frames_per_second_of_dfme(simulated: Write, tmp_path: Path, cell: Any, fps: float | None) -> None:
    written = simulated("dfme")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    grid = Grid.of("dfme", written)
    for row in grid.rows[1:]:
        row[grid.rows[0].index("Fps")] = cell
    write_xlsx(root / written.sheet.name, grid.book())
    assert {row["fps"] for row in read_release("dfme", root).clips} == {fps}
