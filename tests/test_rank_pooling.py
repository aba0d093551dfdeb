"""Rank pooling against exact fractions, brute force over pairs, and the properties that hold.

What does not hold is as much a part of it: harmonic weights are neither antisymmetric nor monotone, and
reversing a clip does not negate its harmonic dynamic image. Nothing here asserts that.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from prep.dynamic import draw_dynamic_image
from prep.rank_pooling import Rule, coefficients, dynamic_image, scale_to_unit

RULES: tuple[Rule, ...] = ("harmonic", "linear")
LENGTHS = range(1, 65)


def beta(length: int) -> list[Fraction]:
    return [Fraction(2 * t - length - 1) for t in range(1, length + 1)]


def alpha(length: int) -> list[Fraction]:
    """By harmonic numbers, where the code sums beta_i / i."""
    harmonic = [sum((Fraction(1, i) for i in range(1, t + 1)), Fraction(0)) for t in range(length + 1)]
    return [
        2 * Fraction(length - t + 1) - (length + 1) * (harmonic[length] - harmonic[t - 1]) for t in range(1, length + 1)
    ]


EXACT = {"harmonic": alpha, "linear": beta}


def clips(elements: st.SearchStrategy[float] | None = None, least: int = 1) -> st.SearchStrategy[NDArray]:
    """Clips (T, H, W) of 1 to 12 small frames."""
    shape = st.tuples(st.integers(least, 12), st.integers(1, 3), st.integers(1, 3))
    return npst.arrays(np.float64, shape, elements=st.floats(-255, 255, width=32) if elements is None else elements)


def close(one: NDArray, other: NDArray, magnitude: float = 255.0) -> bool:
    return bool(np.allclose(one, other, rtol=1e-10, atol=1e-9 * magnitude))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", LENGTHS)
def test_coefficients_are_the_exact_fractions(rule: Rule, length: int) -> None:
    exact = EXACT[rule](length)
    weights = coefficients(length, rule)
    assert weights.shape == (length,) and weights.dtype == np.float64
    assert weights == pytest.approx([float(value) for value in exact], abs=1e-12, rel=1e-12)
    # property 1, and 2: exact in fractions, so that the reference itself is checked
    assert sum(exact) == 0
    moment = sum(t * value for t, value in enumerate(exact, start=1))
    assert moment == Fraction(length**3 - length, 12 if rule == "harmonic" else 6)
    assert abs(weights.sum()) < 1e-11


def test_published_values() -> None:
    expected = [-8.4607, -1.4607, 1.0393, 2.0393, 2.2893, 2.0893, 1.5893, 0.875]
    assert coefficients(8) == pytest.approx(expected, abs=5e-5)
    assert coefficients(3) == pytest.approx([-4 / 3, 2 / 3, 2 / 3])
    assert coefficients(3, "linear").tolist() == [-2, 0, 2]
    assert coefficients(1).tolist() == [0] and coefficients(1, "linear").tolist() == [0]


@pytest.mark.parametrize("length", range(2, 65))
def test_shape_of_the_harmonic_weights(length: int) -> None:
    exact, weights = alpha(length), coefficients(length)
    for t in range(1, length):
        assert exact[t - 1] - exact[t] == Fraction(2 * t - length - 1, t)
        assert weights[t - 1] - weights[t] == pytest.approx((2 * t - length - 1) / t, abs=1e-12)
    assert weights[-1] == pytest.approx((length - 1) / length)
    assert weights[0] < 0
    steps = np.diff(weights)  # it rises while 2t < T + 1, then falls; for odd T the two in the middle tie
    middle = (length + 1) / 2
    for t, step in enumerate(steps, start=1):
        if t < middle:
            assert step > 0
        elif t > middle:
            assert step < 0
        else:
            assert step == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("length", [0, -1])
def test_no_frames(length: int) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        coefficients(length)


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="'quadratic'"):
        coefficients(3, "quadratic")  # type: ignore[arg-type]


@given(clips())
def test_same_as_brute_force_over_pairs(frames: NDArray) -> None:
    means = np.stack([frames[: t + 1].mean(axis=0) for t in range(len(frames))])
    pairs = np.zeros(frames.shape[1:])
    for t, q in combinations(range(len(frames)), 2):
        pairs += means[q] - means[t]
    assert close(dynamic_image(frames), pairs)
    assert close(dynamic_image(means, "linear"), pairs)
    looped = sum(weight * frame for weight, frame in zip(coefficients(len(frames)), frames, strict=True))
    assert close(dynamic_image(frames), np.asarray(looped))


@given(clips())
def test_ranking_scores_add_up_to_the_squared_norm(frames: NDArray) -> None:
    means = np.stack([frames[: t + 1].mean(axis=0) for t in range(len(frames))])
    image = dynamic_image(frames)
    total = sum(((means[q] - means[t]) * image).sum() for t, q in combinations(range(len(frames)), 2))
    assert total == pytest.approx((image**2).sum(), rel=1e-9, abs=1e-4)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), data=st.data())
def test_a_static_image_adds_nothing(rule: Rule, frames: NDArray, data: st.DataObject) -> None:
    still = data.draw(npst.arrays(np.float64, frames.shape[1:], elements=st.floats(-255, 255, width=32)))
    assert close(dynamic_image(frames + still, rule), dynamic_image(frames, rule))
    assert close(dynamic_image(np.broadcast_to(still, frames.shape), rule), np.zeros_like(still))


@pytest.mark.parametrize("rule", RULES)
@given(length=st.integers(1, 64), start=st.floats(-100, 100), slope=st.floats(-10, 10))
def test_a_ramp(rule: Rule, length: int, start: float, slope: float) -> None:
    frames = (start + slope * np.arange(1, length + 1))[:, None]
    factor = (length**3 - length) / (12 if rule == "harmonic" else 6)
    assert dynamic_image(frames, rule)[0] == pytest.approx(factor * slope, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), factor=st.floats(-4, 4), data=st.data())
def test_linear(rule: Rule, frames: NDArray, factor: float, data: st.DataObject) -> None:
    other = data.draw(npst.arrays(np.float64, frames.shape, elements=st.floats(-255, 255, width=32)))
    left = dynamic_image(frames + factor * other, rule)
    assert close(left, dynamic_image(frames, rule) + factor * dynamic_image(other, rule), magnitude=2000)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), random=st.randoms(use_true_random=False))
def test_pixels_do_not_mix(rule: Rule, frames: NDArray, random) -> None:
    order = list(range(frames[0].size))
    random.shuffle(order)
    flat = frames.reshape(len(frames), -1)
    assert close(dynamic_image(flat[:, order], rule), dynamic_image(frames, rule).ravel()[order])


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(st.floats(0, 20, width=32)))
def test_a_pixel_that_never_darkens_is_not_negative(rule: Rule, frames: NDArray) -> None:
    rising = np.cumsum(frames, axis=0)
    assert (dynamic_image(rising, rule) >= -1e-8).all()


@pytest.mark.parametrize("length", range(2, 65))
def test_weights_of_differences_are_positive(length: int) -> None:
    """DI = sum c_t (psi_{t+1} - psi_t): c_t is minus the running sum of the weights."""
    for rule in RULES:
        assert (-np.cumsum(coefficients(length, rule))[:-1] > 0).all()
    exact = [-sum(beta(length)[:t]) for t in range(1, length)]
    assert exact == [t * (length - t) for t in range(1, length)]


@given(frames=clips(least=2), times=st.integers(1, 4))
def test_linear_rule_alone(frames: NDArray, times: int) -> None:
    """Reversal negates, a palindrome gives 0, repeating each frame r times gives r^2: not so for harmonic."""
    image = dynamic_image(frames, "linear")
    assert close(dynamic_image(frames[::-1], "linear"), -image)
    assert close(dynamic_image(np.concatenate([frames, frames[::-1]]), "linear"), np.zeros_like(image))
    assert close(dynamic_image(np.repeat(frames, times, axis=0), "linear"), times**2 * image, magnitude=4000)


@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 3))))
def test_whole_numbers_do_not_wrap(frames: NDArray) -> None:
    assert close(dynamic_image(frames), dynamic_image(frames.astype(np.float64)))


@given(npst.arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_scaled_to_the_whole_range(image: NDArray) -> None:
    scaled = scale_to_unit(image)
    assert scaled.shape == image.shape and scaled.min() >= 0 and scaled.max() <= 1
    if np.ptp(image) > 1e-6:
        assert scaled.min() == 0 and scaled.max() == 1
        order = np.argsort(image, axis=None)
        assert (np.diff(scaled.ravel()[order]) >= 0).all()
    elif np.ptp(image) == 0:
        assert (scaled == 0.5).all()


@given(clips(st.integers(0, 255).map(float), least=2), st.floats(0.1, 10), st.floats(-100, 100))
def test_scaled_image_does_not_change_with_light(frames: NDArray, gain: float, offset: float) -> None:
    before = scale_to_unit(dynamic_image(frames), 255.0)
    assert close(scale_to_unit(dynamic_image(gain * frames + offset), 255.0), before, magnitude=1e3)


@given(clips(st.integers(0, 255).map(float), least=2))
def test_negating_a_clip_mirrors_its_scaled_image(frames: NDArray) -> None:
    before = scale_to_unit(dynamic_image(frames), 255.0)
    assert close(scale_to_unit(dynamic_image(-frames), 255.0), 1 - before, magnitude=1e3)


@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4))),
    st.integers(1, 64),
    st.sampled_from(RULES),
)
def test_a_static_clip_is_flat(frame: NDArray, length: int, rule: Rule) -> None:
    """Its dynamic image is rounding noise, which min-max scaling would stretch over the whole range."""
    drawn = draw_dynamic_image(np.repeat(frame[None], length, axis=0), rule)
    assert drawn.dtype == np.uint8 and (drawn == 127).all()


def test_smallest_motion_is_not_taken_for_noise() -> None:
    frames = np.full((8, 4, 4), 200, np.uint8)
    frames[4, 1, 1] = 201  # one grey level in one frame
    drawn = draw_dynamic_image(frames, "harmonic")
    assert drawn[1, 1] == 255 and np.delete(drawn.ravel(), 5).max() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        scale_to_unit(np.array([0.0, bad]))
