"""Flow on known motion, strain on analytic fields, scaling and resizing."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fdpbench.prep.flow.methods import (
    METHODS,
    flow_field,
    onset_apex_flow,
    optical_strain,
    resize_flow,
    scale_fixed,
    scale_per_image,
)


def texture(size: int = 96, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((size, size))
    fine, coarse = (cv2.GaussianBlur(noise, (0, 0), s) for s in (1.2, 5))
    return 128 + 25 * fine / fine.std() + 25 * coarse / coarse.std()


def moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The image whose content lies displaced by ``flow`` (2, H, W), a slowly varying field."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source = flow
    for _ in range(5):  # flow lives on the first image's grid; find where each pixel came from
        at = (x - source[0].astype(np.float32), y - source[1].astype(np.float32))
        source = np.stack([cv2.remap(f, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) for f in flow])
    at = (x - source[0].astype(np.float32), y - source[1].astype(np.float32))
    return cv2.remap(image, *at, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)


def as_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).round().astype(np.uint8)


every_method = pytest.mark.parametrize("method", METHODS)


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-0.5, 0.75), (1.4, -0.6), (2.2, 2.8), (-0.1, -0.15)])
@every_method
def test_known_shift_is_found_to_a_tenth_of_a_pixel(method, shift):
    image = texture()
    true = np.broadcast_to(np.array(shift).reshape(2, 1, 1), (2, 96, 96)).copy()
    flow = onset_apex_flow(as_uint8(image), as_uint8(moved(image, true)), method)
    assert flow.shape == (2, 96, 96)
    assert flow.dtype == np.float32 and flow.flags.c_contiguous
    error = np.hypot(*(flow - true))[6:-6, 6:-6]
    assert np.median(error) <= 0.1


@every_method
def test_local_motion_is_found_and_rest_stays_at_rest(method):
    image = texture(seed=1)
    y, x = np.mgrid[:96, :96]
    bump = np.exp(-((x - 60) ** 2 + (y - 40) ** 2) / (2 * 12**2))
    true = np.stack([1.5 * bump, -0.8 * bump])
    flow = onset_apex_flow(as_uint8(image), as_uint8(moved(image, true)), method)
    error = np.hypot(*(flow - true))[6:-6, 6:-6]
    assert np.median(error) <= 0.1
    # at the peak the window of Farneback's method takes some of the slower motion around it
    assert np.hypot(*(flow - true))[40, 60] <= (0.35 if method == "farneback" else 0.25)
    assert np.hypot(*flow)[70:90, 6:26].max() <= 0.25


@every_method
def test_same_crops_give_the_same_bytes(method):
    a, b = as_uint8(texture(seed=2)), as_uint8(np.roll(texture(seed=2), 1, axis=1))
    assert onset_apex_flow(a, b, method).tobytes() == onset_apex_flow(a, b, method).tobytes()


@pytest.mark.parametrize("shape", [(96, 96), (16, 40), (33, 17)])
@every_method
def test_equal_crops_do_not_move(method, shape):
    image = as_uint8(texture(seed=3))[: shape[0], : shape[1]].copy()
    field = flow_field(image, image, method)
    assert field.shape == (3, *shape)
    assert np.abs(field).max() <= 1e-3  # Farneback solves for it
    assert method == "farneback" or (scale_per_image(field) == 0.5).all()


def test_dis_is_what_is_used_unless_asked_otherwise():
    """And its bytes are OpenCV's, with the medium preset carried on to full resolution."""
    a, b = as_uint8(texture(seed=5)), as_uint8(np.roll(texture(seed=5), 1, axis=0))
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver.setFinestScale(0)
    expected = np.asarray(solver.calc(a, b, np.empty(0))).transpose(2, 0, 1).tobytes()
    assert onset_apex_flow(a, b).tobytes() == onset_apex_flow(a, b, "dis").tobytes() == expected
    assert len({onset_apex_flow(a, b, method).tobytes() for method in METHODS}) == len(METHODS)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="unknown flow method 'lucas_kanade'; methods: dis, farneback, tvl1"):
        onset_apex_flow(np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8), "lucas_kanade")


def test_field_is_flow_and_its_strain():
    image = texture(seed=4)
    apex = as_uint8(np.roll(image, 2, axis=0))
    flow = onset_apex_flow(as_uint8(image), apex)
    field = flow_field(as_uint8(image), apex)
    assert field.shape == (3, 96, 96)
    assert field.dtype == np.float32
    np.testing.assert_array_equal(field[:2], flow)
    np.testing.assert_array_equal(field[2], optical_strain(flow))


