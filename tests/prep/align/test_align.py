"""Alignment: eyes land exactly where asked, and warped pixels follow the transform."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fdpbench.prep.align.geometry import eye_transform, invert, similarity, to_grey, transform_points, warp

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

coordinate = st.floats(-50, 2000)
point = st.tuples(coordinate, coordinate)
share = st.floats(0.05, 0.95)
transforms = st.builds(similarity, st.floats(0.05, 20), st.floats(-3.1, 3.1), point, point)


def _texture(size: int, sigma: float, seed: int = 0) -> np.ndarray:
    """Smooth random image, uint8, over most of the range."""
    noise = np.random.default_rng(seed).standard_normal((size, size))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).round().astype(np.uint8)


def _matrix(transform: np.ndarray) -> np.ndarray:
    return np.vstack([transform, [0, 0, 1]])


@given(point, point, st.integers(16, 512), share, share)
def test_eyes_land_where_asked(left, right, size, eye_distance, eye_height):
    assume(np.hypot(right[0] - left[0], right[1] - left[1]) > 1)
    transform = eye_transform(left, right, size, eye_distance, eye_height)
    got = transform_points([left, right], transform)
    half = eye_distance / 2
    # A share s of the side is s * size from the crop's edge, half a pixel before the first centre.
    expected = np.array([[0.5 - half, eye_height], [0.5 + half, eye_height]]) * size - 0.5
    np.testing.assert_allclose(got, expected, atol=1e-6)


@given(point, point)
def test_transform_is_a_similarity_without_reflection(left, right):
    distance = np.hypot(right[0] - left[0], right[1] - left[1])
    assume(distance > 1)
    linear = eye_transform(left, right, 96, 0.4, 0.3)[:, :2]
    scale = 0.4 * 96 / distance
    np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-9 * max(1, scale**2))
    assert np.linalg.det(linear) > 0


def test_level_eyes_need_no_rotation():
    transform = eye_transform((100, 80), (148, 80), 96, 0.5, 0.25)
    np.testing.assert_allclose(transform[:, :2], np.eye(2), atol=1e-12)


@given(transforms, point)
def test_inverse_takes_points_back(transform, xy):
    there = transform_points(xy, transform)
    np.testing.assert_allclose(transform_points(there, invert(transform)), xy, rtol=1e-7, atol=1e-5)


@given(transforms, transforms, point)
def test_composition_of_maps_is_the_product_of_matrices(first, second, xy):
    both = (_matrix(second) @ _matrix(first))[:2]
    one_by_one = transform_points(transform_points(xy, first), second)
    np.testing.assert_allclose(transform_points(xy, both), one_by_one, rtol=1e-7, atol=1e-5)


def test_points_keep_their_shape():
    assert transform_points(np.zeros((3, 468, 2)), IDENTITY).shape == (3, 468, 2)


@pytest.mark.parametrize(
    ("left", "right", "size", "distance", "height", "message"),
    [
        ((5, 5), (5, 5), 96, 0.4, 0.3, "coincide"),
        ((np.nan, 5), (9, 5), 96, 0.4, 0.3, "finite"),
        ((1, 5, 2), (9, 5, 2), 96, 0.4, 0.3, "two finite"),
        ((1, 5), (9, 5), 96, 1.0, 0.3, "eye_distance"),
        ((1, 5), (9, 5), 96, 0.4, 38, "eye_height"),
        ((1, 5), (9, 5), 0, 0.4, 0.3, "at least 1 pixel"),
    ],
)
def test_impossible_requests_are_refused(left, right, size, distance, height, message):
    with pytest.raises(ValueError, match=message):
        eye_transform(left, right, size, distance, height)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_identity_gives_the_same_pixels(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(warp(image, IDENTITY, 64), image)


def test_whole_pixel_shift_moves_pixels_unchanged():
    image = np.random.default_rng(2).integers(0, 256, (64, 80), np.uint8)
    moved = warp(image, similarity(1, 0, (20, 10), (0, 0)), 32)
    np.testing.assert_array_equal(moved, image[10:42, 20:52])


def test_quarter_turn_is_exact():
    image = np.random.default_rng(3).integers(0, 256, (33, 33), np.uint8)
    turned = warp(image, similarity(1, np.pi / 2, (16, 16), (16, 16)), 33)
    np.testing.assert_array_equal(turned, np.rot90(image, -1))  # clockwise on screen


@pytest.mark.parametrize("shift", [(0.3, -0.7), (0.11, 0.5), (-0.45, 0.06)])
def test_subpixel_shift_is_right_to_0_02_px(shift):
    image = _texture(128, sigma=4)
    moved = warp(image, similarity(1, 0, (0, 0), shift), 128)
    # Least squares on the brightness constancy equation, with gradients halfway between the images
    a, b = (x.astype(float)[8:-8, 8:-8] for x in (image, moved))
    gy, gx = np.gradient((a + b) / 2)
    estimate, *_ = np.linalg.lstsq(np.stack([gx.ravel(), gy.ravel()], 1), (a - b).ravel(), rcond=None)
    np.testing.assert_allclose(estimate, shift, atol=0.02)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_by_a_whole_factor_is_the_mean_of_each_block(factor):
    image = np.random.default_rng(4).integers(0, 256, (32 * factor, 32 * factor), np.uint8)
    # Corner to corner: the source's edge -0.5 lands on the crop's edge -0.5
    crop = warp(image, similarity(1 / factor, 0, (-0.5, -0.5), (-0.5, -0.5)), 32)
    blocks = image.reshape(32, factor, 32, factor).mean(axis=(1, 3))
    assert np.abs(crop - blocks).max() <= 0.51  # rounded once, and once more inside


@pytest.mark.parametrize("shrink", [2.4, 3.7])
def test_shrinking_does_not_alias(shrink):
    # Stripes finer than the crop's grid must vanish into their mean, at any phase.
    stripes = np.tile(np.array([0, 255], np.uint8), (400, 200))
    crop = warp(stripes, similarity(1 / shrink, 0.2, (200, 200), (24, 24)), 48)
    assert crop.std() < 20
    assert abs(crop.mean() - 127.5) < 2


@pytest.mark.parametrize("shrink", [1.0, 1.4, 1.6, 2.5, 4.2])
def test_shrunken_pixels_stay_where_the_points_go(shrink):
    # A blob's centre of mass follows the transform: antialiasing adds no shift.
    y, x = np.mgrid[:240, :240]
    centre = (121.3, 117.8)
    blob = 250 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 6**2))
    transform = similarity(1 / shrink, 0.3, (120, 120), (31.2, 32.4))
    crop = warp(blob.round().astype(np.uint8), transform, 64).astype(float)
    y, x = np.mgrid[:64, :64]
    found = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
    np.testing.assert_allclose(found, transform_points(centre, transform), atol=0.02)


def test_outside_the_source_its_border_is_repeated():
    image = np.full((16, 16), 50, np.uint8)
    image[:, -1] = 200
    crop = warp(image, similarity(1, 0, (8, 0), (0, 0)), 24)
    assert (crop[:, :7] == 50).all()
    assert (crop[:, 7:] == 200).all()


def test_warp_leaves_its_transform_alone():
    transform = similarity(0.3, 0.1, (0, 0), (5, 5))
    before = transform.copy()
    warp(np.zeros((64, 64), np.uint8), transform, 16)
    np.testing.assert_array_equal(transform, before)


def test_grey_is_bt601_luma_and_keeps_grey():
    rgb = np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.abs(to_grey(rgb) - rgb @ [0.299, 0.587, 0.114]).max() <= 0.51
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_grey(np.repeat(grey[..., None], 3, axis=2)), grey)
