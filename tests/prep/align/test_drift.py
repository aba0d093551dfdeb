"""Drift of the head: known motions are found again, whatever light and expression do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fdpbench.prep.align.drift import DriftError, face_mask, follow, undrifted
from fdpbench.prep.align.geometry import invert, similarity, transform_points

SIDE = 120
CENTRE = (60.0, 58.0)
IDENTITY = np.eye(2, 3)

Warp = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def ellipse() -> NDArray[np.bool_]:
    """The face: an upright ellipse in the middle of the frame."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return ((x - CENTRE[0]) / 36) ** 2 + ((y - CENTRE[1]) / 44) ** 2 < 1


FACE = ellipse()


def picture(points: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Brightness of an endless pattern at any points (..., 2): nothing is interpolated, so truth is exact."""
    rng = np.random.default_rng(seed)
    total = np.full(points.shape[:-1], 120.0)
    for _ in range(40):
        wave = 2 * np.pi / rng.uniform(8, 40) * np.array([np.cos(a := rng.uniform(0, np.pi)), np.sin(a)])
        total += rng.uniform(2, 5) * np.cos(points @ wave + rng.uniform(0, 2 * np.pi))
    return total


def frame(
    motion: NDArray[np.float64] = IDENTITY,
    expression: Warp = lambda points: points,
    gain: float = 1.0,
    offset: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """A frame after the head's ``motion``; ``expression`` maps where skin is to where it was at rest."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    values = picture(expression(transform_points(np.stack([x, y], axis=-1), invert(motion))), seed)
    values = gain * values + offset + noise * np.random.default_rng(seed + 1).standard_normal(values.shape)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def error(found: NDArray[np.float64], motion: NDArray[np.float64]) -> float:
    """Largest distance over the face between where two motions put it, px."""
    y, x = np.nonzero(FACE)
    points = np.stack([x, y], axis=-1)
    return float(np.hypot(*(transform_points(points, found) - transform_points(points, motion)).T).max())


def drifts(*frames: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    return list(follow([frame(), *frames], FACE))


def move(dx: float, dy: float, degrees: float) -> NDArray[np.float64]:
    return similarity(1.0, np.deg2rad(degrees), CENTRE, (CENTRE[0] + dx, CENTRE[1] + dy))


shift = st.floats(-2, 2)
turn = st.floats(-1.5, 1.5)


@settings(max_examples=15)
@given(shift, shift, turn)
def test_a_known_motion_is_found(dx, dy, degrees):
    motion = move(dx, dy, degrees)
    first, found = drifts(frame(motion))
    np.testing.assert_array_equal(first, IDENTITY)
    assert error(found, motion) < 0.03


@settings(max_examples=10)
@given(shift, turn, st.floats(0.8, 1.15), st.floats(-15, 15))
def test_flicker_and_noise_do_not_matter(dx, degrees, gain, offset):
    motion = move(dx, -0.4, degrees)
    _, found = drifts(frame(motion, gain=gain, offset=offset, noise=1.5))
    assert error(found, motion) < 0.06


def rising(strength: float) -> Warp:
    """The lower third of the face moves up by ``strength`` px, with a soft edge."""

    def at_rest(points: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = 1 / (1 + np.exp(-(points[..., 1] - 74) / 2))
        return points + np.stack([np.zeros_like(weight), strength * weight], axis=-1)

    return at_rest


@pytest.mark.parametrize("motion", [IDENTITY, move(0.6, -0.3, 0.4)], ids=["still", "moving"])
def test_an_expression_is_not_taken_for_the_head(motion):
    # As in a clip, it grows from frame to frame: 2.5 px at last
    shares = np.linspace(0, 1, 6)[1:]
    moved = [IDENTITY + share * (motion - IDENTITY) for share in shares]
    frames = [frame(m, rising(2.5 * share), noise=1.0) for m, share in zip(moved, shares, strict=True)]
    assert error(drifts(*frames)[-1], motion) < 0.12
    # The same fitted to the whole face is drawn along
    assert whole_face_error(frames[-1], motion) > 0.5


def whole_face_error(image: NDArray[np.uint8], motion: NDArray[np.float64]) -> float:
    how = cv2.ECCParameters()
    how.motionType, how.gaussFiltSize, how.nlevels, how.itersPerLevel = cv2.MOTION_EUCLIDEAN, 5, 1, [100]
    first = frame().astype(np.float32)
    start = np.eye(2, 3, dtype=np.float32)
    mask = FACE.astype(np.uint8) * 255
    _, found = cv2.findTransformECCMultiScale(first, image.astype(np.float32), start, how, mask, None)
    return error(np.asarray(found, np.float64), motion)


def test_errors_do_not_add_up():
    out = [frame(move(0.15 * k, -0.1 * k, 0.05 * k), noise=1.0, seed=0) for k in range(1, 8)]
    back = [*out, *out[-2::-1], frame(noise=1.0)]
    found = drifts(*back)
    assert error(found[-1], IDENTITY) < 0.05
    assert error(found[7], move(1.05, -0.7, 0.35)) < 0.05


def test_a_still_head_stays_where_it_is():
    frames = [frame(noise=1.0, seed=0), *[frame(noise=1.0, gain=g) for g in (0.99, 1.01, 1.0)]]
    steps = [found[:, 2] for found in drifts(*frames)[1:]]
    assert np.abs(np.diff(steps, axis=0)).max() < 0.05


def test_frames_are_read_one_at_a_time():
    read = []

    def stream() -> Iterator[NDArray[np.uint8]]:
        for k in range(3):
            read.append(k)
            yield frame(move(0.1 * k, 0, 0))

    for number, _ in enumerate(follow(stream(), FACE)):
        assert read == list(range(number + 1))


def test_the_same_frames_give_the_same_bytes():
    frames = [frame(move(0.5, 0.2, 0.3), noise=1.0), frame(move(0.8, 0.1, 0.2), noise=1.0)]
    assert [d.tobytes() for d in drifts(*frames)] == [d.tobytes() for d in drifts(*frames)]


@pytest.mark.parametrize(
    "image",
    [
        np.full((SIDE, SIDE), 90, np.uint8),
        np.zeros((SIDE, SIDE), np.uint8),
        np.random.default_rng(3).integers(0, 256, (SIDE, SIDE), np.uint8),
        255 - frame(),
        frame(move(40, 0, 0)),
    ],
    ids=["flat", "black", "noise", "negative", "jumped"],
)
def test_a_face_that_is_not_found_again_is_an_error(image):
    with pytest.raises(DriftError, match="frame 2 of the clip"):
        drifts(frame(move(0.1, 0, 0)), image)


def test_a_face_without_pixels_is_an_error():
    with pytest.raises(DriftError, match="no pixel"):
        list(follow([frame()], np.zeros((SIDE, SIDE), bool)))


@given(st.floats(0.2, 5), turn, shift, shift, turn)
def test_undoing_the_drift_puts_a_point_where_the_first_frame_has_it(scale, angle, dx, dy, degrees):
    transform = similarity(scale, angle, CENTRE, (31.0, 20.0))
    moved = move(dx, dy, degrees)
    points = np.array([[10.0, 20.0], [60.0, 70.0], [100.0, 3.0]])
    got = transform_points(transform_points(points, moved), undrifted(transform, moved))
    np.testing.assert_allclose(got, transform_points(points, transform), atol=1e-9)


def test_the_mask_is_the_hull_of_the_landmarks():
    square = np.array([[10.0, 20.0], [50.0, 20.0], [50.0, 60.0], [10.0, 60.0], [30.0, 40.0]])
    mask = face_mask(square, (100, 80))
    assert mask.shape == (100, 80) and mask.dtype == bool
    assert mask[20:61, 10:51].all() and mask.sum() == 41 * 41
    beyond = face_mask(square + [40, 0], (100, 80))
    assert beyond[20:61, 50:80].all() and beyond.sum() == 41 * 30
