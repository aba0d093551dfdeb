"""Stages on tiny releases: damaged clips are left out by name, and no clip is silently lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdpbench.bench.train.data import load_index, load_task_info
from fdpbench.prep.align import geometry
from fdpbench.prep.align import stage as crops
from fdpbench.prep.align.faces import Face, FaceError
from fdpbench.prep.dynamic.sampling import uniform
from fdpbench.prep.dynamic.stage import draw_dynamic_image, dynamic_images
from fdpbench.prep.flow.methods import flow_field, scale_fixed
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.runtime.workers import Context, Unit
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import FlowInput, TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import CONTENTS, DYNAMIC, FLOW, FRAMES, REJECTED, Reason
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.support.builders import PARAMS, face_like, flow_of_images, write_flow_whole, write_image, write_synthetic
from tests.support.units import run_here

RELEASE = "synthetic"
ALIGN = section(AlignParams, PARAMS["align"], "align")
FLOW_PARAMS = section(FlowParams, PARAMS["flow"], "flow")
TASK_PARAMS = section(TaskParams, PARAMS["tasks"]["tiny"], "tasks.tiny")

CLIPS = [
    ("s01", "a", 1, 4, 8, "AU12", "happiness"),
    ("s01", "b", 2, 5, 8, "AU4", "surprise"),
    ("s02", "a", 1, 3, 6, "AU4", "disgust"),
    ("s02", "c", 1, 3, 7, "AU12", "happiness"),
    ("s03", "d", 1, 4, 8, "AU1+2", "surprise"),
]


class FakeMesh:
    """Finds the same face in every frame that is not black."""

    def find(self, rgb: np.ndarray) -> Face:
        if not rgb.any():
            raise FaceError("no_face", "no face found")
        landmarks = np.full((468, 3), 32.0)
        for index, x in ((33, 16), (133, 24), (362, 40), (263, 48)):
            landmarks[index, 0] = x
        return Face(landmarks, 0.99, (8.0, 8.0, 56.0, 56.0))


@pytest.fixture
def release(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of five good clips in data/raw, and no need of a real face."""
    write_synthetic(paths.raw(RELEASE), CLIPS)
    monkeypatch.setattr(crops, "_finder", lambda landmarks: FakeMesh())
    monkeypatch.setattr(crops, "run_units", run_here)
    return paths.raw(RELEASE)


def prepare(task: TaskParams = TASK_PARAMS) -> None:
    """Run every stage up to the task."""
    index_release(RELEASE, paths.raw(RELEASE), paths.manifest(RELEASE))
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    crops.align_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), ALIGN, 1)
    flow_of_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), paths.flow(RELEASE), FLOW_PARAMS)
    dynamic_images("tiny", task, paths.dynamic("tiny"))
    gather_task("tiny", task, paths.task("tiny"))


def rejected(folder: Path) -> dict[str, str]:
    rows = shards.read_table(folder / "rejected.parquet", REJECTED).to_pylist()
    assert len({row["clip_id"] for row in rows}) == len(rows), "a clip is rejected twice"
    return {row["clip_id"]: row["reason"] for row in rows}


def kept(folder: Path) -> set[str]:
    """Clips in a stage's output."""
    schemas = {"dynamic.parquet": DYNAMIC, "flow.parquet": FLOW, "clips.parquet": TASK}
    for name, schema in schemas.items() if folder.parent.name != "aligned" else ():
        if (folder / name).is_file():
            ids = [row["clip_id"] for row in shards.read_rows(folder / name, schema, columns=["clip_id"])]
            assert len(set(ids)) == len(ids)
            return set(ids)
    return {row["clip_id"] for path in shards.frame_shards(folder) for row in shards.read_rows(path, FRAMES)}


def account() -> None:
    """No clip is lost and none comes from nowhere, at any stage."""
    manifest = {str(row["clip_id"]) for row in load_manifest(RELEASE)}
    aligned = kept(paths.aligned(RELEASE))
    assert aligned | set(rejected(paths.aligned(RELEASE))) == manifest
    for folder, before in (
        (paths.aligned(RELEASE), manifest),
        (paths.flow(RELEASE), aligned),
        (paths.dynamic("tiny"), aligned),
        (paths.task("tiny"), manifest),
    ):
        assert kept(folder) | set(rejected(folder)) == before, folder
        assert not kept(folder) & set(rejected(folder)), folder


