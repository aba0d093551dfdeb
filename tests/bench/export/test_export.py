"""What is exported is read back: lists, frames and dynamic images to the bit, flow as 8 bits, and then to the bit."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fdpbench.bench.export import flow as flow_export
from fdpbench.bench.export.flow import export_flow_images
from fdpbench.bench.export.place import CLIPS, NOTICE, README
from fdpbench.bench.plan.params import load_tasks
from fdpbench.bench.train.data import load_clips, load_index, load_task_info
from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.commands import app
from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.flow.flow_images import encode_flow_image, read_flow_image
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import SIMULATED, read_release
from fdpbench.prep.releases.common.composite import OFFICIAL, official_labels
from fdpbench.prep.releases.common.flow_layouts import SHEET, THREE, WHOLE
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.support.builders import (
    CLASSES,
    flow_of_images,
    task_rows,
    write_perception_data,
    write_task,
)

COMPOSITE = ("negative", "positive", "surprise")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith(f"error export {arguments[0]}: "), result.stderr
    return lines[-1]


def read_in(release: str, root: Path, name: str, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Take exported flow images through index, flow and task; flow of each clip."""
    index_release(release, root, paths.manifest(release))
    flow_of_images(release, root)
    entry = {"releases": [release], "classes": {one: [one] for one in classes}}
    entry |= {"flow": {"size": 28, "scaling": "per_image"}}
    gather_task(name, section(TaskParams, entry, f"tasks.{name}"), paths.task(name))
    return flow_of(name)


def flow_of(task: str) -> dict[str, np.ndarray]:
    clips = load_clips(paths.task(task), ["flow"])
    return dict(zip(clips.clip_ids, clips.inputs["flow"], strict=True))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def elsewhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the project that a test is in."""
    return tmp_path_factory.mktemp("elsewhere")


# --- flow images


@given(st.integers(8, 32), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.01]))
def test_flow_is_rounded_to_8_bits_and_from_then_on_exact(side: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    field = (spread * rng.uniform(0, 1, (3, side, side))).astype(np.float32)
    field[:, 0, 0], field[:, -1, -1] = 0, 1
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            (Path(folder) / name).write_bytes(encode_flow_image(field))
            back = read_flow_image(Path(folder), name)
            assert np.abs(back - field).max() <= (0.5 / 255 + 1e-6 if name == "first" else 0)
            field = back
        assert (Path(folder) / "first").read_bytes() == (Path(folder) / "second").read_bytes()


@pytest.mark.parametrize("layout", ["whole", "three", "both"])
def test_a_task_is_read_back_and_exported_again_alike(project: Path, elsewhere: Path, layout: str) -> None:
    rows = write_task(paths.task("tiny"))
    first, second = elsewhere / "first", elsewhere / "second"
    assert invoke("flow-images", "tiny", first, "--layout", layout).exit_code == 0
    assert {path.name for path in first.iterdir()} == {README, SHEET} | {
        name for name, kept in ((WHOLE, layout != "three"), (THREE, layout != "whole")) if kept
    }
    back = read_in("flow_images", first, "again", CLASSES)
    before = flow_of("tiny")
    assert list(back) == list(before) and len(back) == len(rows)
    for clip_id, field in before.items():
        assert np.array_equal(back[clip_id], np.round(255 * field).astype(np.float32) / np.float32(255))
    labels = {row["clip_id"]: (row["dataset"], row["subject"], row["label"]) for row in load_index(paths.task("tiny"))}
    assert labels == {
        row["clip_id"]: (row["dataset"], row["subject"], row["label"]) for row in load_index(paths.task("again"))
    }
    assert load_task_info(paths.task("again")).classes == CLASSES
    assert invoke("flow-images", "again", second, "--layout", layout).exit_code == 0
    images_of = {name: data for name, data in files_of(first).items() if name not in (README, NOTICE)}
    assert images_of == {name: data for name, data in files_of(second).items() if name not in (README, NOTICE)}


def test_the_folders_of_folds_are_what_released_code_reads(project: Path, elsewhere: Path) -> None:
    """The loop of STSTNet's public port: folders are listed, labels are their names, images are read by OpenCV."""
    rows = write_task(paths.task("tiny"))
    export_flow_images("tiny", elsewhere / "out", "three")
    main = elsewhere / "out" / THREE
    folds = leave_one_subject_out({row["clip_id"]: row["subject"] for row in rows})
    assert sorted(os.listdir(main)) == [fold.name.partition("/")[2] for fold in folds]
    for fold in folds:
        for part, expected in (("u_train", fold.train), ("u_test", fold.test)):
            found = []
            base = main / fold.name.partition("/")[2] / part
            for label in os.listdir(base):
                for name in os.listdir(base / label):
                    bgr = cv2.imread(str(base / label / name))
                    assert bgr is not None and bgr.shape == (28, 28, 3)
                    subject, _, clip = name.removesuffix(" .png").partition("_")
                    found.append((f"synthetic/{subject}/{clip}", int(label)))
                    field = flow_of("tiny")[f"synthetic/{subject}/{clip}"] if len(found) == 1 else None
                    if field is not None:
                        assert np.array_equal(bgr[..., 2], np.round(255 * field[0])), "red is u"
            assert sorted(found) == sorted((row["clip_id"], row["label"]) for row in rows if row["clip_id"] in expected)


