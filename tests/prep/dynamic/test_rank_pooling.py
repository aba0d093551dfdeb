"""Rank pooling against exact fractions, brute force over pairs, and the properties that hold.

What does not hold is as much a part of it: harmonic weights are neither antisymmetric nor monotone, and
reversing a clip does not negate its harmonic dynamic image. Nothing here asserts that.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fdpbench.prep.dynamic.rank_pooling import (
    Rule,
    clip_with_dynamic_image,
    coefficients,
    dynamic_image,
    dynamic_image_of_stream,
    dynamic_images,
    frames_of_means,
    running_means,
    scale_to_unit,
)
from fdpbench.prep.dynamic.stage import draw_dynamic_image

RULES: tuple[Rule, ...] = ("harmonic", "linear")
LENGTHS = range(1, 65)


def harmonic_numbers(length: int) -> list[Fraction]:
    """H_0 to H_T."""
    return list(accumulate((Fraction(1, i) for i in range(1, length + 1)), initial=Fraction(0)))


def beta(length: int) -> list[Fraction]:
    return [Fraction(2 * t - length - 1) for t in range(1, length + 1)]


def alpha(length: int) -> list[Fraction]:
    """By harmonic numbers, where the code sums beta_i / i."""
    harmonic = harmonic_numbers(length)
    return [
        2 * Fraction(length - t + 1) - (length + 1) * (harmonic[length] - harmonic[t - 1]) for t in range(1, length + 1)
    ]


EXACT = {"harmonic": alpha, "linear": beta}
BRIGHTNESS = st.floats(-255, 255, width=32)
GREY = st.integers(0, 255)


def clips(
    elements: st.SearchStrategy[Any] = BRIGHTNESS, least: int = 1, dtype: type[np.generic] = np.float64
) -> st.SearchStrategy[NDArray]:
    """Clips (T, H, W) of 1 to 12 small frames."""
    shape = st.tuples(st.integers(least, 12), st.integers(1, 3), st.integers(1, 3))
    return npst.arrays(dtype, shape, elements=elements)


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
            assert step == pytest.approx(0, abs=1e-12) and exact[t - 1] == exact[t]


@pytest.mark.parametrize("length", [0, -1])
def test_no_frames(length: int) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        coefficients(length)


@pytest.mark.parametrize("pool", [dynamic_image, dynamic_images, running_means, frames_of_means])
def test_no_clip(pool: Any) -> None:
    with pytest.raises(ValueError, match="first axis"):
        pool(3.0)
    with pytest.raises(TypeError, match="complex128"):
        pool(np.zeros((2, 2), complex))


def test_unknown_rule() -> None:
    for length in (None, 3):
        with pytest.raises(ValueError, match="'quadratic'"):
            dynamic_image_of_stream(np.zeros((3, 1)), "quadratic", length)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'quadratic'"):
        coefficients(3, "quadratic")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 3), (0, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.bool_, np.float16, np.float32, np.float64])
def test_shapes_and_dtypes(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Whatever the layout in memory; and what is given is never written to."""
    wanted = np.dtype(np.float32 if dtype is np.float32 else np.float64)
    clip = np.random.default_rng(0).integers(0, 255, (4, *shape)).astype(dtype)
    clip.setflags(write=False)
    image = dynamic_image(clip)
    assert image.shape == shape and image.dtype == wanted
    for length in (None, 4):
        streamed = dynamic_image_of_stream(iter(clip), length=length)
        assert streamed.shape == shape and streamed.dtype == wanted and np.allclose(streamed, image)
    for other in (np.asfortranarray(clip), np.repeat(clip, 2, axis=0)[::2]):
        assert np.allclose(dynamic_image(other), image, rtol=1e-6, atol=1e-4)
    for means in (running_means(clip), frames_of_means(clip)):
        assert means.shape == clip.shape and means.dtype == wanted
    batch = dynamic_images(np.stack([clip] * 3))
    assert batch.shape == (3, *shape) and batch.dtype == wanted
    assert dynamic_images(np.empty((0, 4, *shape), dtype)).shape == (0, *shape)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), others=st.integers(0, 3))
