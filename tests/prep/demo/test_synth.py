"""The embedded release: exact rasteriser, linear action units, true motion, repeatable bytes."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdpbench.prep.demo.synth import EMOTIONS, ClipRecord, plan_release, write_clip, write_sheet
from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, Camera, Pose, expose
from fdpbench.prep.demo.synth.head import ACTION_UNITS, load_head
from fdpbench.prep.demo.synth.motion import BLINK, RESIDUE, envelope, plan_motion
from fdpbench.prep.demo.synth.raster import rasterize
from fdpbench.prep.demo.synth.release import COLUMNS
from fdpbench.prep.demo.synth.render import Light, Renderer
from fdpbench.prep.demo.synth.subject import build_subject
from fdpbench.prep.demo.synth.truth import dense_flow, face_landmarks
from fdpbench.prep.settings.synth import SynthParams

PARAMS = SynthParams(
    seed=3, subjects=2, clips_per_emotion=2, size=120, frames_min=24, frames_max=26, peak_min=0.4,
    peak_max=1.2, drift=2.0, blink_rate=0.4, gaze_rate=0.4, overlap=0.4,
)  # fmt: skip
STILL = Pose()


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    camera = Camera(PARAMS.size)
    seed = plan_release(PARAMS)[0].identity_seed
    return Renderer(build_subject(seed, camera.pixels_per_dm * SUPERSAMPLING), camera)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of different subjects, last first."""
    root = tmp_path_factory.mktemp("release")
    plans = plan_release(PARAMS)
    for plan in (plans[8], plans[0]):
        write_clip(plan, PARAMS.size, root)
    return root


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- head and subject -------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(ACTION_UNITS)), st.floats(0, 1), max_size=4), st.floats(0, 2))
@settings(max_examples=20, deadline=None)
def test_action_units_are_linear(activation: dict[str, float], factor: float) -> None:
    head = load_head()
    scaled = head.displacement({name: factor * weight for name, weight in activation.items()})
    assert scaled == pytest.approx(factor * head.displacement(activation), abs=1e-5)


def test_left_and_right_make_the_whole() -> None:
    head = load_head()
    assert head.unit("AU12L") + head.unit("AU12R") == pytest.approx(head.unit("AU12"), abs=1e-6)
    moved = np.abs(head.unit("AU12L")).max(axis=1) > 0.01
    assert head.vertices[moved, 0].mean() > 0.1  # the subject's left is x > 0


@pytest.mark.parametrize(("name", "text"), [("AU99", "unknown action unit"), ("AU17L", "no sides")])
def test_an_impossible_action_unit_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load_head().unit(name)


def test_the_same_seed_is_the_same_person_and_another_is_not() -> None:
    one, again, other = (build_subject(seed, density=30.0) for seed in (5, 5, 6))
    assert (one.vertices == again.vertices).all() and (one.skin_texture == again.skin_texture).all()
    assert np.abs(one.vertices - other.vertices).max() > 0.02


# --- plan and motion --------------------------------------------------------------------------------


def test_the_plan_is_ordered_and_lies_within_the_parameters() -> None:
    params = PARAMS.model_copy(update={"subjects": 12, "frames_max": 48})
    plans = plan_release(params)
    assert plans == plan_release(params)
    assert [(p.subject, p.emotion) for p in plans] == [
        (f"s{s:02d}", emotion) for s in range(1, 13) for emotion in EMOTIONS for _ in range(2)
    ]
    assert len({p.seed for p in plans}) == len(plans)
    for plan in plans:
        assert 3 < plan.onset < plan.apex < plan.offset < plan.frames
        assert params.frames_min <= plan.frames <= params.frames_max
        assert params.peak_min <= plan.peak <= params.peak_max
        assert plan.blink is None or plan.onset < plan.blink <= plan.offset
    for happens in ([p.blink for p in plans], [p.gaze_shift for p in plans]):
        assert 0.2 < np.mean([frame is not None for frame in happens]) < 0.6
    # More subjects leave the first ones as they are
    assert plan_release(PARAMS.model_copy(update={"subjects": 4}))[:16] == plan_release(PARAMS)


def test_overlap_borrows_a_unit_of_another_emotion() -> None:
    for rate in (0.0, 1.0):
        for plan in plan_release(PARAMS.model_copy(update={"overlap": rate})):
            own = plan.action_units in EMOTIONS[plan.emotion]
            assert own == (rate == 0.0)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
@settings(deadline=None)
def test_envelope_is_zero_at_onset_and_one_at_apex_alone(onset: int, rise: int, fall: int) -> None:
    apex, offset = onset + rise, onset + rise + fall
    strength = envelope(np.arange(1, offset + 4), onset, apex, offset)
    assert (strength[:onset] == 0).all()
    assert strength[apex - 1] == 1 and strength.argmax() == apex - 1
    assert strength[offset - 1 :] == pytest.approx(RESIDUE)
    assert (np.diff(strength[onset - 1 : apex]) > 0).all() and (np.diff(strength[apex - 1 : offset]) < 0).all()


