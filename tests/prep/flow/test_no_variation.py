"""Inputs in which nothing varies are left out with a reason, whatever reader and whatever input they are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdpbench.prep.align import stage as crops
from fdpbench.prep.demo.simulate import Simulated, simulate
from fdpbench.prep.dynamic.stage import dynamic_images
from fdpbench.prep.flow.methods import varies
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import read_annotations, read_release
from fdpbench.prep.releases.common.composite import official_labels
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FLOW, REJECTED, Reason
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.prep.flow.test_apex import aligned, clip, manifest
from tests.prep.task.test_stages import run_here
from tests.support.builders import PARAMS, flow_of_images, write_flow_whole, write_image
from tests.support.grids import Grid, write_xlsx
from tests.test_cli import invoke

Write = Callable[..., Simulated]
REJECT = FlowParams(method="dis", missing_apex="reject")
ESTIMATE = FlowParams(method="dis", missing_apex="estimate")
RELEASE = "synthetic"
MARKS: dict[str, tuple[int | None, int | None]] = {
    "moves": (10, 14), "apex_is_onset": (10, 10), "late": (14, 14), "one_frame_twice": (10, 14), "still": (10, 10),
}  # fmt: skip


@pytest.fixture
def release(project: Any) -> list[dict[str, Any]]:
    frames = clip(9, 5)
    twice = [*frames[:2], frames[0], *frames[3:]]  # frame 14 is frame 10 again
    aligned({"one_frame_twice": twice, "still": frames[:1] * 9} | {name: frames for name in MARKS if name not in
            ("one_frame_twice", "still")})  # fmt: skip
    return manifest(MARKS)


def flows(release: list[dict[str, Any]], params: FlowParams) -> tuple[dict[str, Any], dict[str, str]]:
    flow_of_release(RELEASE, paths.raw(RELEASE), release, paths.aligned(RELEASE), paths.flow(RELEASE), params)
    rows = shards.read_table(paths.flow(RELEASE) / "flow.parquet", FLOW).to_pylist()
    rejected = shards.read_table(paths.flow(RELEASE) / "rejected.parquet", REJECTED).to_pylist()
    name = lambda row: row["clip_id"].rpartition("/")[2]  # noqa: E731
    return {name(row): (row["apex"], row["apex_source"]) for row in rows}, {
        name(row): row["reason"] for row in rejected
    }


def test_flow_by_default(release: list[dict[str, Any]]) -> None:
    kept, left = flows(release, REJECT)
    assert kept == {"moves": (14, "annotated")}
    assert left == dict.fromkeys(("apex_is_onset", "late", "still"), Reason.APEX_IS_ONSET) | {
        "one_frame_twice": Reason.NO_VARIATION
    }


def test_flow_where_an_apex_may_be_estimated(release: list[dict[str, Any]]) -> None:
    """One that is the onset is replaced and marked; one that the sheet sets elsewhere never is."""
    kept, left = flows(release, ESTIMATE)
    assert kept == {"moves": (14, "annotated"), "apex_is_onset": (20, "estimated"), "late": (20, "estimated")}
    assert left == {"one_frame_twice": Reason.NO_VARIATION, "still": Reason.APEX_IS_ONSET}


@pytest.mark.parametrize("wanted", [{"flow": {"size": 28, "scaling": "per_image"}}, {"apex": True}])
def test_flow_and_apex_of_a_task(release: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    classes = {"happiness": ["happiness"], "surprise": ["surprise"]}
    task = section(TaskParams, {"releases": [RELEASE], "classes": classes} | wanted, "tasks.tiny")
    flows(release, ESTIMATE)
    gather_task("tiny", task, paths.task("tiny"))
    rows = list(shards.read_rows(paths.task("tiny") / "clips.parquet", TASK))
    assert {row["clip_id"].rpartition("/")[2] for row in rows} == {"moves", "apex_is_onset", "late"}
    values = [row["flow"] if "flow" in wanted else images.decode_png(row["apex"]).ravel() for row in rows]
    assert all(np.std(value) > 0 for value in values)


@pytest.mark.parametrize("sampling", [{"rule": "uniform", "frames": 4}, {"rule": "tim", "frames": 6}, {"rule": "all"}])
def test_dynamic_images_of_constant_frames(release: list[dict[str, Any]], sampling: dict[str, Any]) -> None:
    content = {"releases": [RELEASE], "classes": {"a": ["happiness"], "b": ["surprise"]}, "rank_pooling": "harmonic"}
    task = section(TaskParams, content | {"sampling": sampling}, "tasks.tiny")
    dynamic_images("tiny", task, paths.dynamic("tiny"))
    rows = shards.read_rows(paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC)
    assert {row["clip_id"].rpartition("/")[2] for row in rows} == set(MARKS) - {"still"}
    (row,) = shards.read_table(paths.dynamic("tiny") / "rejected.parquet", REJECTED).to_pylist()
    assert row["reason"] == Reason.NO_VARIATION and "nothing changes in frames 10 to 26" in row["detail"]


def test_a_flat_flow_image(project: Path) -> None:
    write_flow_whole(project / "r")
    image = np.full((28, 28, 3), (128, 128, 0), np.uint8)
    write_image(project / "r/STSNet_whole_norm_u_v_os/006_006_1_2 .png", image)
    index_release("megc2019_flow", project / "r", paths.manifest("megc2019_flow"))
    flow_of_images("megc2019_flow", project / "r")
    (row,) = shards.read_table(paths.flow("megc2019_flow") / "rejected.parquet", REJECTED).to_pylist()
    assert (row["clip_id"], row["reason"]) == ("samm/006/006_1_2", Reason.NO_VARIATION)


def test_what_varies() -> None:
    flat = np.zeros((3, 4, 4), np.float32)
    assert not varies(flat) and not varies(flat + np.arange(3, dtype=np.float32)[:, None, None])
    flat[1, 2, 3] = 1e-6
    assert varies(flat)


@pytest.mark.parametrize("release_name", ["casme2", "samm", "casme3_a", "mmew", "fourdme", "dfme"])
def test_every_reader_says_that_an_apex_is_the_onset(tmp_path: Path, release_name: str) -> None:
    """The clip is listed with its marks, for frames and dynamic images can be made of it."""
    written = simulate(release_name, tmp_path / "release")
    grid = Grid.of(release_name, written)
    first = grid.header + 1
    grid.rows[first][grid.place("apex")] = grid.rows[first][grid.place("onset")]
    write_xlsx(written.sheet, grid.book())
    listing = read_release(release_name, tmp_path / "release")
    assert sum(row["apex"] == row["onset"] for row in listing.clips) == 1 and len(listing.clips) == 6
    shown = invoke("annotations", release_name, str(written.sheet))
    assert "1 clips have their onset as apex: no flow and no apex frame" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("params", [REJECT, ESTIMATE])
def test_from_a_sheet_to_a_task(project: Path, monkeypatch: pytest.MonkeyPatch, params: FlowParams) -> None:
    monkeypatch.setattr(crops, "run_units", run_here)
    written = simulate("casme3_a", project / "release", subjects=2, clips=3)
    grid = Grid.of("casme3_a", written)
    grid.rows[1][grid.place("apex")] = grid.rows[1][grid.place("onset")]
    write_xlsx(written.sheet, grid.book())
    index_release("casme3_a", project / "release", paths.manifest("casme3_a"))
    rows = load_manifest("casme3_a")
    align = section(AlignParams, PARAMS["align"], "align")
    crops.align_release("casme3_a", project / "release", rows, paths.aligned("casme3_a"), align, 1)
    flow_of_release("casme3_a", project / "release", rows, paths.aligned("casme3_a"), paths.flow("casme3_a"), params)
    classes = {"many": ["disgust", "others"], "few": ["surprise", "fear", "anger", "sad"]}
    content = {"releases": ["casme3_a"], "classes": classes, "flow": {"size": 28, "scaling": "per_image"}}
    gather_task("tiny", section(TaskParams, content, "tasks.tiny"), paths.task("tiny"))
    inputs = {
        row["clip_id"]: np.array(row["flow"]) for row in shards.read_rows(paths.task("tiny") / "clips.parquet", TASK)
    }
    assert len(inputs) == (5 if params is REJECT else 6) and all(field.std() > 0 for field in inputs.values())
    left = shards.read_table(paths.flow("casme3_a") / "rejected.parquet", REJECTED).to_pylist()
    assert [row["reason"] for row in left] == ([Reason.APEX_IS_ONSET] if params is REJECT else [])


def test_the_composite_holds_no_such_clip(shared_data: Path) -> None:
    """Its list leaves out CASME II's one clip whose apex is its onset, so that its counts stay what they are."""
    labels = official_labels(shared_data / "annotations/combined_3class_gt.csv")
    for release, dataset in (("casme2", "casme2"), ("samm", "samm")):
        (path,) = (shared_data / "annotations" / release).glob("*.xlsx")
        found = read_annotations(release, path)
        flat = {(dataset, clip.subject, clip.clip) for clip in found.clips if clip.apex == clip.onset}
        assert flat == ({("casme2", "sub05", "EP09_05f")} if release == "casme2" else set())
        assert not flat & labels.keys()
    assert len(labels) == 442


def test_real_flow_images_all_vary(shared_data: Path) -> None:
    listing = read_release("megc2019_flow", shared_data / "megc2019_flow")
    root = shared_data / "megc2019_flow"
    flat = [
        row["clip_id"]
        for row in listing.clips
        if not varies(np.moveaxis(images.read_image(root / row["frames"][0]), 2, 0))
    ]
    assert flat == [] and len(listing.clips) == 309
