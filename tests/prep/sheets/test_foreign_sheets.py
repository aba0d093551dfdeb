"""Sheets and rows of another release, camera or subject: told by their names, refused or listed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import ReleaseError, read_annotations, read_release
from fdpbench.prep.releases.common.composite import composite_key
from fdpbench.prep.sheets.names import NAMES, release_of
from fdpbench.prep.store.schema import Reason
from tests.support.builders import write_synthetic
from tests.support.grids import COLUMNS, Grid, found, read, reasons, write_text, write_xlsx
from tests.test_cli import error_of

Write = Callable[..., Simulated]

NAMED = sorted(COLUMNS.keys() & NAMES.keys())


def cells(grid: Grid) -> list[tuple[str, str]]:
    """Subject and clip of each row, as text."""
    rows = grid.rows[grid.header + 1 :]
    return [(str(row[grid.place("subject")]), str(row[grid.place("clip")])) for row in rows]


@pytest.mark.parametrize("release", NAMED)
def test_names_tell_the_releases_apart(simulated: Write, release: str) -> None:
    """Each release's names are its own, and those of no other, even where that other is asked first."""
    for subject, clip in cells(Grid.of(release, simulated(release))):
        assert {release_of(subject, clip, asked) for asked in ("", *NAMED)} == {release}


def test_names_of_real_sheets(shared_data: Path) -> None:
    """No row of a real sheet is named otherwise, and no clip carries another subject than its row."""
    for release, pattern in (("casme2", "casme2/*.xlsx"), ("samm", "samm/*.xlsx"), ("casme3_a", "casme3/*.xlsx")):
        for sheet in sorted((shared_data / "annotations").glob(pattern)):
            annotations = read_annotations(release, sheet)
            assert annotations.notes == [] and Reason.BAD_ROW not in reasons(annotations)
            for other in sorted({*NAMED} - {release}):
                with pytest.raises(ReleaseError, match=f"looks like a sheet of {release}, not of {other}|not found"):
                    read_annotations(other, sheet)


@pytest.mark.parametrize(("release", "other"), list(itertools.permutations(COLUMNS, 2)))
def test_a_sheet_of_another_release(simulated: Write, release: str, other: str) -> None:
    sheet = simulated(other).sheet
    with pytest.raises(ReleaseError, match="not found; the sheet has|looks like a sheet of") as caught:
        read_annotations(release, sheet)
    message = str(caught.value)
    assert message.startswith(f"{sheet}: ")
    if "looks like" in message:
        why = ("6 of 6 rows are named as there", "it has a column '")
        assert any(f"looks like a sheet of {other}, not of {release}: {reason}" in message for reason in why)


def test_most_pairs_are_told_by_names_alone(simulated: Write) -> None:
    """Else the test above would hold for sheets that differ in their columns."""

    def told(release: str, other: str) -> bool:
        with pytest.raises(ReleaseError) as caught:
            read_annotations(release, simulated(other).sheet)
        return "looks like" in str(caught.value)

    alike = {"casme2", "samm", "casme3_a", "mmew", "dfme"}
    assert all(told(*pair) for pair in itertools.permutations(alike, 2))


def test_other_sheets_that_are_none_of_casme_sq(simulated: Write) -> None:
    for other in COLUMNS:
        with pytest.raises(ReleaseError, match="expected the workbook"):
            read_annotations("casme_sq", simulated(other).sheet)


def test_the_command_names_the_other_release(simulated: Write) -> None:
    message = error_of("annotations", "samm", str(simulated("casme2").sheet))
    assert "looks like a sheet of casme2, not of samm" in message and "EP02_01f" in message


def test_a_release_folder_with_another_release_sheet(simulated: Write, tmp_path: Path) -> None:
    write_synthetic(tmp_path, [("s01", "happiness_1", 2, 4, 7, "", "happiness")])
    grid = Grid.of("casme2", simulated("casme2"))
    write_text(tmp_path / "annotations.csv", grid.rows)
    with pytest.raises(ReleaseError, match="looks like a sheet of casme2, not of synthetic"):
        read_release("synthetic", tmp_path)


# --- rows


@pytest.mark.parametrize(
    ("release", "subject", "clip", "other"),
    [
        ("casme2", "006", "006_1_2", "samm"),
        ("samm", "sub0003", "a", "dfme"),
        ("mmew", "spNO.1", "b", "casme3_a"),
        ("smic_hs", "01", "EP02_01f", "casme2"),
        ("dfme", 1, "s1_ne_01", "smic_hs"),
    ],
)
def test_a_row_of_another_release(
    simulated: Write, tmp_path: Path, release: str, subject: Any, clip: str, other: str
) -> None:
    grid = Grid.of(release, simulated(release))
    good = found(read(grid, tmp_path / "good.xlsx"))
    grid.rows.append(grid.row(-1, subject=subject, clip=clip))
    again = read(grid, tmp_path / "spoilt.xlsx")
    assert found(again) == good and reasons(again) == [Reason.BAD_ROW]
    assert (
        f"row {len(grid.rows)}: subject '{subject}', clip '{clip}' are named as in {other}"
        in (again.rejected[0]["detail"])
    )


