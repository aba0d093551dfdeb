"""The frames generator: the window is the whole frame's, crops look like the pipeline's, inputs have a task's form."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.align.faces import LEFT_EYE_CORNERS, NOSE_TIP, RIGHT_EYE_CORNERS, FaceMesh
from fdpbench.prep.demo.corpus.flow import CAMERA
from fdpbench.prep.demo.corpus.frames import (
    FrameClip,
    crop_transform,
    crop_window,
    frame_clip,
    frame_clips,
    inputs_of,
)
from fdpbench.prep.demo.corpus.mesh import MESH_VERTICES, in_crop, mesh_error, person_error
from fdpbench.prep.demo.corpus.planner import Person, Placing, person_seed, plan_people
from fdpbench.prep.demo.corpus.reading import FRAMES_INPUTS
from fdpbench.prep.demo.corpus.table import unit_targets
from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, Camera, Pose, expose
from fdpbench.prep.demo.synth.expressions import CLASS_OF, CLASSES, EMOTIONS, SIDED_UNITS
from fdpbench.prep.demo.synth.head import load_head
from fdpbench.prep.demo.synth.motion import plan_motion
from fdpbench.prep.demo.synth.plan import plan_release
from fdpbench.prep.demo.synth.raster import Window
from fdpbench.prep.demo.synth.render import Light, Renderer
from fdpbench.prep.demo.synth.subject import build_subject
from fdpbench.prep.dynamic.sampling import uniform
from fdpbench.prep.dynamic.stage import draw_dynamic_image
from fdpbench.prep.settings.corpus import CorpusParams, CropParams
from fdpbench.prep.settings.expressions import EmotionShares
from fdpbench.prep.settings.synth import SynthParams
from fdpbench.prep.task.inputs import INPUTS
from fdpbench.prep.task.table import TASK

PARAMS = CorpusParams(generator="frames", identities=2, clips_per_identity=2, seed=5, blink=1.0, landmarks=True)
EXACT = Placing(0.0, 0.0, 1.0, 0.0)


@lru_cache(maxsize=1)
def person() -> Person:
    return next(plan_people(PARAMS))


@lru_cache(maxsize=1)
def renderer() -> Renderer:
    return Renderer(build_subject(person().seed, CAMERA.pixels_per_dm * SUPERSAMPLING), CAMERA)


@lru_cache(maxsize=1)
def error() -> NDArray[np.float64]:
    return person_error(np.random.default_rng(person().mesh_seed))


@lru_cache(maxsize=1)
def made() -> FrameClip:
    return frame_clip(renderer(), person().clips[0], PARAMS, error())


@pytest.mark.parametrize("window", [Window(61, 48, 196, 190), Window(0, 0, 120, 90), Window(130, 100, 240, 240)])
def test_a_window_shows_what_the_whole_frame_does(window: Window) -> None:
    offsets = renderer().subject.head.displacement({"AU12L": 0.3, "AU45": 0.6})
    state = (offsets, Pose(2.0, -1.0, 3.0, 0.4, 0.7), (4.0, 1.0), Light())
    whole = renderer().frame(*state)
    part = renderer().frame(*state, window)
    expected = whole[:, window.top : window.bottom, window.left : window.right]
    assert part.shape == expected.shape and part.std() > 0.05
    assert 255 * np.abs(part - expected).max() < 1e-5


def test_a_clip_is_that_of_whole_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sensor's noise, which a window draws for itself."""

    def seen(light: np.ndarray, noise: np.random.Generator, factor: float) -> np.ndarray:
        return np.ascontiguousarray((255 * np.sqrt(np.clip(light, 0, 1))).astype(np.uint8).transpose(1, 2, 0))

    monkeypatch.setattr("fdpbench.prep.demo.corpus.frames.expose", seen)
    one = frame_clip(renderer(), person().clips[0], PARAMS, error())
    monkeypatch.setattr(
        "fdpbench.prep.demo.corpus.frames.crop_window", lambda transform, size, frame: Window(0, 0, frame, frame)
    )
    whole = frame_clip(renderer(), person().clips[0], PARAMS, error())
    assert (one.frames == whole.frames).all() and (one.apex == whole.apex).all() and one.frames.std() > 10