def clip(subject: str, name: str) -> str:
    return f"{RELEASE}/{subject}/{name}"


ALL = {clip(row[0], row[1]) for row in CLIPS}


def test_all_clips_are_good(release: Path) -> None:
    prepare()
    account()
    assert kept(paths.task("tiny")) == ALL
    assert rejected(paths.task("tiny")) == {}
    assert load_task_info(paths.task("tiny")).inputs == ("frames", "dynamic_image", "flow")
    labels = {row["clip_id"]: row["label"] for row in load_index(paths.task("tiny"))}
    assert labels == {clip(row[0], row[1]): ["happiness", "surprise", "disgust"].index(row[6]) for row in CLIPS}


def frame(release: Path, subject: str, name: str, number: int) -> Path:
    return release / "frames" / subject / name / f"img{number:03d}.png"


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], Any], int, Reason]] = [
    (truncate, 3, Reason.TRUNCATED_IMAGE),
    (truncate, 1, Reason.TRUNCATED_IMAGE),
    (flip_a_byte, 2, Reason.DAMAGED_IMAGE),
    (lambda path: path.write_bytes(b""), 6, Reason.EMPTY_FILE),
    (lambda path: path.write_text("<html>not found</html>"), 6, Reason.NOT_AN_IMAGE),
    (lambda path: write_image(path, face_like(60)), 4, Reason.WRONG_SIZE),
    (lambda path: write_image(path, np.zeros((64, 64, 3), np.uint8)), 1, Reason.NO_FACE),
]


@pytest.mark.parametrize(("damage", "number", "reason"), DAMAGE)
def test_a_damaged_frame_leaves_its_clip_out(
    release: Path, damage: Callable[[Path], Any], number: int, reason: Reason
) -> None:
    damage(frame(release, "s02", "c", number))
    prepare()
    account()
    assert rejected(paths.aligned(RELEASE)) == {clip("s02", "c"): reason}
    assert kept(paths.task("tiny")) == ALL - {clip("s02", "c")}
    rows = shards.read_table(paths.aligned(RELEASE) / "rejected.parquet", REJECTED).to_pylist()
    assert f"img{number:03d}.png" in rows[0]["detail"]


def test_a_frame_that_vanishes_after_the_index(release: Path) -> None:
    index_release(RELEASE, release, paths.manifest(RELEASE))
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    frame(release, "s02", "c", 5).unlink()
    crops.align_release(RELEASE, release, manifest, paths.aligned(RELEASE), ALIGN, 1)
    assert rejected(paths.aligned(RELEASE)) == {clip("s02", "c"): Reason.MISSING_FILE}


def test_a_frame_that_was_never_there(release: Path) -> None:
    frame(release, "s02", "c", 5).unlink()
    prepare()
    account()
    assert rejected(paths.manifest(RELEASE)) == {clip("s02", "c"): Reason.MISSING_FILE}


def test_an_unknown_apex_leaves_flow_out(project: Path, release: Path) -> None:
    write_synthetic(release, [*CLIPS, ("s03", "e", 1, "/", 8, "", "disgust")])
    prepare()
    account()
    assert rejected(paths.flow(RELEASE)) == {clip("s03", "e"): Reason.NO_APEX}
    assert rejected(paths.task("tiny")) == {clip("s03", "e"): Reason.NO_FLOW}
    assert clip("s03", "e") in kept(paths.dynamic("tiny"))


def test_a_task_without_flow_takes_clips_without_apex(release: Path) -> None:
    write_synthetic(release, [*CLIPS, ("s03", "e", 1, "/", 8, "", "disgust")])
    prepare(TASK_PARAMS.model_copy(update={"flow": None}))
    assert clip("s03", "e") in kept(paths.task("tiny"))
    (row, *_) = shards.read_rows(paths.task("tiny") / "clips.parquet", TASK)
    assert row["flow"] is None and len(row["frames"]) == 4