def test_without_drift_landmarks_move_by_the_planned_peak(renderer: Renderer) -> None:
    landmarks = face_landmarks()
    for plan in plan_release(PARAMS)[:8]:
        plan = replace(plan, blink=None, drift=0.0)
        motion = plan_motion(plan, renderer)
        offsets = motion.offsets(renderer.subject.head)
        places = np.stack([landmarks.project(renderer, *pair) for pair in zip(offsets, motion.poses, strict=True)])
        moved = np.linalg.norm(places - places[plan.onset - 1], axis=2)  # (frames, K)
        assert (offsets[: plan.onset] == 0).all()
        assert moved.max(axis=1).argmax() == plan.apex - 1
        assert moved[plan.apex - 1].max() == pytest.approx(plan.peak, rel=0.01)
        assert moved[:, landmarks.rigid].max() < 0.12 * plan.peak


def test_eyes_close_in_planned_clips_alone(renderer: Renderer) -> None:
    for plan in plan_release(PARAMS)[:8]:
        closure = plan_motion(plan, renderer).weights.get(BLINK)
        assert (closure is None) == (plan.blink is None)
        if closure is not None:
            assert closure.argmax() + 1 == plan.blink and closure.max() >= 0.8
            assert closure[plan.onset - 1] == 0


# --- rendering and truth ----------------------------------------------------------------------------


def test_landmarks_are_named_and_in_place(renderer: Renderer) -> None:
    landmarks, head = face_landmarks(), renderer.subject.head
    assert len(set(landmarks.names)) == len(landmarks.names) == len(landmarks.rigid) == 128
    place = dict(zip(landmarks.names, landmarks.project(renderer, np.zeros_like(head.vertices), STILL), strict=True))
    eyes = place["eye_centre_left"] - place["eye_centre_right"]
    assert np.linalg.norm(eyes) == pytest.approx(51 * PARAMS.size / 240, rel=0.02)
    assert eyes[0] > 0  # the subject's left is on the image's right
    assert place["brow_middle_left"][1] < place["eye_centre_left"][1] < place["nose_tip"][1] < place["chin"][1]
    assert place["mouth_corner_right"][0] < place["nose_tip"][0] < place["mouth_corner_left"][0]
    assert landmarks.rigid[landmarks.names.index("nose_bridge_2")]
    assert not landmarks.rigid[landmarks.names.index("mouth_corner_left")]


def test_flow_agrees_with_the_landmarks(renderer: Renderer) -> None:
    head, landmarks = renderer.subject.head, face_landmarks()
    start = (np.zeros_like(head.vertices), STILL)
    end = (head.displacement({"AU12": 0.2, "AU1": 0.3}), Pose(yaw=0.4, shift_x=0.7, shift_y=-0.3))
    flow = dense_flow(renderer, start, end)
    before, after = (landmarks.project(renderer, *state) for state in (start, end))
    column, row = np.round(before).astype(int).T
    found = flow[:, row, column].T  # (K, 2)
    seen = np.isfinite(found[:, 0])
    assert seen.mean() > 0.8 and not seen[:2].any()  # the eyes are not skin
    error = np.linalg.norm(found - (after - before), axis=1)[seen]
    assert np.median(error) < 0.05
    assert np.isnan(flow[:, 0, 0]).all()  # background


def test_a_shift_of_a_third_of_a_pixel_is_rendered_as_such(renderer: Renderer) -> None:
    """Rendered motion, measured by dense optical flow, is the true motion: sampling does not alias."""
    rest = np.zeros_like(renderer.subject.head.vertices)
    grey = [
        np.round(255 * renderer.frame(rest, pose, (0, 0), Light())[1] ** (1 / 2.2)).astype(np.uint8)
        for pose in (STILL, Pose(shift_x=0.33), Pose(shift_y=-0.66))
    ]
    skin = np.isfinite(dense_flow(renderer, (rest, STILL), (rest, STILL))[0])
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for image, expected in zip(grey[1:], ((0.33, 0), (0, -0.66)), strict=True):
        flow = np.asarray(solver.calc(grey[0], image, np.empty(0)))[skin]  # (N, 2)
        assert np.median(flow, axis=0) == pytest.approx(expected, abs=0.06)


def test_measured_flow_follows_the_true_flow(renderer: Renderer) -> None:
    head = renderer.subject.head
    start = (np.zeros_like(head.vertices), STILL)
    end = (head.displacement({"AU12": 0.2, "AU4": 0.3}), Pose(yaw=0.3))
    true = dense_flow(renderer, start, end)
    rng = np.random.default_rng(0)
    frames = [expose(renderer.frame(*state, (0, 0), Light()), rng) for state in (start, end)]
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    measured = np.asarray(solver.calc(before, after, np.empty(0))).transpose(2, 0, 1)
    skin = np.isfinite(true[0])
    assert np.corrcoef(true[:, skin].ravel(), measured[:, skin].ravel())[0, 1] > 0.85