def test_a_batch_is_a_loop_over_clips(rule: Rule, frames: NDArray, others: int) -> None:
    batch = np.stack([np.roll(frames, k, axis=0) - k for k in range(others + 1)])
    images = dynamic_images(batch, rule)
    for image, clip in zip(images, batch, strict=True):
        assert np.array_equal(image, dynamic_image(clip, rule))
    assert close(images, np.einsum("t,bt...->b...", coefficients(len(frames), rule), batch))


def test_a_batch_needs_two_axes_and_a_frame() -> None:
    with pytest.raises(ValueError, match=r"\(B, T, ...\)"):
        dynamic_images(np.zeros(3))
    with pytest.raises(ValueError, match="at least one frame"):
        dynamic_images(np.zeros((0, 0, 2)))


@given(clips())
def test_same_as_brute_force_over_pairs(frames: NDArray) -> None:
    means = np.stack([frames[: t + 1].mean(axis=0) for t in range(len(frames))])
    pairs = np.zeros(frames.shape[1:])
    for t, q in combinations(range(len(frames)), 2):
        pairs += means[q] - means[t]
    assert close(dynamic_image(frames), pairs)
    assert close(dynamic_image(means, "linear"), pairs)
    assert close(running_means(frames), means)


@given(clips())
def test_ranking_scores_add_up_to_the_squared_norm(frames: NDArray) -> None:
    means, image = running_means(frames), dynamic_image(frames)
    products = [((means[q] - means[t]) * image).sum() for t, q in combinations(range(len(frames)), 2)]
    scale = np.abs(image).sum() * 255 * len(frames) ** 2
    assert sum(products) == pytest.approx((image**2).sum(), rel=1e-12, abs=1e-14 * scale)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(least=2), data=st.data(), change=st.floats(-100, 100))
def test_derivative_is_the_weight(rule: Rule, frames: NDArray, data: st.DataObject, change: float) -> None:
    t = data.draw(st.integers(0, len(frames) - 1))
    weight = coefficients(len(frames), rule)[t]
    changed = frames.copy()
    changed[t] += change
    assert close(dynamic_image(changed, rule) - dynamic_image(frames, rule), np.full(frames[0].shape, weight * change))
    pulse = np.zeros(len(frames))
    pulse[t] = 1
    assert dynamic_image(pulse, rule) == weight


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), data=st.data())
def test_a_static_image_adds_nothing(rule: Rule, frames: NDArray, data: st.DataObject) -> None:
    still = data.draw(npst.arrays(np.float64, frames.shape[1:], elements=st.floats(-255, 255, width=32)))
    assert close(dynamic_image(frames + still, rule), dynamic_image(frames, rule))
    nothing = dynamic_image(np.broadcast_to(still, frames.shape), rule)
    assert (np.abs(nothing) <= 1e-13 * np.abs(still)).all()


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
    assert np.array_equal(dynamic_image(-8 * frames, rule), -8 * dynamic_image(frames, rule))


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(), random=st.randoms(use_true_random=False))
def test_pixels_do_not_mix(rule: Rule, frames: NDArray, random) -> None:
    order = list(range(frames[0].size))
    random.shuffle(order)
    flat = frames.reshape(len(frames), -1)
    assert np.array_equal(dynamic_image(flat[:, order], rule), dynamic_image(frames, rule).ravel()[order])


@pytest.mark.parametrize("rule", RULES)
@given(series=npst.arrays(np.uint8, st.integers(1, 64)), size=st.integers(1, 40))
def test_equal_pixels_get_equal_bits(rule: Rule, series: NDArray, size: int) -> None:
    """Wherever they lie, so that cutting the scaled image to uint8 cannot tear them apart."""
    for frames in (series, series / 255):
        assert np.ptp(dynamic_image(np.repeat(frames[:, None], size, axis=1), rule)) == 0


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(st.floats(0, 20, width=32)))
def test_a_pixel_that_never_darkens_is_not_negative(rule: Rule, frames: NDArray) -> None:
    rising = np.cumsum(frames, axis=0)
    assert (dynamic_image(rising, rule) >= -1e-8).all()