def test_fewer_frames_than_sampled(release: Path) -> None:
    write_synthetic(release, [*CLIPS, ("s03", "e", 3, 4, 5, "", "disgust")])
    prepare()
    account()
    assert rejected(paths.dynamic("tiny")) == {clip("s03", "e"): Reason.TOO_FEW_FRAMES}
    assert set(rejected(paths.task("tiny"))) == {clip("s03", "e")}


def test_what_is_left_out_is_said_in_words(release: Path, capsys: pytest.CaptureFixture) -> None:
    write_synthetic(release, [*CLIPS, ("s03", "e", 3, 4, 5, "", "disgust"), ("s03", "f", 1, "/", 8, "", "disgust")])
    prepare()
    said = capsys.readouterr().err
    assert "Reason" not in said
    assert "too_few_frames" in said and "no_apex" in said


def test_a_clip_without_frames_is_not_called_a_missing_file(release: Path) -> None:
    """Its files are there; what is missing is the output of a stage before."""
    write_synthetic(release, [*CLIPS, ("s03", "e", 3, 4, 5, "", "disgust")])
    prepare()
    assert rejected(paths.task("tiny"))[clip("s03", "e")] != Reason.MISSING_FILE


def test_an_emotion_of_no_class(release: Path) -> None:
    write_synthetic(release, [*CLIPS, ("s03", "e", 1, 4, 8, "", "others")])
    prepare()
    account()
    assert rejected(paths.task("tiny")) == {clip("s03", "e"): Reason.OTHER_EMOTION}


def test_a_class_without_clips_is_an_error(release: Path) -> None:
    write_synthetic(release, [row for row in CLIPS if row[6] != "disgust"])
    with pytest.raises(ValueError, match="task tiny: no clip of class disgust"):
        prepare()
    assert not paths.task("tiny").exists()


def test_no_clip_can_be_aligned(release: Path) -> None:
    for row in CLIPS:
        write_image(frame(release, row[0], row[1], row[2]), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="no clip could be aligned; 5 left out"):
        prepare()


def test_aligned_frames(release: Path) -> None:
    prepare()
    (shard,) = shards.frame_shards(paths.aligned(RELEASE))
    assert shards.subjects_of(shard) == [f"{RELEASE}/s0{k}" for k in (1, 2, 3)]
    rows = [row for row in shards.read_rows(shard, FRAMES) if row["clip_id"] == clip("s01", "b")]
    assert [row["frame"] for row in rows] == [2, 3, 4, 5, 6, 7, 8]
    assert [row["source"] for row in rows] == [f"frames/s01/b/img{k:03d}.png" for k in range(2, 9)]
    assert rows[0]["landmarks"] is not None and all(row["landmarks"] is None for row in rows[1:])
    assert len({tuple(row["transform"]) for row in rows}) == 1  # one transform for the clip
    transform = np.array(rows[0]["transform"]).reshape(2, 3)
    eyes = geometry.transform_points([[20, 32], [44, 32]], transform)
    assert eyes[:, 1] == pytest.approx([ALIGN.eye_height * 32 - 0.5] * 2)
    assert np.diff(eyes[:, 0]) == pytest.approx(ALIGN.eye_distance * 32) and eyes[:, 0].mean() == pytest.approx(15.5)
    source = images.read_image(release / rows[3]["source"])
    expected = geometry.warp(geometry.to_grey(source), transform, 32)
    assert (images.decode_png(rows[3]["image"]) == expected).all()


def test_what_is_written_has_its_records(release: Path) -> None:
    truncate(frame(release, "s02", "c", 3))
    prepare()
    assert shards.read_table(paths.aligned(RELEASE) / "rejected.parquet", REJECTED).num_rows == 1
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=paths.aligned(RELEASE), check=True)
    records = shards.read_table(paths.aligned(RELEASE) / "clips.parquet", CONTENTS).to_pylist()
    assert [(row["clip_id"], row["frames"]) for row in records] == [
        (clip("s01", "a"), 8),
        (clip("s01", "b"), 7),
        (clip("s02", "a"), 6),
        (clip("s03", "d"), 8),
    ]


