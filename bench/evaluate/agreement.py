"""Whether two releases put the same models in the same order: rank correlations of UF1, with intervals.

Spearman's rho is the correlation of the ranks, Kendall's tau (b, which allows for ties) counts the pairs of models that
both releases put in the same order: Kendall, "Rank Correlation Methods" (1948).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fdpbench.bench.evaluate.bootstrap import resampled
from fdpbench.bench.evaluate.metrics import MetricError, metric_of
from fdpbench.bench.evaluate.records import LEVEL, RESAMPLES

__all__ = ["LEAST_MODELS", "Agreement", "Correlation", "agreement", "kendall", "spearman"]

METRIC = "uf1"
LEAST_MODELS = 3  # the order of two is right or wrong, and no more


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval.

    Attributes
    ----------
    value
        Between the UF1 of the models on all clips, means over repetitions.
    low, high
        Ends of the percentile interval.
    undefined
        Resamples without part in the interval, as all models had the same UF1 on one of the two sides.
    """

    value: float
    low: float
    high: float
    undefined: int


@dataclass(frozen=True)
class Agreement:
    """The order of M models on two releases.

    Attributes
    ----------
    first, second
        UF1 of each model on either, means over repetitions.
    spearman, kendall
        Their rank correlations.
    """

    first: tuple[float, ...]
    second: tuple[float, ...]
    spearman: Correlation
    kendall: Correlation


def agreement(
    first: Sequence[NDArray[np.int64]],
    second: Sequence[NDArray[np.int64]],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Correlate the order of models on one release with their order on another.

    The two are resampled independently of each other: on each side subjects, the same for all models, and repetitions
    of each model. Resampled UF1 err more than those of all clips, which draws the interval towards 0; of a release with
    itself, it tells how well its order can be known.

    Parameters
    ----------
    first, second
        From `bench.evaluate.metrics.subject_confusions`: of each model on either release, in the same order of models.
        The two releases have subjects, clips and classes of their own.
    level, resamples, seed
        See `bench.evaluate.bootstrap.intervals`; intervals are percentile ones.

    Raises
    ------
    MetricError
        If there are fewer than three models, models of one side are not of the same clips, or all have the same UF1.
    """
    if len(first) != len(second) or len(first) < LEAST_MODELS:
        raise MetricError(f"{len(first)} and {len(second)} models: expected the same ones, at least {LEAST_MODELS}")
    values = [np.array([metric_of(run.sum(axis=1), METRIC).mean() for run in side]) for side in (first, second)]
    sampled = []
    for number, side in enumerate((first, second)):
        found, _ = resampled(side, (METRIC,), resamples, seed + number)
        sampled.append(np.stack([one[METRIC] for one in found], axis=1))  # (N, M)
    return Agreement(
        tuple(values[0].tolist()),
        tuple(values[1].tolist()),
        _correlation(spearman(*values), spearman(*sampled), level),
        _correlation(kendall(*values), kendall(*sampled), level),
    )


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give Spearman's rho along the last axis, (..., M) to (...); equal values share the mean of their ranks.

    NaN where all values of one are equal.
    """
    a, b = (rankdata(side, axis=-1) for side in (first, second))
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return _normalised((a * b).sum(axis=-1), (a * a).sum(axis=-1), (b * b).sum(axis=-1))


def kendall(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give Kendall's tau-b along the last axis, (..., M) to (...); NaN where all values of one are equal."""
    one, other = np.triu_indices(first.shape[-1], k=1)
    a, b = (np.sign(side[..., one] - side[..., other]) for side in (first, second))
    return _normalised((a * b).sum(axis=-1), (a * a).sum(axis=-1), (b * b).sum(axis=-1))


def _normalised(
    together: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(together / np.sqrt(first * second))


def _correlation(value: NDArray[np.float64], sampled: NDArray[np.float64], level: float) -> Correlation:
    defined = sampled[np.isfinite(sampled)]
    if not np.isfinite(value) or not len(defined):
        raise MetricError("all models have the same UF1 on one of the two: they have no order")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Correlation(float(value), float(low), float(high), len(sampled) - len(defined))
