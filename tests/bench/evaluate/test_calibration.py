"""Temperature scaling: properties of the fit on random probabilities, and of the reliability bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from fdpbench.bench.evaluate import calibration
from fdpbench.bench.evaluate.calibration import (
    HIGHEST,
    LOWEST,
    OF_CLASSES,
    OF_UNITS,
    CalibrationError,
    calibrated,
    class_nll,
    class_reliability,
    class_temperature,
    expected_calibration_error,
    scaled_classes,
    scaled_units,
    unit_nll,
    unit_reliability,
    unit_temperature,
)

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def sigmoid(logits: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-logits))
    return result


def of_classes(seed: int, count: int = 200) -> tuple[Floats, NDArray[np.int64]]:
    """Logits of 2 to 5 classes, and labels that follow them at a temperature from 1/2 to 2."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, rng.integers(2, 6)))
    true = softmax(logits / 2 ** rng.uniform(-1, 1))
    return logits, np.array([rng.choice(len(row), p=row) for row in true], np.int64)


def of_units(seed: int, count: int = 200) -> tuple[Floats, Floats]:
    """Logits of 4 units, and targets that follow them, some of them faint."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, 4))
    targets = (rng.random(logits.shape) < sigmoid(logits / 2 ** rng.uniform(-1, 1))).astype(np.float64)
    targets[rng.random(logits.shape) < 0.1] = 0.5
    return logits, targets


@given(SEEDS)
def test_a_temperature_is_above_0_and_never_makes_the_clips_it_is_fitted_on_less_likely(seed: int) -> None:
    logits, labels = of_classes(seed, 12)
    probabilities = softmax(logits)
    temperature = class_temperature(probabilities, labels)
    assert LOWEST <= temperature <= HIGHEST
    assert class_nll(probabilities, labels, temperature) <= class_nll(probabilities, labels) + 1e-12
    odds, targets = of_units(seed, 3)
    temperature = unit_temperature(sigmoid(odds), targets)
    assert LOWEST <= temperature <= HIGHEST
    assert unit_nll(sigmoid(odds), targets, temperature) <= unit_nll(sigmoid(odds), targets) + 1e-12


@given(SEEDS)
def test_an_optimiser_of_scipy_finds_the_same_temperature(seed: int) -> None:
    def least(loss: object) -> float:
        found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
        return float(np.exp(found.x))

    logits, labels = of_classes(seed)
    expected = least(lambda log: -np.log(softmax(logits / np.exp(log))[np.arange(len(labels)), labels]).mean())
    assert class_temperature(softmax(logits), labels) == pytest.approx(expected, rel=1e-3)
    odds, targets = of_units(seed)

    def cross_entropy(log: float) -> float:
        said = sigmoid(odds / np.exp(log))
        return float(-(targets * np.log(said) + (1 - targets) * np.log(1 - said)).mean())

    assert unit_temperature(sigmoid(odds), targets) == pytest.approx(least(cross_entropy), rel=1e-3)


@given(SEEDS, st.floats(0.5, 2.0))
def test_logits_times_c_have_c_times_the_temperature(seed: int, c: float) -> None:
    logits, labels = of_classes(seed)
    expected = c * class_temperature(softmax(logits), labels)
    assert class_temperature(softmax(c * logits), labels) == pytest.approx(expected, rel=1e-5)
    odds, targets = of_units(seed)
    expected = c * unit_temperature(sigmoid(odds), targets)
    assert unit_temperature(sigmoid(c * odds), targets) == pytest.approx(expected, rel=1e-5)


@given(SEEDS, st.floats(LOWEST, HIGHEST))
def test_no_temperature_changes_what_is_likeliest(seed: int, temperature: float) -> None:
    probabilities = softmax(of_classes(seed, 20)[0])
    scaled = scaled_classes(probabilities, temperature)
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    units = sigmoid(of_units(seed, 20)[0])
    assert ((scaled_units(units, temperature) > 0.5) == (units > 0.5)).all()
    np.testing.assert_allclose(scaled_classes(probabilities, 1.0), probabilities, atol=1e-12)
    np.testing.assert_allclose(scaled_units(units, 1.0), units, atol=1e-12)


@given(SEEDS)
def test_the_bins_hold_each_clip_once_and_the_error_is_from_0_to_1(seed: int) -> None:
    logits, labels = of_classes(seed, 30)
    bins = class_reliability(softmax(logits), labels)
    assert sum(one["count"] for one in bins) == 30 and len(bins) == 10
    assert 0 <= expected_calibration_error(bins) <= 1
    for k, one in enumerate(bins):
        assert one["confidence"] is None or k / 10 <= one["confidence"] <= (k + 1) / 10
    odds, targets = of_units(seed, 30)
    bins = unit_reliability(sigmoid(odds), targets)
    assert sum(one["count"] for one in bins) == 120 and 0 <= expected_calibration_error(bins) <= 1


def test_the_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.45, 0.55]])
    bins = class_reliability(probabilities, np.array([0, 1, 1, 1]))
    assert [one["count"] for one in bins] == [0, 0, 0, 0, 0, 1, 1, 0, 0, 2]
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.45 + 0.4 + 0.45) / 4)
    assert class_reliability(np.array([[1.0, 0.0]]), np.array([0]))[9] == {"count": 1, "confidence": 1, "accuracy": 1}


def test_what_is_never_wrong_or_always_is_ends_at_a_bound() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert class_temperature(probabilities, np.array([0, 1])) == pytest.approx(LOWEST)
    assert class_temperature(probabilities, np.array([1, 0])) == pytest.approx(HIGHEST)
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.isfinite(class_nll(certain, np.array([0, 1]), class_temperature(certain, np.array([0, 1]))))
    assert np.isfinite(unit_temperature(certain, np.array([[1.0, 0.0], [0.0, 1.0]])))


def test_what_a_temperature_is_worth_is_measured_on_clips_it_was_not_fitted_on() -> None:
    logits, labels = of_classes(3)
    probabilities, half = softmax(3 * logits), np.arange(len(labels)) < len(labels) // 3
    found = calibrated(OF_CLASSES, probabilities, labels, half)
    assert found["temperature"] == round(class_temperature(probabilities, labels), 4) > 1
    losses = [
        class_nll(probabilities[mine], labels[mine], class_temperature(probabilities[~mine], labels[~mine]))
        for mine in (half, ~half)
    ]
    assert found["nll"]["after"] == round(float(np.average(losses, weights=[half.sum(), (~half).sum()])), 4)
    assert found["nll"]["before"] == round(class_nll(probabilities, labels), 4) > found["nll"]["after"]
    assert found["ece"]["before"] > found["ece"]["after"]
    assert [sum(one["count"] for one in found["bins"][key]) for key in ("before", "after")] == [len(labels)] * 2
    odds, targets = of_units(3)
    said, half = sigmoid(odds), np.arange(len(odds)) % 2 == 0
    units = calibrated(OF_UNITS, said, targets, half)
    assert units["temperature"] == round(unit_temperature(said, targets), 4)
    losses = [
        unit_nll(said[mine], targets[mine], unit_temperature(said[~mine], targets[~mine])) for mine in (half, ~half)
    ]
    assert units["nll"]["after"] == pytest.approx(np.mean(losses), abs=1e-4)
    with pytest.raises(CalibrationError):
        calibrated(OF_CLASSES, probabilities, labels, np.ones(len(labels), bool))


@pytest.mark.parametrize("wrong", [np.zeros((0, 3)), np.array([[np.nan, 1.0]]), np.array([[1.2, -0.2]])])
def test_what_is_no_probability_is_refused(wrong: Floats) -> None:
    with pytest.raises(CalibrationError):
        class_temperature(wrong, np.zeros(len(wrong), np.int64))
    with pytest.raises(CalibrationError):
        unit_temperature(wrong, np.zeros_like(wrong))
    with pytest.raises(CalibrationError, match="of 1 clips and labels of 2"):
        calibration.class_temperature(np.array([[0.5, 0.5]]), np.array([0, 1]))
