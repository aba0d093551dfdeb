"""Confusion matrices of subjects, and the figures of any number of them at once.

The ground on which `bench.evaluate.bootstrap` stands. Knows nothing of files, folds or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FIGURES", "Figure", "StatsError", "figure_of_sums", "figures_of", "subject_confusions", "sums_of"]

Figure = Literal["uf1", "uar", "accuracy", "weighted_f1"]
FIGURES: tuple[Figure, ...] = get_args(Figure)


class StatsError(ValueError):
    """An interval or a test is not defined for these predictions."""


def subject_confusions(
    y_true: ArrayLike, y_pred: ArrayLike, subjects: Sequence[str], classes: int
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
        Number of classes C.

    Returns
    -------
    Shape (R, S, C, C): repetition, subject in sorted order, true class, predicted class. R is 1 for one
    set of predictions.

    Raises
    ------
    StatsError
        If the shapes do not fit, or a class is out of range or has no clip.
    """
    truth, predicted = np.asarray(y_true), np.atleast_2d(np.asarray(y_pred))
    if truth.ndim != 1 or predicted.shape[1:] != truth.shape or len(subjects) != len(truth) or not len(truth):
        raise StatsError(
            "expected N labels, (R, N) predictions and N subjects, got "
            f"{truth.shape}, {predicted.shape} and {len(subjects)}"
        )
    for values in (truth, predicted):
        if values.min() < 0 or values.max() >= classes:
            raise StatsError(f"labels outside 0..{classes - 1}")
    if len(np.unique(truth)) < classes:
        raise StatsError("a class has no clip: UF1 and UAR are not defined over these clips")
    names, place = np.unique(np.asarray(subjects), return_inverse=True)
    result = np.zeros((len(predicted), len(names), classes, classes), np.int64)
    for repetition, said in enumerate(predicted):
        np.add.at(result[repetition], (place, truth, said), 1)
    return result


def figures_of(confusion: NDArray[np.number], figure: Figure) -> NDArray[np.float64]:
    """Compute one figure of any number of confusion matrices at once.

    Parameters
    ----------
    confusion
        Shape (..., C, C): true class, predicted class; counts.
    figure
        One of `FIGURES`.

    Returns
    -------
    Shape (...), float64; NaN where UF1 or UAR is not defined because a class has no clip.
    """
    right, true, said = (np.moveaxis(sums, -1, 0) for sums in sums_of(confusion))
    return figure_of_sums(right, true, said, figure)


def sums_of(confusion: NDArray[np.number]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Clips of each class that are recognised, that there are, and that are predicted.

    Every figure is a function of these three, and they are linear in the matrices: resampling needs no more.

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


def figure_of_sums(
    right: NDArray[np.float64], true: NDArray[np.float64], said: NDArray[np.float64], figure: Figure
) -> NDArray[np.float64]:
    """Compute one figure from what `sums_of` gives, the class being the first axis: (C, ...) each, to (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if figure == "accuracy":
            return right.sum(axis=0) / true.sum(axis=0)
        if figure == "uar":
            return (right / true).mean(axis=0)
        f1 = 2 * right / (true + said)  # a class with clips has a sum above 0
        if figure == "uf1":
            return np.where((true > 0).all(axis=0), f1.mean(axis=0), np.nan)
        return np.where(true > 0, f1 * true, 0.0).sum(axis=0) / true.sum(axis=0)
