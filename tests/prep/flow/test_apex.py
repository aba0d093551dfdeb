"""The estimated apex: on moving textures whose apex is known, and through the flow stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fdpbench.prep.flow.apex import estimate_apex, face_region
from fdpbench.prep.flow.methods import METHODS, flow_field, onset_apex_flow
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import FLOW, FRAMES, REJECTED, Reason
from fdpbench.prep.task.stage import gather_task
from tests.prep.flow.test_flow import as_uint8, moved, texture
from tests.support.builders import PARAMS, write_manifest

SIDE = 64
RELEASE = "synthetic"
ESTIMATE = FlowParams(method="dis", missing_apex="estimate")
EYES = ((20.0, 22.0), (44.0, 22.0))
EYE_WIDTH = 12.0


def mesh() -> list[float]:
    """A mesh of 468 points: an ellipse, and eye corners 12 pixels apart at the mesh's own indices."""
    angle = np.linspace(0, 2 * np.pi, 468)
    points = np.stack([32 + 27 * np.cos(angle), 32 + 30 * np.sin(angle)], axis=1)
    for corners, (x, y) in zip(((33, 133), (362, 263)), EYES, strict=True):
        points[corners[0]], points[corners[1]] = (x - EYE_WIDTH / 2, y), (x + EYE_WIDTH / 2, y)
    return points.astype(np.float32).ravel().tolist()


def bump(x: float, y: float, width: float) -> NDArray[np.float64]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))


def clip(
    length: int, apex: int, drift: Sequence[float] = (0.0, 0.0), blink: int | None = None, peak: float = 1.2
) -> list[NDArray[np.uint8]]:
    """Frames whose mouth moves most at index ``apex``, on a head that drifts, with a blink in one frame."""
    still = texture(SIDE, seed=1)
    frames = [as_uint8(still)]
    for t in range(1, length):
        rise = t / apex if t <= apex else 1 - 0.8 * (t - apex) / (length - apex)
        field = peak * rise * np.stack([bump(32, 48, 7), -0.6 * bump(32, 48, 7)])
        field += t / length * np.array(drift).reshape(2, 1, 1)
        if t == blink:
            field[1] += 5 * sum(bump(*eye, 3.5) for eye in EYES)
        frames.append(as_uint8(moved(still, field)))
    return frames


# --- region


def test_the_region_is_the_face_without_its_eyes() -> None:
    region = face_region(mesh(), SIDE)
    assert region.shape == (SIDE, SIDE) and region.dtype == bool
    assert region[32, 32] and region[48, 32]
    assert not region[0, 0] and not region[0, 63] and not region[63, 0]
    for x, y in EYES:
        for corner in (x - EYE_WIDTH / 2, x, x + EYE_WIDTH / 2):
            assert not region[int(y), int(corner)]
        assert region[int(y) + 8, int(x)]
    area = np.pi * 27 * 30 - 2 * np.pi * (0.6 * EYE_WIDTH) ** 2
    assert region.sum() == pytest.approx(area, rel=0.1)  # the outline counts as inside


def test_the_landmarks_of_dlib_leave_out_the_same_eyes() -> None:
    angle = np.linspace(0, 2 * np.pi, 68)
    points = np.stack([32 + 27 * np.cos(angle), 32 + 30 * np.sin(angle)], axis=1)
    for (outer, inner), (x, y), way in zip(((36, 39), (45, 42)), EYES, (-1, 1), strict=True):
        points[outer], points[inner] = (x + way * EYE_WIDTH / 2, y), (x - way * EYE_WIDTH / 2, y)
    region = face_region(points.ravel().tolist(), SIDE)
    inside = np.s_[14:31, 13:52]  # 68 points draw the outline a little flatter
    assert (region == face_region(mesh(), SIDE))[inside].all() and not region[inside].all()


def test_without_landmarks_the_region_is_the_crop() -> None:
    assert face_region(None, 20).all() and face_region(None, 20).shape == (20, 20)
    outside = [1000.0, 1000.0] * 468  # nothing of that face is in the crop
    assert face_region(outside, 20).all()


# --- estimate


@given(st.integers(3, 12), st.tuples(st.floats(-2, 2), st.floats(-2, 2)), st.floats(0.8, 2))
@settings(max_examples=8)
def test_the_apex_is_found_on_a_head_that_drifts(apex: int, drift: tuple[float, float], peak: float) -> None:
    frames = clip(16, apex, drift, peak=peak)
    found = estimate_apex(frames[0], iter(frames[1:]), face_region(mesh(), SIDE), "dis")
    assert found is not None
    assert abs(found[0] + 1 - apex) <= 1
    assert (found[1] == onset_apex_flow(frames[0], frames[found[0] + 1])).all()


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_a_blink_is_not_an_apex(method: str) -> None:
    frames = clip(9, 6, blink=2)
    found = estimate_apex(frames[0], frames[1:], face_region(mesh(), SIDE), method)
    assert found is not None and abs(found[0] + 1 - 6) <= 1
    whole = estimate_apex(frames[0], frames[1:], np.ones((SIDE, SIDE), bool), method)
    assert whole is not None and whole[0] + 1 == 2  # what the eyes would have it be


def test_where_nothing_moves_there_is_no_apex() -> None:
    still = as_uint8(texture(SIDE))
    assert estimate_apex(still, [still, still], face_region(None, SIDE), "dis") is None
    assert estimate_apex(still, [], face_region(None, SIDE), "dis") is None


# --- through the stage