@pytest.mark.parametrize("interpolation", ["linear", "lanczos"])
@pytest.mark.parametrize("eye_distance", [0.2, 0.4, 0.55])
def test_what_lies_outside_the_window_is_not_read(
    interpolation: Literal["linear", "lanczos"], eye_distance: float
) -> None:
    """Also where the crop reaches beyond the frame, and where it is that small that each pixel is a mean."""
    crop = CropParams(size=64, eye_distance=eye_distance, interpolation=interpolation)
    eyes = np.array([[95.0, 112.0], [146.0, 110.0]])
    transform = crop_transform(eyes, crop, Placing(-0.4, -0.9, 0.96, -0.3))
    left, top, right, bottom = crop_window(transform, crop.size, 240)
    frame = np.random.default_rng(0).integers(0, 256, (240, 240), dtype=np.uint8)
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ [left, top]
    inside = geometry.warp(frame[top:bottom, left:right].copy(), moved, crop.size, interpolation)
    assert (inside == geometry.warp(frame, transform, crop.size, interpolation)).all()


def test_eyes_lie_where_the_settings_say() -> None:
    eyes = np.array([[95.0, 112.0], [146.0, 110.0]])
    for crop in (CropParams(), CropParams(size=64, eye_distance=0.5, eye_height=0.3)):
        placed = geometry.transform_points(eyes, crop_transform(eyes[::-1], crop, EXACT))
        side = crop.size
        expected = [side * (0.5 - crop.eye_distance / 2) - 0.5, side * (0.5 + crop.eye_distance / 2) - 0.5]
        np.testing.assert_allclose(placed[:, 0], expected)
        np.testing.assert_allclose(placed[:, 1], side * crop.eye_height - 0.5)


def test_crops_err_as_planned() -> None:
    eyes, crop = np.array([[95.0, 112.0], [146.0, 110.0]]), CropParams()
    placed = geometry.transform_points(eyes, crop_transform(eyes, crop, Placing(-0.4, 0.9, 0.95, 1.0)))
    across = placed[1] - placed[0]
    assert placed.mean(axis=0) == pytest.approx([47.5 - 0.4, 0.32 * 96 - 0.5 + 0.9])
    assert np.hypot(*across) == pytest.approx(0.95 * 38.4)
    assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(1.0)
    larger = crop_transform(eyes, CropParams(size=192), Placing(-0.4, 0.9, 1.0, 0.0))
    assert geometry.transform_points(eyes, larger).mean(axis=0) == pytest.approx([95.5 - 0.8, 0.32 * 192 - 0.5 + 1.8])


def test_the_planned_error_is_that_of_the_mesh() -> None:
    corpus = CorpusParams(generator="frames", identities=400, clips_per_identity=4, seed=2)
    errors = np.array([[list(vars(one.placing).values()) for one in each.clips] for each in plan_people(corpus)])
    mean, deviation = errors.mean(axis=(0, 1)), errors.std(axis=(0, 1))
    assert mean == pytest.approx([-0.36, -0.90, 0.965, -0.25], abs=0.08)
    assert deviation == pytest.approx([0.41, 0.61, 0.029, 0.37], rel=0.1)
    assert (errors.mean(axis=1).std(axis=0) > errors.std(axis=1).mean(axis=0) / 2).all(), "people differ too"


def test_the_sampled_frames_and_the_apex_are_rendered() -> None:
    planned = person().clips[0]
    assert made().frames.shape == (8, 96, 96) and made().frames.dtype == np.uint8
    clip = planned.clip
    sampled = clip.onset + uniform(clip.offset - clip.onset + 1, 8)
    assert sampled[0] == clip.onset and sampled[-1] == clip.offset
    at_apex = replace(planned, clip=replace(clip, apex=int(sampled[3])))
    once = frame_clip(renderer(), at_apex, PARAMS, error())
    assert (once.frames[3] == once.apex).all() and not (once.frames[2] == once.apex).all()
    five = PARAMS.model_copy(update={"sampling": PARAMS.sampling.model_copy(update={"frames": 5})})
    assert frame_clip(renderer(), planned, five, error()).frames.shape == (5, 96, 96)


