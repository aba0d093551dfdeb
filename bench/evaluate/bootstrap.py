"""How certain a metric is: intervals and tests whose unit is the subject.

Clips of one subject are alike, so resampling clips would pretend to more evidence than there is. Everything
here starts from one confusion matrix for each subject and repetition, resamples subjects, and where a run
was trained several times, its repetitions too. Knows nothing of files, folds or models.

Resampling follows Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 14 for
percentile and BCa intervals; the permutation test swaps two models' predictions subject by subject
(Good, "Permutation Tests", 2000); many comparisons are corrected by Holm (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from fdpbench.bench.evaluate.metrics import METRICS, MetricError, metric_of, metric_of_sums, sums_of
from fdpbench.bench.evaluate.records import LEVEL, RESAMPLES, Comparison, Interval

__all__ = ["compare", "compare_pairs", "critical_difference", "holm", "intervals", "permutation_test", "resampled"]

ALL = tuple(METRICS)

# A resample may lack a class, for which UF1 and UAR are not defined; it is sampled anew, so often at most.
MOST_REDRAWN = 100


def intervals(
    confusions: NDArray[np.int64],
    metrics: Sequence[str] = ALL,
    *,
    level: float = LEVEL,
    method: Literal["percentile", "bca"] = "bca",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of metrics over subjects, and over repetitions where there are several.

    Parameters
    ----------
    confusions
        From `bench.evaluate.metrics.subject_confusions`, (R, S, C, C).
    metrics
        Keys of `METRICS`; each is pooled over subjects, then averaged over repetitions. All use the same resamples.
    level
        Nominal coverage, between 0 and 1.
    method
        ``percentile``, or ``bca``: corrected for bias and skewness, from leaving out one subject at a time.
    resamples
        Number of resamples.
    seed
        Seeds the resamples; one seed gives one interval.

    Returns
    -------
    By metric.

    Raises
    ------
    MetricError
        If there are fewer than two subjects, or hardly any resample holds every class.
    """
    (sampled,), redrawn = resampled([confusions], metrics, resamples, seed)
    found = {}
    for metric in metrics:
        value = float(metric_of(confusions.sum(axis=1), metric).mean())
        left_out = _leave_one_out(confusions, metric) if method == "bca" else None
        low, high = _ends(sampled[metric], value, level, left_out)
        found[metric] = _interval(value, low, high, level, method, confusions, redrawn)
    return found


