"""Reports on a sheet and a release: classes, counts as known, corrections, rejections; `fdpbench annotations`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fdpbench.prep.sheets.rows
from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.index.class_maps import all_class_maps, maps_of
from fdpbench.prep.index.counts import class_counts, compare_counts
from fdpbench.prep.index.sheet_report import report_lines, report_of_sheet
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import RELEASES, read_annotations
from fdpbench.prep.sheets.corrections import Correction, known_corrections
from fdpbench.prep.store import paths
from tests.support.grids import Grid, write_xlsx
from tests.test_cli import invoke

Write = Callable[..., Simulated]
KNOWN_COUNTS = {name: known for name, release in RELEASES.items() if (known := release.known_counts)}


def clips_of(release: str, version: int = 0) -> dict[str, str]:
    """Clips with just the emotions that a release is known to hold."""
    known = KNOWN_COUNTS[release][version].emotions
    return {f"{name}_{k}": name for name, count in known.items() for k in range(count)}


# --- class maps and counts, as the literature and the sheets have them


@pytest.mark.parametrize(
    ("name", "version", "counts"),
    [
        ("casme2_5", 0, {"disgust": 63, "happiness": 32, "others": 99, "repression": 27, "surprise": 25}),  # 246
        ("casme2_5", 1, {"disgust": 63, "happiness": 32, "others": 99, "repression": 27, "surprise": 28}),  # 249
        ("casme2_3", 0, {"negative": 90, "positive": 32, "surprise": 25}),
        ("samm_5", 0, {"anger": 57, "contempt": 12, "happiness": 26, "other": 26, "surprise": 15}),  # 136
        ("samm_3", 0, {"negative": 92, "positive": 26, "surprise": 15}),  # 133
        ("smic_hs_3", 0, {"negative": 70, "positive": 51, "surprise": 43}),  # 164
        ("casme_sq_4", 0, {"negative": 21, "others": 19, "positive": 8, "surprise": 9}),  # 57
        ("casme3_4", 0, {"negative": 457, "others": 161, "positive": 55, "surprise": 187}),  # 860
        (
            "casme3_7",
            0,
            {"anger": 64, "disgust": 250, "fear": 86, "happy": 55, "others": 161, "sad": 57, "surprise": 187},
        ),
        ("megc2019", 0, {"negative": 250, "positive": 109, "surprise": 83}),  # 442
    ],
)
def test_classes_of_the_literature(name: str, version: int, counts: dict[str, int]) -> None:
    releases = [release for release in RELEASES if name in {class_map.name for class_map in maps_of(release)}]
    clips = clips_of(releases[0], version)
    assert class_counts(all_class_maps()[name], clips.values()) == counts


def test_known_counts() -> None:
    totals = {release: sum(versions[0].emotions.values()) for release, versions in KNOWN_COUNTS.items()}
    expected = {"casme2": 255, "samm": 159, "smic_hs": 164, "casme_sq": 57, "casme3_a": 860, "mmew": 300}
    assert totals.items() >= (expected | {"megc2019": 442, "megc2019_flow": 442}).items()
    subjects = {release: versions[0].subjects for release, versions in KNOWN_COUNTS.items()}
    expected = {"casme2": 26, "samm": 29, "smic_hs": 16, "casme_sq": 14, "casme3_a": 94, "mmew": 30}
    assert subjects.items() >= (expected | {"megc2019": 68, "megc2019_flow": 68}).items()
    assert {release for release in RELEASES if not maps_of(release)} == {"flow_images"}  # whose classes are its list's


@pytest.mark.parametrize(
    ("release", "version"), [(release, k) for release, known in KNOWN_COUNTS.items() for k in range(len(known))]
)
def test_a_release_as_it_is_known(release: str, version: int) -> None:
    assert compare_counts(release, clips_of(release, version), KNOWN_COUNTS[release][version].subjects, []) == []


def test_differences_are_a_table_with_the_clips_that_explain_them() -> None:
    """Held against the version that differs least; a rejected row of that emotion, or of none, may explain it."""
    clips = clips_of("casme2", 1)
    del clips["fear_0"]
    clips["boredom_0"] = "boredom"
    rejected = [
        {"clip_id": "a", "reason": "bad_marks", "detail": "", "emotion": "fear"},
        {"clip_id": "b", "reason": "bad_row", "detail": "", "emotion": ""},
        {"clip_id": "c", "reason": "bad_row", "detail": "", "emotion": "disgust"},
    ]
    found = {row["emotion"]: row for row in compare_counts("casme2", clips, 25, rejected)}
    assert set(found) == {"fear", "boredom", "(subjects)"} and {row["version"] for row in found.values()} == {"2019"}
    assert (found["fear"]["expected"], found["fear"]["found"], found["fear"]["clips"]) == (2, 1, ["a", "b"])
    assert (found["boredom"]["expected"], found["boredom"]["found"]) == (0, 1)
    assert (found["(subjects)"]["expected"], found["(subjects)"]["found"]) == (26, 25)
    assert compare_counts("dfme", clips, 25, rejected) == []  # nothing is known of it


# --- corrections


@pytest.fixture
def corrections(tmp_path: Path, simulated: Write, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Simulated]:
    """A table of corrections for the simulated SAMM, whose sheet has a wrong apex and a wrong offset."""
    written = simulated("samm")
    grid = Grid.of("samm", written)
    first = grid.header + 1
    grid.rows[first][grid.place("apex")] = 99999
    grid.rows[first + 1][grid.place("offset")] = 1
    names = [clip.clip_id.removeprefix("samm/") for clip in written.clips]
    lines = [
        "release,version,clip,column,sheet_value,value,source",
        f"samm,*,{names[0]},apex,99999,{written.clips[0].apex},a mail",
        f"samm,*_v2.xlsx,{names[1]},offset,1,{written.clips[1].offset},another mail",
        f"samm,*,{names[2]},apex,77,,a copy whose apex is 77",
        "samm,*,001/none,apex,77,,no such clip",
        f"samm,*_v9.xlsx,{names[3]},emotion,Anger,Fear,another version",
        f"casme2,*,{names[3]},emotion,Anger,Fear,another release",
    ]
    table = tmp_path / "corrections.csv"
    table.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(
        fdpbench.prep.sheets.rows, "known_corrections", lambda release, sheet: known_corrections(release, sheet, table)
    )
    return write_xlsx(tmp_path / written.sheet.name, grid.book()), written


def test_corrections_are_applied_by_value_and_reported(corrections: tuple[Path, Simulated]) -> None:
    sheet, written = corrections
    found = read_annotations("samm", sheet)
    assert found.rejected == []
    assert {found.clip_id(clip.subject, clip.clip): (clip.apex, clip.offset) for clip in found.clips} == {
        clip.clip_id: (clip.apex, clip.offset) for clip in written.clips
    }
    assert [(row["applied"], row["found"]) for row in found.corrections] == [
        (True, "99999"), (True, "1"), (False, str(written.clips[2].apex)), (False, None)
    ]  # fmt: skip
    lines = report_lines(report_of_sheet(found))
    names = [clip.clip_id.removeprefix("samm/") for clip in written.clips]
    assert f"corrected: {names[0]}, apex: 99999 -> {written.clips[0].apex} (a mail)" in lines
    assert f"not corrected: {names[2]}, apex: expected 77, the sheet has {written.clips[2].apex}" in lines
    assert "not corrected: 001/none, apex: the sheet has no such clip" in lines


@pytest.mark.parametrize("line", ["samm,*,a/b,subject,1,2,x", "samm,*,,apex,1,2,x", "samm,*,a/b,apex,1,2,"])
def test_a_correction_that_cannot_be(tmp_path: Path, line: str) -> None:
    table = tmp_path / "corrections.csv"
    table.write_text(f"release,version,clip,column,sheet_value,value,source\n{line}\n")
    with pytest.raises(ValueError, match="needs a clip, a source and a column of"):
        known_corrections("samm", "sheet.xlsx", table)


def test_every_correction_of_the_project_names_its_source() -> None:
    known = known_corrections("casme3_a", "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx")
    assert {(correction.clip, correction.column, correction.value) for correction in known} == {
        ("spNO.216/d_3647", "onset", "2647"), ("spNO.214/c_5", "offset", "34"), ("spNO.149/d_112", "apex", "160"),
        ("spNO.40/e_1812", "offset", "1845"), ("spNO.40/e_2327", "offset", "2403"),
    }  # fmt: skip
    assert all(isinstance(correction, Correction) and "github.com" in correction.source for correction in known)


# --- the report and the command


def test_annotations_for_machines(simulated: Write, tmp_path: Path) -> None:
    grid = Grid.of("casme2", simulated("casme2"))
    grid.rows[2][grid.place("onset")] = "first"
    grid.rows[3][grid.place("apex")] = "/"
    path = write_xlsx(tmp_path / "CASME2-coding-20140508.xlsx", grid.book())
    result = invoke("annotations", "casme2", str(path), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["release"], report["sheet"], report["simulated"]) == ("casme2", path.name, False)
    assert (report["clips"], report["subjects"], report["missing_apex"]) == (5, 3, 2)
    assert sum(report["emotions"].values()) == 5 and set(report["class_maps"]) == {"casme2_5", "casme2_3"}
    assert report["class_maps"]["casme2_5"]["classes"].keys() == all_class_maps()["casme2_5"].classes.keys()
    (rejected,) = report["rejected"]
    assert rejected["reason"] == "bad_row" and rejected["detail"].startswith("row 3: onset 'first'")
    emotion = grid.rows[2][grid.place("emotion")]
    difference = next(row for row in report["differences"] if row["emotion"] == emotion)
    assert rejected["clip_id"] in difference["clips"] and difference["found"] < difference["expected"]


def test_annotations_for_people(simulated: Write, tmp_path: Path) -> None:
    """Every rejection is printed, however many there are; names with brackets are no markup."""
    grid = Grid.of("casme2", simulated("casme2"))
    grid.rows += [grid.row(2, clip=f"[bold]{k}", emotion=7) for k in range(30)]
    path = write_xlsx(tmp_path / "sheet.xlsx", grid.book())
    result = invoke("annotations", "casme2", str(path))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("6 clips of 3 subjects (") and lines[0].endswith("; 1 without an apex")
    assert any(line.startswith("casme2_5: 6 clips of 3 subjects (disgust ") for line in lines)
    assert "other counts than known of this release (version 2014):" in lines
    assert "left out 30 (unknown_emotion 30):" in lines
    assert sum("[bold]" in line and "unknown_emotion: row " in line for line in lines) == 30


def test_an_index_shows_some_and_keeps_all(simulated: Write, project: Path, capsys: pytest.CaptureFixture) -> None:
    written = simulated("casme2")
    root = shutil.copytree(written.sheet.parent, project / "r")
    grid = Grid.of("casme2", written)
    grid.rows += [grid.row(2, clip=f"zz{k}", emotion=7) for k in range(30)]
    write_xlsx(root / written.sheet.name, grid.book())
    index_release("casme2", root, paths.manifest("casme2"))
    said = capsys.readouterr().err
    assert "and 10 more" in said and "all that was left out is in" in said
    assert "other counts than known of this release" in said
    assert len(json.loads((paths.manifest("casme2") / "report.json").read_text())["rejected"]) == 30


def test_real_sheets_hold_what_is_known(shared_data: Path) -> None:
    for release, pattern in (("casme2", "casme2/*.xlsx"), ("samm", "samm/*.xlsx")):
        for sheet in sorted((shared_data / "annotations").glob(pattern)):
            report = report_of_sheet(read_annotations(release, sheet))
            assert report["differences"] == [] and report["rejected"] == []
