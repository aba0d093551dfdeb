"""Temperature scaling of probabilities, and how well calibrated they are.

A network's logits are divided by one number, the temperature, that makes the labels of clips it was not trained on
most likely (Guo et al., On calibration of modern neural networks, ICML 2017). Which class is likeliest stays the same.
Knows nothing of models or files; float64 throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HIGHEST",
    "LOWEST",
    "OF_CLASSES",
    "OF_UNITS",
    "CalibrationError",
    "Kind",
    "calibrated",
    "class_nll",
    "class_reliability",
    "class_temperature",
    "expected_calibration_error",
    "scaled_classes",
    "scaled_units",
    "unit_nll",
    "unit_reliability",
    "unit_temperature",
]

# A network that is never wrong on the clips at hand would be given a temperature of 0, one that knows nothing an
# infinite one: temperatures end here.
LOWEST, HIGHEST = 1 / 16, 16.0
STEPS = 60  # halvings of the range of the temperature's logarithm: below the resolution of float64
BINS = 10  # of equal width, of the reliability diagram
TINY = 1e-12  # probabilities are at least this, so that their logarithms are finite

Floats = NDArray[np.float64]


class CalibrationError(ValueError):
    """Probabilities or labels are not what a temperature can be fitted to."""


def scaled_classes(probabilities: Floats, temperature: float) -> Floats:
    """Class probabilities at a temperature.

    Parameters
    ----------
    probabilities
        (N, C), each row adding up to 1.
    temperature
        Above 0; 1 changes nothing.

    Returns
    -------
    (N, C): softmax of the logarithms divided by the temperature.
    """
    scaled: Floats = np.exp(_log_classes(probabilities, temperature))
    return scaled


def scaled_units(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities of things that are true or not, each by itself, at a temperature.

    Parameters
    ----------
    probabilities
        Of any shape.
    temperature
        Above 0; 1 changes nothing.
    """
    scaled: Floats = 1 / (1 + np.exp(-_log_odds(probabilities) / temperature))
    return scaled