def compare(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    metrics: Sequence[str] = ALL,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare two models on the same clips: paired bootstrap and paired permutation test.

    Both take whole subjects, the same ones for both models. The test's null hypothesis is that the two
    models' predictions of a subject may be swapped; its p-value, (1 + k) / (1 + n) for k of n random swaps
    whose difference is at least as large either way, never is 0. Repetitions are averaged.

    Parameters
    ----------
    first, second
        From `bench.evaluate.metrics.subject_confusions` of the same labels and subjects; their repetitions may differ
        in number.
    metrics, level, resamples, seed
        See `intervals`; the interval is the percentile one.
    permutations
        Number of random swaps.

    Returns
    -------
    By metric.

    Raises
    ------
    MetricError
        If the two do not stand for the same subjects, clips and labels.
    """
    return compare_pairs(
        [(first, second)], metrics, level=level, resamples=resamples, permutations=permutations, seed=seed
    )


def compare_pairs(
    pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    metrics: Sequence[str] = ALL,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare pairs of models, all on the same clips: the mean of the pairs' differences.

    A resample takes the same subjects for every model of every pair, and repetitions of each model by themselves; a
    swap exchanges a subject's predictions within every pair at once. So models that err on the same subjects are not
    taken for independent evidence.

    Parameters
    ----------
    pairs
        First and second of each pair, as in `compare`; at least one pair.
    metrics, level, resamples, permutations, seed
        See `compare`, which is this of one pair.

    Returns
    -------
    By metric.

    Raises
    ------
    MetricError
        If they do not all stand for the same subjects, clips and labels.
    """
    runs = [run for pair in pairs for run in pair]
    sampled, redrawn = resampled(runs, metrics, resamples, seed)
    p_values = _p_values(pairs, metrics, permutations, seed)
    found = {}
    for metric in metrics:
        each = [one[metric] - other[metric] for one, other in zip(sampled[::2], sampled[1::2], strict=True)]
        value = _difference(pairs, metric)
        low, high = _ends(np.mean(each, axis=0), value, level, None)
        difference = _interval(value, low, high, level, "percentile", runs[0], redrawn)
        found[metric] = Comparison(difference, p_values[metric], permutations)
    return found


def permutation_test(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    metrics: Sequence[str] = ALL,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Give the p-values of `compare`.

    Every repetition of one is joined with every repetition of the other, so that both count whole: a metric of
    repetitions is the mean of their metrics, and what is swapped is the pair of whole runs.
    """
    return _p_values([(first, second)], metrics, permutations, seed)


def critical_difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    level: float,
    metric: str = "uf1",
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Return what a difference must exceed for the permutation test of these two runs to give ``level`` or less.

    It depends on how far the two disagree, subject by subject: the more they do, the more chance alone can move.

    Parameters
    ----------
    first, second, permutations, seed
        See `compare`; the swaps are the same.
    level
        The p-value to reach, before any adjustment.
    metric
        A key of `METRICS`.

    Returns
    -------
    Infinity where no difference reaches the level: too few swaps, or too few subjects on which the two disagree.
    """
    sizes = np.sort(np.abs(_swapped(first, second, (metric,), permutations, seed)[metric]))[::-1]
    allowed = int(level * (1 + permutations)) - 1  # as many swaps may be as large
    if (
        not 0 <= allowed < permutations or sizes[allowed] >= sizes[0] - 1e-12
    ):  # no swap exceeds the one of every subject
        return float("inf")
    return float(sizes[allowed])


def _swapped(
    first: NDArray[np.int64], second: NDArray[np.int64], metrics: Sequence[str], permutations: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Differences of metrics under random swaps of whole subjects, each (permutations,)."""
    _same_clips(first, second)
    swapped = np.random.default_rng([seed, 1]).integers(0, 2, (permutations, first.shape[1])).astype(np.float64)
    true = first[0].sum(axis=(0, 2)).astype(np.float64)[:, None]  # (C, 1): the same whatever is swapped
    sides = [
        [(sums.sum(axis=1), sums @ swapped.T) for sums in map(_right_and_predicted, run)] for run in (first, second)
    ]
    found = dict.fromkeys(metrics, np.zeros(permutations))
    for total_a, a in sides[0]:
        for total_b, b in sides[1]:
            pieced = (total_a[:, None] - a + b, total_b[:, None] - b + a)  # each (2C, permutations)
            pair = [np.split(sums, 2) for sums in pieced]
            for metric in metrics:
                one, other = (metric_of_sums(right, true, predicted, metric) for right, predicted in pair)
                found[metric] = found[metric] + (one - other) / (len(first) * len(second))
    return found


def _p_values(
    pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    metrics: Sequence[str],
    permutations: int,
    seed: int,
) -> dict[str, float]:
    """P-values of the mean difference of pairs; a swap is the same for all of them."""
    each = [_swapped(first, second, metrics, permutations, seed) for first, second in pairs]
    p_values = {}
    for metric in metrics:
        found = np.mean([one[metric] for one in each], axis=0)
        extreme = np.abs(found) >= abs(_difference(pairs, metric)) - 1e-12
        p_values[metric] = (1 + int(extreme.sum())) / (1 + permutations)
    return p_values


def _difference(pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], metric: str) -> float:
    """Mean over pairs of what the first has more, itself the mean over repetitions."""
    means = [[metric_of(run.sum(axis=1), metric).mean() for run in pair] for pair in pairs]
    return float(np.mean([first - second for first, second in means]))


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


def _same_clips(first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    if first.shape[1:] != second.shape[1:] or (first[0].sum(axis=-1) != second[0].sum(axis=-1)).any():
        raise MetricError("the two sets of predictions are not of the same subjects, clips and labels")


def _right_and_predicted(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the subjects' matrices (S, C, C), recognised and predicted clips of each class: (2C, S)."""
    right, _, predicted = sums_of(confusions)
    return np.concatenate([right.T, predicted.T])


def resampled(
    runs: Sequence[NDArray[np.int64]], metrics: Sequence[str], resamples: int, seed: int
) -> tuple[list[dict[str, NDArray[np.float64]]], int]:
    """Compute metrics of runs over resampled subjects, the same for all runs, and resampled repetitions of each.

    Parameters
    ----------
    runs
        From `bench.evaluate.metrics.subject_confusions`, of the same subjects, clips and labels.
    metrics, resamples, seed
        See `intervals`.

    Returns
    -------
    Of each run its metrics, (resamples,) each, and how many resamples lacked a class and were sampled anew.

    Raises
    ------
    MetricError
        If there are fewer than two subjects, the runs are not of the same ones, or hardly any resample holds every
        class.
    """
    for run in runs[1:]:
        _same_clips(runs[0], run)
    subjects = runs[0].shape[1]
    if subjects < 2:
        raise MetricError("a bootstrap over subjects needs at least two of them")
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
        raise MetricError("hardly any resample of subjects holds every class: too few subjects show the rarest one")
    weights = counts.T.astype(np.float64)  # (S, N)
    true = truth.T @ weights  # (C, N)
    found = []
    for run in runs:
        sums = [np.split(_right_and_predicted(one) @ weights, 2) for one in run]
        chosen = generator.integers(0, len(run), (resamples, len(run)))  # repetitions with replacement
        each = {m: np.stack([metric_of_sums(right, true, said, m) for right, said in sums], axis=1) for m in metrics}
        found.append({m: np.take_along_axis(values, chosen, axis=1).mean(axis=1) for m, values in each.items()})
    return found, redrawn


def _leave_one_out(confusions: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """The metric without each subject; NaN where a class is then without clips."""
    without = confusions.sum(axis=1, keepdims=True) - confusions  # (R, S, C, C)
    return metric_of(without, metric).mean(axis=0)


def _ends(
    sampled: NDArray[np.float64], value: float, level: float, left_out: NDArray[np.float64] | None
) -> tuple[float, float]:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if left_out is not None:
        # the share of resamples below the metric, ties counted by half, gives the bias
        below = ((sampled < value).mean() + (sampled <= value).mean()) / 2
        bias = ndtri(np.clip(below, 1 / (len(sampled) + 1), len(sampled) / (len(sampled) + 1)))
        # where a class hangs on one subject, its metric without that subject is not defined and has no part in this
        defined = left_out[np.isfinite(left_out)]
        away = defined.sum() / max(1, len(defined)) - defined
        spread = (away**2).sum()
        acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
        shifted = bias + ndtri(tails)
        tails = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(sampled, tails)
    return float(low), float(high)


def _interval(
    value: float, low: float, high: float, level: float, method: str, confusions: NDArray[np.int64], redrawn: int
) -> Interval:
    repetitions, subjects = confusions.shape[:2]
    return Interval(value, low, high, level, method, subjects, int(confusions[0].sum()), repetitions, redrawn)