def test_colour_crops_give_the_same_grey_task(release: Path) -> None:
    prepare()
    before = kept(paths.task("tiny"))
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    colour = ALIGN.model_copy(update={"colour": True})
    crops.align_release(RELEASE, release, manifest, paths.aligned(RELEASE), colour, 1)
    (row, *_) = shards.read_rows(shards.frame_shards(paths.aligned(RELEASE))[0], FRAMES)
    assert images.decode_png(row["image"]).shape == (32, 32, 3)
    dynamic_images("tiny", TASK_PARAMS, paths.dynamic("tiny"))
    flow_of_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), paths.flow(RELEASE), FLOW_PARAMS)
    gather_task("tiny", TASK_PARAMS, paths.task("tiny"))
    assert kept(paths.task("tiny")) == before
    (row, *_) = shards.read_rows(paths.task("tiny") / "clips.parquet", TASK)
    assert images.decode_png(row["frames"][0]).shape == (32, 32)


def test_dynamic_images_are_of_the_sampled_frames(release: Path) -> None:
    prepare()
    (shard,) = shards.frame_shards(paths.aligned(RELEASE))
    crop = {(row["clip_id"], row["frame"]): row["image"] for row in shards.read_rows(shard, FRAMES)}
    for row in shards.read_rows(paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC):
        numbers = sorted(frame for name, frame in crop if name == row["clip_id"])
        assert row["sampled"] == [numbers[k] for k in uniform(len(numbers), 4)]
        frames = np.stack([images.decode_png(png) for png in row["frames"]])
        assert (frames == np.stack([images.decode_png(crop[row["clip_id"], k]) for k in row["sampled"]])).all()
        assert (images.decode_png(row["dynamic_image"]) == draw_dynamic_image(frames, "harmonic")).all()


def test_flow_is_from_onset_to_apex(release: Path) -> None:
    prepare()
    (shard,) = shards.frame_shards(paths.aligned(RELEASE))
    crop = {(row["clip_id"], row["frame"]): images.decode_png(row["image"]) for row in shards.read_rows(shard, FRAMES)}
    rows = {row["clip_id"]: row for row in shards.read_rows(paths.flow(RELEASE) / "flow.parquet", FLOW)}
    for subject, name, onset, apex, *_ in CLIPS:
        row = rows[clip(subject, name)]
        expected = flow_field(crop[row["clip_id"], onset], crop[row["clip_id"], apex])
        assert (row["unit"], row["side"]) == ("pixels", 32)
        assert (row["apex"], row["apex_source"]) == (apex, "annotated")
        assert (np.array(row["flow"], np.float32).reshape(3, 32, 32) == expected).all()


def test_network_flow_is_scaled_for_each_image(release: Path) -> None:
    prepare()
    for row in shards.read_rows(paths.task("tiny") / "clips.parquet", TASK):
        field = np.array(row["flow"]).reshape(3, 28, 28)
        assert field.min(axis=(1, 2)).tolist() == [0, 0, 0] and field.max(axis=(1, 2)).tolist() == [1, 1, 1]
    pixels = TASK_PARAMS.model_copy(update={"flow": FlowInput(size=32, scaling="pixels")})
    gather_task("tiny", pixels, paths.task("tiny"))
    flows = {row["clip_id"]: row["flow"] for row in shards.read_rows(paths.flow(RELEASE) / "flow.parquet", FLOW)}
    for row in shards.read_rows(paths.task("tiny") / "clips.parquet", TASK):
        assert row["flow"] == flows[row["clip_id"]]
    fixed = FlowInput(size=32, scaling="fixed", limit=0.5, strain_limit=0.1)
    gather_task("tiny", TASK_PARAMS.model_copy(update={"flow": fixed}), paths.task("tiny"))
    for row in shards.read_rows(paths.task("tiny") / "clips.parquet", TASK):
        field = np.array(flows[row["clip_id"]], np.float32).reshape(3, 32, 32)
        assert row["flow"] == scale_fixed(field, 0.5, 0.1).ravel().tolist()


