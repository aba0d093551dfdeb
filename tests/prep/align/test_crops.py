"""Stage `align` in each of its modes: on a rendered head that drifts, against its truth, and what it leaves out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.align import stage as crops
from fdpbench.prep.align.drift import face_mask, follow
from fdpbench.prep.align.faces import Face, FaceError, FaceMesh
from fdpbench.prep.align.faces_dlib import MissingDlibError
from fdpbench.prep.align.stage import RejectedClip, align_release, aligned_clip
from fdpbench.prep.demo.synth import plan_release, write_clip
from fdpbench.prep.demo.synth.truth import face_landmarks
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.synth import SynthParams
from fdpbench.prep.store import images, shards
from fdpbench.prep.store.schema import FRAMES, REJECTED, Reason
from tests.support.builders import PARAMS, face_like, write_image

needs_dlib = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the extra dlib is not installed")
SIZE = 96
FRAMES_USED = 10


def params(**changes: Any) -> AlignParams:
    content = PARAMS["align"] | {"size": SIZE, "eye_distance": 0.4, "eye_height": 0.32} | changes
    return AlignParams.model_validate(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rendered")


@pytest.fixture(scope="module")
def row(root: Path) -> dict[str, Any]:
    """A clip whose head drifts three times as much as a calm subject's, onset to some frames later."""
    synth = SynthParams(
        seed=5, subjects=2, clips_per_emotion=1, size=240, frames_min=24, frames_max=24, peak_min=1.5, peak_max=1.5,
        drift=3.0, blink_rate=0.0, gaze_rate=0.0, overlap=0.0,
    )  # fmt: skip
    plan = plan_release(synth)[0]
    write_clip(plan, synth.size, root)
    numbers = list(range(plan.onset, plan.onset + FRAMES_USED))
    return {
        "clip_id": f"synthetic/{plan.subject}/{plan.clip}",
        "subject": f"synthetic/{plan.subject}",
        "frames": [f"frames/{plan.subject}/{plan.clip}/img{k:03d}.png" for k in numbers],
        "frame_numbers": numbers,
    }


@pytest.fixture(scope="module")
def truth(root: Path, row: dict[str, Any]) -> NDArray[np.float64]:
    """Landmarks of each frame, (frames, K, 2), source pixels."""
    folder = root / "truth" / Path(row["frames"][0]).parent.relative_to("frames")
    start = row["frame_numbers"][0] - 1
    return np.load(folder / "landmarks.npy", allow_pickle=False).astype(np.float64)[start : start + FRAMES_USED]


def aligned(row: dict[str, Any], root: Path, **changes: Any) -> list[dict[str, Any]]:
    return aligned_clip(row, root, params(**changes)).to_pylist()


def transforms(rows: list[dict[str, Any]]) -> list[NDArray[np.float64]]:
    return [np.array(one["transform"]).reshape(2, 3) for one in rows]


def skull_error(rows: list[dict[str, Any]], truth: NDArray[np.float64]) -> float:
    """Mean distance of rigid landmarks in the crops from where they are in the first crop, px."""
    rigid = truth[:, face_landmarks().rigid]
    inside = np.stack([geometry.transform_points(p, t) for p, t in zip(rigid, transforms(rows), strict=True)])
    return float(np.linalg.norm(inside - inside[0], axis=2)[1:].mean())


def test_ecc_takes_the_drift_off(root: Path, row: dict[str, Any], truth: NDArray[np.float64]) -> None:
    still, undrifted = aligned(row, root), aligned(row, root, mode="ecc")
    assert len({tuple(one["transform"]) for one in still}) == 1
    assert undrifted[0] == still[0]
    before, after = skull_error(still, truth), skull_error(undrifted, truth)
    assert before > 0.15  # there is something to take off
    assert after < 0.1 and after < before / 2
    # the transform is that of the head's motion in the source, and each crop is one warp by it
    face = FaceMesh().find(images.read_image(root / row["frames"][0]))
    frames = [geometry.to_grey(images.read_image(root / source)) for source in row["frames"]]
    moves = follow(frames, face_mask(face.landmarks[:, :2], frames[0].shape))
    for frame, move, one, transform in zip(frames, moves, undrifted, transforms(undrifted), strict=True):
        point = np.array([120.0, 110.0])
        there = geometry.transform_points(geometry.transform_points(point, move), transform)
        np.testing.assert_allclose(there, geometry.transform_points(point, transforms(still)[0]), atol=1e-6)
        assert (images.decode_png(one["image"]) == geometry.warp(frame, transform, SIZE)).all()


def test_per_frame_puts_each_frames_eyes_in_place(root: Path, row: dict[str, Any], truth: NDArray[np.float64]) -> None:
    rows = aligned(row, root, mode="per_frame")
    expected = np.array([[0.3, 0.32], [0.7, 0.32]]) * SIZE - 0.5
    for one in rows:
        points = np.array(one["landmarks"]).reshape(468, 2)
        eyes = [points[list(corners)].mean(axis=0) for corners in ((33, 133), (362, 263))]
        np.testing.assert_allclose(eyes, expected, atol=1e-3)
    inside = np.stack([geometry.transform_points(p[:2], t) for p, t in zip(truth, transforms(rows), strict=True)])
    assert np.abs(inside - inside[:, [1, 0]].mean(axis=0)[[1, 0]]).max() < 1  # true eyes, to the noise of the mesh


