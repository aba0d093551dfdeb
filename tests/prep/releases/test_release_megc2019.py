"""The MEGC2019 flow images: both layouts, labels against labels, channels; and the real ones where they are."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from fdpbench.bench.report.html.data import releases_of
from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import ReleaseError, read_release
from fdpbench.prep.releases.common.base import Listing
from fdpbench.prep.releases.common.composite import EMOTIONS, official_labels
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import CONTENTS, FLOW, FRAMES, MANIFEST, REJECTED, Reason
from tests.support.builders import (
    FLOW_CLIPS,
    face_like,
    flow_image,
    flow_of_images,
    write_flow_three,
    write_flow_whole,
    write_image,
    write_official,
)


def reasons(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["reason"] for row in listing.rejected}


def emotions(listing: Listing) -> dict[str, str]:
    return {row["clip_id"]: row["emotion"] for row in listing.clips}


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
    with pytest.raises(
        ReleaseError, match=r"column 'Data' .*, 'Estimated Emotion' .* not found; the sheet has .*: a, b"
    ):
        read_release("megc2019_flow", tmp_path)
    sheet.unlink()
    with pytest.raises(ReleaseError, match="combined_3_class2_for_optical_flow"):
        read_release("megc2019_flow", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("casme2,sub01,EP02_01f\n", "row 1: cannot be read"),
        ("casme2,sub01\n", "row 1: cannot be read"),
        ("casme2,sub01,EP02_01f,1\n\ncasme2,sub01,EP02_01f,1\n", "row 3: clip casme2/sub01/EP02_01f is listed twice"),
        ("casme2,sub01,EP02_01f,3\n", "row 1: cannot be read"),
        ('casme2,sub01,"EP02_01f,1\n', "not a readable annotation sheet"),
        ("", "STSNet_whole_norm_u_v_os|clips that combined_3class_gt.csv does not"),
    ],
)
def test_official_list_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    write_flow_whole(tmp_path)
    (tmp_path / "combined_3class_gt.csv").write_text(content)
    with pytest.raises(ReleaseError, match=message):
        read_release("megc2019_flow", tmp_path)


@pytest.mark.parametrize("form", ["crlf", "bom", "semicolon", "wider"])
def test_other_forms_of_the_official_list(tmp_path: Path, form: str) -> None:
    write_official(tmp_path)
    path = tmp_path / "combined_3class_gt.csv"
    expected = official_labels(path)
    text = path.read_text()
    text = {
        "crlf": text.replace("\n", "\r\n"),
        "bom": "\ufeff" + text,
        "semicolon": text.replace(",", ";"),
        "wider": text.replace("\n", ",,\n"),
    }[form]
    path.write_bytes(text.encode())
    assert official_labels(path) == expected and len(expected) == 7


def test_a_row_of_a_part_that_names_no_folder(simulated: Callable[..., Simulated], tmp_path: Path) -> None:
    """What a part leaves out does not stop the composite."""
    written = simulated("megc2019")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    sheet = next((root / "casme2").glob("*.xlsx"))
    book = openpyxl.load_workbook(sheet)
    book.worksheets[0].append([1, "../sub02/EP", None, 1, 2, 3, None, 4, "disgust"])
    book.save(sheet)
    listing = read_release("megc2019", root)
    assert {row["clip_id"] for row in listing.clips} == {clip.clip_id for clip in written.clips}


def test_a_part_of_the_composite_is_not_there(simulated: Callable[..., Simulated], tmp_path: Path) -> None:
    written = simulated("megc2019")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    shutil.rmtree(root / "samm")
    first = next(clip for clip in written.clips if clip.clip_id.startswith("casme2/"))
    shutil.rmtree((root / first.frames[0]).parent)
    listing = read_release("megc2019", root)
    lost = {row["clip_id"]: row["reason"] for row in listing.rejected}
    assert {row["clip_id"] for row in listing.clips} | set(lost) == {clip.clip_id for clip in written.clips}
    assert {reason for clip, reason in lost.items() if clip.startswith("samm/")} == {Reason.NOT_IN_SHEET}
    assert lost[first.clip_id] == Reason.MISSING_FOLDER and len(lost) == 5


# --- from flow images to rows

RELEASE = "megc2019_flow"


def take(root: Path) -> None:
    """Take the release through its stages."""
    index_release(RELEASE, root, paths.manifest(RELEASE))
    flow_of_images(RELEASE, root)


def test_channels_of_flow_images_are_u_v_strain(project: Path) -> None:
    """Red is u: OpenCV would read it last."""
    image = np.zeros((28, 28, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 255, 102, 51
    image[-1, -1] = 0  # a flat image is left out
    folder = project / "r/STSNet_whole_norm_u_v_os"
    write_flow_whole(project / "r")
    cv2.imwrite(str(folder / "006_006_1_2 .png"), image[..., ::-1])  # OpenCV writes BGR
    take(project / "r")
    (row,) = (
        r for r in shards.read_rows(paths.flow(RELEASE) / "flow.parquet", FLOW) if r["clip_id"] == "samm/006/006_1_2"
    )
    field = np.array(row["flow"]).reshape(3, 28, 28)
    assert field[:, 0, 0] == pytest.approx([1.0, 0.4, 0.2]) and (row["unit"], row["side"]) == ("image", 28)


def test_damaged_flow_images_are_left_out_by_name(project: Path, capsys: pytest.CaptureFixture) -> None:
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
    take(project / "r")
    manifest = shards.read_table(paths.manifest(RELEASE) / "manifest.parquet", MANIFEST).column("clip_id").to_pylist()
    assert sorted(manifest) == sorted(EXPECTED), "whether an image is sound is not asked before its flow is"
    assert shards.read_table(paths.manifest(RELEASE) / "rejected.parquet", REJECTED).num_rows == 0
    rejected = shards.read_table(paths.flow(RELEASE) / "rejected.parquet", REJECTED).to_pylist()
    assert {row["clip_id"]: row["reason"] for row in rejected} == {
        "smic/s01/s01_ne_01": Reason.TRUNCATED_IMAGE,
        "samm/006/006_1_2": Reason.EMPTY_FILE,
        "samm/020/020_4_1": Reason.NOT_AN_IMAGE,
        "casme2/sub17/EP01_02": Reason.WRONG_SIZE,
        "smic/s02/s02_po_01": Reason.DAMAGED_IMAGE,
    }
    assert all(".png: " in row["detail"] for row in rejected)
    rows = list(shards.read_rows(paths.flow(RELEASE) / "flow.parquet", FLOW))
    assert [row["clip_id"] for row in rows] == ["casme2/sub01/EP02_01f", "casme2/sub01/EP19_05f"]
    assert "left out 5 (damaged_image 1" in capsys.readouterr().err
    (shown,) = releases_of([RELEASE])
    assert [(part.source, part.total) for part in shown.left_out] == [
        (f"{folder(RELEASE)}/rejected.parquet", total)
        for folder, total in ((paths.manifest, 0), (paths.aligned, 0), (paths.flow, 5))
    ]


def test_nothing_of_flow_images_is_aligned(project: Path) -> None:
    """Its folder holds the usual files, all without rows, which other stages can read."""
    write_flow_whole(project / "r")
    take(project / "r")
    aligned = paths.aligned(RELEASE)
    assert {path.name for path in aligned.iterdir()} == {
        "SHA256SUMS", "clips.parquet", "frames-000.parquet", "rejected.parquet"
    }  # fmt: skip
    (shard,) = shards.frame_shards(aligned)
    assert (
        list(shards.read_rows(shard, FRAMES))
        == []
        == shards.read_table(aligned / "clips.parquet", CONTENTS).to_pylist()
    )


# --- real data, where FDPBENCH_SHARED_DATA says it is


def official(shared_data: Path) -> dict[tuple[str, int, str], str]:
    """Labels by data set, number of the subject, and clip."""
    path = shared_data / "annotations/combined_3class_gt.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(newline="") as stream:
        return {
            (dataset, int(subject.lstrip("sub")), clip): label for dataset, subject, clip, label in csv.reader(stream)
        }


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
        assert EMOTIONS[label] == row["emotion"], row["clip_id"]
    assert len({row["subject"] for row in listing.clips}) == 24 + 16
    listing.tables()


def test_real_channel_order(real_flow: Path, project: Path) -> None:
    """Strain computed from u and v looks like the third channel, under no other order of the three."""
    take(real_flow)
    rows = list(shards.read_rows(paths.flow(RELEASE) / "flow.parquet", FLOW))
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
