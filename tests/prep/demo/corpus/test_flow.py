"""The flow generator: true motion, its form, its labels, and the simulated estimator."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.estimator import RENDERED, SIDE, bleed, estimate, face_texture, shrink
from fdpbench.prep.demo.corpus.flow import CAMERA, Stage, flow_clip, flow_clips
from fdpbench.prep.demo.corpus.planner import Crop, Estimator, PlannedClip, Sitting, plan_people
from fdpbench.prep.demo.corpus.table import unit_targets
from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.expressions import SIDED_UNITS, UNITS
from fdpbench.prep.demo.synth.head import eye_centres, load_head
from fdpbench.prep.demo.synth.subject import EYE_DISTANCE, bare_face
from fdpbench.prep.settings.corpus import CorpusParams

FRONT = Sitting(Crop(eye_distance=0.45, aspect=0.75, eye_height=0.3, shift=0.0), bleeds=True)
EXACT = Estimator(noise=1e-6, spots=0.0, smoothing=0.3, dominance=1, shrinkage=0.0)


@lru_cache(maxsize=1)
def average() -> Stage:
    """The average head, which is symmetric, from the front."""
    head = load_head()
    eyes = eye_centres(head.vertices, head.vertex_part)
    scale = EYE_DISTANCE / float(np.linalg.norm(eyes[0] - eyes[1]))
    return Stage(((head.vertices - eyes.mean(axis=0)) * scale).astype(np.float32), scale, Pose(), FRONT)


def planned(activation: dict[str, float], peak: float = 1.0, estimator: Estimator = EXACT) -> PlannedClip:
    corpus = CorpusParams(generator="flow", identities=1, clips_per_identity=1, seed=1)
    (person,) = plan_people(corpus)
    one = person.clips[0]
    clip = replace(
        one.clip, activation=tuple(activation.items()), peak=peak, blink=None, gaze_shift=None, drift=0.0, seat=Pose()
    )
    return replace(one, clip=clip, sitting=FRONT, estimator=estimator)


def mirrored(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The image of the mirrored motion, u turned round, as u, v and strain in 0..1."""
    flipped = image[:, :, ::-1] / 255
    flipped[0] = 1 - flipped[0]
    return flipped


def test_a_symmetric_plan_gives_flow_that_is_its_own_mirror_image() -> None:
    made = flow_clip(average(), planned({"AU1": 0.5, "AU12L": 1.0, "AU12R": 1.0}))
    u, v = made.true_flow
    both = np.isfinite(u) & np.isfinite(u[:, ::-1])
    assert both.mean() > 0.5
    assert np.abs(u + u[:, ::-1])[both].max() < 0.08 and np.abs(v - v[:, ::-1])[both].max() < 0.08
    assert np.abs(u[both]).max() > 0.3 and np.abs(v[both]).max() > 0.5
    assert np.corrcoef(made.image.ravel() / 255, mirrored(made.image).ravel())[0, 1] > 0.97