@pytest.mark.parametrize(
    ("onset", "apex", "message"),
    [
        (np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8), "onset crop"),
        (np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.float32), "apex crop"),
        (np.zeros((32, 32), np.uint8), np.zeros((32, 40), np.uint8), "differ in shape"),
        (np.zeros((8, 64), np.uint8), np.zeros((8, 64), np.uint8), "at least 16"),
    ],
)
def test_unfit_crops_are_refused(onset, apex, message):
    with pytest.raises(ValueError, match=message):
        onset_apex_flow(onset, apex)


gradient = st.floats(-0.5, 0.5)


@given(gradient, gradient, gradient, gradient, st.floats(-3, 3), st.floats(-3, 3))
def test_strain_of_linear_flow_is_the_tensor_norm(a, b, c, d, u0, v0):
    y, x = np.mgrid[:12, :17].astype(float)
    flow = np.stack([u0 + a * x + b * y, v0 + c * x + d * y])
    jacobian = np.array([[a, b], [c, d]])
    expected = np.linalg.norm((jacobian + jacobian.T) / 2)  # Frobenius
    strain = optical_strain(flow)
    assert strain.shape == (12, 17)
    assert strain.dtype == np.float32
    np.testing.assert_allclose(strain, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shift", [(0, 0), (2.5, -1.25)])
def test_translation_has_no_strain(shift):
    flow = np.broadcast_to(np.array(shift, float).reshape(2, 1, 1), (2, 20, 20))
    assert (optical_strain(flow) == 0).all()


def test_small_rotation_has_no_strain_but_pure_shear_has():
    y, x = np.mgrid[:20, :20].astype(float)
    np.testing.assert_allclose(optical_strain(np.stack([-0.01 * y, 0.01 * x])), 0, atol=1e-9)
    np.testing.assert_allclose(optical_strain(np.stack([0.01 * y, 0.01 * x])), 0.01 * 2**0.5, rtol=1e-5)


def test_shrinking_takes_block_means_and_keeps_pixels():
    field = np.random.default_rng(0).normal(size=(3, 96, 96)).astype(np.float32)
    small = resize_flow(field, 24)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, field.reshape(3, 24, 4, 24, 4).mean(axis=(2, 4)), atol=1e-6)
    np.testing.assert_array_equal(resize_flow(np.full((3, 96, 96), 1.5, np.float32), 28), 1.5)


@given(arrays(np.float32, (3, 6, 5), elements=st.floats(-10, 10, width=32)))
def test_scaled_channels_span_the_unit_range_and_keep_order(field):
    scaled = scale_per_image(field)
    assert scaled.dtype == np.float32
    for raw, unit in zip(field, scaled, strict=True):
        if np.ptp(raw) <= 1e-9:
            assert (unit == 0.5).all()
        else:
            assert unit.min() == 0
            assert unit.max() == 1
            assert (np.diff(unit.ravel()[np.argsort(raw, axis=None)]) >= 0).all()


def test_channels_are_scaled_apart():
    field = np.stack([np.linspace(0, 1, 16), np.linspace(-5, 20, 16), np.zeros(16)]).reshape(3, 4, 4)
    scaled = scale_per_image(field)
    np.testing.assert_allclose(scaled[0], scaled[1], atol=1e-6)
    assert (scaled[2] == 0.5).all()


def test_nan_is_refused():
    field = np.zeros((3, 4, 4))
    field[1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        scale_per_image(field)


@given(
    arrays(np.float32, (3, 6, 5), elements=st.floats(-10, 10, width=32)),
    st.floats(0.1, 20),
    st.floats(0.01, 5),
)
def test_fixed_limits_are_the_same_for_all_clips(field, limit, strain_limit):
    field[2] = np.abs(field[2])
    scaled = scale_fixed(field, limit, strain_limit)
    assert scaled.dtype == np.float32 and scaled.shape == field.shape
    assert scaled.min() >= 0 and scaled.max() <= 1
    back = np.concatenate([(2 * scaled[:2].astype(float) - 1) * limit, scaled[2:].astype(float) * strain_limit])
    cut = np.concatenate([np.clip(field[:2], -limit, limit), np.clip(field[2:], 0, strain_limit)])
    np.testing.assert_allclose(back, cut, atol=1e-6 * max(limit, strain_limit))


def test_known_values_of_fixed_limits():
    field = np.zeros((3, 1, 5), np.float32)
    field[:2] = [-3, -1, 0, 1, 2.5]
    field[2] = [0, 0.05, 0.1, 0.2, 9]
    scaled = scale_fixed(field, 2.0, 0.2)
    np.testing.assert_allclose(scaled[:2], np.broadcast_to([0, 0.25, 0.5, 0.75, 1], (2, 1, 5)))
    np.testing.assert_allclose(scaled[2], [[0, 0.25, 0.5, 1, 1]])
    assert scaled[0, 0, 2] == np.float32(0.5)  # rest


def test_fixed_limits_refuse_nan():
    field = np.zeros((3, 4, 4))
    field[2, 1, 1] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        scale_fixed(field, 1.0, 1.0)