def class_nll(probabilities: Floats, labels: NDArray[np.int64], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood, in nats, of the labels (N,) under class probabilities (N, C) at a temperature."""
    return float(-_log_classes(probabilities, temperature)[np.arange(len(labels)), labels].mean())


def unit_nll(probabilities: Floats, targets: Floats, temperature: float = 1.0) -> float:
    """Mean binary cross-entropy, in nats, of probabilities at a temperature against targets, each from 0 to 1."""
    odds = _log_odds(probabilities) / temperature
    return float((np.logaddexp(0.0, odds) - targets * odds).mean())


def class_temperature(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature of class probabilities at which the labels are likeliest.

    Parameters
    ----------
    probabilities
        (N, C), each row adding up to 1.
    labels
        Class index of each, (N,).

    Returns
    -------
    From `LOWEST` to `HIGHEST`.

    Raises
    ------
    CalibrationError
        If there is no clip, or a probability is not one.
    """
    _check(probabilities, len(labels))
    logits = np.log(np.maximum(probabilities, TINY))
    told = logits[np.arange(len(labels)), labels]

    def slope(temperature: float) -> float:
        expected = (scaled_classes(probabilities, temperature) * logits).sum(axis=1)
        return float((expected - told).mean())

    return _root(slope)


def unit_temperature(probabilities: Floats, targets: Floats) -> float:
    """The temperature of probabilities of action units at which the targets are likeliest.

    Parameters
    ----------
    probabilities
        (N, U).
    targets
        Whether each moves, (N, U): 1 or 0, or between where a coder may or may not note it.

    Returns
    -------
    From `LOWEST` to `HIGHEST`.

    Raises
    ------
    CalibrationError
        If there is no clip, or a probability is not one.
    """
    _check(probabilities, len(targets))
    odds = _log_odds(probabilities)
    return _root(lambda temperature: float(((scaled_units(probabilities, temperature) - targets) * odds).mean()))


def class_reliability(probabilities: Floats, labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """How often the likeliest class is right, by its probability (the confidence), in `BINS` bins of equal width.

    Returns
    -------
    For each bin ``count``, mean ``confidence`` and ``accuracy``, which are None where the bin is empty.
    """
    right = probabilities.argmax(axis=1) == labels
    return _binned(probabilities.max(axis=1), right.astype(np.float64))


def unit_reliability(probabilities: Floats, targets: Floats) -> list[dict[str, Any]]:
    """Probability that an action unit moves against how often it does, over all units; see `class_reliability`."""
    return _binned(probabilities.ravel(), np.asarray(targets, np.float64).ravel())


@dataclass(frozen=True)
class Kind:
    """What is fitted to, and measured of, probabilities of one kind."""

    temperature: Callable[[Floats, Any], float]
    scaled: Callable[[Floats, float], Floats]
    nll: Callable[[Floats, Any], float]
    reliability: Callable[[Floats, Any], list[dict[str, Any]]]


OF_CLASSES = Kind(class_temperature, scaled_classes, class_nll, class_reliability)
OF_UNITS = Kind(unit_temperature, scaled_units, unit_nll, unit_reliability)


def calibrated(kind: Kind, probabilities: Floats, truth: NDArray[Any], half: NDArray[np.bool_]) -> dict[str, Any]:
    """The temperature of probabilities, and what temperatures so fitted do to clips that they have not seen.

    The temperature is fitted on all clips; what it is worth is measured crosswise: each half of the clips at the
    temperature of the other half. Numbers are rounded to 4 decimals.

    Parameters
    ----------
    kind
        `OF_CLASSES` or `OF_UNITS`.
    probabilities
        (N, C), each row adding up to 1; of action units (N, U).
    truth
        Class index of each clip, (N,); of action units targets from 0 to 1, (N, U).
    half
        Which clips are of the first half, (N,): whole people, so that nobody is on both sides.

    Returns
    -------
    ``temperature``; ``nll`` and ``ece`` (expected calibration error), each ``before`` and ``after``; and so ``bins``.

    Raises
    ------
    CalibrationError
        If a half has no clip, or a probability is not one.
    """
    after = np.empty_like(probabilities)
    for mine in (half, ~half):
        after[mine] = kind.scaled(probabilities[mine], kind.temperature(probabilities[~mine], truth[~mine]))
    both = {"before": probabilities, "after": after}
    bins = {key: kind.reliability(each, truth) for key, each in both.items()}
    return {
        "temperature": round(kind.temperature(probabilities, truth), 4),
        "nll": _rounded({key: kind.nll(each, truth) for key, each in both.items()}),
        "ece": _rounded({key: expected_calibration_error(each) for key, each in bins.items()}),
        "bins": {key: [_rounded(one) for one in each] for key, each in bins.items()},
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by their counts; from 0 to 1."""
    total = sum(one["count"] for one in bins)
    filled = [one for one in bins if one["count"]]
    return float(sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in filled) / total)


def _binned(confidence: Floats, outcome: Floats) -> list[dict[str, Any]]:
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins: list[dict[str, Any]] = []
    for k in range(BINS):
        mine = places == k
        some = bool(mine.any())
        bins.append(
            {
                "count": int(mine.sum()),
                "confidence": float(confidence[mine].mean()) if some else None,
                "accuracy": float(outcome[mine].mean()) if some else None,
            }
        )
    return bins


def _root(slope: Callable[[float], float]) -> float:
    """Where the slope of the negative log-likelihood over 1 / temperature is 0; it is convex in that."""
    low, high = float(np.log(LOWEST)), float(np.log(HIGHEST))
    for _ in range(STEPS):
        middle = (low + high) / 2
        if slope(float(np.exp(middle))) > 0:  # too sure of itself: a higher temperature
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _log_classes(probabilities: Floats, temperature: float) -> Floats:
    logits = np.log(np.maximum(probabilities, TINY)) / temperature
    logits = logits - logits.max(axis=1, keepdims=True)
    logarithms: Floats = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logarithms


def _log_odds(probabilities: Floats) -> Floats:
    inside = np.clip(probabilities, TINY, 1 - TINY)
    odds: Floats = np.log(inside) - np.log1p(-inside)
    return odds


def _check(probabilities: Floats, count: int) -> None:
    if not count or len(probabilities) != count:
        raise CalibrationError(f"probabilities of {len(probabilities)} clips and labels of {count}; give one of each")
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise CalibrationError("a probability is not a number from 0 to 1")