def test_mirrored_activation_gives_the_mirrored_flow() -> None:
    left = flow_clip(average(), planned({"AU12L": 1.0}))
    right = flow_clip(average(), planned({"AU12R": 1.0}))
    u, v = left.true_flow
    both = np.isfinite(u) & np.isfinite(right.true_flow[0, :, ::-1])
    assert np.abs(u + right.true_flow[0, :, ::-1])[both].max() < 0.08
    assert np.abs(v - right.true_flow[1, :, ::-1])[both].max() < 0.08
    # the subject's left is on the image's right
    assert np.nanmax(np.abs(v[:, SIDE // 2 :])) > 5 * np.nanmax(np.abs(v[:, : SIDE // 2 - 2]))


@pytest.mark.parametrize("peak", [0.5, 3.0])
def test_the_expression_moves_a_landmark_by_its_peak(peak: float) -> None:
    stage, plan = average(), planned({"AU4L": 1.0, "AU4R": 0.8}, peak)
    made = flow_clip(stage, plan)
    assert stage.gain(load_head().displacement(dict(plan.clip.activation)), peak) == pytest.approx(
        made.intensity[SIDED_UNITS.index("AU4L")], rel=1e-4
    )
    offsets = load_head().displacement(dict(zip(SIDED_UNITS, made.intensity.tolist(), strict=True)))
    moved = np.linalg.norm(stage.motion(offsets, Pose()), axis=1)
    assert moved.max() == pytest.approx(peak, rel=0.1)
    assert np.nanmax(np.linalg.norm(made.true_flow, axis=0)) == pytest.approx(peak, rel=0.35)  # mean of a pixel


def test_a_shift_of_the_head_moves_every_pixel_alike() -> None:
    stage = average()
    motion = stage.motion(np.zeros_like(stage.face), Pose(shift_x=0.7, shift_y=-0.4))
    seen = stage.seen(motion)
    assert seen[0] == pytest.approx(0.7, abs=1e-4) and seen[1] == pytest.approx(-0.4, abs=1e-4)


def test_eyes_lie_where_the_crop_says() -> None:
    stage = average()
    row, column = np.divmod(stage.samples.pixel[stage.eyes], RENDERED)
    left = column < RENDERED / 2
    distance = (column[~left].mean() - column[left].mean()) / RENDERED
    assert distance == pytest.approx(FRONT.crop.eye_distance, rel=0.08)  # what is seen of them, not their centres
    assert row.mean() / RENDERED == pytest.approx(FRONT.crop.eye_height, abs=0.02)


def test_a_blink_shows_where_it_falls_between_onset_and_apex() -> None:
    still = planned({"AU12L": 1.0, "AU12R": 1.0})
    lid = SIDED_UNITS.index("AU45L")
    for moment, sign in ((still.clip.apex, 1), (still.clip.onset, -1), (still.clip.offset + 40, 0)):
        made = flow_clip(average(), replace(still, clip=replace(still.clip, blink=moment)))
        assert np.sign(np.round(made.intensity[lid], 3)) == sign
        assert unit_targets(made.intensity[None])[0, UNITS.index("AU45")] == abs(sign)


def test_targets_of_units_follow_their_intensity() -> None:
    intensity = np.zeros((2, len(SIDED_UNITS)), np.float32)
    intensity[0, [SIDED_UNITS.index("AU12L"), SIDED_UNITS.index("AU6R")]] = 0.2, 0.03
    targets = unit_targets(intensity)
    assert targets.shape == (2, len(UNITS)) and not targets[1].any()
    assert {unit: value for unit, value in zip(UNITS, targets[0], strict=True) if value} == {"AU12": 1.0, "AU6": 0.5}


def test_images_have_the_form_of_the_fields_and_people_differ() -> None:
    corpus = CorpusParams(generator="flow", identities=2, clips_per_identity=4, seed=5)
    made = [flow_clips(person) for person in plan_people(corpus)]
    again = [flow_clips(person) for person in plan_people(corpus)]
    for person, repeated in zip(made, again, strict=True):
        for one, other in zip(person, repeated, strict=True):
            assert one.image.shape == (3, SIDE, SIDE) and one.image.dtype == np.uint8
            assert (one.image.min(axis=(1, 2)) == 0).all() and (one.image.max(axis=(1, 2)) == 255).all()
            assert (one.image == other.image).all() and (one.intensity == other.intensity).all()
    assert not (made[0][0].image == made[1][0].image).all()


# --- the estimator ----------------------------------------------------------------------------------


def face() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Motion, cover and texture of a smile on the average face."""
    stage = average()
    offsets = load_head().displacement({"AU12": 0.2})
    motion = np.zeros((RENDERED, RENDERED, 2), np.float32)
    motion.reshape(-1, 2)[stage.samples.pixel] = stage.seen(stage.motion(offsets, Pose())).T
    return motion, stage.cover, stage.texture


def test_an_exact_estimator_finds_the_motion() -> None:
    motion, cover, texture = face()
    found = estimate(motion, texture, EXACT, np.random.default_rng(0))
    inner = cover > 0
    assert np.corrcoef(found[inner].ravel(), motion[inner].ravel())[0, 1] > 0.99


def test_noise_spots_and_shrinkage_do_what_they_say() -> None:
    motion, _, texture = face()
    rest = np.zeros_like(motion)
    rng = np.random.default_rng

    def spread(field: NDArray[np.float32]) -> float:
        return float(field.std())

    low, high = (estimate(rest, texture, replace(EXACT, noise=noise), rng(1)) for noise in (0.05, 0.2))
    assert spread(high) == pytest.approx(4 * spread(low), rel=0.01)
    bare, textured = high[texture < 0.05], high[texture > 0.6]
    assert spread(bare) > 1.3 * spread(textured)
    largest = {
        spots: [
            np.abs(estimate(rest, texture, replace(EXACT, noise=0.05, spots=spots), rng(k))).max() for k in range(9)
        ]
        for spots in (0.0, 1.0)
    }
    assert np.mean(largest[1.0]) > 1.5 * np.mean(largest[0.0])  # not in every image: a spot is rare
    shrunk = estimate(motion, texture, replace(EXACT, shrinkage=0.4), rng(1))
    middle = np.median(shrunk.reshape(-1, 2), axis=0)
    assert spread(shrunk - middle) < 0.85 * spread(estimate(motion, texture, EXACT, rng(1)))


def test_dominance_makes_patches_with_edges() -> None:
    """What has texture decides for what is about it: at the edge of a textured half the motion breaks off later."""
    motion, texture = np.zeros((RENDERED, RENDERED, 2), np.float32), np.zeros((RENDERED, RENDERED), np.float32)
    half = RENDERED // 2
    motion[:, :half], texture[:, :half] = 1.0, 1.0
    wide = replace(EXACT, smoothing=1.0)
    beyond = [
        estimate(motion, texture, replace(wide, dominance=power), np.random.default_rng(2))[
            :, half + 2 : half + 5
        ].mean()
        for power in (1, 5)
    ]
    assert beyond[1] > beyond[0] + 0.2


def test_shrinking_takes_the_middle_of_each_pixel() -> None:
    field = np.arange(RENDERED**2, dtype=np.float32).reshape(1, RENDERED, RENDERED)
    small = shrink(field)
    assert small.shape == (1, SIDE, SIDE) and small[0, 0, 0] == RENDERED + 1 and small[0, 0, 1] == RENDERED + 4


def test_motion_bleeds_into_the_background_alone() -> None:
    motion, cover, _ = face()
    carried = bleed(motion + np.float32(0.5) * cover[..., None], cover)
    inside = cover > 0
    assert (carried[inside] == motion[inside] + np.float32(0.5)).all()
    assert carried[~inside].mean() == pytest.approx(0.5, abs=0.25) and inside.mean() < 0.99


def test_texture_lies_on_brows_eyes_and_mouth() -> None:
    x, y, z = load_head().vertices.T
    texture = face_texture()
    forehead = (np.abs(x) < 0.2) & (y > 7.7) & (z > 0.7)
    brow = (np.abs(np.abs(x) - 0.3) < 0.05) & (np.abs(y - 7.47) < 0.03) & (z > 0.7)
    assert texture[forehead].max() < 0.1 < 0.8 < texture[brow].mean()


def test_the_face_of_a_person_is_that_of_its_seed() -> None:
    corpus = CorpusParams(generator="flow", identities=1, clips_per_identity=1, seed=9, drift=(0.0, 0.0))
    (person,) = plan_people(corpus)
    seat = person.clips[0].clip.seat
    assert seat is not None and CAMERA.size == 240
    stage = Stage(*bare_face(person.seed), seat, person.clips[0].sitting)
    assert (flow_clip(stage, person.clips[0]).image == flow_clips(person)[0].image).all()