@needs_dlib
def test_dlib_with_the_released_geometry(root: Path, row: dict[str, Any], truth: NDArray[np.float64]) -> None:
    short = row | {"frames": row["frames"][:2], "frame_numbers": row["frame_numbers"][:2]}
    rows = aligned(short, root, mode="per_frame", landmarks="dlib", geometry="released")
    for one, points, transform in zip(rows, truth, transforms(rows), strict=False):
        found = np.array(one["landmarks"]).reshape(68, 2)
        eyes = np.stack([found[36:42].mean(axis=0), found[42:48].mean(axis=0)])
        assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=1e-3)  # level
        five = np.concatenate([eyes, found[[30, 48, 54]]])
        low, high = five.min(axis=0), five.max(axis=0)
        assert 2.5 * (high - low).max() == pytest.approx(SIZE - 1, abs=1e-3)
        np.testing.assert_allclose((low + high) / 2, [(SIZE - 1) / 2] * 2, atol=1e-3)
        true_eyes = geometry.transform_points(
            points[[1, 0]], transform
        )  # eyeballs: a little above the middle of the lids
        assert np.linalg.norm(eyes - true_eyes, axis=1).max() < 3


def test_the_finer_interpolations_are_used(root: Path, row: dict[str, Any]) -> None:
    short = row | {"frames": row["frames"][:1], "frame_numbers": row["frame_numbers"][:1]}
    pictures = {}
    for name in geometry.INTERPOLATIONS:
        (one,) = aligned(short, root, interpolation=name)
        grey = geometry.to_grey(images.read_image(root / row["frames"][0]))
        pictures[name] = images.decode_png(one["image"])
        assert (pictures[name] == geometry.warp(grey, transforms([one])[0], SIZE, name)).all()
    assert len({picture.tobytes() for picture in pictures.values()}) == 3


class FaceThenNone:
    """A face in the middle of the first frames, then what it is told."""

    def __init__(self, found: int, reason: str) -> None:
        self.left, self.reason = found, reason

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        self.left -= 1
        if self.left < 0:
            raise FaceError(self.reason, "it says so")
        angle = np.linspace(0, 2 * np.pi, 468)
        points = np.stack([32 + 24 * np.cos(angle), 32 + 28 * np.sin(angle), 0 * angle], axis=1)
        for index, x in ((33, 16), (133, 24), (362, 40), (263, 48)):
            points[index, :2] = x, 28
        return Face(points, 0.99, (8.0, 4.0, 56.0, 60.0))


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Any]:
    """A clip of four small frames on disk."""
    for k in range(1, 5):
        write_image(tmp_path / f"img{k}.png", face_like(shift=0.2 * k))
    names = [f"img{k}.png" for k in range(1, 5)]
    return {"clip_id": "r/s/c", "subject": "r/s", "frames": names, "frame_numbers": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("mode", "found", "says", "reason", "where"),
    [
        ("first_frame", 0, "no_face", Reason.NO_FACE, "img1.png"),
        ("first_frame", 0, "several_faces", Reason.SEVERAL_FACES, "img1.png"),
        ("ecc", 0, "several_faces", Reason.SEVERAL_FACES, "img1.png"),
        ("per_frame", 2, "no_face", Reason.NO_FACE, "img3.png"),
        ("per_frame", 3, "several_faces", Reason.SEVERAL_FACES, "img4.png"),
    ],
)
def test_a_face_that_is_not_to_be_had_is_a_reason(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    mode: str, found: int, says: str, reason: Reason, where: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(crops, "_finder", lambda landmarks: FaceThenNone(found, says))
    with pytest.raises(RejectedClip, match=f"^{where}: {says}: it says so") as caught:
        aligned_clip(small, tmp_path, params(mode=mode))
    assert caught.value.reason == reason


@pytest.mark.parametrize("number", [2, 4])
def test_a_head_that_is_lost_is_a_reason(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(crops, "_finder", lambda landmarks: FaceThenNone(1, "no_face"))
    assert aligned_clip(small, tmp_path, params(mode="ecc")).num_rows == 4
    write_image(tmp_path / f"img{number}.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    monkeypatch.setattr(crops, "_finder", lambda landmarks: FaceThenNone(1, "no_face"))
    with pytest.raises(RejectedClip, match=f"^img{number}.png: frame {number - 1} of the clip") as caught:
        aligned_clip(small, tmp_path, params(mode="ecc"))
    assert caught.value.reason == Reason.LOST_FACE


def test_the_stage_lists_a_lost_head(
    project: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.prep.task.test_stages import run_here

    monkeypatch.setattr(crops, "_finder", lambda landmarks: FaceThenNone(1, "no_face"))
    monkeypatch.setattr(crops, "run_units", run_here)
    write_image(tmp_path / "black.png", np.zeros((64, 64, 3), np.uint8))
    lost = small | {"clip_id": "r/s/lost", "frames": [*small["frames"][:3], "black.png"]}
    align_release("r", tmp_path, [small, lost], Path("out"), params(mode="ecc"), 1)
    (left_out,) = shards.read_table(Path("out/rejected.parquet"), REJECTED).to_pylist()
    assert (left_out["clip_id"], left_out["reason"]) == ("r/s/lost", "lost_face")
    assert "black.png" in left_out["detail"]
    (shard,) = shards.frame_shards(Path("out"))
    assert {one["clip_id"] for one in shards.read_rows(shard, FRAMES)} == {"r/s/c"}


def test_missing_dlib_is_said_before_anything_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDlibError, match=r"pip install 'fdpbench\[dlib\]'"):
        align_release("r", Path("nowhere"), [], Path("out"), params(landmarks="dlib"), 1)
    assert not Path("out").exists()