def test_pixels_cannot_be_had_of_scaled_flow_images(project: Path) -> None:
    write_flow_whole(project / "r")
    index_release("megc2019_flow", project / "r", paths.manifest("megc2019_flow"))
    flow_of_images("megc2019_flow", project / "r")
    task = section(TaskParams, PARAMS["tasks"]["tiny_flow"], "tasks.tiny_flow")
    gather_task("tiny_flow", task, paths.task("tiny_flow"))
    assert len(load_index(paths.task("tiny_flow"))) == 7
    assert {row["dataset"] for row in load_index(paths.task("tiny_flow"))} == {"casme2", "smic", "samm"}
    for wanted in (
        FlowInput(size=28, scaling="pixels"),
        FlowInput(size=28, scaling="fixed", limit=1.0, strain_limit=0.1),
    ):
        with pytest.raises(ValueError, match=r"casme2/sub01/EP02_01f.*per_image"):
            gather_task("tiny_flow", task.model_copy(update={"flow": wanted}), paths.task("x"))


def test_a_clip_in_two_releases(release: Path) -> None:
    prepare()
    twice = TASK_PARAMS.model_copy(update={"releases": [RELEASE, RELEASE]})
    with pytest.raises(ValueError, match=f"{clip('s01', 'a')} is in more than one"):
        gather_task("tiny", twice, paths.task("tiny"))


def test_stages_repeat_their_bytes(release: Path) -> None:
    prepare()
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    assert {path.name for path in before} >= {"frames-000.parquet", "clips.parquet", "rejected.parquet", "SHA256SUMS"}
    prepare()
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before
    assert not list(Path("data").rglob(".staging-*"))


def test_kept_crops_are_not_used_for_other_settings(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    seen: list[str] = []

    def noted(units: Iterable[Unit], *rest: Any) -> Iterator[str]:
        for name in run_here(units, *rest):
            seen.append(name)
            yield name

    monkeypatch.setattr(crops, "run_units", noted)
    prepare()
    assert seen == []
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    larger = ALIGN.model_copy(update={"size": 40})
    crops.align_release(RELEASE, release, manifest, paths.aligned(RELEASE), larger, 1)
    assert set(seen) == ALL
    seen.clear()
    write_image(frame(release, "s01", "a", 3), face_like(64, shift=9))
    crops.align_release(RELEASE, release, manifest, paths.aligned(RELEASE), larger, 1)
    assert set(seen) == ALL  # a file behind the manifest has changed


def test_one_clip_as_a_worker_does_it(release: Path, tmp_path: Path) -> None:
    index_release(RELEASE, release, paths.manifest(RELEASE))
    row = load_manifest(RELEASE)[0]
    for name, spoil in (("good", lambda path: None), ("bad", truncate)):
        folder = tmp_path / name
        folder.mkdir()
        spoil(frame(release, "s01", "a", 2))
        crops._align_clip((row, RELEASE, release, ALIGN), Context(folder, lambda message: None, 0))
    assert [path.name for path in (tmp_path / "good").iterdir()] == ["frames.parquet"]
    assert [path.name for path in (tmp_path / "bad").iterdir()] == ["rejected.json"]


def test_many_subjects_go_into_several_shards(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_finder", lambda landmarks: FakeMesh())
    monkeypatch.setattr(crops, "run_units", run_here)
    write_synthetic(paths.raw(RELEASE), [(f"s{k:02d}", "a", 1, 2, 3, "", "happiness") for k in range(1, 11)], length=3)
    index_release(RELEASE, paths.raw(RELEASE), paths.manifest(RELEASE))
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    crops.align_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), ALIGN, 1)
    assert [path.name for path in shards.frame_shards(paths.aligned(RELEASE))] == [
        "frames-000.parquet",
        "frames-001.parquet",
    ]
    assert kept(paths.aligned(RELEASE)) == {f"{RELEASE}/s{k:02d}/a" for k in range(1, 11)}


def test_stages_say_what_to_run_first(project: Path) -> None:
    with pytest.raises(shards.ShardError, match="dvc repro"):
        load_manifest(RELEASE)
    with pytest.raises(shards.ShardError, match="dvc repro"):
        dynamic_images("tiny", TASK_PARAMS, paths.dynamic("tiny"))
    with pytest.raises(shards.ShardError, match="dvc repro"):
        flow_of_release(RELEASE, paths.raw(RELEASE), [], paths.aligned(RELEASE), paths.flow(RELEASE), FLOW_PARAMS)
