"""Action units in cells of sheets: the notations of CASME II, SAMM and CAS(ME)^3, and counts of clips."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.prep.releases import read_annotations
from fdpbench.prep.sheets.action_units import ActionUnit, parse_action_units, unit_lines, unit_report
from tests.test_cli import invoke

# Cells of the real sheets, read by hand: number, side, lip, intensity, certain.
CELLS = [
    # CASME II
    ("4", [(4, "", "", "", True)]),
    ("4+7", [(4, "", "", "", True), (7, "", "", "", True)]),
    ("L12", [(12, "left", "", "", True)]),
    ("1+R2+25", [(1, "", "", "", True), (2, "right", "", "", True), (25, "", "", "", True)]),
    ("L1+L2", [(1, "left", "", "", True), (2, "left", "", "", True)]),
    ("4+6+7+9", [(4, "", "", "", True), (6, "", "", "", True), (7, "", "", "", True), (9, "", "", "", True)]),
    ("?", []),
    # CAS(ME)^3
    ("24+T18+16", [(24, "", "", "", True), (18, "", "upper", "", True), (16, "", "", "", True)]),
    ("B23", [(23, "", "lower", "", True)]),
    ("14+9+4", [(14, "", "", "", True), (9, "", "", "", True), (4, "", "", "", True)]),
    # SAMM
    ("7B", [(7, "", "", "B", True)]),
    ("10A/B", [(10, "", "", "A/B", True)]),
    ("12+15 ", [(12, "", "", "", True), (15, "", "", "", True)]),
    ("A12+A7", [(12, "asymmetric", "", "", True), (7, "asymmetric", "", "", True)]),
    ("A/L12", [(12, "asymmetric", "", "", True)]),
    ("1A+2B+L14C", [(1, "", "", "A", True), (2, "", "", "B", True), (14, "left", "", "C", True)]),
    ("L12 or L14", [(12, "left", "", "", False), (14, "left", "", "", False)]),
    ("R14A or 17A or 24A", [(14, "right", "", "A", False), (17, "", "", "A", False), (24, "", "", "A", False)]),
    ("(R6 or R12) + R15", [(6, "right", "", "", False), (12, "right", "", "", False), (15, "right", "", "", True)]),
    ("7B+ ref(43)", [(7, "", "", "B", True), (43, "", "", "", False)]),
    ("ref(L10)+A12B", [(10, "left", "", "", False), (12, "asymmetric", "", "B", True)]),
    (
        "4D+ref(6)+7C+43E",
        [(4, "", "", "D", True), (6, "", "", "", False), (7, "", "", "C", True), (43, "", "", "E", True)],
    ),
    # as others write them
    ("AU4, AU 12", [(4, "", "", "", True), (12, "", "", "", True)]),
    ("l1；r2", [(1, "left", "", "", True), (2, "right", "", "", True)]),
    ("4+", [(4, "", "", "", True)]),
    (None, []),
    ("", []),
]


@pytest.mark.parametrize(("cell", "expected"), CELLS)
def test_cells_of_real_sheets(cell: str | None, expected: list[tuple[int, str, str, str, bool]]) -> None:
    units, unread = parse_action_units(cell)
    assert [(unit.number, unit.side, unit.lip, unit.intensity, unit.certain) for unit in units] == expected
    assert unread == ()


def test_what_names_no_unit_is_handed_back() -> None:
    units, unread = parse_action_units("R14+17+soft focus")
    assert [unit.name for unit in units] == ["AU14", "AU17"] and unread == ("soft focus",)
    assert parse_action_units("smile") == ((), ("smile",))
    assert parse_action_units("4+(12 or frown)")[1] == ("(12 or frown)",)
    assert parse_action_units("(4+7")[1] == ("(4+7",), "a parenthesis that is not closed"


SIDES = {"": "", "L": "left", "R": "right", "A": "asymmetric"}
ONE = st.builds(
    lambda number, side, intensity: (f"{side}{number}{intensity}", ActionUnit(number, SIDES[side], "", intensity)),
    st.integers(1, 99),
    st.sampled_from(sorted(SIDES)),
    st.sampled_from(["", "A", "B", "C", "D", "E"]),
)


@given(st.lists(ONE, min_size=1), st.sampled_from(["+", " + ", ",", "; ", "＋"]))
def test_what_is_written_is_read(units: list[tuple[str, ActionUnit]], separator: str) -> None:
    cell = separator.join(text for text, _ in units)
    assert parse_action_units(cell) == (tuple(unit for _, unit in units), ())


@given(st.text())
def test_any_text_is_read_or_handed_back(text: str) -> None:
    units, unread = parse_action_units(text)
    assert all(1 <= unit.number <= 99 for unit in units)
    assert units or unread or not any(sign.isalnum() for sign in unicodedata.normalize("NFKC", text))


def test_counts_are_of_clips() -> None:
    report = unit_report({"a": "L12+R12+4", "b": "L12", "c": "12 or 14", "d": "?", "e": "4+blink"})
    assert report["units"] == {
        "AU4": {"clips": 2, "left": 0, "right": 0, "uncertain": 0},
        "AU12": {"clips": 2, "left": 1, "right": 0, "uncertain": 1},
        "AU14": {"clips": 0, "left": 0, "right": 0, "uncertain": 1},
    }
    assert report["without"] == 1 and report["unread"] == [{"clip": "e", "text": "blink"}]
    lines = unit_lines(report)
    assert lines[0].endswith(": none") and "AU4 2, AU12 2, AU14 0" in lines[1] and "AU12 1, AU14 1" in lines[2]
    assert "'blink' is no action unit" in lines[-1] and unit_lines(unit_report({"a": None})) == []


@pytest.mark.parametrize(
    ("release", "sheet", "unread"),
    [
        ("casme2", "casme2/CASME2-coding-20140508.xlsx", 0),
        ("samm", "samm/SAMM_Micro_FACS_Codes_v2.xlsx", 1),
        ("casme3_a", "casme3/cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", 0),
    ],
)
def test_real_sheets_against_a_plain_count_of_their_numbers(
    release: str, sheet: str, unread: int, shared_data: Path
) -> None:
    path = shared_data / "annotations" / sheet
    clips = read_annotations(release, path).clips
    plain = Counter(number for clip in clips for number in set(re.findall(r"[0-9]+", clip.action_units or "")))
    report = json.loads(invoke("annotations", release, str(path), "--json").stdout)["action_units"]
    found = {name[2:]: unit["clips"] + unit["uncertain"] for name, unit in report["units"].items()}
    assert found == dict(plain) and len(report["unread"]) == unread
