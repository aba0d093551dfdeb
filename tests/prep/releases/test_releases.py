"""Readers of releases, on tiny releases of the real form, and on the real ones where they are at hand."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import RELEASES, ReleaseError, read_annotations, read_release
from fdpbench.prep.releases.common.base import Listing
from fdpbench.prep.releases.common.composite import official_labels
from fdpbench.prep.releases.common.folders import FolderProblem, find_frames
from fdpbench.prep.sheets.rows import COLUMNS
from fdpbench.prep.sheets.tables import read_sheet, whole_number
from fdpbench.prep.store import shards
from fdpbench.prep.store.schema import MANIFEST, REJECTED, Reason
from tests.support.builders import SHEET, write_casme2, write_synthetic


def reasons(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["reason"] for row in listing.rejected}


def emotions(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["emotion"] for row in listing.clips}


@pytest.mark.parametrize("name", list(RELEASES))
def test_a_folder_of_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="found") as caught:
        read_release(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ReleaseError, match=f"fdpbench link {name}"):
        read_release(name, tmp_path / "nowhere")


def test_unknown_release(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="unknown release 'nowhere'; known releases: .*casme2, .*synthetic"):
        read_release("nowhere", tmp_path)


# --- CASME II

GOOD = ("01", "EP02_01f", 46, 59, 86, "AU12", "happiness")


def casme2_release(root: Path, *rows: tuple) -> None:
    write_casme2(root, rows, [("sub01", "EP02_01f", range(46, 87)), ("sub26", "EP09", range(1, 12))])


def test_casme2_clip(tmp_path: Path) -> None:
    casme2_release(tmp_path, GOOD, (26, "EP09", 1, "/", 11, "4 or 7", "Disgust"))
    listing = read_release("casme2", tmp_path)
    assert listing.rejected == []
    first, second = listing.clips
    assert first["clip_id"] == "casme2/sub01/EP02_01f" and first["subject"] == "casme2/sub01"
    assert (first["onset"], first["apex"], first["offset"], first["fps"]) == (46, 59, 86, 200.0)
    assert (first["emotion"], first["action_units"]) == ("happiness", "AU12")
    # numbered, not padded: in order of number, not of name
    assert first["frames"] == [f"CASME2_RAW_selected/sub01/EP02_01f/img{k}.jpg" for k in range(46, 87)]
    assert first["frame_numbers"] == list(range(46, 87))
    assert second["frames"] == [f"CASME2_RAW_selected/sub26/EP09/img{k}.jpg" for k in range(1, 12)]
    assert second["subject"] == "casme2/sub26" and second["apex"] is None and second["emotion"] == "disgust"
    manifest, rejected = listing.tables()
    assert manifest.schema.equals(MANIFEST) and rejected.schema.equals(REJECTED)


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (("01", "EP77", 1, 2, 3, "", "happiness"), Reason.MISSING_FOLDER, "sub01/EP77"),
        (("26", "EP09", 1, 5, 12, "", "happiness"), Reason.MISSING_FILE, "1 of 12 frames are missing, first 12"),
        (("26", "EP09", 11, 5, 1, "", "happiness"), Reason.BAD_MARKS, "onset '11'"),
        (("26", "EP09", 3, 2, 9, "", "happiness"), Reason.BAD_MARKS, "apex '2'"),
        (("26", "EP09", 3, 10, 9, "", "happiness"), Reason.BAD_MARKS, "apex '10'"),
        (("26", "EP09", 5, 5, 5, "", "happiness"), Reason.BAD_MARKS, "onset '5'"),
        (("26", "EP09", "/", 5, 9, "", "happiness"), Reason.BAD_ROW, "onset '/'"),
        (("26", "EP09", 1, 5, None, "", "happiness"), Reason.BAD_ROW, "offset"),
        (("26", "EP09", 1.5, 5, 9, "", "happiness"), Reason.BAD_ROW, "onset '1.5'"),
        (("26", "EP09", 1, 5, 9, "", None), Reason.BAD_ROW, "emotion"),
        (("26", "EP09", 1, 5, 9, "", "boredom"), Reason.UNKNOWN_EMOTION, "emotion 'boredom'; expected one of"),
    ],
)
def test_casme2_row_that_cannot_be_used(tmp_path: Path, row: tuple, reason: Reason, detail: str) -> None:
    casme2_release(tmp_path, GOOD, row)
    listing = read_release("casme2", tmp_path)
    assert emotions(listing) == {"casme2/sub01/EP02_01f": "happiness"}
    (rejection,) = listing.rejected
    assert rejection["clip_id"] == f"casme2/sub{row[0]}/{row[1]}"
    assert rejection["reason"] == reason and detail in rejection["detail"]
    assert "row 3" in rejection["detail"] or reason == Reason.MISSING_FILE


def test_casme2_missing_frame_in_the_middle(tmp_path: Path) -> None:
    casme2_release(tmp_path, GOOD, ("26", "EP09", 1, 5, 11, "", "happiness"))
    (tmp_path / "CASME2_RAW_selected/sub26/EP09/img7.jpg").unlink()
    (rejection,) = read_release("casme2", tmp_path).rejected
    assert rejection["reason"] == Reason.MISSING_FILE and "first 7" in rejection["detail"]


def test_casme2_row_twice(tmp_path: Path) -> None:
    casme2_release(tmp_path, GOOD, (1, *GOOD[1:]))  # as a number this time
    listing = read_release("casme2", tmp_path)
    assert len(listing.clips) == 1
    assert reasons(listing) == {"casme2/sub01/EP02_01f": Reason.DUPLICATE}


def test_casme2_no_clip_is_usable(tmp_path: Path) -> None:
    write_casme2(tmp_path, [GOOD])
    with pytest.raises(ReleaseError, match="no clip of 'casme2' could be used.*EP02_01f not found"):
        read_release("casme2", tmp_path)


def test_casme2_without_frames_or_sheet(tmp_path: Path) -> None:
    write_casme2(tmp_path, [GOOD])
    (tmp_path / "CASME2_RAW_selected").rmdir()
    with pytest.raises(ReleaseError, match="CASME2_RAW_selected not found"):
        read_release("casme2", tmp_path)
    (tmp_path / "CASME2-coding-20140508.xlsx").write_bytes(b"PK not a workbook")
    (tmp_path / "CASME2_RAW_selected").mkdir()
    with pytest.raises(ReleaseError, match=r"CASME2-coding-20140508\.xlsx: not a readable annotation sheet"):
        read_release("casme2", tmp_path)


def test_a_manifest_and_what_was_left_out_hold_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    casme2_release(tmp_path / "r", GOOD, ("01", "EP77", 1, 2, 3, "", "fear"), ("26", "EP09", 1, 5, 12, "", "fear"))
    index_release("casme2", tmp_path / "r", tmp_path / "out")
    kept = shards.read_table(tmp_path / "out/manifest.parquet", MANIFEST).column("clip_id").to_pylist()
    left = shards.read_table(tmp_path / "out/rejected.parquet", REJECTED).column("clip_id").to_pylist()
    assert sorted(kept + left) == ["casme2/sub01/EP02_01f", "casme2/sub01/EP77", "casme2/sub26/EP09"]


# --- the embedded release, and sheets in general


def test_synthetic_clip(tmp_path: Path) -> None:
    write_synthetic(tmp_path, [("s01", "joy_1", 2, 4, 7, "AU12", "Happiness")])
    (clip,) = read_release("synthetic", tmp_path).clips
    assert clip["clip_id"] == "synthetic/s01/joy_1" and clip["emotion"] == "happiness"
    assert clip["frames"] == [f"frames/s01/joy_1/img{k:03d}.png" for k in range(2, 8)]
    assert clip["frame_numbers"] == [2, 3, 4, 5, 6, 7]


def test_rows_are_named_by_their_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(SHEET)
        writer.writerow(["s01", "a", 1, 2, 3, "", "joy"])
        writer.writerow([""] * len(SHEET))  # line 3: commas alone
        writer.writerow(["s01", "b", 1, 2, 3, "", "joy"])
    sheet = read_sheet(path, COLUMNS)
    assert sheet["clip"].to_dict() == {2: "a", 4: "b"}


def test_an_empty_line_counts_as_a_line(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(",".join(SHEET) + "\ns01,a,1,2,3,,joy\n\ns01,b,1,2,3,,joy\n")
    assert read_sheet(path, COLUMNS)["clip"].to_dict() == {2: "a", 4: "b"}


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    names = ["EMOTION", " apex frame ", "Offset_Frame", "AUs", "Filename", "onset", "Subject", "Remarks"]
    path.write_text("\ufeff" + ",".join(names) + "\nJoy,2,3,12, a ,1,s01,NA\n", encoding="utf-8")
    (row,) = read_sheet(path, COLUMNS, ["action_units"]).to_dict("records")
    assert row == {
        "subject": "s01", "clip": "a", "onset": "1", "apex": "2", "offset": "3", "action_units": "12", "emotion": "Joy"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("46", 46),
        ("46.0", 46),
        ("046", 46),
        ("0", 0),
        ("", None),
        ("/", None),
        ("4.5", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_whole_numbers(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_frame_numbers_padded_or_not(tmp_path: Path) -> None:
    for name in ("img1.jpg", "img002.jpg", "img10.JPG", "other3.jpg", "img.jpg", "img4.txt", ".img5.jpg"):
        (tmp_path / name).touch()
    assert {number: path.name for number, path in find_frames(tmp_path, tmp_path, "img").files.items()} == {
        1: "img1.jpg", 2: "img002.jpg", 10: "img10.JPG"
    }  # fmt: skip


def test_two_files_of_one_frame(tmp_path: Path) -> None:
    for name in ("img1.jpg", "img01.png"):
        (tmp_path / name).touch()
    with pytest.raises(FolderProblem, match=r"img01\.png and img1\.jpg are the same frame") as caught:
        find_frames(tmp_path, tmp_path)
    assert caught.value.reason == Reason.DUPLICATE


@pytest.mark.parametrize("apex", ["/", 0, "0", None, ""])
def test_an_apex_that_the_sheet_does_not_give(tmp_path: Path, apex: object) -> None:
    casme2_release(tmp_path, ("26", "EP09", 1, apex, 11, "", "disgust"))
    (clip,) = read_release("casme2", tmp_path).clips
    assert clip["apex"] is None


# --- real sheets, where FDPBENCH_SHARED_DATA says they are


def real_sheet(shared_data: Path, pattern: str) -> Path:
    found = sorted((shared_data / "annotations").glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {shared_data / 'annotations'}")
    return found[0]


def test_real_casme2_sheet(shared_data: Path, tmp_path: Path) -> None:
    path = real_sheet(shared_data, "casme2/CASME2-coding-20140508.xlsx")
    found = read_annotations("casme2", path)
    assert Counter(clip.emotion for clip in found.clips) == {
        "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2
    }  # fmt: skip
    assert len(found.clips) == 255 and len({clip.subject for clip in found.clips}) == 26
    assert found.rejected == []
    assert [clip.clip for clip in found.clips if clip.apex is None] == ["EP12_01f"]
    # a release of empty folders: every row is accounted for, with its subject's folder name
    (tmp_path / path.name).symlink_to(path)
    (tmp_path / "CASME2_RAW_selected").mkdir()
    with pytest.raises(ReleaseError, match="no clip of 'casme2' could be used.*casme2/sub01/EP02_01f"):
        read_release("casme2", tmp_path)


def test_real_samm_sheet(shared_data: Path) -> None:
    found = read_annotations("samm", real_sheet(shared_data, "samm/SAMM_Micro_FACS_Codes_v2.xlsx"))
    assert len(found.clips) == 159 and len({clip.subject for clip in found.clips}) == 29
    assert found.rejected == []
    counts = Counter(clip.emotion for clip in found.clips)
    five = {"anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12}
    assert {name: counts[name] for name in five} == five
    assert len({clip.subject for clip in found.clips if clip.emotion in five}) == 27
    assert len([clip for clip in found.clips if clip.emotion != "other"]) == 133
    assert len({clip.subject for clip in found.clips if clip.emotion != "other"}) == 28


def test_real_casme3_sheet(shared_data: Path) -> None:
    """Its broken rows are known by their values, and have known corrections."""
    found = read_annotations("casme3_a", real_sheet(shared_data, "casme3/*part_A_ME*.xlsx"))
    assert len(found.clips) == 860
    subjects = {clip.subject for clip in found.clips}
    assert len(subjects) == 94
    assert found.rejected == [] and len(found.corrections) == 5
    assert all(row["applied"] for row in found.corrections)
    counts = Counter(clip.emotion for clip in found.clips)
    assert counts == {
        "disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sad": 57, "happy": 55
    }  # fmt: skip


def test_real_official_list(shared_data: Path) -> None:
    labels = official_labels(real_sheet(shared_data, "combined_3class_gt.csv"))
    assert Counter(dataset for dataset, _, _ in labels) == {"casme2": 145, "smic": 164, "samm": 133}
    assert len(labels) == 442 and len({(dataset, subject) for dataset, subject, _ in labels}) == 68
    assert Counter(labels.values()) == {"0": 250, "1": 109, "2": 83}
