"""Chance level: the metrics of predictions that look at no clip, from a task's labels alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fdpbench.bench.evaluate.metrics import METRICS, metric_of, subject_confusions

__all__ = ["chance_levels"]


def chance_levels(labels: ArrayLike, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Metrics of the two usual ways to guess.

    ``majority`` says the most frequent class of all clips each time; metrics are exact. ``stratified`` guesses class k
    for each clip with the probability n_k / N, whatever the clip; metrics are expectations, None where that of a metric
    is not known (`bench.evaluate.metrics.Metric.guessed`).

    Parameters
    ----------
    labels
        Class index of each clip, (N,).
    classes
        Names of the classes.

    Returns
    -------
    By way to guess, then by metric.

    Raises
    ------
    MetricError
        If a class has no clip.
    """
    truth = np.asarray(labels)
    counts = np.bincount(truth, minlength=len(classes))
    majority = np.full_like(truth, counts.argmax())
    confusion = subject_confusions(truth, majority, [""] * len(truth), classes)[0, 0]
    return {
        "majority": {name: float(metric_of(confusion, name)) for name in METRICS},
        "stratified": {name: metric.guessed and metric.guessed(counts) for name, metric in METRICS.items()},
    }
