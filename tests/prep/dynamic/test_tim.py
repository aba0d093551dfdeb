"""The temporal interpolation model against its own algorithm with the SVD, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fdpbench.prep.dynamic.sampling import SamplingError
from fdpbench.prep.dynamic.tim import interpolate, weights

counts = st.integers(2, 24)
lengths = st.integers(2, 40)


@st.composite
def clips(draw: st.DrawFn) -> NDArray[np.uint8]:
    return draw(arrays(np.uint8, (draw(st.integers(2, 9)), 3, 4)))


def by_svd(frames: NDArray, length: int) -> NDArray[np.float64]:
    """Zhou et al.: eigenvectors of the path graph, SVD of the centred frames, least squares there and back."""
    count = len(frames)
    columns = frames.reshape(count, -1).T.astype(np.float64)  # (D, N)
    mean = columns.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(columns - mean, full_matrices=False)
    rank = int((s > 1e-9 * max(s[0], 1)).sum())
    u, q = u[:, :rank], s[:rank, None] * vt[:rank]  # columns - mean = u q, q (R, N)

    path = np.diag(np.full(count - 1, 1.0), 1)
    path += path.T
    _, vectors = np.linalg.eigh(np.diag(path.sum(axis=1)) - path)  # smoothest first
    k = np.arange(1, count)[:, None]
    vertices = np.sin(np.pi * k * np.arange(1, count + 1) / count + np.pi * (count - k) / (2 * count))
    scale = vertices[:, :1] / vectors[:1, 1:].T  # the curve meets the eigenvectors up to a factor each
    embedded = vectors[:, 1:].T  # (N - 1, N), Y
    to_curve = embedded @ np.linalg.pinv(q)  # W^T: Y = W^T q by least squares
    times = np.linspace(1 / count, 1, length)
    curve = np.sin(np.pi * k * times + np.pi * (count - k) / (2 * count)) / scale  # (N - 1, T)
    made = u @ (np.linalg.pinv(to_curve) @ curve) + mean
    return made.T.reshape(length, *frames.shape[1:])


@given(counts, lengths, st.integers(0, 1000))
def test_it_is_the_algorithm_with_the_svd(count: int, length: int, seed: int) -> None:
    frames = np.random.default_rng(seed).uniform(0, 255, (count, 5, 6))
    expected = by_svd(frames, length)
    np.testing.assert_allclose(np.tensordot(weights(count, length), frames, axes=1), expected, atol=1e-7)


def test_frames_that_depend_on_each_other_make_no_difference() -> None:
    """Fewer pixels than frames: the paper takes the frames as independent, and it does not matter."""
    frames = np.random.default_rng(0).uniform(0, 255, (12, 1, 3))
    np.testing.assert_allclose(np.tensordot(weights(12, 30), frames, axes=1), by_svd(frames, 30), atol=1e-7)


@given(counts)
def test_weights_at_the_clips_own_times_are_the_identity(count: int) -> None:
    np.testing.assert_allclose(weights(count, count), np.eye(count), atol=1e-12)
    finer = weights(count, 2 * count - 1)
    np.testing.assert_allclose(finer[::2], np.eye(count), atol=1e-12)  # every second time is a frame's


@given(counts, lengths)
def test_weights_of_a_frame_sum_to_one(count: int, length: int) -> None:
    found = weights(count, length)
    assert found.shape == (length, count) and found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(found[[0, -1]], np.eye(count)[[0, -1]], atol=1e-12)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-12)  # time may run backwards


@given(clips())
def test_as_many_frames_as_there_are_come_back(frames: NDArray[np.uint8]) -> None:
    assert (interpolate(frames, len(frames)) == frames).all()


@given(clips(), lengths)
def test_ends_are_the_clips_own(frames: NDArray[np.uint8], length: int) -> None:
    made = interpolate(frames, length)
    assert made.shape == (length, 3, 4) and made.dtype == np.uint8
    assert (made[0] == frames[0]).all() and (made[-1] == frames[-1]).all()


@given(arrays(np.uint8, (3, 4)), counts, lengths)
def test_a_still_clip_stays_still(frame: NDArray[np.uint8], count: int, length: int) -> None:
    made = interpolate(np.repeat(frame[None], count, axis=0), length)
    assert (made == frame).all()


@given(clips(), lengths)
def test_brightness_and_contrast_carry_over(frames: NDArray[np.uint8], length: int) -> None:
    """Up to the rounding of both results; grey levels from 64 to 191, so that swings are not cut."""
    narrow = (64 + frames // 4).astype(np.uint8)
    made = interpolate(narrow, length).astype(int)
    assert np.abs(interpolate((255 - narrow).astype(np.uint8), length) - (255 - made)).max() <= 1
    assert np.abs(interpolate(narrow + np.uint8(20), length) - (made + 20)).max() <= 1
    twice = interpolate((2 * (narrow.astype(int) - 64) + 40).astype(np.uint8), length)
    assert np.abs(twice - (2 * (made - 64) + 40)).max() <= 2


def test_swings_at_a_sharp_change_are_cut() -> None:
    frames = np.zeros((8, 1, 1), np.uint8)
    frames[4:] = 255
    exact = np.tensordot(weights(8, 30), frames.astype(float), axes=1).ravel()
    assert exact.min() < -5 and exact.max() > 260
    assert (interpolate(frames, 30).ravel() == np.clip(np.rint(exact), 0, 255)).all()


def test_two_frames_are_blended() -> None:
    """Along the curve of a path of two vertices: a cosine from 45 to 135 degrees."""
    frames = np.array([[[0]], [[200]]], np.uint8)
    times = np.linspace(0.5, 1, 5)
    expected = 100 - 100 * np.cos(np.pi * (times - 0.25)) / np.cos(np.pi / 4)
    assert interpolate(frames, 5).ravel().tolist() == np.rint(expected).tolist() == [0, 46, 100, 154, 200]


@pytest.mark.parametrize("count", [0, 1])
def test_one_frame_cannot_be_interpolated(count: int) -> None:
    with pytest.raises(SamplingError, match=f"at least 2 frames, the clip has {count}"):
        interpolate(np.zeros((count, 4, 4), np.uint8), 8)


def test_a_length_below_two_is_refused() -> None:
    with pytest.raises(ValueError, match="length >= 2"):
        interpolate(np.zeros((4, 4, 4), np.uint8), 1)


@pytest.mark.parametrize("frames", [np.zeros((4, 4, 4)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4, 3), np.uint8)])
def test_only_grey_uint8_frames(frames: NDArray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        interpolate(frames, 8)
