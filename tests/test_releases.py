"""Readers of releases, on tiny releases of the real form, and on the real ones where they are at hand."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from prep import images, shards
from prep.index import index_release
from prep.onset_apex import flow_of_images
from prep.releases import RELEASES, ReleaseError, casme2, megc2019_flow, read_release
from prep.releases.base import COLUMNS, Listing, frame_numbers, read_sheet, whole_number
from prep.schema import FLOW, MANIFEST, REJECTED, Reason
from tests.builders import (
    FLOW_CLIPS,
    SHEET,
    face_like,
    flow_image,
    write_casme2,
    write_flow_three,
    write_flow_whole,
    write_image,
    write_official,
    write_synthetic,
)


def test_the_list_of_reasons_holds_those_of_damaged_images() -> None:
    assert set(images.REASONS) <= {str(reason) for reason in Reason}


def reasons(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["reason"] for row in listing.rejected}


def emotions(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["emotion"] for row in listing.clips}


# --- MEGC2019 flow images

EXPECTED = {
    "casme2/sub01/EP02_01f": "positive",
    "casme2/sub01/EP19_05f": "negative",
    "casme2/sub17/EP01_02": "surprise",
    "smic/s01/s01_ne_01": "negative",
    "smic/s02/s02_po_01": "positive",
    "samm/006/006_1_2": "negative",
    "samm/020/020_4_1": "surprise",
}


@pytest.mark.parametrize("layouts", ["whole", "three", "both"])
@pytest.mark.parametrize("official", [True, False])
def test_flow_layouts(tmp_path: Path, layouts: str, official: bool) -> None:
    if layouts in {"whole", "both"}:
        write_flow_whole(tmp_path)
    if layouts in {"three", "both"}:
        write_flow_three(tmp_path)
    if official:
        write_official(tmp_path)
    listing = read_release("megc2019_flow", tmp_path)
    assert emotions(listing) == EXPECTED
    assert listing.rejected == []
    rows = {row["clip_id"]: row for row in listing.clips}
    row = rows["smic/s01/s01_ne_01"]  # written s1 in the sheet
    assert (row["dataset"], row["subject"]) == ("smic", "smic/s01")
    place = "three_norm_u_v_os/s01/u_test/0" if layouts == "three" else "STSNet_whole_norm_u_v_os"
    assert row["frames"] == [f"{place}/s01_s01_ne_01 .png"]
    assert (tmp_path / row["frames"][0]).is_file()
    assert "casme2 3 of 145, samm 2 of 133, smic 2 of 164" in " ".join(listing.notes)


def test_training_folders_of_layout_three_are_not_read(tmp_path: Path) -> None:
    write_flow_three(tmp_path)
    write_image(tmp_path / "three_norm_u_v_os/s01/u_train/2/sub01_EP02_01f .png", flow_image())
    assert emotions(read_release("megc2019_flow", tmp_path)) == EXPECTED


def test_parts_of_two_layouts_are_joined(tmp_path: Path) -> None:
    write_flow_whole(tmp_path, FLOW_CLIPS[:5])
    write_flow_three(tmp_path, FLOW_CLIPS[3:])
    assert emotions(read_release("megc2019_flow", tmp_path)) == EXPECTED


def relabelled(clip: str, label: int) -> list[tuple]:
    return [row[:4] + (label,) if row[3] == clip else row for row in FLOW_CLIPS]


def test_layouts_that_disagree(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    write_flow_three(tmp_path, relabelled("006_1_2", 2))
    with pytest.raises(ReleaseError, match=r"disagree on 1 labels: samm/006/006_1_2 is 0 and 2"):
        read_release("megc2019_flow", tmp_path)


@pytest.mark.parametrize("write", [write_flow_whole, write_flow_three])
def test_official_list_that_disagrees(tmp_path: Path, write) -> None:
    write(tmp_path)
    write_official(tmp_path, relabelled("EP01_02", 0))
    with pytest.raises(ReleaseError, match=r"combined_3class_gt\.csv disagree.*casme2/sub17/EP01_02 is 2 and 0"):
        read_release("megc2019_flow", tmp_path)


def test_clip_that_the_official_list_does_not_hold(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    write_official(tmp_path, FLOW_CLIPS[1:])
    with pytest.raises(ReleaseError, match="casme2/sub01/EP02_01f"):
        read_release("megc2019_flow", tmp_path)


def test_official_list_may_hold_more(tmp_path: Path) -> None:
    write_flow_whole(tmp_path, FLOW_CLIPS[:3])
    write_official(tmp_path)
    assert len(read_release("megc2019_flow", tmp_path).clips) == 3


def test_label_without_image(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    (tmp_path / "STSNet_whole_norm_u_v_os/006_006_1_2 .png").unlink()
    listing = read_release("megc2019_flow", tmp_path)
    assert reasons(listing) == {"samm/006/006_1_2": Reason.MISSING_FILE}
    assert len(listing.clips) == 6


def test_image_without_label(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    write_image(tmp_path / "STSNet_whole_norm_u_v_os/s03_s03_ne_09 .png", flow_image())
    listing = read_release("megc2019_flow", tmp_path)
    assert reasons(listing) == {"smic/s03/s03_ne_09": Reason.NOT_IN_SHEET}


@pytest.mark.parametrize("name", ["nonsense.png", "sub01.png", "subject1_EP01.png", "s01_ .png"])
def test_bad_file_name(tmp_path: Path, name: str) -> None:
    write_flow_whole(tmp_path)
    write_image(tmp_path / "STSNet_whole_norm_u_v_os" / name, flow_image())
    listing = read_release("megc2019_flow", tmp_path)
    assert reasons(listing) == {f"STSNet_whole_norm_u_v_os/{name}": Reason.BAD_ROW}
    assert len(listing.clips) == 7


def test_two_files_of_one_clip(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    write_image(tmp_path / "STSNet_whole_norm_u_v_os/s01_s01_ne_01.png", flow_image())  # without the space
    listing = read_release("megc2019_flow", tmp_path)
    assert list(reasons(listing).values()) == [Reason.DUPLICATE]
    assert len(listing.clips) == 7


def test_unknown_class_folder(tmp_path: Path) -> None:
    write_flow_three(tmp_path)
    write_image(tmp_path / "three_norm_u_v_os/s01/u_test/3/s01_s01_ne_02 .png", flow_image())
    assert list(reasons(read_release("megc2019_flow", tmp_path)).values()) == [Reason.BAD_ROW]


@pytest.mark.parametrize("line", ["casme2,sub01,EP02_01f,7,,,", "casmeX,sub01,EP,0,,,", "smic,sub01,EP,0,,,"])
def test_sheet_row_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    write_flow_whole(tmp_path)
    with (tmp_path / "combined_3_class2_for_optical_flow.csv").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ReleaseError, match="row 9"):
        read_release("megc2019_flow", tmp_path)


def test_sheet_that_lists_a_clip_twice(tmp_path: Path) -> None:
    write_flow_whole(tmp_path, [*FLOW_CLIPS, FLOW_CLIPS[0]])
    with pytest.raises(ReleaseError, match="casme2/sub01/EP02_01f is listed twice"):
        read_release("megc2019_flow", tmp_path)


def test_sheet_missing_or_of_other_columns(tmp_path: Path) -> None:
    write_flow_whole(tmp_path)
    sheet = tmp_path / "combined_3_class2_for_optical_flow.csv"
    sheet.write_text("a,b\n1,2\n")
    with pytest.raises(ReleaseError, match="column 'dataset' not found; the sheet has a, b"):
        read_release("megc2019_flow", tmp_path)
    sheet.unlink()
    with pytest.raises(ReleaseError, match="combined_3_class2_for_optical_flow"):
        read_release("megc2019_flow", tmp_path)


@pytest.mark.parametrize("name", list(RELEASES))
def test_a_folder_of_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="found") as caught:
        read_release(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ReleaseError, match=f"python -m prep link {name}"):
        read_release(name, tmp_path / "nowhere")


def test_unknown_release(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="unknown release 'nowhere'; known releases: synthetic"):
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
    assert "2 clips of 2 subjects" in listing.notes[0]
    manifest, rejected = listing.tables()
    assert manifest.schema.equals(MANIFEST) and rejected.schema.equals(REJECTED)


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (("01", "EP77", 1, 2, 3, "", "happiness"), Reason.MISSING_FOLDER, "sub01/EP77"),
        (("26", "EP09", 1, 5, 12, "", "happiness"), Reason.MISSING_FILE, "1 of 12 frames are missing, first 12"),
        (("26", "EP09", 11, 5, 1, "", "happiness"), Reason.BAD_ROW, "onset '11'"),
        (("26", "EP09", 3, 2, 9, "", "happiness"), Reason.BAD_ROW, "apex '2'"),
        (("26", "EP09", 3, 10, 9, "", "happiness"), Reason.BAD_ROW, "apex '10'"),
        (("26", "EP09", 5, 5, 5, "", "happiness"), Reason.BAD_ROW, "onset '5'"),
        (("26", "EP09", "/", 5, 9, "", "happiness"), Reason.BAD_ROW, "onset '/'"),
        (("26", "EP09", 1, 5, None, "", "happiness"), Reason.BAD_ROW, "offset"),
        (("26", "EP09", 1.5, 5, 9, "", "happiness"), Reason.BAD_ROW, "onset '1.5'"),
        (("26", "EP09", 1, 5, 9, "", None), Reason.BAD_ROW, "emotion"),
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
    (row,) = read_sheet(path, COLUMNS).to_dict("records")
    assert row == {
        "subject": "s01", "clip": "a", "onset": "1", "apex": "2", "offset": "3", "action_units": "12", "emotion": "Joy"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [("46", 46), ("46.0", 46), ("046", 46), ("0", 0), ("", None), ("/", None), ("4.5", None), ("nan", None), ("inf", None)],
)
def test_whole_numbers(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_frame_numbers_padded_or_not(tmp_path: Path) -> None:
    for name in ("img1.jpg", "img002.jpg", "img10.jpg", "other3.jpg", "img.jpg", "img4.txt"):
        (tmp_path / name).touch()
    assert {number: path.name for number, path in frame_numbers(tmp_path, "img*.jpg").items()} == {
        1: "img1.jpg", 2: "img002.jpg", 10: "img10.jpg"
    }  # fmt: skip


# --- real data, where FDPBENCH_SHARED_DATA says it is


def official(shared_data: Path) -> dict[tuple[str, int, str], str]:
    """Labels by data set, number of the subject, and clip."""
    path = shared_data / "annotations/combined_3class_gt.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(newline="") as stream:
        return {(dataset, int(subject.lstrip("sub")), clip): label for dataset, subject, clip, label in csv.reader(stream)}


@pytest.fixture
def real_flow(shared_data: Path) -> Path:
    root = shared_data / "megc2019_flow"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    return root


def test_real_flow_images(shared_data: Path, real_flow: Path) -> None:
    listing = read_release("megc2019_flow", real_flow)
    assert listing.rejected == []
    assert Counter(row["dataset"] for row in listing.clips) == {"casme2": 145, "smic": 164}
    assert Counter(row["emotion"] for row in listing.clips if row["dataset"] == "smic") == {
        "negative": 70, "positive": 51, "surprise": 43
    }  # fmt: skip
    labels = official(shared_data)
    for row in listing.clips:
        dataset, subject, clip = row["clip_id"].split("/")
        label = labels[dataset, int(subject.lstrip("sub")), clip]
        assert megc2019_flow.EMOTIONS[label] == row["emotion"], row["clip_id"]
    assert len({row["subject"] for row in listing.clips}) == 24 + 16
    listing.tables()


def test_real_channel_order(real_flow: Path, project: Path) -> None:
    """Strain computed from u and v looks like the third channel, under no other order of the three."""
    flow_of_images("megc2019_flow", real_flow, project / "manifest", project / "flow")
    rows = list(shards.read_rows(project / "flow/flow.parquet", FLOW))
    assert len(rows) == 309
    agreement: dict[tuple[int, ...], list[float]] = {order: [] for order in permutations(range(3))}
    for row in rows:
        field = np.array(row["flow"]).reshape(3, row["side"], row["side"])
        for order, values in agreement.items():
            u, v, strain = field[list(order)]
            (u_y, u_x), (v_y, v_x) = np.gradient(u), np.gradient(v)
            computed = np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)
            values.append(float(np.corrcoef(computed.ravel(), strain.ravel())[0, 1]))
    means = {order: np.nanmean(values) for order, values in agreement.items()}
    assert max(means, key=means.__getitem__) == (0, 1, 2), means


def test_real_casme2_sheet(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "annotations/casme2/CASME2-coding-20140508.xlsx"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    sheet = read_sheet(path, COLUMNS)
    assert len(sheet) == casme2.CLIPS and sheet["subject"].nunique() == casme2.SUBJECTS
    assert Counter(sheet["emotion"]) == {
        "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2
    }  # fmt: skip
    marks = {mark: sheet[mark].map(whole_number) for mark in ("onset", "apex", "offset")}
    assert marks["onset"].notna().all() and marks["offset"].notna().all()
    assert sheet[marks["apex"].isna()]["clip"].tolist() == ["EP12_01f"]
    # a release of empty folders: every row is accounted for, with its subject's folder name
    (tmp_path / path.name).symlink_to(path)
    (tmp_path / "CASME2_RAW_selected").mkdir()
    listing = casme2.read(tmp_path)
    assert len(listing.clips) + len(listing.rejected) == casme2.CLIPS
    assert all(row["clip_id"].startswith("casme2/sub") for row in listing.rejected)


# --- from flow images to rows


def test_channels_of_flow_images_are_u_v_strain(project: Path) -> None:
    """Red is u: OpenCV would read it last."""
    image = np.zeros((28, 28, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 255, 102, 51
    folder = project / "r/STSNet_whole_norm_u_v_os"
    write_flow_whole(project / "r")
    cv2.imwrite(str(folder / "006_006_1_2 .png"), image[..., ::-1])  # OpenCV writes BGR
    flow_of_images("megc2019_flow", project / "r", project / "manifest", project / "flow")
    (row,) = (r for r in shards.read_rows(project / "flow/flow.parquet", FLOW) if r["clip_id"] == "samm/006/006_1_2")
    field = np.array(row["flow"]).reshape(3, 28, 28)
    assert field[:, 0, 0] == pytest.approx([1.0, 0.4, 0.2]) and (row["unit"], row["side"]) == ("image", 28)


def test_damaged_flow_images_are_left_out_by_name(project: Path) -> None:
    folder = project / "r/STSNet_whole_norm_u_v_os"
    write_flow_whole(project / "r")
    whole = (folder / "s01_s01_ne_01 .png").read_bytes()
    (folder / "s01_s01_ne_01 .png").write_bytes(whole[:200])
    (folder / "006_006_1_2 .png").write_bytes(b"")
    (folder / "020_020_4_1 .png").write_text("not an image")
    write_image(folder / "sub17_EP01_02 .png", face_like()[:28, :30])
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    (folder / "s02_s02_po_01 .png").write_bytes(damaged)
    flow_of_images("megc2019_flow", project / "r", project / "manifest", project / "flow")
    manifest = shards.read_table(project / "manifest/manifest.parquet", MANIFEST).column("clip_id").to_pylist()
    rejected = shards.read_table(project / "manifest/rejected.parquet", REJECTED).to_pylist()
    assert {row["clip_id"]: row["reason"] for row in rejected} == {
        "smic/s01/s01_ne_01": Reason.TRUNCATED_IMAGE,
        "samm/006/006_1_2": Reason.EMPTY_FILE,
        "samm/020/020_4_1": Reason.NOT_AN_IMAGE,
        "casme2/sub17/EP01_02": Reason.WRONG_SIZE,
        "smic/s02/s02_po_01": "damaged_image",
    }
    assert manifest == ["casme2/sub01/EP02_01f", "casme2/sub01/EP19_05f"]
    assert [row["clip_id"] for row in shards.read_rows(project / "flow/flow.parquet", FLOW)] == manifest


def test_a_release_of_frames_is_no_release_of_flow_images(project: Path) -> None:
    write_synthetic(project / "r", [("s01", "joy_1", 1, 4, 7, "AU12", "happiness")])
    with pytest.raises(ReleaseError, match="synthetic"):
        flow_of_images("synthetic", project / "r", project / "manifest", project / "flow")
    assert not (project / "flow").exists()