def test_the_composite_is_read_back_by_its_own_reader(
    project: Path, elsewhere: Path, simulated: Callable[..., Simulated]
) -> None:
    root = simulated("megc2019_flow").sheet.parent
    before = read_in("megc2019_flow", root, "megc", COMPOSITE)
    out = elsewhere / "out"
    assert invoke("flow-images", "megc", out).exit_code == 0
    assert (out / NOTICE).is_file() and (out / SIMULATED).is_file(), "derived of licensed releases; rendered"
    for name in (WHOLE, THREE, ""):
        back = read_in("megc2019_flow", out, "megc_again", COMPOSITE)
        assert list(back) == list(before)
        assert all(np.array_equal(back[clip], field) for clip, field in before.items()), "8 bits already"
        if name:
            (out / name).rename(elsewhere / name)
            if name == THREE:
                (elsewhere / WHOLE).rename(out / WHOLE)
    originals = files_of(root / WHOLE)
    assert originals == files_of(out / WHOLE)


def test_real_flow_images_survive(project: Path, elsewhere: Path, shared_data: Path) -> None:
    root = shared_data / "megc2019_flow"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    before = read_in("megc2019_flow", root, "megc", COMPOSITE)
    assert invoke("flow-images", "megc", elsewhere / "out").exit_code == 0
    for release in ("megc2019_flow", "flow_images"):
        back = read_in(release, elsewhere / "out", f"again-{release}", COMPOSITE)
        assert len(back) == len(before) == 309
        assert all(np.array_equal(back[clip], field) for clip, field in before.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": [-0.5] * 2352}, "flow of -0.5 to -0.5, expected 0 to 1. Images hold 0..1: tasks.tiny.flow"),
        ({"flow": [1.25] * 2352}, "expected 0 to 1"),
        ({"flow": [0.5] * 2352}, "the same everywhere"),
    ],
)
def test_flow_that_no_image_holds_is_refused_by_clip(
    project: Path, elsewhere: Path, change: dict[str, Any], message: str
) -> None:
    rows = task_rows()
    rows[4] |= change
    write_task(paths.task("tiny"), rows)
    said = refused("flow-images", "tiny", elsewhere / "out")
    assert rows[4]["clip_id"] in said and message in said
    assert list(elsewhere.iterdir()) == [], "nothing is left of it"


def test_names_that_the_layout_cannot_hold(project: Path, elsewhere: Path) -> None:
    def with_names(**names: str) -> list[dict[str, Any]]:
        rows = task_rows()
        for before, after in names.items():
            for row in rows:
                for key in ("clip_id", "dataset", "subject"):
                    row[key] = row[key].replace(before, after)
        return rows

    cases = {
        "layout of flow images names no data sets": [
            row | {key: row[key].replace("synthetic/s02", "other/s01") for key in ("clip_id", "subject")}
            for row in task_rows()
        ],
        "cannot hold the name 'a/happiness_0'": with_names(happiness_0="a/happiness_0"),
        "cannot hold the name 'happiness 0'": with_names(happiness_0="happiness  0"),
        "cannot be that of a file": with_names(happiness_0=".."),
        "clips would have the image 's01_x_a .png'": [
            row | {"clip_id": clip, "subject": clip.rpartition("/")[0]}
            for row, clip in zip(
                task_rows(subjects=("d/s01", "d/s01_x"), per_class=1)[:3] * 2,
                ["d/s01/x_a", "d/s01/b", "d/s01/c", "d/s01_x/a", "d/s01_x/b", "d/s01_x/c"],
                strict=True,
            )
        ],
    }
    for number, (message, rows) in enumerate(cases.items()):
        for row in rows:
            row["dataset"] = row["subject"].partition("/")[0]
        write_task(paths.task(f"t{number}"), rows)
        assert message in refused("flow-images", f"t{number}", elsewhere / "out")


