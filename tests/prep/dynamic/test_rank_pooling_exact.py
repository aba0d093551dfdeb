"""Exact rank pooling against the approximate one, the optimality conditions, and closed forms.

Above the critical regularisation both directions agree; below it nothing says that they do, and only
that the exact one is the optimum is asserted.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from fdpbench.prep.dynamic.rank_pooling import dynamic_image
from fdpbench.prep.dynamic.rank_pooling_exact import NotConvergedError, critical_regularisation, fernando, rank_svm

GREY = st.integers(0, 255)
FACTORS = st.floats(1, 1e6)


def clips(least: int = 2) -> st.SearchStrategy[NDArray]:
    """Clips (T, H, W) of up to 10 small frames of whole numbers."""
    shape = st.tuples(st.integers(least, 10), st.integers(1, 4), st.integers(1, 3))
    return npst.arrays(np.uint8, shape, elements=GREY)


def onset_apex_offset(length: int = 16, noise: float = 1.0) -> NDArray:
    """Frames (T, 6, 5) of a motion that rises and falls, on a textured ground."""
    rng = np.random.default_rng(0)
    strength = 1 - np.abs(np.linspace(-1, 1, length))
    ground, motion = rng.uniform(0, 200, (6, 5)), rng.normal(0, 20, (6, 5))
    return ground + strength[:, None, None] * motion + rng.normal(0, noise, (length, 6, 5))


def ranking_pairs(frames: NDArray) -> NDArray:
    """V_q - V_t for q > t, by brute force: shape (T(T-1)/2, N)."""
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    means = [flat[: t + 1].mean(axis=0) for t in range(len(flat))]
    return np.stack([means[q] - means[t] for t, q in combinations(range(len(flat)), 2)])


def objective(direction: NDArray, pairs: NDArray, regularisation: float) -> float:
    """lambda/2 |d|^2 + the mean hinge: 2 / (T(T-1)) is one over the number of pairs."""
    flat = direction.ravel()
    return float(regularisation / 2 * flat @ flat + np.maximum(0, 1 - pairs @ flat).mean())


def duality_gap(direction: NDArray, pairs: NDArray, regularisation: float) -> float:
    """How far `direction` is from the optimum at most, by the best multipliers that its margins allow.

    lambda d = sum a_i x_i with a_i = c for pairs inside the margin, 0 outside, 0 to c on it; any such
    a bounds the optimum from below by sum a_i - |sum a_i x_i|^2 / (2 lambda).
    """
    scores, share = pairs @ direction.ravel(), 1 / len(pairs)
    multipliers = np.where(scores < 1, share, 0.0)
    on_margin = np.abs(scores - 1) < 1e-6
    if on_margin.any():
        rest = regularisation * direction.ravel() - np.where(on_margin, 0, multipliers) @ pairs
        size = np.linalg.norm(pairs, axis=1).max()
        solution = lsq_linear(pairs[on_margin].T / size, rest / size, (0, share), tol=1e-14, method="bvls")
        multipliers[on_margin] = solution.x
    combined = multipliers @ pairs
    bound = multipliers.sum() - combined @ combined / (2 * regularisation)
    return objective(direction, pairs, regularisation) - bound


@given(clips(), FACTORS)
@example(np.array([[[0]], [[255]]], np.uint8), 1.0)
@example(np.array([[[0]], [[1]], [[0]], [[0]], [[0]], [[0]]], np.uint8), 1.0)  # its last means fall
def test_above_the_critical_regularisation_it_is_the_approximate_result(frames: NDArray, factor: float) -> None:
    critical = critical_regularisation(frames)
    assume(critical > 0)
    approximate = dynamic_image(frames) * 2 / (len(frames) * (len(frames) - 1)) / (factor * critical)
    exact = rank_svm(frames, factor * critical)
    assert exact.shape == frames.shape[1:] and exact.dtype == np.float64
    assert np.abs(exact - approximate).max() <= 1e-12 * np.abs(approximate).max()


@pytest.mark.parametrize("length", [2, 3, 8, 33, 64])
def test_onset_apex_offset_above_the_critical_regularisation(length: int) -> None:
    frames = onset_apex_offset(length)
    for factor in (1.0, 10.0):
        regularisation = factor * critical_regularisation(frames)
        approximate = dynamic_image(frames) * 2 / (length * (length - 1)) / regularisation
        assert np.abs(rank_svm(frames, regularisation) - approximate).max() <= 1e-12 * np.abs(approximate).max()


@given(clips())
def test_critical_regularisation_is_the_largest_score_of_a_pair(frames: NDArray) -> None:
    pairs = ranking_pairs(frames)
    scores = pairs @ dynamic_image(frames).ravel() / len(pairs)
    assert critical_regularisation(frames) == pytest.approx(max(0.0, scores.max()), rel=1e-9, abs=1e-9)


def test_critical_regularisation_is_the_least_such() -> None:
    """Just below it a pair leaves the margin, and the two directions part."""
    frames = onset_apex_offset()
    exact, approximate = (
        direction.ravel() / np.linalg.norm(direction)
        for direction in (rank_svm(frames, 0.5 * critical_regularisation(frames)), dynamic_image(frames))
    )
    assert np.linalg.norm(exact - approximate) > 1e-6


@given(clips(), st.floats(0.01, 2))
def test_it_is_the_optimum(frames: NDArray, factor: float) -> None:
    critical = critical_regularisation(frames)
    assume(critical > 0)
    pairs = ranking_pairs(frames)
    gap = duality_gap(rank_svm(frames, factor * critical), pairs, factor * critical)
    assert -1e-12 <= gap <= 1e-6  # of an objective that is 1 at d = 0


@pytest.mark.parametrize("factor", [0.5, 0.1, 0.01, 0.001])
def test_no_direction_near_by_or_approximate_is_better(factor: float) -> None:
    frames = onset_apex_offset()
    pairs, regularisation = ranking_pairs(frames), factor * critical_regularisation(frames)
    exact = rank_svm(frames, regularisation)
    least = objective(exact, pairs, regularisation)
    assert duality_gap(exact, pairs, regularisation) <= 1e-7 * least
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        other = exact + size * np.linalg.norm(exact) * rng.normal(size=exact.shape) / np.sqrt(exact.size)
        assert objective(other, pairs, regularisation) > least
    approximate = dynamic_image(frames) / (len(pairs) * regularisation)
    assert min(objective(scale * approximate, pairs, regularisation) for scale in np.geomspace(1e-4, 2, 2000)) > least


def test_far_below_the_critical_regularisation_it_is_the_hard_margin() -> None:
    """Means that can be ranked are, the closest pair by exactly 1, by the smallest direction that does so."""
    frames = np.random.default_rng(0).normal(size=(5, 30))
    exact = rank_svm(frames, 1e-6 * critical_regularisation(frames))
    assert (ranking_pairs(frames) @ exact).min() == pytest.approx(1, abs=1e-8)
    tighter = rank_svm(frames, 1e-8 * critical_regularisation(frames))
    assert exact == pytest.approx(tighter, rel=1e-6)


@given(npst.arrays(np.uint8, (2, 3), elements=GREY), st.floats(1e-3, 1e5))
def test_two_frames(frames: NDArray, regularisation: float) -> None:
    x = (frames[1].astype(np.float64) - frames[0]) / 2
    expected = min(1 / regularisation, 1 / (x @ x)) * x if x.any() else np.zeros(3)
    assert rank_svm(frames, regularisation) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@given(frame=npst.arrays(np.float64, (2, 3), elements=st.floats(0, 255)), length=st.integers(1, 6))
def test_a_clip_without_order_has_no_direction(frame: NDArray, length: int) -> None:
    frames = np.stack([frame] * length)
    assert (rank_svm(frames, 1.0) == 0).all() and critical_regularisation(frames) == 0
    assert fernando(frames[:1]).shape == (2, 3) and (fernando(frames[:1]) == 0).all()


@given(clips(), st.floats(0.1, 100))
@example(np.zeros((3, 1, 1), np.uint8), 10.0)  # rows of 0 have no norm to be divided by
def test_fernando_is_the_optimum_of_its_regression(frames: NDArray, cost: float) -> None:
    """The gradient of |d|^2 / 2 + C sum max(0, |t - <d, v_t>| - 0.1)^2 is 0 there."""
    direction = fernando(frames, cost).ravel()
    means = np.stack([frames[: t + 1].reshape(t + 1, -1).mean(axis=0) for t in range(len(frames))])
    rows = np.sqrt(means)  # grey levels are not negative
    rows = np.stack([row / np.linalg.norm(row) if row.any() else row for row in rows])
    misses = np.arange(1, len(frames) + 1) - rows @ direction
    beyond = np.sign(misses) * np.maximum(0, np.abs(misses) - 0.1)
    assert np.allclose(direction, 2 * cost * beyond @ rows, rtol=0, atol=1e-6 * cost * len(frames) ** 2)


def test_fernando_takes_the_signed_root() -> None:
    """Negated features give the negated direction; a root without signs would give the same or NaN."""
    features = np.random.default_rng(0).normal(size=(8, 5))
    direction = fernando(features)
    assert direction.shape == (5,) and np.abs(direction).max() > 1
    assert np.allclose(fernando(-features), -direction, atol=1e-6)
    assert np.allclose(fernando(100 * features), direction, atol=1e-6)  # rows are normed


def test_fernando_of_two_frames_by_hand() -> None:
    """Normed, one positive feature is 1 in each frame: d - 20 (1.9 - d) + 20 (d - 1.1) = 0."""
    for frames in ([7, 7], [3, 200]):
        assert fernando(frames) == pytest.approx(60 / 41, rel=1e-6)
        assert fernando([-frame for frame in frames]) == pytest.approx(-60 / 41, rel=1e-6)


@pytest.mark.parametrize("regularisation", [0.0, -1.0, np.nan, np.inf])
def test_regularisation_and_cost_are_above_0(regularisation: float) -> None:
    for solve in (rank_svm, fernando):
        with pytest.raises(ValueError, match="above 0, got"):
            solve(np.eye(3), regularisation)


@pytest.mark.parametrize("solve", [lambda frames: rank_svm(frames, 1.0), critical_regularisation, fernando])
def test_frames_that_cannot_be_ranked(solve: Any) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        solve(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="at least one frame"):
        solve(np.zeros((0, 2)))


def test_a_solver_that_stops_early_is_an_error() -> None:
    frames = onset_apex_offset()
    with pytest.raises(NotConvergedError, match="2 iterations of the ranking machine of 16 frames"):
        rank_svm(frames, 1e-6 * critical_regularisation(frames), max_iterations=2)
    with pytest.raises(NotConvergedError, match="1 iterations of the regression on 16 frames"):
        fernando(frames, max_iterations=1)