def test_the_face_has_no_holes(renderer: Renderer) -> None:
    """Inside the outline of the landmarks nothing of the background shines through."""
    position, depth = renderer.camera.project(renderer.subject.vertices, STILL)
    side = PARAMS.size * SUPERSAMPLING
    samples = rasterize(position * SUPERSAMPLING, depth, renderer.subject.head.triangles, side, side)
    covered = np.zeros((side, side), dtype=bool)
    covered.reshape(-1)[samples.pixel] = True
    places = face_landmarks().project(renderer, np.zeros_like(renderer.subject.vertices), STILL)
    face = np.zeros((side, side), dtype=np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(places * SUPERSAMPLING).astype(np.int32)), 1)
    inside = cv2.erode(face, np.ones((5, 5), np.uint8)) > 0
    assert inside.sum() > 0.1 * side * side
    assert covered[inside].all()


def test_noise_of_the_sensor_is_small_and_repeats() -> None:
    grey = np.full((3, 64, 64), 0.2, dtype=np.float32)
    one, again = (expose(grey, np.random.default_rng(4)) for _ in range(2))
    assert (one == again).all()
    assert one.mean() == pytest.approx(255 * 0.2 ** (1 / 2.2), abs=0.5)
    assert 0.8 < one.std() < 3


# --- the release on disk ----------------------------------------------------------------------------


def test_a_clip_on_disk_is_complete(release: Path) -> None:
    plan = plan_release(PARAMS)[0]
    files = sorted((release / "frames" / plan.subject / plan.clip).iterdir())
    assert [file.name for file in files] == [f"img{number:03d}.png" for number in range(1, plan.frames + 1)]
    image = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.shape == (PARAMS.size, PARAMS.size, 3) and image.dtype == np.uint8
    truth = release / "truth" / plan.subject / plan.clip
    landmarks = np.load(truth / "landmarks.npy", allow_pickle=False)
    flow = np.load(truth / "flow.npy", allow_pickle=False)
    assert landmarks.shape == (plan.frames, 128, 2) and landmarks.dtype == np.float32
    assert np.isfinite(landmarks).all() and 0 < landmarks.min() and landmarks.max() < PARAMS.size
    assert flow.shape == (2, PARAMS.size, PARAMS.size) and flow.dtype == np.float32
    assert 0.1 < np.isfinite(flow).mean() < 0.6


def test_bytes_repeat_in_another_process_and_order(release: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fdpbench.prep.demo.synth import *\n"
        "from fdpbench.prep.settings.synth import SynthParams\n"
        "params = SynthParams.model_validate_json(sys.argv[1]); plans = plan_release(params)\n"
        "[write_clip(plans[k], params.size, Path(sys.argv[2])) for k in (0, 8)]"
    )
    subprocess.run([sys.executable, "-c", code, PARAMS.model_dump_json(), str(tmp_path)], check=True)
    assert digest(tmp_path) == digest(release)


def test_remains_of_an_interrupted_clip_are_replaced(release: Path, tmp_path: Path) -> None:
    plan = plan_release(PARAMS)[0]
    folder = tmp_path / "frames" / plan.subject / plan.clip
    folder.mkdir(parents=True)
    (folder / "img099.png").write_bytes(b"half a file")
    write_clip(plan, PARAMS.size, tmp_path)
    expected = {name: value for name, value in digest(release).items() if f"/{plan.subject}/" in name}
    assert digest(tmp_path) == expected


def test_the_sheet_names_every_clip(tmp_path: Path) -> None:
    plans = plan_release(PARAMS)
    sheet = write_sheet([ClipRecord.of(plan) for plan in plans], tmp_path)
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sheet.name == "annotations.csv" and tuple(rows[0]) == COLUMNS
    assert [(row["Subject"], row["Filename"]) for row in rows] == [(plan.subject, plan.clip) for plan in plans]
    for row, plan in zip(rows, plans, strict=True):
        assert (int(row["OnsetFrame"]), int(row["ApexFrame"])) == (plan.onset, plan.apex)
        assert int(row["OffsetFrame"]) == plan.offset < int(row["Frames"])
        assert row["Estimated Emotion"] in EMOTIONS
        codes = row["Action Units"].split("+")
        units = ["AU" + code.lstrip("LR") + code.rstrip("0123456789") for code in codes]
        assert tuple(units) == plan.action_units
        assert PARAMS.peak_min <= float(row["PeakPixels"]) <= PARAMS.peak_max
        assert int(row["Blink"]) == (plan.blink is not None)
        assert int(row["GazeShift"]) == (plan.gaze_shift is not None)
    with (tmp_path / "truth" / "landmarks.csv").open(newline="", encoding="utf-8") as file:
        assert [row["Name"] for row in csv.DictReader(file)] == list(face_landmarks().names)
    readme = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "CC0" in readme and "NOTHING ABOUT REAL FACES" in readme
