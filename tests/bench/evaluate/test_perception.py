"""Rank scores and generated images: each measure against a loop, torch or scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fdpbench.bench.evaluate.perception import (
    TrueImages,
    area_mean,
    mean_images,
    measure_clip,
    order_accuracy,
    pooled_copy,
    similarity,
)
from fdpbench.bench.evaluate.records import PERCEPTION
from fdpbench.prep.dynamic.rank_pooling import coefficients
from fdpbench.prep.store.images import encode_png

SCORES = arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([-2.0, 0.0, 0.0, 1e-9, 0.5, 7.0]))


@given(SCORES)
@example(np.zeros(4))
def test_order_accuracy_is_a_count_of_pairs(scores: np.ndarray) -> None:
    points = pairs = 0.0
    for t in range(len(scores)):
        for q in range(t + 1, len(scores)):
            pairs += 1
            points += 1 if scores[q] > scores[t] else 0.5 if scores[q] == scores[t] else 0
    assert order_accuracy(scores) == pytest.approx(points / pairs, abs=1e-12)
    assert order_accuracy(scores[::-1]) == pytest.approx(1 - points / pairs, abs=1e-12)
    assert order_accuracy(3 * scores - 5) == pytest.approx(points / pairs, abs=1e-12)


def test_order_accuracy_of_known_scores() -> None:
    assert order_accuracy(np.arange(8.0)) == 1
    assert order_accuracy(-np.arange(8.0)) == 0
    assert order_accuracy(np.ones(8)) == 0.5
    assert order_accuracy(np.array([1.0, 3.0, 2.0])) == pytest.approx(2 / 3)


sides = st.integers(1, 20)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 99))
@example((96, 96), (24, 24), 0)
@example((7, 5), (3, 2), 0)  # windows overlap
@example((3, 3), (8, 5), 0)  # larger than the truth
def test_area_mean_is_adaptive_average_pooling(shape: tuple[int, int], wanted: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).random(shape)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(image)[None], wanted)[0]
    np.testing.assert_allclose(area_mean(image, wanted), pooled.numpy(), atol=1e-12)


def test_area_mean_of_bytes_does_not_overflow() -> None:
    image = np.full((8, 8), 255, np.uint8)
    assert area_mean(image, (2, 2)).tolist() == [[255.0, 255.0], [255.0, 255.0]]
    whole = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert (area_mean(whole, (8, 8)) == whole).all()


def window(shape: tuple[int, int]) -> int:
    """Largest odd window of at most 7 that fits."""
    return max(side for side in (1, 3, 5, 7) if side <= min(shape))


@given(st.tuples(st.integers(3, 24), st.integers(3, 24)), st.integers(0, 99))
@example((3, 3), 0)
@example((4, 4), 0)
@example((5, 6), 0)
@example((6, 24), 0)
def test_an_image_is_measured_as_scikit_image_does(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, generated = rng.random(shape), rng.random(shape)
    found = similarity(generated, truth)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(truth, generated, data_range=1), rel=1e-9)
    side = window(shape)
    ssim = structural_similarity(truth, generated, win_size=side, data_range=1, gaussian_weights=False)
    assert found.ssim == pytest.approx(ssim, rel=1e-9)


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over all 7 x 7 windows of equation 13 of Wang et al. 2004, with unbiased variances."""
    values = []
    for top in range(len(a) - 6):
        for left in range(a.shape[1] - 6):
            x, y = (image[top : top + 7, left : left + 7].ravel() for image in (a, b))
            covariance = np.cov(x, y)
            numerator = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance[0, 1] + 9e-4)
            denominator = (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (covariance[0, 0] + covariance[1, 1] + 9e-4)
            values.append(numerator / denominator)
    return float(np.mean(values))


def test_ssim_by_its_formula() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((12, 15))
    for generated in (truth + 0.05, rng.random((12, 15)), 1 - truth):
        assert similarity(generated, truth).ssim == pytest.approx(ssim_by_hand(truth, generated), rel=1e-9)


@pytest.mark.parametrize("side", [3, 4, 5, 6, 7, 64])
def test_equal_images_have_a_finite_figure(side: int) -> None:
    """An image is stored in 8 bits: no closer than their rounding can be told."""
    image = np.random.default_rng(0).random((side, side))
    found = similarity(image, image)
    assert found.ssim == pytest.approx(1)
    assert found.psnr == pytest.approx(10 * math.log10(12 * 255**2))
    flat = similarity(np.full((side, side), 0.5), np.full((side, side), 0.5))
    assert flat.ssim == pytest.approx(1) and math.isfinite(flat.psnr)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 9), (2, 24)])
