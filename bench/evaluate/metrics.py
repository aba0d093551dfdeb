"""Metrics of predictions, computed from confusion matrices. `METRICS` lists them: a new metric is one entry there.

UF1 is the mean over classes of 2 TP / (2 TP + FP + FN) and UAR the mean recall, each from counts summed over all clips
(See et al., MEGC 2019). Over clips that lack a class neither is defined. Knows nothing of models, folds or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "METRICS",
    "ClassMeasures",
    "Measures",
    "Metric",
    "MetricError",
    "chance_levels",
    "measures",
    "metric_of",
    "metric_of_sums",
    "subject_confusions",
    "sums_of",
]

Sums = NDArray[np.float64]


class MetricError(ValueError):
    """A metric, an interval or a test is not defined for these predictions."""


@dataclass(frozen=True)
class Metric:
    """A metric, and how it is shown.

    Attributes
    ----------
    label
        Its name in tables.
    compute
        From the recognised, true and predicted clips of each class (`sums_of`), the class being the first axis:
        (C, ...) each, to (...). Must be finite wherever every class has a clip.
    guessed
        Its expectation if each clip's class is guessed by the classes' shares, from the clips of each class, (C,);
        None where it is not known in closed form.
    main
        Whether tables print its interval beside it and have a column of it for each data set.
    least
        Its lowest possible value; the highest is 1.
    """

    label: str
    compute: Callable[[Sums, Sums, Sums], NDArray[np.float64]]
    guessed: Callable[[NDArray[np.int64]], float] | None = None
    main: bool = False
    least: float = 0.0


def _f1(right: Sums, true: Sums, predicted: Sums) -> Sums:
    return 2 * right / (true + predicted)  # a class with clips has a sum above 0


def _uf1(right: Sums, true: Sums, predicted: Sums) -> NDArray[np.float64]:
    return np.where((true > 0).all(axis=0), _f1(right, true, predicted).mean(axis=0), np.nan)


def _weighted_f1(right: Sums, true: Sums, predicted: Sums) -> NDArray[np.float64]:
    weighted: NDArray[np.float64] = np.where(true > 0, _f1(right, true, predicted) * true, 0.0).sum(axis=0)
    return weighted / true.sum(axis=0)


@cache
def _guessed_f1(count: int, total: int) -> float:
    """Expected F1 of a class that ``count`` of ``total`` clips have.

    Each clip is guessed to be of it with probability count / total. Right answers are then binomial(count, share) and
    wrong ones binomial(total - count, share), independently; the expectation is a double sum over both.
    """
    from scipy.stats import binom  # takes longer to import than everything else here

    share = count / total
    right: NDArray[np.int64] = np.arange(count + 1)[:, None]
    wrong: NDArray[np.int64] = np.arange(total - count + 1)[None, :]
    weights = binom.pmf(right, count, share) * binom.pmf(wrong, total - count, share)
    return float((weights * 2 * right / (count + right + wrong)).sum())


def _guessed_f1s(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([_guessed_f1(int(count), int(counts.sum())) for count in counts])


METRICS = {
    "uf1": Metric("UF1", _uf1, lambda counts: float(_guessed_f1s(counts).mean()), main=True),
    # guessed: the recall of each class is expected to be its share, and the shares sum to 1
    "uar": Metric("UAR", lambda right, true, _: (right / true).mean(axis=0), lambda n: 1 / len(n), main=True),
    "accuracy": Metric(
        "accuracy",
        lambda right, true, _: right.sum(axis=0) / true.sum(axis=0),
        lambda counts: float(((counts / counts.sum()) ** 2).sum()),
    ),
    "weighted_f1": Metric(
        "weighted F1",
        _weighted_f1,
        lambda counts: float((_guessed_f1s(counts) * (counts / counts.sum())).sum()),
    ),
}


def subject_confusions(
    y_true: ArrayLike, y_pred: ArrayLike, subjects: Sequence[str], classes: Sequence[str]
) -> NDArray[np.int64]:
    """Confusion matrix of each subject.

    Parameters
    ----------
    y_true
        Class indices, shape (N,).
    y_pred
        Predictions, shape (N,), or (R, N) for R repetitions.
    subjects
        Subject of each clip, N.
    classes
        Names of the C classes, in order of index.

    Returns
    -------
    Shape (R, S, C, C): repetition, subject in sorted order, true class, predicted class. R is 1 for one set of
    predictions.

    Raises
    ------
    MetricError
        If the shapes do not fit, an index is out of range, or a class has no clip.
    """
    truth, predicted = np.asarray(y_true), np.atleast_2d(np.asarray(y_pred))
    if truth.ndim != 1 or predicted.shape[1:] != truth.shape or len(subjects) != len(truth) or not len(truth):
        raise MetricError(
            "expected N labels, (R, N) predictions and N subjects, got "
            f"{truth.shape}, {predicted.shape} and {len(subjects)}"
        )
    for name, values in (("y_true", truth), ("y_pred", predicted)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= len(classes):
            raise MetricError(f"{name} holds labels outside 0..{len(classes) - 1} (classes {', '.join(classes)})")
    absent = [name for k, name in enumerate(classes) if not (truth == k).any()]
    if absent:
        raise MetricError(f"no clip is labelled {', '.join(absent)}: UF1 and UAR are not defined over these clips")
    names, place = np.unique(np.asarray(subjects), return_inverse=True)
    result = np.zeros((len(predicted), len(names), len(classes), len(classes)), np.int64)
    for repetition, one in enumerate(predicted):
        np.add.at(result[repetition], (place, truth, one), 1)
    return result


def metric_of(confusion: NDArray[np.number], metric: str) -> NDArray[np.float64]:
    """Compute one metric of any number of confusion matrices at once.

    Parameters
    ----------
    confusion
        Shape (..., C, C): true class, predicted class; counts.
    metric
        A key of `METRICS`.

    Returns
    -------
    Shape (...), float64; NaN where UF1 or UAR is not defined because a class has no clip.
    """
    right, true, predicted = (np.moveaxis(sums, -1, 0) for sums in sums_of(confusion))
    return metric_of_sums(right, true, predicted, metric)


def sums_of(confusion: NDArray[np.number]) -> tuple[Sums, Sums, Sums]:
    """Clips of each class that are recognised, that there are, and that are predicted.

    Every metric is a function of these three, and they are linear in the matrices: resampling needs no more.

    Parameters
    ----------
    confusion
        Shape (..., C, C): true class, predicted class; counts.

    Returns
    -------
    Diagonal, sums of rows and sums of columns, each (..., C), float64.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)


