"""Apex frames and landmarks on their way from the stages to a model, and what is refused on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.params import load_run, load_tasks
from fdpbench.bench.train.data import load_clips, load_task_info
from fdpbench.bench.train.step import Standardiser
from fdpbench.prep.align import faces, faces_dlib, geometry
from fdpbench.prep.align import stage as crops
from fdpbench.prep.align.faces import Face, FaceError
from fdpbench.prep.dynamic.stage import dynamic_images
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FRAMES, REJECTED, Reason
from fdpbench.prep.task.inputs import INPUTS, LANDMARKS, lengths_of
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.prep.task.test_stages import ALIGN, ALL, FLOW_PARAMS, FakeMesh, clip, frame, kept, rejected, run_here
from tests.prep.task.test_stages import CLIPS as MARKED
from tests.support import builders
from tests.support.builders import PARAMS, face_like, params, write_image, write_synthetic

ROOT = Path(__file__).resolve().parents[3]
RELEASE = "synthetic"
SAMPLED = {"s01/a": [1, 3, 6, 8], "s02/c": [1, 3, 5, 7]}  # 4 of 8 frames, and of 7
TRACKED = ALIGN.model_copy(update={"track": True})


class MovingMesh(FakeMesh):
    """Puts two landmarks where the brightness of the frame says."""

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        face = super().find(rgb)
        face.landmarks[0, 0], face.landmarks[1, 1] = rgb.mean(), rgb.mean() / 2
        return face


@pytest.fixture
def release(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_synthetic(paths.raw(RELEASE), MARKED)
    monkeypatch.setattr(crops, "_finder", lambda landmarks: MovingMesh())
    monkeypatch.setattr(crops, "run_units", run_here)
    return paths.raw(RELEASE)


def task_of(*asked: str, **sections: Any) -> TaskParams:
    """The task ``tiny`` with further inputs, and without the sections that are None."""
    content = PARAMS["tasks"]["tiny"] | dict.fromkeys(asked, True) | sections
    return section(TaskParams, {key: value for key, value in content.items() if value is not None}, "tasks.tiny")


def prepare(task: TaskParams, missing_apex: str = "reject", track: bool = True, **aligned: Any) -> None:
    """Run every stage up to the task."""
    index_release(RELEASE, paths.raw(RELEASE), paths.manifest(RELEASE))
    manifest: list[dict[str, Any]] = load_manifest(RELEASE)
    how = ALIGN.model_copy(update={"track": track, **aligned})
    crops.align_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), how, 1)
    flow = FLOW_PARAMS.model_copy(update={"missing_apex": missing_apex})
    flow_of_release(RELEASE, paths.raw(RELEASE), manifest, paths.aligned(RELEASE), paths.flow(RELEASE), flow)
    dynamic_images("tiny", task, paths.dynamic("tiny"))
    gather_task("tiny", task, paths.task("tiny"))


def task_rows() -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in shards.read_rows(paths.task("tiny") / "clips.parquet", TASK)}


def aligned_rows() -> dict[tuple[str, int], dict[str, Any]]:
    rows = (row for path in shards.frame_shards(paths.aligned(RELEASE)) for row in shards.read_rows(path, FRAMES))
    return {(row["clip_id"], row["frame"]): row for row in rows}


# --- landmarks


def test_landmarks_are_those_found_in_each_sampled_frame(release: Path) -> None:
    prepare(task_of("landmarks"))
    assert load_task_info(paths.task("tiny")).inputs == ("frames", "dynamic_image", "flow", "landmarks")
    clips = load_clips(paths.task("tiny"), ("landmarks",))
    assert set(clips.clip_ids) == ALL
    assert clips.shapes == {"landmarks": (4, 468, 2)} and clips.inputs["landmarks"].dtype == np.float32
    for name, numbers in SAMPLED.items():
        loaded = clips.inputs["landmarks"][clips.clip_ids.index(f"{RELEASE}/{name}")]  # (4, 468, 2)
        for points, number in zip(loaded, numbers, strict=True):
            row = aligned_rows()[f"{RELEASE}/{name}", number]
            shown = images.read_image(release / row["source"])
            found = MovingMesh().find(shown).landmarks[:, :2]
            expected = geometry.transform_points(found, np.reshape(row["transform"], (2, 3)))
            np.testing.assert_allclose(points, expected, rtol=1e-6)
        assert len({float(points[0, 0]) for points in loaded}) == 4  # the frames differ, and so do their landmarks


def test_landmarks_of_every_frame_change_no_crop(release: Path) -> None:
    prepare(task_of(), track=False)
    before, inputs = aligned_rows(), task_rows()
    assert {row["landmarks"] is None for (_, number), row in before.items() if number > 2} == {True}
    assert all(row["landmarks"] is None for row in inputs.values())
    prepare(task_of("landmarks"))
    after = aligned_rows()
    assert all(row["landmarks"] is not None for row in after.values())
    for key, row in before.items():
        for column in ("image", "transform", "source"):
            assert after[key][column] == row[column]
    for name, row in task_rows().items():
        assert row | {"landmarks": None} == inputs[name]


@pytest.mark.parametrize(("number", "lost"), [(3, True), (4, False)])
def test_a_frame_without_a_face_leaves_its_clip_out_of_such_a_task(release: Path, number: int, lost: bool) -> None:
    """If it is one of the sampled ones; tasks without landmarks keep the clip."""
    spoilt = clip("s01", "a")
    write_image(frame(release, "s01", "a", number), np.zeros((64, 64, 3), np.uint8))
    prepare(task_of("landmarks"))
    assert rejected(paths.aligned(RELEASE)) == {}
    assert aligned_rows()[spoilt, number]["landmarks"] is None
    assert rejected(paths.dynamic("tiny")) == ({spoilt: Reason.LOST_FACE} if lost else {})
    assert rejected(paths.task("tiny")) == ({spoilt: Reason.NO_FRAMES} if lost else {})
    assert kept(paths.task("tiny")) == ALL - ({spoilt} if lost else set())
    if lost:
        (row,) = shards.read_table(paths.dynamic("tiny") / "rejected.parquet", REJECTED).to_pylist()
        assert "frame 3, one of the sampled ones: no face was found" in row["detail"]
    prepare(task_of())
    assert kept(paths.task("tiny")) == ALL


def test_interpolated_frames_have_the_landmarks_of_the_nearest(release: Path) -> None:
    prepare(task_of("landmarks", sampling={"rule": "tim", "frames": 12}))
    landmarks = task_rows()[clip("s02", "a")]["landmarks"]  # 6 frames
    (row,) = (
        row
        for row in shards.read_rows(paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC)
        if row["clip_id"] == clip("s02", "a")
    )
    assert len(landmarks) == 12 and len(set(row["sampled"])) == 6
    assert landmarks == [aligned_rows()[clip("s02", "a"), number]["landmarks"] for number in row["sampled"]]


def test_landmarks_are_standardised_by_coordinate(release: Path) -> None:
    """Over clips, frames and points at once: with another scale for each frame there would be no motion left."""
    prepare(task_of("landmarks"))
    clips = load_clips(paths.task("tiny"), ("landmarks",))
    points = clips.inputs["landmarks"].astype(np.float64)  # (N, T, K, 2)
    standardiser = Standardiser.of(clips, ("landmarks",), torch.device("cpu"))
    np.testing.assert_allclose(standardiser.mean["landmarks"].numpy(), points.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(standardiser.scale["landmarks"].numpy(), points.std(axis=(0, 1, 2)), rtol=1e-5)
    seen = standardiser({"landmarks": torch.from_numpy(clips.inputs["landmarks"])})["landmarks"]
    expected = (points - points.mean(axis=(0, 1, 2))) / points.std(axis=(0, 1, 2))
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-4)


# --- apex frames


@pytest.mark.parametrize("colour", [False, True])
def test_the_apex_frame_need_not_be_a_sampled_one(release: Path, colour: bool) -> None:
    prepare(task_of("apex"), track=False, colour=colour)
    assert load_task_info(paths.task("tiny")).inputs == ("frames", "dynamic_image", "flow", "apex")
    clips = load_clips(paths.task("tiny"), ("apex",))
    assert clips.shapes == {"apex": (1, 32, 32)} and clips.inputs["apex"].dtype == np.uint8
    assert set(clips.clip_ids) == ALL
    for subject, name, _, apex, *_ in MARKED:
        crop = images.decode_png(aligned_rows()[clip(subject, name), apex]["image"])
        expected = geometry.to_grey(crop) if colour else crop
        assert (clips.inputs["apex"][clips.clip_ids.index(clip(subject, name)), 0] == expected).all()


def test_a_task_may_give_apex_frames_alone(release: Path) -> None:
    task = task_of("apex", sampling=None, rank_pooling=None, flow=None)
    assert task.inputs == ("apex",)
    prepare(task)
    assert all(row["frames"] is None and row["flow"] is None and row["apex"] for row in task_rows().values())


def test_a_clip_without_apex_is_left_out_or_its_apex_estimated(
    project: Path, release: Path, capsys: pytest.CaptureFixture
) -> None:
    blank = [(*row[:3], "" if row[1] == "d" else row[3], *row[4:]) for row in MARKED]
    blank.append(("s03", "e", 1, 4, 8, "", "surprise"))  # else its class would be empty
    write_synthetic(paths.raw(RELEASE), blank)
    task = task_of("apex", flow=None)
    prepare(task)
    assert rejected(paths.task("tiny")) == {clip("s03", "d"): Reason.NO_APEX}
    assert "estimated" not in capsys.readouterr().err
    prepare(task, missing_apex="estimate")
    assert rejected(paths.task("tiny")) == {}
    assert "1 clips have an apex that is estimated" in " ".join(capsys.readouterr().err.split())
    crops_of_it = [row["image"] for (name, _), row in aligned_rows().items() if name == clip("s03", "d")]
    assert task_rows()[clip("s03", "d")]["apex"] in crops_of_it[1:]
    both = task_of("apex")
    prepare(both)
    assert rejected(paths.task("tiny")) == {clip("s03", "d"): Reason.NO_FLOW}  # named by the first that it lacks


# --- the registry


def test_inputs_are_named_without_what_decodes_them() -> None:
    """The registry of models imports them, and a command that lists models decodes nothing."""
    code = "import sys, fdpbench.models.common.registry; print(sorted({'cv2', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("detector", ["mesh", "dlib"])
def test_shapes_are_those_of_the_arrays(tmp_path: Path, detector: str) -> None:
    rows = builders.task_rows(side=32, length=6)
    points = LANDMARKS[detector]
    for row in rows:
        row["landmarks"] = np.zeros((6, 2 * points), np.float32).tolist()
    builders.write_task(tmp_path, rows, inputs=tuple(INPUTS))
    asked = {"sampling": {"rule": "uniform", "frames": 6}, "apex": True, "landmarks": True}
    task, align = task_of(**asked), section(AlignParams, PARAMS["align"] | {"landmarks": detector}, "align")
    assert task.inputs == tuple(INPUTS)
    lengths = lengths_of(task, align)
    clips = load_clips(tmp_path, tuple(INPUTS))
    assert {name: entry.shape(lengths) for name, entry in INPUTS.items()} == clips.shapes
    for name, entry in INPUTS.items():
        assert clips.inputs[name].shape[entry.channel_axis] == entry.channels
        assert clips.inputs[name].flags.c_contiguous


def test_numbers_of_landmarks_are_those_of_the_detectors() -> None:
    assert LANDMARKS == {"mesh": faces.LANDMARKS, "dlib": faces_dlib.LANDMARKS}


# --- params.yaml


def run_with(model: str, task: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    content = params(runs={"it": {"task": "tiny", "model": model}}, **sections)
    content["tasks"]["tiny"] |= task or {}
    return content


@pytest.mark.parametrize(
    ("model", "needs", "cure"),
    [
        ("capsulenet", "apex", "or set tasks.tiny.apex: true$"),
        ("stgcn", "landmarks", "or set tasks.tiny.landmarks: true and align.track: true$"),
    ],
)
def test_a_run_whose_task_lacks_its_input_is_told_what_to_set(model: str, needs: str, cure: str) -> None:
    with pytest.raises(ParamsError, match=f"'{model}' needs {needs}, but task 'tiny' gives .*flow; .*{cure}"):
        load_run("it", run_with(model))
    tracked = {"align": {"track": True}}
    assert load_run("it", run_with(model, {needs: True}, **tracked)).task_params.inputs[-1] == needs
    on_flow = run_with(model)
    on_flow["runs"]["it"]["task"] = "tiny_flow"
    with pytest.raises(ParamsError, match=f"'{model}' needs {needs}.*; releases of flow images have no {needs}$"):
        load_run("it", on_flow)


def test_a_run_whose_task_has_no_frames_or_no_flow_is_told_what_to_set() -> None:
    """One of two inputs that are set by the same lines, or both: the lines once."""
    no_frames, no_flow = {"sampling": None, "rank_pooling": None}, {"flow": None}
    sampled = r"tasks\.tiny\.sampling: \{rule: uniform, frames: 8\} and tasks\.tiny\.rank_pooling: harmonic"
    for model, task, cure in (
        ("fdp", no_frames, sampled),
        ("cnn3d", {"sampling": {"rule": "all"}}, sampled),
        ("ststnet", no_flow, r"tasks\.tiny\.flow: \{size: 28, scaling: per_image\}"),
    ):
        with pytest.raises(ParamsError, match=f"choose another model or task, or set {cure}$"):
            load_run("it", run_with(model, task))


def test_flow_images_cannot_give_frames_or_apex_frames() -> None:
    for more in ({"apex": True}, {"sampling": {"rule": "all"}, "rank_pooling": "harmonic"}):
        content = params(runs={"it": {"task": "tiny_flow", "model": "majority"}})
        content["tasks"]["tiny_flow"] |= more
        with pytest.raises(ParamsError, match=r"tasks\.tiny_flow: .*'megc2019_flow' has flow images alone; leave"):
            load_runs(content)


def test_landmarks_need_to_be_sought_in_every_frame() -> None:
    with pytest.raises(ParamsError, match=r"tasks\.tiny\.landmarks .*set align\.track: true"):
        load_tasks(run_with("stgcn", {"landmarks": True}))
    per_frame = run_with("stgcn", {"landmarks": True}, align={"mode": "per_frame"})  # they are found anyway
    assert load_tasks(per_frame)["tiny"].landmarks


@pytest.mark.parametrize("change", [{"sampling": {"rule": "all"}}, {"sampling": None, "rank_pooling": None}])
def test_landmarks_need_a_number_of_frames(change: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match="landmarks are those of the sampled frames"):
        task_of("landmarks", **change)


# --- the face that is found in later frames


class Forgetful(MovingMesh):
    """Loses the face in one call."""

    def __init__(self, lost: int) -> None:
        self.lost, self.calls = lost, 0

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        self.calls += 1
        if self.calls == self.lost:
            raise FaceError("several_faces", "two of them")
        return super().find(rgb)


@pytest.mark.parametrize("mode", ["first_frame", "ecc"])
def test_a_face_lost_later_is_no_landmarks_and_lost_first_no_clip(mode: str) -> None:
    from fdpbench.prep.align.placing import place

    frames = [face_like(64, shift=0.2 * k) for k in range(4)]
    how = TRACKED.model_copy(update={"mode": mode})
    assert [one.landmarks is None for one in place(frames, how, Forgetful(3))] == [False, False, True, False]
    with pytest.raises(FaceError, match="two of them"):
        list(place(frames, how, Forgetful(1)))
    with pytest.raises(FaceError, match="two of them"):
        list(place(frames, how.model_copy(update={"mode": "per_frame"}), Forgetful(3)))
    quick = Forgetful(9)
    list(place(frames, how.model_copy(update={"track": False}), quick))
    assert quick.calls == 1