@pytest.mark.parametrize("length", range(2, 65))
def test_weights_of_differences_are_positive(length: int) -> None:
    """DI = sum c_t (psi_{t+1} - psi_t): c_t is minus the running sum of the weights."""
    h = harmonic_numbers(length)
    formulas = {
        "harmonic": [t * ((length + 1) * (h[-1] - h[t]) - (length - t)) for t in range(1, length)],
        "linear": [Fraction(t * (length - t)) for t in range(1, length)],
    }
    for rule in RULES:
        assert [-total for total in accumulate(EXACT[rule](length))][:-1] == formulas[rule]
        assert min(formulas[rule]) > 0
        steps = np.tri(length, length - 1, -1)  # (T, T - 1): clip k is 0 up to frame k, then 1
        assert dynamic_image(steps, rule) == pytest.approx([float(c) for c in formulas[rule]], rel=1e-11)


@given(frames=clips(GREY, least=1, dtype=np.uint8), times=st.integers(1, 4))
def test_linear_rule_alone(frames: NDArray, times: int) -> None:
    """Reversal negates, a palindrome gives 0, repeating each frame r times gives r^2: not so for harmonic."""
    image = dynamic_image(frames, "linear")
    assert np.array_equal(dynamic_image(frames[::-1], "linear"), -image)
    for turn in (frames[::-1], frames[-2::-1]):  # of an even and of an odd length
        assert (dynamic_image(np.concatenate([frames, turn]), "linear") == 0).all()
    assert np.array_equal(dynamic_image(np.repeat(frames, times, axis=0), "linear"), times**2 * image)


@given(clips(GREY, dtype=np.uint8))
def test_whole_numbers_do_not_wrap(frames: NDArray) -> None:
    assert np.array_equal(dynamic_image(frames), dynamic_image(frames.astype(np.float64)))
    assert np.array_equal(running_means(frames), running_means(frames.astype(np.float64)))


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(st.floats(-1, 1, width=32), dtype=np.float32))
def test_single_precision(rule: Rule, frames: NDArray) -> None:
    reach = np.abs(frames).max(axis=0) * np.abs(coefficients(len(frames), rule)).sum()
    error = np.abs(dynamic_image(frames, rule) - dynamic_image(frames.astype(np.float64), rule))
    assert (error <= (len(frames) + 3) * 2.0**-23 * reach + 1e-30).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("static", [1.0, 0.5, 0.001])
def test_static_pixels_of_float32_frames_are_exactly_0(static: float, rule: Rule) -> None:
    """Few of them, and most of them; in frames of more pixels than are looked at at once."""
    rng = np.random.default_rng(0)
    frames = rng.random((40, 150, 130), dtype=np.float32)
    still = rng.random((150, 130)) < static
    frames[:, still] = frames[0, still]
    image = dynamic_image(frames, rule)
    assert (image[still] == 0).all()
    assert np.allclose(image, dynamic_image(frames.astype(np.float64), rule), rtol=1e-5, atol=1e-3)
    assert (scale_to_unit(image) == 0.5).all() == still.all()


@given(npst.arrays(np.float32, st.integers(1, 20), elements=BRIGHTNESS), st.integers(1, 64), st.sampled_from(RULES))
@example(np.array([0.1, 0.7, 0.3], np.float32), 40, "harmonic")  # a plain float32 sum leaves more than a grey level
def test_a_static_float32_clip_is_exactly_0(frame: NDArray, length: int, rule: Rule) -> None:
    assert (dynamic_image(np.repeat(frame[None], length, axis=0), rule) == 0).all()


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


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", range(2, 65))  # 40 has the least of all weights, 0.012
def test_smallest_motion_in_single_precision(length: int, rule: Rule) -> None:
    """One grey level of 255 in one frame is seen, whichever the frame, also in float32."""
    frames = np.full((length, length, 7), 200 / 255, np.float32)
    frames[np.arange(length), np.arange(length), 3] = 201 / 255  # in clip row t, frame t
    image = dynamic_image(frames, rule)
    for t, weight in enumerate(coefficients(length, rule)):
        scaled = scale_to_unit(image[t])
        if weight == 0:  # the middle frame has no weight in the linear rule
            assert rule == "linear" and 2 * t + 1 == length and (scaled == 0.5).all()
        else:
            assert scaled[3] == (weight > 0) and (np.delete(scaled, 3) == (weight < 0)).all()