def metric_of_sums(right: Sums, true: Sums, predicted: Sums, metric: str) -> NDArray[np.float64]:
    """Compute one metric from what `sums_of` gives, the class being the first axis: (C, ...) each, to (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return METRICS[metric].compute(right, true, predicted)


@dataclass(frozen=True)
class ClassMeasures:
    """Metrics of one class. One that is never predicted has precision 0."""

    name: str
    clips: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Measures:
    """Everything that is computed of one set of predictions.

    ``values`` has each metric of `METRICS` by name; ``confusion`` true classes as rows, predicted ones as columns.
    """

    values: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassMeasures, ...]


def measures(confusion: NDArray[np.int64], classes: Sequence[str]) -> Measures:
    """Compute every metric of one confusion matrix (C, C) in which every class has a clip.

    Parameters
    ----------
    confusion
        Clips by true class and predicted class.
    classes
        Names of the classes, in order of index.
    """
    right, true, predicted = sums_of(confusion)
    precision = np.divide(right, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    recall, f1 = right / true, _f1(right, true, predicted)
    return Measures(
        values={metric: float(metric_of_sums(right, true, predicted, metric)) for metric in METRICS},
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        classes=tuple(
            ClassMeasures(name, int(true[k]), float(precision[k]), float(recall[k]), float(f1[k]))
            for k, name in enumerate(classes)
        ),
    )


def chance_levels(labels: ArrayLike, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Metrics of the two usual ways to guess.

    ``majority`` says the most frequent class of all clips each time; metrics are exact. ``stratified`` guesses class k
    for each clip with the probability n_k / N, whatever the clip; metrics are expectations; None where that of a metric
    is not known (`Metric.guessed`).

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