def aligned(clips: dict[str, list[NDArray[np.uint8]]]) -> None:
    """Aligned frames with the numbers 10, 12, 14, ..., landmarks with the first of each clip."""
    rows = [
        {"clip_id": f"{RELEASE}/s01/{name}", "subject": f"{RELEASE}/s01", "frame": 10 + 2 * k, "source": "x"}
        | {"image": images.encode_png(frame), "landmarks": None if k else mesh(), "transform": [1.0, 0, 0, 0, 1, 0]}
        for name, frames in clips.items()
        for k, frame in enumerate(frames)
    ]
    table = pa.Table.from_pylist(rows, schema=FRAMES)
    shards.write_subjects(paths.aligned(RELEASE) / "frames-000.parquet", FRAMES, [table])


def manifest(marks: dict[str, tuple[int | None, int | None]]) -> list[dict[str, Any]]:
    """Rows with onset and apex; the first clip is of another emotion than the others."""
    rows = [
        {"clip_id": f"{RELEASE}/s01/{name}", "dataset": RELEASE, "subject": f"{RELEASE}/s01", "fps": None}
        | {"onset": onset, "apex": apex, "offset": None, "emotion": "surprise" if number else "happiness"}
        | {"action_units": "", "frames": [], "frame_numbers": []}
        for number, (name, (onset, apex)) in enumerate(marks.items())
    ]
    write_manifest(RELEASE, rows)
    return rows


MARKS: dict[str, tuple[int | None, int | None]] = {
    "annotated": (10, 14),  # though it moves most in frame 20
    "blank": (10, None),
    "late_onset": (14, None),
    "no_onset": (None, None),
    "one_frame": (10, None),
    "still": (10, None),
    "wrong_apex": (10, 11),
}


@pytest.fixture
def release(project: Any) -> list[dict[str, Any]]:
    frames = clip(9, 5, drift=(1.0, -0.5), blink=2)
    odd = {"one_frame": frames[:1], "still": frames[:1] * 3}
    aligned({name: odd.get(name, frames) for name in MARKS})
    return manifest(MARKS)


def by_clip(table: str, schema: pa.Schema) -> dict[str, dict[str, Any]]:
    rows = shards.read_table(paths.flow(RELEASE) / table, schema).to_pylist()
    return {row["clip_id"].rpartition("/")[2]: row for row in rows}


def test_a_missing_apex_is_estimated_where_params_ask_for_it(
    release: list[dict[str, Any]], capsys: pytest.CaptureFixture
) -> None:
    flow_of_release(RELEASE, paths.raw(RELEASE), release, paths.aligned(RELEASE), paths.flow(RELEASE), ESTIMATE)
    rows = by_clip("flow.parquet", FLOW)
    assert {name: (row["apex"], row["apex_source"]) for name, row in rows.items()} == {
        "annotated": (14, "annotated"),
        "blank": (20, "estimated"),
        "late_onset": (20, "estimated"),
    }
    frames = clip(9, 5, drift=(1.0, -0.5), blink=2)
    for name, (onset, apex) in {"annotated": (0, 2), "blank": (0, 5), "late_onset": (2, 5)}.items():
        stored = np.array(rows[name]["flow"], np.float32).reshape(3, SIDE, SIDE)
        assert (stored == flow_field(frames[onset], frames[apex])).all(), name
    left_out = by_clip("rejected.parquet", REJECTED)
    assert {row["reason"] for row in left_out.values()} == {Reason.NO_APEX}
    assert set(left_out) == {"no_onset", "one_frame", "still", "wrong_apex"}
    assert "nothing moves in the 2 frames after onset 10" in left_out["still"]["detail"]
    said = " ".join(capsys.readouterr().err.split())
    assert "the sheet has no apex for 2 of 3 clips, or the onset; theirs is estimated" in said


def test_a_missing_apex_is_rejected_otherwise(release: list[dict[str, Any]], capsys: pytest.CaptureFixture) -> None:
    reject = FlowParams(method="dis", missing_apex="reject")
    flow_of_release(RELEASE, paths.raw(RELEASE), release, paths.aligned(RELEASE), paths.flow(RELEASE), reject)
    assert {row["apex_source"] for row in by_clip("flow.parquet", FLOW).values()} == {"annotated"}
    assert set(by_clip("rejected.parquet", REJECTED)) == set(MARKS) - {"annotated"}
    assert "estimated" not in capsys.readouterr().err


def test_a_task_says_how_many_apexes_are_estimated(
    release: list[dict[str, Any]], capsys: pytest.CaptureFixture
) -> None:
    flow_of_release(RELEASE, paths.raw(RELEASE), release, paths.aligned(RELEASE), paths.flow(RELEASE), ESTIMATE)
    content = {key: PARAMS["tasks"]["tiny"][key] for key in ("releases", "flow")}
    classes = {"happiness": ["happiness"], "surprise": ["surprise"]}
    gather_task("tiny", section(TaskParams, content | {"classes": classes}, "tasks.tiny"), paths.task("tiny"))
    said = " ".join(capsys.readouterr().err.split())
    assert "the flow of 2 clips leads to an apex that is estimated, not annotated" in said


@pytest.mark.parametrize("method", METHODS)
def test_the_stage_uses_the_method_that_params_name(release: list[dict[str, Any]], method: str) -> None:
    params = section(FlowParams, {"method": method, "missing_apex": "reject"}, "flow")
    flow_of_release(RELEASE, paths.raw(RELEASE), release, paths.aligned(RELEASE), paths.flow(RELEASE), params)
    frames = clip(9, 5, drift=(1.0, -0.5), blink=2)
    stored = np.array(by_clip("flow.parquet", FLOW)["annotated"]["flow"], np.float32).reshape(3, SIDE, SIDE)
    assert (stored == flow_field(frames[0], frames[2], method)).all()
