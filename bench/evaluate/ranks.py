"""Models over tasks: mean ranks, Friedman's test and Nemenyi's critical difference.

Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", Journal of Machine Learning Research 7
(2006), sections 3.2.2 and 3.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fdpbench.bench.evaluate.records import SIGNIFICANCE, Ranks
from fdpbench.bench.evaluate.scores import Score

__all__ = ["rank_models", "ranks_of"]

# Friedman's test needs three models; one task has no spread of ranks.
LEAST_TASKS, LEAST_MODELS = 2, 3


def rank_models(scores: Sequence[Score]) -> Ranks | None:
    """Rank by UF1 the models that every task has an honest run of, over the tasks.

    Of a task counts each model's run in the task's own table that competes; of several, the one of protocol
    ``honest`` with the model's own options, then the first by name: never the one that scores best. A task without
    such a run is left out, and so are ensembles, and runs that do not leave one subject out.

    Returns
    -------
    None with fewer than two tasks or fewer than three models that all of them have.
    """
    chosen: dict[str, dict[str, float]] = {}
    for score in sorted(scores, key=lambda s: (s.protocol != "honest", bool(s.entry.set), s.run)):
        if score.competes and score.entry.printed_in is None and not score.entry.members:
            chosen.setdefault(score.task.task, {}).setdefault(score.model, score.mean("uf1"))
    tasks = sorted(chosen)
    models = sorted(set.intersection(*(set(chosen[task]) for task in tasks))) if tasks else []
    if len(tasks) < LEAST_TASKS or len(models) < LEAST_MODELS:
        return None
    return ranks_of([[chosen[task][model] for model in models] for task in tasks], models, tasks)


def ranks_of(values: ArrayLike, models: Sequence[str], tasks: Sequence[str]) -> Ranks:
    """Rank models over tasks.

    Parameters
    ----------
    values
        Shape (tasks, models); the higher, the better.
    models, tasks
        Their names.
    """
    table = np.asarray(values, dtype=np.float64)
    ranks: NDArray[np.float64] = stats.rankdata(-table, axis=1).mean(axis=0)
    count, number = len(models), len(tasks)
    alike = (table == table[:, :1]).all()
    p_value = 1.0 if alike else float(stats.friedmanchisquare(*table.T).pvalue)
    # the studentised range of infinitely many degrees of freedom, divided by the root of 2 (Demsar, table 5)
    quantile = stats.studentized_range.ppf(1 - SIGNIFICANCE, count, np.inf) / np.sqrt(2)
    order = sorted(range(count), key=lambda k: (ranks[k], models[k]))
    mean_ranks = tuple(float(ranks[k]) for k in order)
    critical = float(quantile * np.sqrt(count * (count + 1) / (6 * number)))
    return Ranks(
        tuple(models[k] for k in order), tuple(tasks), mean_ranks, p_value, critical, _groups(mean_ranks, critical)
    )


def _groups(mean_ranks: Sequence[float], critical: float) -> tuple[tuple[int, int], ...]:
    stretches: list[tuple[int, int]] = []
    for first, rank in enumerate(mean_ranks):
        last = max(k for k, other in enumerate(mean_ranks) if other - rank < critical)
        if last > first and (not stretches or last > stretches[-1][1]):
            stretches.append((first, last))
    return tuple(stretches)
