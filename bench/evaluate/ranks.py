"""Models over tasks: mean ranks, Friedman's test and Nemenyi's critical difference, and their plot.

Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", Journal of Machine Learning Research 7
(2006), sections 3.2.2 and 3.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fdpbench.bench.evaluate.compare import SIGNIFICANCE
from fdpbench.bench.evaluate.scores import Score

__all__ = ["Ranks", "draw_ranks", "groups_of", "rank_models", "ranks_of"]

# Friedman's test needs three models; one task has no spread of ranks.
LEAST_TASKS, LEAST_MODELS = 2, 3


@dataclass(frozen=True)
class Ranks:
    """Models ranked over tasks.

    Attributes
    ----------
    models
        Best mean rank first.
    tasks
        The tasks.
    mean_ranks
        Of each model over the tasks; 1 is the best, equal figures share the mean of their ranks.
    p_value
        Of Friedman's test that all models are alike; 1 where all figures are equal.
    critical_difference
        Mean ranks that differ by less are not told apart at 0.05 (Nemenyi).
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    p_value: float
    critical_difference: float


def rank_models(scores: Sequence[Score]) -> Ranks | None:
    """Rank by UF1 the models that every task has an honest run of, over the tasks.

    Of a task counts each model's run in the task's own table that competes; of several, the one of protocol
    ``honest`` with the model's own options, then the first by name: never the one that scores best. A task without
    such a run is left out.

    Returns
    -------
    None with fewer than two tasks or fewer than three models that all of them have.
    """
    chosen: dict[str, dict[str, float]] = {}
    for score in sorted(scores, key=lambda s: (s.protocol != "honest", bool(s.entry.set), s.run)):
        if score.competes and score.entry.table is None:
            chosen.setdefault(score.task.task, {}).setdefault(score.model, score.mean("uf1"))
    tasks = sorted(chosen)
    models = sorted(set.intersection(*(set(chosen[task]) for task in tasks))) if tasks else []
    if len(tasks) < LEAST_TASKS or len(models) < LEAST_MODELS:
        return None
    return ranks_of([[chosen[task][model] for model in models] for task in tasks], models, tasks)


def ranks_of(figures: ArrayLike, models: Sequence[str], tasks: Sequence[str]) -> Ranks:
    """Rank models over tasks.

    Parameters
    ----------
    figures
        Shape (tasks, models); the higher, the better.
    models, tasks
        Their names.
    """
    values = np.asarray(figures, dtype=np.float64)
    ranks: NDArray[np.float64] = stats.rankdata(-values, axis=1).mean(axis=0)
    count, number = len(models), len(tasks)
    alike = (values == values[:, :1]).all()
    p_value = 1.0 if alike else float(stats.friedmanchisquare(*values.T).pvalue)
    # the studentised range of infinitely many degrees of freedom, divided by the root of 2 (Demsar, table 5)
    quantile = stats.studentized_range.ppf(1 - SIGNIFICANCE, count, np.inf) / np.sqrt(2)
    order = sorted(range(count), key=lambda k: (ranks[k], models[k]))
    return Ranks(
        models=tuple(models[k] for k in order),
        tasks=tuple(tasks),
        mean_ranks=tuple(float(ranks[k]) for k in order),
        p_value=p_value,
        critical_difference=float(quantile * np.sqrt(count * (count + 1) / (6 * number))),
    )


def groups_of(ranks: Ranks) -> list[tuple[int, int]]:
    """Longest stretches of models, first and last index, of which no two are told apart."""
    stretches: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks.mean_ranks):
        last = max(k for k, other in enumerate(ranks.mean_ranks) if other - rank < ranks.critical_difference)
        if last > first and (not stretches or last > stretches[-1][1]):
            stretches.append((first, last))
    return stretches


def draw_ranks(ranks: Ranks, path: Path) -> None:
    """Draw the critical-difference plot: models on an axis of mean ranks, a bar under those not told apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    count, stretches = len(ranks.models), groups_of(ranks)
    left = (count + 1) // 2  # the better half is named on the left, the others on the right
    depth = 0.6 + 0.35 * len(stretches)
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.3 * left + 0.15 * len(stretches)), layout="constrained")
    axes.set(xlim=(0.4, count + 0.6), ylim=(-(depth + left + 0.3), 2.1))
    axes.axis("off")
    axes.plot([1, count], [0, 0], color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.2], color="black", linewidth=1)
        axes.text(tick, 0.3, str(tick), ha="center", va="bottom")
    axes.plot([1, 1 + ranks.critical_difference], [1.3, 1.3], color="black", linewidth=2)
    axes.text(1, 1.4, f"critical difference {ranks.critical_difference:.2f}", ha="left", va="bottom")
    for place, (model, rank) in enumerate(zip(ranks.models, ranks.mean_ranks, strict=True)):
        better = place < left
        height = -(depth + (place if better else count - 1 - place) + 0.3)
        edge = 0.9 if better else count + 0.1
        axes.plot([rank, rank, edge], [0, height, height], color="0.4", linewidth=1)
        name = f"{model}  {rank:.2f}" if better else f"{rank:.2f}  {model}"
        axes.text(edge, height, f" {name} ", ha="right" if better else "left", va="center")
    for number, (first, last) in enumerate(stretches):
        ends = ranks.mean_ranks[first] - 0.04, ranks.mean_ranks[last] + 0.04
        axes.plot(ends, [-0.35 * (number + 1)] * 2, color="tab:blue", linewidth=4, solid_capstyle="butt")
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
