"""What guessing is worth: the figures of predictions that look at no clip, from a task's labels alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from fdpbench.bench.evaluate.confusions import FIGURES, Figure, StatsError, figures_of

__all__ = ["CHANCE", "chance_levels"]

# Name of a way to guess -> how a table names it.
CHANCE = {
    "majority": "the most frequent class for every clip",
    "stratified": "classes drawn at random by their shares of the clips (expected figure)",
}


def chance_levels(labels: ArrayLike, classes: int) -> dict[str, dict[Figure, float]]:
    """Figures of the two usual ways to guess.

    ``majority`` says the most frequent class of all clips each time; figures are exact. ``stratified`` draws class k
    for each clip with the probability n_k / N, whatever the clip; figures are expectations. Of class k the right
    answers are then binomial(n_k, n_k / N) and the wrong ones binomial(N - n_k, n_k / N), independently, so that the
    expected F1 of a class, 2TP / (n_k + TP + FP), is a double sum over both, which is added up exactly.

    Parameters
    ----------
    labels
        Class index of each clip, (N,).
    classes
        Number of classes.

    Raises
    ------
    StatsError
        If a class has no clip.
    """
    counts = np.bincount(np.asarray(labels), minlength=classes)
    if len(counts) != classes or (counts == 0).any():
        raise StatsError(f"chance needs clips of each of the {classes} classes, found {counts.tolist()}")
    confusion = np.zeros((classes, classes), np.int64)  # true, predicted
    confusion[:, counts.argmax()] = counts
    shares = counts / counts.sum()
    f1 = np.array([_expected_f1(int(count), int(counts.sum())) for count in counts])
    stratified: dict[Figure, float] = {
        "uf1": float(f1.mean()),
        "uar": 1 / classes,  # the recall of class k is expected to be its share; the shares' mean
        "accuracy": float((shares**2).sum()),
        "weighted_f1": float((f1 * shares).sum()),
    }
    return {
        "majority": {figure: float(figures_of(confusion, figure)) for figure in FIGURES},
        "stratified": stratified,
    }


def _expected_f1(count: int, total: int) -> float:
    share = count / total
    right: NDArray[np.int64] = np.arange(count + 1)[:, None]
    wrong: NDArray[np.int64] = np.arange(total - count + 1)[None, :]
    weights = binom.pmf(right, count, share) * binom.pmf(wrong, total - count, share)
    return float((weights * 2 * right / (count + right + wrong)).sum())