def test_layout_three_has_a_limit(project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(paths.task("tiny"))
    monkeypatch.setattr(flow_export, "MOST_FILES", 53)
    assert "18 x 3 files, more than 53; take --layout whole" in refused("flow-images", "tiny", elsewhere / "out")
    assert invoke("flow-images", "tiny", elsewhere / "out", "--layout", "whole").exit_code == 0
    assert "expected whole, three or both" in refused("flow-images", "tiny", elsewhere / "other", "--layout", "two")


# --- reading folders of flow images back


def test_link_makes_a_task_of_the_classes_in_their_order(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"))
    export_flow_images("tiny", elsewhere / "out", "whole")
    result = CliRunner().invoke(app, ["link", "flow_images", str(elsewhere / "out"), "--runs", "ststnet"])
    assert result.exit_code == 0 and "release flow_images added, task flow_images added" in result.output
    task = load_tasks()["flow_images"]
    assert list(task.classes) == list(CLASSES), "not in order of letters"
    assert task.inputs == ("flow",) and paths.raw("flow_images").resolve() == (elsewhere / "out").resolve()
    result = CliRunner().invoke(app, ["link", "flow_images", str(elsewhere / "out"), "--classes", "casme2_5"])
    assert result.exit_code == 1 and "has no class map 'casme2_5'; it has none" in result.output


def test_lists_and_folders_that_do_not_fit_are_refused_by_row(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"))
    export_flow_images("tiny", elsewhere / "out")
    sheet = elsewhere / "out" / SHEET
    lines = sheet.read_text().splitlines()

    def problem(*changed: str) -> str:
        sheet.write_text("\n".join(changed) + "\n")
        with pytest.raises(ValueError) as caught:
            read_release("flow_images", elsewhere / "out")
        return str(caught.value)

    assert "class not found" in problem(*(line.rpartition(",")[0] for line in lines))
    assert "read it as megc2019_flow" in problem(*(line.rpartition(",")[0] for line in lines))
    assert lines[2].startswith("synthetic,s01,disgust_1,2,") and lines[2].endswith(",disgust")
    assert "row 3: label 2 is 'joy'" in problem(*lines[:2], lines[2].replace(",disgust", ",joy"), *lines[3:])
    assert "row 3: expected dataset, sub" in problem(*lines[:2], lines[2].replace(",2,", ",,", 1), *lines[3:])
    assert "row 3: s01_disgust_0 .png is the image of row 2 too" in problem(*lines[:2], lines[1], *lines[2:])
    moved = lines[2].replace(",2,", ",1,", 1).removesuffix("disgust") + "surprise"
    assert "row 3, says s01, 1" in problem(*lines[:2], moved, *lines[3:])
    sheet.unlink()
    with pytest.raises(ValueError, match=SHEET):
        read_release("flow_images", elsewhere / "out")


def test_images_and_rows_without_each_other_are_left_out_by_name(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"))
    out = elsewhere / "out"
    export_flow_images("tiny", out, "whole")
    whole = read_release("flow_images", out)
    (out / WHOLE / "s01_happiness_0 .png").rename(out / WHOLE / "s09_happiness_0 .png")
    (out / WHOLE / "s02_happiness_0.png").write_bytes((out / WHOLE / "s02_happiness_0 .png").read_bytes())
    found = read_release("flow_images", out)
    assert sorted((row["clip_id"], row["reason"]) for row in found.rejected) == [
        (f"{WHOLE}/s02_happiness_0.png", "duplicate"),
        (f"{WHOLE}/s09_happiness_0 .png", "not_in_sheet"),
        ("synthetic/s01/happiness_0", "missing_file"),
    ]
    assert len(found.clips) == len(whole.clips) - 1 and found.clips == [
        row for row in whole.clips if row["clip_id"] != "synthetic/s01/happiness_0"
    ]


# --- frames, dynamic images, lists


def test_frames_and_dynamic_images_are_the_very_files(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"))
    assert invoke("frames", "tiny", elsewhere / "frames").exit_code == 0
    assert invoke("dynamic-images", "tiny", elsewhere / "dynamic").exit_code == 0
    rows = list(shards.read_rows(paths.task("tiny") / "clips.parquet", TASK))
    for row in rows:
        for number, png in enumerate(row["frames"], start=1):
            path = elsewhere / "frames" / row["clip_id"] / f"{number:03d}.png"
            assert path.read_bytes() == png
            assert np.array_equal(images.read_image(path)[..., 0], images.decode_png(png))
        path = elsewhere / "dynamic" / f"{row['clip_id']}.png"
        assert path.read_bytes() == row["dynamic_image"]
    for name, place, count in (("frames", "{}", "4"), ("dynamic", "{}.png", "1")):
        listed = table(elsewhere / name / CLIPS)
        assert [(one["path"], one["label"], one["class"], one["images"]) for one in listed] == [
            (place.format(row["clip_id"]), str(row["label"]), row["class"], count)
            for row in sorted(rows, key=lambda row: row["clip_id"])
        ]
        files = {path for path in files_of(elsewhere / name) if path.endswith(".png")}
        assert len(files) == len(rows) * int(count)


def test_lists_hold_clips_marks_and_folds(project: Path, elsewhere: Path) -> None:
    rows = write_task(paths.task("tiny"))
    write_perception_data(rows)
    result = invoke("lists", "tiny", elsewhere / "out")
    assert result.exit_code == 0, result.output
    listed = table(elsewhere / "out" / CLIPS)
    assert ["/".join((one["dataset"], one["subject"], one["clip"])) for one in listed] == sorted(
        row["clip_id"] for row in rows
    )
    by_clip = {row["clip_id"]: row for row in rows}
    for one in listed:
        row = by_clip["/".join((one["dataset"], one["subject"], one["clip"]))]
        assert (int(one["label"]), one["class"], one["emotion"]) == (row["label"], row["class"], row["class"])
    assert {(one["onset"], one["offset"]) for one in listed} == {("1", "10")}
    assert sorted(one["apex"] for one in listed) == ["", *["4"] * (len(rows) - 1)]
    found: dict[str, dict[str, list[str]]] = {}
    for one in table(elsewhere / "out/folds.csv"):
        found.setdefault(one["fold"], {"train": [], "test": []})[one["part"]].append(one["clip_id"])
    folds = leave_one_subject_out({row["clip_id"]: row["subject"] for row in rows})
    assert found == {fold.name: {"train": [*fold.train], "test": [*fold.test]} for fold in folds}
    assert not (elsewhere / "out" / OFFICIAL).exists(), "not the composite"
    assert "no task 'tinny' (did you mean 'tiny'?)" in refused("lists", "tinny", elsewhere / "other")


def test_the_official_list_of_the_composite_is_read_back(
    project: Path, elsewhere: Path, simulated: Callable[..., Simulated]
) -> None:
    root = simulated("megc2019_flow").sheet.parent
    read_in("megc2019_flow", root, "tiny_flow", COMPOSITE)
    assert invoke("lists", "tiny_flow", elsewhere / "out").exit_code == 0
    assert official_labels(elsewhere / "out" / OFFICIAL) == official_labels(root / OFFICIAL)
    ours, theirs = ((folder / OFFICIAL).read_bytes().splitlines(keepends=True) for folder in (elsewhere / "out", root))
    assert sorted(ours) == sorted(theirs), "the same lines, to the byte"


def test_what_a_task_does_not_give(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"), inputs=("flow",))
    write_task(paths.task("other"), inputs=("frames", "dynamic_image"))
    assert "gives no frames (it gives flow)" in refused("frames", "tiny", elsewhere / "out")
    assert "gives no dynamic_image" in refused("dynamic-images", "tiny", elsewhere / "out")
    assert "gives no flow (it gives frames, dynamic_image)" in refused("flow-images", "other", elsewhere / "out")
    said = refused("frames", "tny", elsewhere / "out")
    assert "no task 'tny' (did you mean 'tiny'?)" in said and "tasks made here: other, tiny" in said
    assert list(elsewhere.iterdir()) == []
