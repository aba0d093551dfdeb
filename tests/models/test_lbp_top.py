"""LBP-TOP against scikit-image on single planes, and against a plain loop on all three."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import local_binary_pattern

from fdpbench.models import create_model
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.lbp_top import BINS, NEIGHBOURS, TIE, lbp_codes, uniform_labels


def slow_codes(volume: np.ndarray, plane: str, radius_xy: int, radius_t: int) -> np.ndarray:
    """One voxel and one neighbour at a time, from the definition."""
    length, height, width = volume.shape
    codes = np.zeros((length - 2 * radius_t, height - 2 * radius_xy, width - 2 * radius_xy), dtype=np.uint8)
    for t, y, x in np.ndindex(codes.shape):
        centre = np.array([t + radius_t, y + radius_xy, x + radius_xy], dtype=float)
        for p in range(NEIGHBOURS):
            c, s = math.cos(2 * math.pi * p / 8), -math.sin(2 * math.pi * p / 8)
            step = {
                "xy": (0, s * radius_xy, c * radius_xy),
                "xt": (s * radius_t, 0, c * radius_xy),
                "yt": (s * radius_t, c * radius_xy, 0),
            }[plane]
            point = centre + np.round(step, 6)
            value = 0.0
            for corner in np.ndindex(2, 2, 2):
                low = np.floor(point).astype(int)
                share = np.prod([part if c else 1 - part for c, part in zip(corner, point - low, strict=True)])
                if share > 0:
                    value += share * float(volume[tuple(low + corner)])
            if value - float(volume[tuple(centre.astype(int))]) >= -TIE:
                codes[t, y, x] |= 1 << p
    return codes


@given(
    seed=st.integers(0, 2**32 - 1),
    plane=st.sampled_from(["xy", "xt", "yt"]),
    radius_xy=st.integers(1, 2),
    radius_t=st.integers(1, 2),
)
@settings(max_examples=8, deadline=None)
def test_codes_equal_the_plain_loop(seed: int, plane: str, radius_xy: int, radius_t: int) -> None:
    # few grey levels, so that ties happen
    levels = np.random.default_rng(seed).integers(0, 6, size=(5, 6, 7)).astype(np.float32)
    volume = levels / np.float32(255)
    expected = slow_codes(volume, plane, radius_xy, radius_t)
    np.testing.assert_array_equal(lbp_codes(volume, plane, radius_xy, radius_t), expected)


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("plane", ["xy", "xt", "yt"])
def test_codes_equal_scikit_image_on_one_plane(plane: str, radius: int) -> None:
    # 16 bits: scikit-image has no tolerance for ties, and here there are none
    volume = np.random.default_rng(3).integers(0, 2**16, size=(9, 10, 11))
    codes = lbp_codes((volume / 2**16).astype(np.float32), plane, radius, radius)
    inner = slice(radius, -radius)
    # each plane with rows first: (rows, columns) = (y, x), (t, x), (t, y)
    cut = {"xy": volume[4], "xt": volume[:, 4], "yt": volume[:, :, 4]}[plane]
    ours = {"xy": codes[4 - radius], "xt": codes[:, 4 - radius], "yt": codes[:, :, 4 - radius]}[plane]
    expected = local_binary_pattern(cut, NEIGHBOURS, radius, method="default")[inner, inner]
    np.testing.assert_array_equal(ours, expected.astype(np.uint8))


def test_uniform_bins_are_those_of_scikit_image_up_to_their_order() -> None:
    image = np.random.default_rng(4).integers(0, 2**16, size=(60, 60))
    codes = local_binary_pattern(image, NEIGHBOURS, 1, method="default").astype(int).ravel()
    theirs = local_binary_pattern(image, NEIGHBOURS, 1, method="nri_uniform").astype(int).ravel()
    ours = uniform_labels()[codes]
    pairs = set(zip(ours.tolist(), theirs.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert set(uniform_labels().tolist()) == set(range(BINS))


def test_flat_clip_has_one_pattern_and_histograms_sum_to_one() -> None:
    model = create_model("lbp_top", 3, grid=2)
    features = model.features({"frames": np.full((1, 8, 1, 12, 12), 0.3, dtype=np.float32)})
    histograms = (features**2).reshape(3, 4, BINS)
    np.testing.assert_allclose(histograms.sum(axis=2), 1.0)
    assert (histograms[..., uniform_labels()[255]] == 1.0).all()


def test_features_do_not_change_with_brightness_and_contrast() -> None:
    frames = np.random.default_rng(5).random((2, 8, 1, 16, 16)).astype(np.float32)
    model = create_model("lbp_top", 3)
    darker = model.features({"frames": 0.5 * frames + 0.25})
    np.testing.assert_allclose(darker, model.features({"frames": frames}), atol=0.06)


def test_too_few_frames_are_refused_with_the_number_needed() -> None:
    model = create_model("lbp_top", 3, radius_t=2)
    with pytest.raises(ModelOptionError, match="T >= 5"):
        model.features({"frames": np.zeros((1, 4, 1, 32, 32), dtype=np.float32)})