def test_intensity_is_what_moves_from_onset_to_apex() -> None:
    planned = person().clips[0]
    motion = plan_motion(planned.clip, renderer())
    still = replace(planned, clip=replace(planned.clip, blink=None))
    moves = dict(zip(SIDED_UNITS, frame_clip(renderer(), still, PARAMS, error()).intensity.tolist(), strict=True))
    assert (
        {unit for unit, weight in moves.items() if weight}
        == set(motion.expression)
        == set(dict(planned.clip.activation))
    )
    strongest = max(motion.expression, key=lambda unit: motion.expression[unit])
    assert moves[strongest] == pytest.approx(motion.expression[strongest])
    assert moves[strongest] == pytest.approx(motion.weights[strongest][planned.clip.apex - 1], abs=0.02)  # and tremor
    closing = replace(planned, clip=replace(planned.clip, blink=planned.clip.apex))
    found = frame_clip(renderer(), closing, PARAMS, error()).intensity
    assert found[SIDED_UNITS.index("AU45L")] == found[SIDED_UNITS.index("AU45R")] > 0.5
    assert unit_targets(found[None]).shape == (1, 16)


def test_people_sit_as_planned() -> None:
    planned = person().clips[0]
    motion = plan_motion(replace(planned.clip, drift=0.0), renderer())
    assert set(motion.poses) == {planned.clip.seat}


def test_inputs_have_the_form_of_a_tasks_table() -> None:
    task = PARAMS.as_task("c", {"a": ["disgust"], "b": ["surprise"]})
    assert task.inputs == FRAMES_INPUTS
    inputs = inputs_of(made(), PARAMS)
    assert tuple(inputs) == FRAMES_INPUTS
    lengths = {"T": 8, "H": 96, "W": 96, "K": 468, "h": 28, "w": 28}
    decoded = {}
    for name, value in inputs.items():
        column = pa.chunked_array([pa.array([value, value], TASK.field(name).type)])
        decoded[name] = INPUTS[name].decode(column)
        assert decoded[name].shape == (2, *INPUTS[name].shape(lengths))
    assert (decoded["frames"][1, :, 0] == made().frames).all() and (decoded["apex"][1, 0] == made().apex).all()
    np.testing.assert_array_equal(decoded["landmarks"][1], made().landmarks)
    assert (decoded["dynamic_image"][0, 0] == draw_dynamic_image(made().frames, "harmonic")).all()
    assert not (draw_dynamic_image(made().frames, "linear") == decoded["dynamic_image"][0, 0]).all()
    assert decoded["flow"].min(axis=(2, 3)).max() == 0 and decoded["flow"].max(axis=(2, 3)).min() == 1


def test_the_same_clips_each_time_and_others_of_other_people() -> None:
    again = frame_clips(person(), PARAMS)
    assert (again[0].frames == made().frames).all() and not (again[1].frames == made().frames).all()
    assert not (again[0].frames[0] == again[0].frames[1]).all(), "frames have noise of their own"


def test_nobody_is_in_the_embedded_release() -> None:
    release = SynthParams(
        seed=5, subjects=30, clips_per_emotion=1, size=240, frames_min=32, frames_max=48, peak_min=1.0, peak_max=2.0,
        drift=1.0, blink_rate=0.2, gaze_rate=0.2, overlap=0.4,
    )  # fmt: skip
    seeds = {plan.identity_seed for plan in plan_release(release)}
    people = [each.seed for each in plan_people(PARAMS.model_copy(update={"identities": 300}))]
    assert len(set(people)) == 300 and not seeds & set(people) and min(people) == person_seed(5, 0) > max(seeds)


