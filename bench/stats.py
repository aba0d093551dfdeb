"""How sure a figure is: intervals and tests whose unit is the subject.

Clips of one subject are alike, so resampling clips would pretend to more evidence than there is. Everything
here starts from one confusion matrix for each subject and repetition, resamples subjects, and where a run
was trained several times, its repetitions too. Knows nothing of files, folds or models.

Resampling follows Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 14 for
percentile and BCa intervals; the permutation test swaps two models' predictions subject by subject
(Good, "Permutation Tests", 2000); many comparisons are corrected by Holm (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

__all__ = [
    "FIGURES",
    "Comparison",
    "Figure",
    "Interval",
    "StatsError",
    "compare",
    "figures_of",
    "holm",
    "interval",
    "subject_confusions",
]

Figure = Literal["uf1", "uar", "accuracy", "weighted_f1"]
FIGURES: tuple[Figure, ...] = get_args(Figure)

# A resample may lack a class, for which UF1 and UAR are not defined; it is drawn anew, so often at most.
MOST_REDRAWN = 100


class StatsError(ValueError):
    """An interval or a test is not defined for these predictions."""


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes
    ----------
    value
        The figure, mean over repetitions.
    low, high
        Ends of the interval.
    level
        Its nominal coverage, such as 0.95.
    method
        ``percentile`` or ``bca``.
    subjects, clips, repetitions
        What stands behind it.
    redrawn
        Resamples that lacked a class and were drawn anew.
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    subjects: int
    clips: int
    repetitions: int
    redrawn: int


@dataclass(frozen=True)
class Comparison:
    """Two models on the same clips: the difference first minus second, its interval, and a test.

    ``p_value`` is that of the paired permutation test; see `compare`.
    """

    difference: Interval
    p_value: float
    permutations: int


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
    counts = np.asarray(confusion, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., C)
    true, said = counts.sum(axis=-1), counts.sum(axis=-2)
    total = true.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if figure == "accuracy":
            return right.sum(axis=-1) / total
        if figure == "uar":
            return (right / true).mean(axis=-1)
        f1 = 2 * right / (true + said)  # a class with clips has a sum above 0
        if figure == "uf1":
            return np.where((true > 0).all(axis=-1), f1.mean(axis=-1), np.nan)
        return np.where(true > 0, f1 * true, 0.0).sum(axis=-1) / total


def interval(
    confusions: NDArray[np.int64],
    figure: Figure = "uf1",
    *,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "bca",
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a figure over subjects, and over repetitions where there are several.

    Parameters
    ----------
    confusions
        From `subject_confusions`, (R, S, C, C).
    figure
        One of `FIGURES`; pooled over subjects, then the mean over repetitions.
    level
        Nominal coverage, between 0 and 1.
    method
        ``percentile``, or ``bca``: corrected for bias and skewness, from leaving out one subject at a time.
    resamples
        Number of resamples.
    seed
        Seeds the draws; one seed gives one interval.

    Raises
    ------
    StatsError
        If there are fewer than two subjects, or hardly any resample holds every class.
    """
    value = float(figures_of(confusions.sum(axis=1), figure).mean())
    drawn, redrawn = _bootstrap([confusions], figure, resamples, seed)
    left_out = _leave_one_out(confusions, figure) if method == "bca" else None
    low, high = _ends(drawn[0], value, level, left_out)
    return _interval(value, low, high, level, method, confusions, redrawn)


