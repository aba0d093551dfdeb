"""The price of leakage: what looking at the test subject, each released fault, and averaging another way are worth.

A run that departs from the honest protocol is compared with an honest run of the same model on the same clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.bootstrap import compare
from fdpbench.bench.evaluate.metrics import metric_of, subject_confusions, sums_of
from fdpbench.bench.evaluate.prediction_set import PredictionSet
from fdpbench.bench.evaluate.records import Effect
from fdpbench.bench.evaluate.scores import FoldMeans, Score

__all__ = ["audit_effects", "fold_means", "mean_fold_means"]


def audit_effects(scores: Sequence[Score], predictions: Mapping[str, PredictionSet]) -> list[Effect]:
    """Compare every run that departs from the honest protocol with the honest run of its model.

    The honest run is the first by name of the same model, the same settings and folds, and the
    same data sets and classes whose protocol is plainly ``honest``: of the same task, or, as truncated sampling makes
    another task, else of another one. A run without one is left out, and so is one that starts from weights: that is
    no fault.

    Parameters
    ----------
    scores
        In order of name.
    predictions
        By run.
    """
    effects = []
    for score in scores:
        candidates = [other for other in scores if _same(score, other)]
        if score.conduct == "honest" or score.entry.init or not candidates:
            continue
        honest = next((other for other in candidates if other.entry.task == score.entry.task), candidates[0])
        mine, reference = predictions[score.run], predictions[honest.run]
        confusions, other = mine.confusions(), reference.confusions()
        uf1, honest_uf1 = (float(metric_of(c.sum(axis=1), "uf1").mean()) for c in (confusions, other))
        alike = mine.clip_ids == reference.clip_ids and np.array_equal(mine.y_true, reference.y_true)
        comparison = compare(confusions, other, ("uf1",))["uf1"] if alike else None
        effects.append(Effect(score.run, honest.run, uf1, uf1 - honest_uf1, comparison))
    return effects


def fold_means(confusions: NDArray[np.int64]) -> tuple[float, float, float]:
    """UF1 in the three ways in which it is averaged.

    Parameters
    ----------
    confusions
        Of each fold, (F, C, C): true class, predicted class.

    Returns
    -------
    Three floats: F1 from counts pooled over all folds, mean over classes (what this project reports); mean over
    folds of the mean over the classes that the fold's clips have; the same with every class that a fold lacks
    counted as 0.
    """
    pooled = float(metric_of(confusions.sum(axis=0), "uf1"))
    right, true, predicted = sums_of(confusions)  # (F, C) each
    f1 = 2 * right / np.maximum(true + predicted, 1)
    present = true > 0
    over_present = float(((f1 * present).sum(axis=1) / present.sum(axis=1)).mean())
    return pooled, over_present, float((f1 * present).mean())


def mean_fold_means(predictions: PredictionSet, folds: Sequence[str]) -> FoldMeans:
    """`fold_means` of a run, mean over repetitions; ``folds`` names the fold of each clip."""
    by_fold = subject_confusions(predictions.y_true, predictions.y_pred, folds, predictions.classes)  # (R, F, C, C)
    ways = [fold_means(confusions) for confusions in by_fold]
    return FoldMeans(*(fmean(values) for values in zip(*ways, strict=True)))


def _same(score: Score, other: Score) -> bool:
    return (
        other.conduct == "honest"
        and not other.entry.init
        and other.entry.folds_text == score.entry.folds_text
        and other.model == score.model
        and not (score.entry.members or other.entry.members)
        and other.entry.set == score.entry.set
        and other.task.classes == score.task.classes
        and set(other.clips_by_dataset) == set(score.clips_by_dataset)
    )