def test_images_too_small_for_a_window_are_finite_too_or_refused(shape: tuple[int, int]) -> None:
    """Never a NaN in a table, nor a warning of numpy's."""
    rng = np.random.default_rng(0)
    try:
        found = similarity(rng.random(shape), rng.random(shape))
    except ValueError as error:
        assert "3" in str(error) or "small" in str(error)
    else:
        assert math.isfinite(found.ssim) and math.isfinite(found.psnr)


def test_an_image_further_off_is_worse() -> None:
    truth = np.linspace(0, 1, 256).reshape(16, 16)
    noise = np.random.default_rng(0).normal(0, 1, truth.shape)
    found = [similarity(truth + size * noise, truth) for size in (0.001, 0.01, 0.1, 1.0)]
    assert [one.psnr for one in found] == sorted((one.psnr for one in found), reverse=True)
    assert [one.ssim for one in found] == sorted((one.ssim for one in found), reverse=True)
    assert found[1].psnr - found[2].psnr == pytest.approx(20)


@given(st.lists(st.sampled_from(["r/a", "r/b", "r/c", "s/a"]), min_size=2, max_size=9), st.integers(0, 99))
def test_mean_images_leave_the_subject_out(subjects: list[str], seed: int) -> None:
    if len(set(subjects)) < 2:
        return
    images = np.random.default_rng(seed).random((len(subjects), 4, 3))
    means = mean_images(images, subjects)
    assert set(means) == set(subjects)
    for subject, mean in means.items():
        total, count = np.zeros((4, 3)), 0
        for image, owner in zip(images, subjects, strict=True):
            if owner != subject:
                total, count = total + image, count + 1
        np.testing.assert_allclose(mean, total / count, atol=1e-12)


def test_another_image_of_the_subject_does_not_change_its_mean() -> None:
    images, subjects = np.random.default_rng(0).random((4, 5, 5)), ["r/a", "r/b", "r/a", "r/c"]
    before = mean_images(images, subjects)
    images[[0, 2]] = 9
    after = mean_images(images, subjects)
    assert (before["r/a"] == after["r/a"]).all() and (before["r/b"] != after["r/b"]).any()


def test_a_copy_is_the_true_image_whatever_the_light() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, 12, 10)).astype(np.uint8)
    standard = (frames - frames.mean((1, 2), keepdims=True)) / frames.std((1, 2), keepdims=True)
    pooled = sum(weight * frame for weight, frame in zip(coefficients(8), standard, strict=True))
    expected = (pooled - pooled.min()) / (pooled.max() - pooled.min())
    np.testing.assert_allclose(pooled_copy(frames), expected, atol=1e-12)
    flickering = frames * rng.uniform(0.5, 2, (8, 1, 1)) + rng.uniform(0, 50, (8, 1, 1))
    np.testing.assert_allclose(pooled_copy(flickering), pooled_copy(frames), atol=1e-9)


def test_a_copy_of_a_clip_that_stands_still_is_flat() -> None:
    still = np.random.default_rng(0).integers(0, 256, (12, 10)).astype(np.uint8)
    assert (pooled_copy(np.repeat(still[None], 8, axis=0)) == 0.5).all()
    assert (pooled_copy(np.full((8, 12, 10), 7, np.uint8)) == 0.5).all()


def test_what_is_measured_of_a_clip() -> None:
    rng = np.random.default_rng(0)
    true, mean, copy = (rng.random((12, 12)) for _ in range(3))
    drawn = rng.integers(0, 256, (6, 6), dtype=np.uint8)
    row = {"clip_id": "r/a/1", "subject": "r/a", "rank_scores": [1.0, 3.0, 2.0, 0.0], "drawn": encode_png(drawn)}
    found = measure_clip(row, TrueImages({"r/a/1": true}, {"r/a": mean}, {"r/a/1": copy}), 3)
    assert set(found) == set(PERCEPTION)
    assert found["order_accuracy"] == pytest.approx(2 / 6) and found["order_to_apex"] == pytest.approx(2 / 3)
    small = area_mean(true, (6, 6))
    for suffix, image in {"": drawn / 255, "_of_mean": mean, "_of_copy": copy}.items():
        expected = similarity(area_mean(image, (6, 6)), small)
        assert (found[f"psnr{suffix}"], found[f"ssim{suffix}"]) == (expected.psnr, expected.ssim)
    less = measure_clip(row, TrueImages({"r/a/1": true}, {"r/a": mean}, {}), 1)  # no frames; one has no order
    assert set(less) == set(PERCEPTION) - {"order_to_apex", "psnr_of_copy", "ssim_of_copy"}
    assert measure_clip(row | {"rank_scores": None, "drawn": None}, None, 3) == {}