def test_rows_named_like_no_release_are_kept_and_said(simulated: Write, tmp_path: Path) -> None:
    """Sheets in circulation differ; whether the folders are there decides."""
    grid = Grid.of("casme2", simulated("casme2"))
    for number, row in enumerate(grid.rows[1:5]):
        row[grid.place("clip")] = f"clip {number}"
    again = read(grid, tmp_path / "sheet.xlsx")
    assert len(again.clips) == 6 and again.rejected == []
    assert again.notes == [
        "4 of 6 rows are named otherwise than known of casme2 (subject 01, clip EP02_01f): is it this release's sheet?"
    ]


def test_a_smic_row_of_another_subject_than_its_clip(simulated: Write, tmp_path: Path) -> None:
    """In both layouts of its sheet; the clip is listed, and neither of the two subjects gets it."""
    grid = Grid.of("smic_hs", simulated("smic_hs"))
    grid.rows[1][grid.place("subject")] = 9
    written = simulated("smic_hs", "table-csv")
    table = tmp_path / written.sheet.name
    head, *lines = written.sheet.read_text().splitlines(keepends=True)
    place = next(k for k, line in enumerate(lines) if line.startswith("SMIC_HS,s1,"))
    lines[place] = lines[place].replace("SMIC_HS,s1,", "SMIC_HS,s09,")
    table.write_text("".join([head, *lines]))
    clip = written.clips[0].clip_id.rpartition("/")[2]
    for again in (read(grid, tmp_path / "sheet.xlsx"), read_annotations("smic_hs", table)):
        assert reasons(again) == [Reason.BAD_ROW] and len(again.clips) == 5
        assert again.rejected[0]["clip_id"] == f"smic_hs/s09/{clip}"
        assert f"subject 's09', but clip '{clip}' is named as one of subject 1;" in again.rejected[0]["detail"]


@pytest.mark.parametrize(("release", "subject"), [("samm", "043"), ("samm", 43), ("mmew", 3), ("mmew", "S03")])
def test_a_row_of_another_subject_than_its_clip(simulated: Write, tmp_path: Path, release: str, subject: Any) -> None:
    grid = Grid.of(release, simulated(release))
    header = grid.header
    number = header + 1
    grid.rows[number][grid.place("subject")] = subject
    again = read(grid, tmp_path / "sheet.xlsx")
    assert reasons(again) == [Reason.BAD_ROW] and len(again.clips) == 5
    clip = grid.rows[number][grid.place("clip")]
    detail = again.rejected[0]["detail"]
    assert detail.startswith(f"row {number + 1}: subject ") and "3'" in detail and f"but clip '{clip}' is" in detail


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("s03", "s01_ne_01", "smic"), None),
        (("s3", "s03_ne_01", "smic"), ("smic", "s03", "s03_ne_01")),
        (("007", "006_1_2", "samm"), None),
        (("6", "006_1_2", "samm"), ("samm", "006", "006_1_2")),
        (("sub07", "EP01_03", "casme2"), ("casme2", "sub07", "EP01_03")),
    ],
)
def test_a_clip_of_the_composite_under_another_subject(key: tuple[str, str, str], expected: Any) -> None:
    assert composite_key(*key) == expected


def test_an_official_list_with_a_clip_under_another_subject(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "combined_3class_gt.csv", [["smic", "s01", "s01_ne_01", 0], ["smic", "s3", "s01_ne_02", 0]]
    )
    with pytest.raises(ReleaseError, match="row 2: cannot be read as .* clip of that subject.*s3, s01_ne_02"):
        read_annotations("megc2019", path)


# --- cameras of SMIC


def test_a_workbook_of_another_camera(simulated: Write, tmp_path: Path) -> None:
    book = Grid.of("smic_hs", simulated("smic_hs")).book()
    path = write_xlsx(tmp_path / "SMIC-HS-E_annotation.xlsx", {"HS": book["HS"]})
    assert len(read_annotations("smic_hs", path).clips) == 6
    with pytest.raises(ReleaseError, match="no sheet of vis; the workbook has 'HS'"):
        read_annotations("smic_vis", path)
    path = write_xlsx(tmp_path / "SMIC-VIS-E_annotation.xlsx", {"Sheet1": book["VIS"]})  # a file for each camera
    assert len(read_annotations("smic_vis", path).clips) == 6


def test_a_table_without_the_camera(simulated: Write, tmp_path: Path) -> None:
    text = simulated("smic_hs", "table-csv").sheet.read_text()
    path = tmp_path / "SMIC-HS-E_annotation.csv"
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("SMIC_NIR")))
    with pytest.raises(
        ReleaseError, match="no row of smic_nir; its column of data sets says SMIC_HS 6, SMIC_VIS 6, casme2 1"
    ):
        read_annotations("smic_nir", path)
