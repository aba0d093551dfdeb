"""Bi-WOOF and MDMO against plain loops, cases worked out by hand, and scikit-learn's own kernel SVM."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from fdpbench.models import create_model
from fdpbench.models.bi_woof import orientation_bins
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.mdmo import BANDS, REGIONS, main_direction, region_of_each_pixel


def noise(seed: int, clips: int = 2, side: int = 28) -> np.ndarray:
    """Flow and strain (B, 3, side, side)."""
    flow = np.random.default_rng(seed).normal(size=(clips, 3, side, side))
    flow[:, 2] = np.abs(flow[:, 2])
    return flow.astype(np.float32)


# Bi-WOOF


def slow_bi_woof(flow: np.ndarray, grid: int, bins: int) -> np.ndarray:
    """One pixel at a time, from the definition, for one clip (3, h, w)."""
    height, width = flow.shape[1:]
    histograms, strain, area = np.zeros((grid, grid, bins)), np.zeros((grid, grid)), np.zeros((grid, grid))
    for y, x in np.ndindex(height, width):
        u, v, e = flow[:, y, x].astype(float)
        row, column = y * grid // height, x * grid // width
        share = (math.atan2(v, u) + math.pi) / (2 * math.pi)
        histograms[row, column, int(share * bins) % bins] += math.hypot(u, v)
        strain[row, column] += e
        area[row, column] += 1
    return (histograms * (strain / area)[..., None]).ravel()


@given(seed=st.integers(0, 2**32 - 1), grid=st.integers(1, 5), bins=st.integers(1, 12), side=st.integers(5, 13))
@settings(max_examples=15, deadline=None)
def test_bi_woof_equals_the_plain_loop(seed: int, grid: int, bins: int, side: int) -> None:
    flow = noise(seed, side=side)
    features = create_model("bi_woof", 3, grid=grid, bins=bins, rest="zero").features({"flow": flow})
    np.testing.assert_allclose(features, [slow_bi_woof(clip, grid, bins) for clip in flow], rtol=1e-9, atol=1e-12)
    moving = flow.astype(np.float64)
    moving[:, :2] -= np.median(moving[:, :2], axis=(2, 3), keepdims=True)
    centred = create_model("bi_woof", 3, grid=grid, bins=bins).features({"flow": flow})
    np.testing.assert_allclose(centred, [slow_bi_woof(clip, grid, bins) for clip in moving], rtol=1e-9, atol=1e-12)


def test_bins_start_at_minus_pi() -> None:
    angles = np.array([-np.pi, -0.9 * np.pi, -0.1, 0.0, 0.1, 0.9 * np.pi, np.pi])
    motion = np.stack([np.cos(angles), np.sin(angles)])[None, :, None]  # (1, 2, 1, 7)
    motion[0, 1, 0, [0, 3, 6]] = 0.0
    assert orientation_bins(motion, 8)[0, 0].tolist() == [0, 0, 3, 4, 4, 7, 0]


def test_magnitude_weighs_pixels_and_strain_weighs_blocks() -> None:
    flow = np.zeros((1, 3, 8, 8))
    flow[0, 0, 0, 0], flow[0, 1, 1, 1] = 2.0, 3.0  # in the first of four blocks, to the right and down
    flow[0, 2, :4, :4] = 0.5
    features = create_model("bi_woof", 3, grid=2, bins=4, rest="zero").features({"flow": flow}).reshape(4, 4)
    assert features[0].tolist() == [0.0, 0.0, 1.0, 1.5]
    assert not features[1:].any()


def test_bi_woof_takes_the_median_for_rest() -> None:
    flow = noise(3)
    shifted = flow + np.array([0.5, -0.25, 0.0], dtype=np.float32)[:, None, None]
    model = create_model("bi_woof", 3)
    np.testing.assert_allclose(model.features({"flow": shifted}), model.features({"flow": flow}), atol=1e-4)
    zero = create_model("bi_woof", 3, rest="zero")
    assert np.abs(zero.features({"flow": shifted}) - zero.features({"flow": flow})).max() > 0.1


# MDMO


@pytest.mark.parametrize("side", [13, 28, 96])
def test_there_are_36_regions_and_none_is_empty(side: int) -> None:
    regions = region_of_each_pixel(side, side)
    assert REGIONS == 36
    assert set(np.unique(regions)) - {-1} == set(range(36))
    band = np.full_like(regions, -1)
    first = 0
    for number, (_, _, edges) in enumerate(BANDS):
        band[(regions >= first) & (regions < first + len(edges) - 1)] = number
        first += len(edges) - 1
    np.testing.assert_array_equal(band, band[:, ::-1])  # both halves of the face alike


def test_a_region_is_where_its_band_says() -> None:
    regions = region_of_each_pixel(100, 100)  # centres at 0.005, 0.015, ...
    assert regions[6, 4] == 0 and regions[5, 4] == -1 and regions[6, 3] == -1
    assert regions[21, 95] == 5 and regions[21, 96] == -1
    assert regions[22, 2] == 6 and regions[39, 97] == 13
    assert regions[99, 85] == 35


def test_main_direction_is_that_of_the_fullest_bin() -> None:
    motion = np.array([[1.0, 3.0, -9.0, 0.0], [0.1, 0.3, -9.0, 5.0]])  # two to the right, one up left, one down
    rho, theta = main_direction(motion, 8)
    assert rho == pytest.approx(2 * math.hypot(1, 0.1))
    assert theta == pytest.approx(math.atan2(0.1, 1))
    assert main_direction(motion[:, 1:], 8)[1] == pytest.approx(-0.75 * math.pi)  # of three equally full the first


def test_a_single_moving_region() -> None:
    flow = np.zeros((1, 3, 28, 28))
    flow[0, 1][region_of_each_pixel(28, 28) == 20] = -0.4  # upwards
    features = create_model("mdmo", 3, angle_weight=0.5).features({"flow": flow})
    assert features.shape == (1, 72)
    rho, theta = features[0, :36], features[0, 36:]
    assert np.flatnonzero(rho).tolist() == np.flatnonzero(theta).tolist() == [20]
    assert rho[20] == pytest.approx(1.0)
    assert theta[20] == pytest.approx(-0.25)  # -pi / 2, in units of pi, weighted


def test_mdmo_does_not_change_with_scale_and_offset() -> None:
    flow = noise(4).astype(np.float64)
    changed = 3 * flow
    changed[:, :2] += 0.7
    model = create_model("mdmo", 3)
    np.testing.assert_allclose(model.features({"flow": changed}), model.features({"flow": flow}), atol=1e-9)
    still = model.features({"flow": np.full((1, 3, 28, 28), 0.5)})
    assert not still.any()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_scores_are_those_of_scikit_learn(kernel: str) -> None:
    flow, labels = noise(5, clips=24), np.arange(24) % 3
    model = create_model("mdmo", 3, kernel=kernel, cost=2.0)
    train, test = model.features({"flow": flow[:16]}), model.features({"flow": flow[16:]})
    model.fit({"features": train}, labels[:16])
    expected = [
        SVC(C=2.0, kernel=kernel, gamma="scale", tol=1e-5).fit(train, labels[:16] == label).decision_function(test)
        for label in range(3)
    ]
    np.testing.assert_allclose(model.scores({"features": test}), np.array(expected).T, atol=1e-3)


# Both


@pytest.mark.parametrize(("name", "least"), [("bi_woof", 5), ("mdmo", 13)])
def test_wrong_flow_is_refused_with_what_is_needed(name: str, least: int) -> None:
    for shape in ((1, 2, 28, 28), (3, 28, 28), (1, 3, least - 1, 28)):
        with pytest.raises(ModelOptionError, match=rf"{name}.*h, w >= {least}"):
            create_model(name, 3).features({"flow": np.zeros(shape, dtype=np.float32)})