@pytest.mark.parametrize("shares", [None, EmotionShares(), EmotionShares(repression=3.0)])
def test_all_four_emotions_are_shown(shares: EmotionShares | None) -> None:
    corpus = CorpusParams(generator="frames", identities=300, clips_per_identity=8, seed=1, emotions=shares)
    clips = [one for each in plan_people(corpus) for one in each.clips]
    found = np.array([sum(one.clip.emotion == emotion for one in clips) for emotion in EMOTIONS]) / len(clips)
    expected = (0.234, 0.333, 0.099, 0.333)
    if shares is not None:
        expected = (0.25, 0.25, 0.25, 0.25) if shares == EmotionShares() else (1 / 6, 1 / 6, 1 / 2, 1 / 6)
    assert found == pytest.approx(expected, abs=0.03)
    assert all(CLASSES[one.label] == CLASS_OF[one.clip.emotion] for one in clips)


# --- landmarks --------------------------------------------------------------------------------------


def test_landmarks_are_where_the_mesh_finds_them() -> None:
    """On two people who were not among those that the table was made of, eyes 102 px apart."""
    mesh, camera = FaceMesh(), Camera(480)
    errors = []
    for seed in (101, 102):
        large = Renderer(build_subject(seed, camera.pixels_per_dm * SUPERSAMPLING), camera)
        rest = np.zeros_like(large.subject.head.vertices)
        image = expose(large.frame(rest, Pose(), (0.0, 0.0), Light()), np.random.default_rng(0))
        true = camera.project(large.subject.vertices[list(MESH_VERTICES)], Pose())[0] - 0.5
        errors.append(np.linalg.norm(mesh.find(image).landmarks[:, :2] - true, axis=1))
    assert np.median(errors) < 4 and np.quantile(errors, 0.95) < 12, "a twenty-fifth of the eyes' distance"


def test_landmarks_are_those_of_a_clip_aligned_by_its_first_frame() -> None:
    assert made().landmarks.shape == (8, 468, 2)
    first = made().landmarks[0]
    eyes = np.array([first[list(corners)].mean(axis=0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)])
    np.testing.assert_allclose(eyes, [[28.3, 30.22], [66.7, 30.22]], atol=1e-3)
    nose, chin = first[NOSE_TIP], first[152]
    assert abs(nose[0] - 47.5) < 6 and 40 < nose[1] < 65 < chin[1] < 100
    moved = np.linalg.norm(made().landmarks - first, axis=2).mean(axis=1)
    assert moved[0] == 0 and (moved[1:] > 0.01).all() and (moved[1:] < 5).all()


def test_the_errors_of_the_mesh_are_as_measured() -> None:
    rng = np.random.default_rng
    people = np.stack([person_error(rng(k)) for k in range(60)])
    assert people.std() == pytest.approx(1.0, abs=0.1)
    clips = [mesh_error(8, rng(k)) for k in range(200)]
    shift = np.array([clip.mean(axis=1).std() for clip in clips])
    own = np.array([(clip - clip.mean(axis=1, keepdims=True)).std() for clip in clips])
    assert 0.1 < np.median(shift) < 0.3 and shift.max() < 1.0 and 0.1 < np.median(own) < 0.25 and own.max() < 0.6
    places = load_head().vertices[list(MESH_VERTICES)]
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    alike = np.corrcoef(np.concatenate([people[..., 0], people[..., 1]]).T)
    assert alike[(distance > 0) & (distance < 0.06)].mean() > 0.8 > 0.2 > abs(alike[distance > 0.6].mean())


def test_landmarks_of_all_frames_go_through_one_transform() -> None:
    points = np.stack([made().landmarks[0], made().landmarks[0] + [2.0, -1.0]]).astype(np.float64)
    placed = in_crop(points, CropParams(size=192))
    np.testing.assert_allclose(placed[1] - placed[0], np.tile([4.0, -2.0], (468, 1)), atol=1e-3)


def test_landmarks_are_kept_where_asked_for() -> None:
    assert inputs_of(made(), PARAMS.model_copy(update={"landmarks": False}))["landmarks"] is None
