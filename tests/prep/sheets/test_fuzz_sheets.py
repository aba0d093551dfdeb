"""Any sheet at all: every row ends as a clip or a rejection, or the sheet is refused as a whole."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import RELEASES, ReleaseError, read_annotations
from fdpbench.prep.sheets.columns import place_columns
from fdpbench.prep.sheets.rows import COLUMNS as NEEDED
from fdpbench.prep.sheets.rows import OPTIONAL
from fdpbench.prep.store.schema import Reason
from tests.support.grids import COLUMNS, Grid, write_text, write_xls, write_xlsx

HOSTILE = [
    "", " ", "\u00a0", "/", "\\", "..", "../x", "nan", "None", "#N/A", "#REF!", "１２", "1e5", "9" * 30, "-", "'", '"',
    ";", ",", "\t", "a\nb", "\r", "\u2028", "\x85", "\x0b", "\x00", "\u202e", "é", "Subject", "OnsetFrame", "True",
    "0x10", "1.5", "½", "²", "፩", "٣", "macro-expression", "a" * 300,
]  # fmt: skip
NAMES = ["01", "1", "s1", "s01", "sub26", "006", "spNO.1", "EP02_01f", "s1_ne_01", "006_1_2", "a", "anger1_1"]
EMOTIONS = ["happiness", "Others", "other", "negative", "surprise", "sad", "Positive Surprise", "repression"]

hostile = st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=6)
PLAUSIBLE = {
    "subject": st.sampled_from(NAMES),
    "clip": st.sampled_from(NAMES),
    "onset": st.integers(0, 9).map(str),
    "apex": st.integers(5, 14).map(str) | st.just("/"),
    "offset": st.integers(10, 19).map(str),
    "emotion": st.sampled_from(EMOTIONS),
}


def mostly(plausible: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 11).flatmap(lambda dice: hostile if dice == 0 else plausible)


def is_blank(cell: str) -> bool:
    return not unicodedata.normalize("NFKC", cell).split()


def for_a_workbook(cell: str) -> str:
    """What a workbook can hold: no control characters; no formula, which has no value before Excel ran it."""
    cell = ILLEGAL_CHARACTERS_RE.sub("", cell)
    return f"'{cell}" if cell.startswith("=") else cell


def write(folder: Path, form: str, sheets: dict[str, list[list[str]]]) -> Path:
    if form in {"xlsx", "xls"}:
        tidy = {name: [[for_a_workbook(cell) for cell in row] for row in rows] for name, rows in sheets.items()}
        return (write_xlsx if form == "xlsx" else write_xls)(folder / f"sheet.{form}", tidy)
    return write_text(folder / "sheet.csv", next(iter(sheets.values())), delimiter=form)


forms = st.sampled_from([",", ";", "\t", "xlsx", "xls"])


@st.composite
def sheets_with_a_header(draw: st.DrawFn) -> tuple[str, str, list[list[str]], int]:
    """A release, a form, a grid of that release's columns, and how many rows below its header hold something."""
    release = draw(st.sampled_from(sorted(COLUMNS)))
    columns = draw(st.permutations([*COLUMNS[release], "", "Remarks"]))
    prose = draw(st.lists(st.tuples(st.just("Notes, to read first;"), hostile).map(list), max_size=15))
    rows = draw(st.lists(st.tuples(*(mostly(PLAUSIBLE.get(name, hostile)) for name in columns)).map(list), max_size=8))
    header = [COLUMNS[release].get(name, name) for name in columns]
    form = draw(forms)
    if form in {"xlsx", "xls"}:
        rows = [[for_a_workbook(cell) for cell in row] for row in rows]
    told = [[cell for name, cell in zip(columns, row, strict=True) if name in COLUMNS[release]] for row in rows]
    return release, form, [*prose, header, *rows], sum(not all(map(is_blank, cells)) for cells in told)


@given(sheets_with_a_header())
@example(("smic_hs", ",", [["Subject", "Filename", "OnsetF", "OffsetF", "Emotion"]], 0))
def test_every_row_is_accounted_for(case: tuple[str, str, list[list[str]], int]) -> None:
    release, form, grid, count = case
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), form, {"HS": grid})
        try:
            found = read_annotations(release, path)
        except ReleaseError as error:
            assert f"{path}: looks like a sheet of " in str(error) and count
            return
    assert len(found.clips) + len(found.rejected) == count
    assert len({(clip.subject, clip.clip) for clip in found.clips}) == len(found.clips)
    for clip in found.clips:
        assert clip.onset is not None and clip.offset is not None  # no sheet of a known release leaves them open
        assert 0 <= clip.onset < clip.offset and (clip.apex is None or clip.onset <= clip.apex <= clip.offset)
        assert not {"/", "\\", "\0"} & {*clip.subject, *clip.clip} and {clip.subject, clip.clip}.isdisjoint({".", ".."})
    for row in found.rejected:
        assert row["reason"] in set(Reason) and row["detail"] and row["clip_id"].startswith(f"{found.dataset}/")