def test_rounding_noise_of_plain_float32_sums_is_taken_for_noise() -> None:
    """Such as other code may give: eight frames, summed in float32 as they come."""
    frame = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    noise = sum(weight * frame for weight in coefficients(8).astype(np.float32))
    assert isinstance(noise, np.ndarray) and 1e-9 < np.ptp(noise)
    assert (scale_to_unit(noise) == 0.5).all()
    assert np.ptp(scale_to_unit(noise.astype(np.float64))) == 1  # float64 has less noise, and is trusted


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        scale_to_unit(np.array([0.0, bad]))


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips())
@example(frames=np.array([[[1e8]], [[1e8 + 1]], [[1e8]]]))  # a small motion on a large ground
def test_a_stream_is_the_clip(rule: Rule, frames: NDArray) -> None:
    def reader() -> Iterator[NDArray]:
        """One buffer for all frames, as readers of video have it."""
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[...] = frame
            yield buffer

    image = dynamic_image(frames, rule)
    assert np.array_equal(dynamic_image_of_stream(reader(), rule, len(frames)), image)
    assert close(dynamic_image_of_stream(reader(), rule), dynamic_image(frames - frames[0], rule))


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(GREY, dtype=np.uint8))
def test_a_stream_of_whole_numbers(rule: Rule, frames: NDArray) -> None:
    assert np.array_equal(dynamic_image_of_stream(iter(frames), rule, len(frames)), dynamic_image(frames, rule))
    assert close(dynamic_image_of_stream(iter(frames), rule), dynamic_image(frames, rule))
    assert (dynamic_image_of_stream([frames[0]] * len(frames), rule) == 0).all()


@pytest.mark.parametrize("length", [None, 10, 1000])
@pytest.mark.parametrize("rule", RULES)
def test_a_stream_takes_the_memory_of_a_few_frames(rule: Rule, length: int | None) -> None:
    shape = (100, 100)
    size = 8 * 100 * 100

    def peak(count: int) -> int:
        frames = (np.full(shape, value, np.float64) for value in range(count))
        tracemalloc.start()
        dynamic_image_of_stream(frames, rule, None if length is None else count)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert abs(peak(length or 500) - peak(10)) < size / 2
    assert peak(10) < (8.5 if length is None else 5.5) * size  # the stream itself holds up to two frames


@pytest.mark.parametrize(
    ("frames", "length", "message"),
    [
        ([], None, "stream is empty"),
        ([], 2, "stream is empty"),
        ([np.zeros(2)] * 3, 2, "goes on after frame 2"),
        ([np.zeros(2)] * 3, 5, "ends after frame 3, the length stated is 5"),
        ([np.zeros(2), np.zeros(2), np.zeros(3)], None, r"frame 3 .* \(3,\), frame 1 .* \(2,\)"),
        ([np.zeros(2), np.zeros(1)], 2, "frame 2"),
        ([np.zeros(2), np.zeros(2, np.uint8)], None, "frame 2 of the stream is uint8"),
        ([np.zeros(2)], 0, "at least one frame"),
    ],
)
def test_streams_that_cannot_be(frames: list[NDArray], length: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dynamic_image_of_stream(frames, length=length)
    with pytest.raises(TypeError, match="complex128"):
        dynamic_image_of_stream([np.zeros(2, complex)], length=1)


@given(clips())
def test_means_and_frames_are_inverses(frames: NDArray) -> None:
    assert close(frames_of_means(running_means(frames)), frames)
    assert close(running_means(frames_of_means(frames)), frames)


@pytest.mark.parametrize("rule", RULES)
@given(frames=clips(least=2))
def test_the_clip_with_a_dynamic_image(rule: Rule, frames: NDArray) -> None:
    """It has that image, and it is the part of any other such clip that matters: none is smaller."""
    image = dynamic_image(frames, rule)
    least = clip_with_dynamic_image(image, len(frames), rule)
    assert least.shape == frames.shape and least.dtype == np.float64
    assert close(dynamic_image(least, rule), image)
    assert ((frames - least) * least).sum() == pytest.approx(0, abs=1e-10 * (frames**2).sum())


def test_one_frame_cannot_have_a_dynamic_image() -> None:
    with pytest.raises(ValueError, match="at least two frames"):
        clip_with_dynamic_image(np.ones(3), 1)