def compare(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    figure: Figure = "uf1",
    *,
    level: float = 0.95,
    resamples: int = 2000,
    permutations: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same clips: paired bootstrap and paired permutation test.

    Both draw whole subjects, the same ones for both models. The test's null hypothesis is that the two
    models' predictions of a subject may be swapped; its p-value, (1 + k) / (1 + n) for k of n random swaps
    whose difference is at least as large either way, never is 0. Repetitions are averaged.

    Parameters
    ----------
    first, second
        From `subject_confusions` of the same labels and subjects; their repetitions may differ in number.
    figure, level, resamples, seed
        See `interval`; the interval is the percentile one.
    permutations
        Number of random swaps.

    Raises
    ------
    StatsError
        If the two do not stand for the same subjects, clips and labels.
    """
    if first.shape[1:] != second.shape[1:] or (first[0].sum(axis=-1) != second[0].sum(axis=-1)).any():
        raise StatsError("the two sets of predictions are not of the same subjects, clips and labels")
    value = float(figures_of(first.sum(axis=1), figure).mean() - figures_of(second.sum(axis=1), figure).mean())
    drawn, redrawn = _bootstrap([first, second], figure, resamples, seed)
    low, high = _ends(drawn[0] - drawn[1], value, level, None)

    generator = np.random.default_rng([seed, 1])
    swapped = generator.integers(0, 2, (permutations, first.shape[1])).astype(np.float64)
    kept = 1 - swapped
    # a figure of repetitions is the mean of their figures; what is swapped is the pair of whole runs
    one = np.stack([_mean_figure(first, second, weights, figure) for weights in (kept, swapped)])
    extreme = np.abs(one[0] - one[1]) >= abs(value) - 1e-12
    p_value = (1 + int(extreme.sum())) / (1 + permutations)
    return Comparison(_interval(value, low, high, level, "percentile", first, redrawn), p_value, permutations)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests so that the chance of any false finding stays below the level.

    Returns
    -------
    Adjusted p-values, in the order given, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted.tolist()


def _mean_figure(
    first: NDArray[np.int64], second: NDArray[np.int64], weights: NDArray[np.float64], figure: Figure
) -> NDArray[np.float64]:
    """Mean figure over repetitions of runs pieced together: a subject from ``first`` where its weight is 1.

    Every repetition of one is joined with every repetition of the other, so that both count whole.
    """
    ones = [np.tensordot(weights, a, 1) for a in first]
    others = [np.tensordot(1 - weights, b, 1) for b in second]
    return np.mean([figures_of(a + b, figure) for a in ones for b in others], axis=0)


def _bootstrap(
    runs: list[NDArray[np.int64]], figure: Figure, resamples: int, seed: int
) -> tuple[list[NDArray[np.float64]], int]:
    """Figures of each run over resampled subjects, the same for all runs, and how many were drawn anew."""
    subjects = runs[0].shape[1]
    if subjects < 2:
        raise StatsError("a bootstrap over subjects needs at least two of them")
    truth = runs[0][0].sum(axis=-1)  # (S, C): clips of each class
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(subjects, np.full(subjects, 1 / subjects), resamples)  # (N, S)
    redrawn = 0
    for _ in range(MOST_REDRAWN):
        lacking = ((counts @ truth) == 0).any(axis=1)
        if not lacking.any():
            break
        redrawn += int(lacking.sum())
        counts[lacking] = generator.multinomial(subjects, np.full(subjects, 1 / subjects), int(lacking.sum()))
    else:
        raise StatsError("hardly any resample of subjects holds every class: too few subjects show the rarest one")
    figures = []
    for run in runs:
        each = np.stack([figures_of(np.tensordot(counts, one, 1), figure) for one in run], axis=1)  # (N, R)
        repetitions = each.shape[1]
        chosen = generator.integers(0, repetitions, each.shape)  # repetitions with replacement
        figures.append(np.take_along_axis(each, chosen, axis=1).mean(axis=1))
    return figures, redrawn


def _leave_one_out(confusions: NDArray[np.int64], figure: Figure) -> NDArray[np.float64]:
    """The figure without each subject; NaN where a class is then without clips."""
    without = confusions.sum(axis=1, keepdims=True) - confusions  # (R, S, C, C)
    return figures_of(without, figure).mean(axis=0)


def _ends(
    drawn: NDArray[np.float64], value: float, level: float, left_out: NDArray[np.float64] | None
) -> tuple[float, float]:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if left_out is not None:
        # the share of resamples below the figure, ties counted by half, gives the bias
        below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
        bias = ndtri(np.clip(below, 1 / (len(drawn) + 1), len(drawn) / (len(drawn) + 1)))
        # where a class hangs on one subject, its figure without that subject is not defined and has no part in this
        defined = left_out[np.isfinite(left_out)]
        away = defined.sum() / max(1, len(defined)) - defined
        spread = (away**2).sum()
        acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
        shifted = bias + ndtri(tails)
        tails = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(drawn, tails)
    return float(low), float(high)


def _interval(
    value: float, low: float, high: float, level: float, method: str, confusions: NDArray[np.int64], redrawn: int
) -> Interval:
    repetitions, subjects = confusions.shape[:2]
    return Interval(value, low, high, level, method, subjects, int(confusions[0].sum()), repetitions, redrawn)