wild = st.lists(st.lists(hostile | st.sampled_from(NAMES + EMOTIONS), max_size=9), max_size=8)


@given(wild, forms, st.sampled_from(sorted(RELEASES)))
@example([], "xlsx", "samm")
@example([], ",", "megc2019")
@example([[""]], "xls", "casme_sq")
@example([["casme2", "sub01", "EP02_01f"]], ",", "megc2019")
@example([["casme2", "sub01", "EP02_01f", "1", "more"]], ",", "megc2019")
@example([["Subject", "Filename", "Onset", "Apex", "Offset", "Emotion"]], ",", "casme3_a")
def test_no_other_error_is_raised(grid: list[list[str]], form: str, release: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), form, {"a": grid})
        try:
            read_annotations(release, path)
        except ReleaseError as error:
            assert str(path) in str(error)


@st.composite
def expressions(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Rows of CAS(ME)^2, each with its kind, and two naming rules that may say anything."""
    kind = st.sampled_from(["micro-expression", "macro-expression", "Micro-Expression", "micro expression"])
    video = mostly(st.sampled_from(["anger1_1", "anger1_2", "disgust2_1", "disgust2_2"]))
    marks = [mostly(PLAUSIBLE[name]) for name in ("onset", "apex", "offset")]
    emotion = mostly(st.sampled_from(["negative", "others", "surprise"]))
    one = st.tuples(mostly(st.sampled_from("12")), video, *marks, hostile, emotion, kind, hostile)
    subjects = [["15", "s15", "1"], ["16", "S16", "2"]]
    stimuli = [["0101", "disgust2"], ["402", "anger1"]]
    for rule in (subjects, stimuli):
        rule += draw(st.lists(st.lists(hostile, max_size=3), max_size=2))
    return draw(st.lists(one.map(list), max_size=8)), subjects, stimuli


@given(expressions(), st.sampled_from(["xlsx", "xls"]), st.booleans())
def test_every_expression_of_casme_sq_is_accounted_for(
    case: tuple[list[list[str]], list[list[str]], list[list[str]]], form: str, twice: bool
) -> None:
    rows, subjects, stimuli = case
    book = {"CASFEcode_final": rows, "naming rule1": subjects, "naming rule2": stimuli}
    if twice:
        book["copy"] = rows
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), form, book)
        if not rows:
            with pytest.raises(ReleaseError):
                read_annotations("casme_sq", path)
            return
        found = read_annotations("casme_sq", path)
    assert len(found.clips) + len(found.rejected) == len(rows) * (2 if twice else 1)


SUBJECTS = [["casme2", "sub01"], ["smic", "s1"], ["samm", "006"]]
subjects = st.sampled_from([*SUBJECTS * 5, ["smic", "006"], ["", ""]])
entries = st.tuples(subjects, st.sampled_from("abcdefghij"), mostly(st.sampled_from("012")))


@given(st.lists(entries.map(lambda entry: [*entry[0], entry[1], entry[2]]), max_size=4))
def test_an_official_list_is_read_whole_or_refused(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_text(Path(folder) / "combined_3class_gt.csv", rows)
        try:
            found = read_annotations("megc2019", path)
        except ReleaseError as error:
            assert str(path) in str(error)
        else:
            assert len(found.clips) == sum(not all(map(is_blank, row)) for row in rows)


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> list[tuple[str, Simulated]]:
    """A simulated sheet of every kind of file."""
    written = [(release, simulated(release)) for release in ("samm", "casme_sq", "megc2019_flow")]
    return [*written, ("dfme", simulated("dfme", "trimmed"))]


@given(st.data())
def test_flipped_and_lost_bytes(sheets: Sequence[tuple[str, Simulated]], data: st.DataObject) -> None:
    release, written = data.draw(st.sampled_from(sheets), label="release")
    content = bytearray(written.sheet.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[place] = value
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)), label="end")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / written.sheet.name
        path.write_bytes(content[:end])
        try:
            read_annotations(release, path)
        except ReleaseError as error:
            assert str(path) in str(error)


# --- a campaign over simulated sheets: the `long` profile mutates 3,300 of them

EXAMPLES = settings().max_examples
CAMPAIGN = (3300 if EXAMPLES >= 1000 else 2 * EXAMPLES) // len(COLUMNS) + 1  # of each release


@pytest.fixture(scope="module")
def grids(simulated: Any) -> dict[str, list[list[str]]]:
    """Cells of a simulated sheet of every release whose columns have names."""
    return {
        release: [
            ["" if cell is None else str(cell) for cell in row] for row in Grid.of(release, simulated(release)).rows
        ]
        for release in COLUMNS
    }


def mutate(data: st.DataObject, rows: list[list[str]], header: int) -> None:
    """Spoil rows below the header in place: cells, whole rows, their order, their number."""
    for _ in range(data.draw(st.integers(1, 6), label="mutations")):
        how = data.draw(st.sampled_from(["cell", "cell", "cell", "blank", "twice", "lost", "swap", "shift", "short"]))
        here, there = (data.draw(st.integers(header + 1, len(rows) - 1)) for _ in range(2))
        if how == "cell":
            place = data.draw(st.integers(0, len(rows[here]) - 1))
            rows[here][place] = data.draw(hostile | st.sampled_from([*NAMES, *EMOTIONS, *rows[there]]))
        elif how == "blank":
            rows.insert(here, [""] * len(rows[here]))
        elif how == "twice":
            rows.insert(here, list(rows[there]))
        elif how == "lost" and len(rows) > header + 2:
            del rows[here]
        elif how == "swap":
            rows[here], rows[there] = rows[there], rows[here]
        elif how == "shift":
            rows[here] = ["", *rows[here][:-1]]
        elif how == "short":
            rows[here] = [*rows[here][: data.draw(st.integers(1, len(rows[here])))]]
            rows[here] += [""] * (len(rows[header]) - len(rows[here]))


@pytest.mark.parametrize("release", COLUMNS)
@settings(max_examples=CAMPAIGN)
@given(data=st.data())
def test_mutated_sheets(grids: dict[str, list[list[str]]], release: str, data: st.DataObject) -> None:
    """Every row that says something is a clip or a rejection, or the sheet is refused by name."""
    rows = [list(row) for row in grids[release]]
    names = set(COLUMNS[release].values())
    header = next(index for index, row in enumerate(rows) if names <= set(row))
    mutate(data, rows, header)
    form = data.draw(forms, label="form")
    if form in {"xlsx", "xls"}:
        rows = [[for_a_workbook(cell) for cell in row] for row in rows]
    placed = place_columns(enumerate(rows[header]), [*NEEDED, *OPTIONAL])
    read = [place for place in placed.values() if place is not None]
    count = sum(not all(is_blank(row[place]) for place in read) for row in rows[header + 1 :])
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), form, {"HS": rows})
        try:
            found = read_annotations(release, path)
        except ReleaseError as error:
            assert f"{path}: looks like a sheet of " in str(error)
            return
    accounted = len(found.clips) + len(found.rejected)
    assert accounted >= count if release == "smic_hs" else accounted == count  # a row of SMIC may hold several
    assert len({(clip.subject, clip.clip) for clip in found.clips}) == len(found.clips)


@pytest.mark.parametrize("release", COLUMNS)
@settings(max_examples=CAMPAIGN // 3 + 1)
@given(data=st.data())
def test_mutated_headers_and_encodings(grids: dict[str, list[list[str]]], release: str, data: st.DataObject) -> None:
    """No other error is raised, and no clip has marks out of order."""
    rows = [list(row) for row in grids[release]]
    for _ in range(data.draw(st.integers(1, 3), label="mutations")):
        line = rows[data.draw(st.integers(0, len(rows) - 1))]
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(hostile | st.sampled_from([*rows[0], *rows[-1]]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-16-le", "gb18030", "cp1252"]), label="encoding")
    with tempfile.TemporaryDirectory() as folder:
        path = write_text(Path(folder) / "sheet.csv", rows)
        path.write_bytes(path.read_bytes().decode().encode(encoding, errors="replace"))
        try:
            found = read_annotations(release, path)
        except ReleaseError as error:
            assert str(path) in str(error)
        else:
            assert all(0 <= (clip.onset or 0) < (clip.offset or 0) for clip in found.clips)
