"""A set of predictions in memory, whoever made them, and what it is worth: over all clips and for each data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.bootstrap import intervals
from fdpbench.bench.evaluate.metrics import Measures, MetricError, measures, subject_confusions
from fdpbench.bench.evaluate.records import LEVEL, POOLED, RESAMPLES, Part

__all__ = ["PredictionSet", "evaluate_part", "prediction_set"]


@dataclass(frozen=True)
class PredictionSet:
    """Predictions of N clips in order of clip id, by R repetitions.

    Attributes
    ----------
    classes
        Names of the classes, in order of index.
    clip_ids, datasets, subjects
        Of each clip.
    y_true
        Class indices, (N,).
    y_pred
        Class indices, (R, N).
    """

    classes: tuple[str, ...]
    clip_ids: tuple[str, ...]
    datasets: tuple[str, ...]
    subjects: tuple[str, ...]
    y_true: NDArray[np.int64]
    y_pred: NDArray[np.int64]

    @property
    def parts(self) -> list[str]:
        """All clips (`POOLED`), and each data set where there are several."""
        datasets = sorted(set(self.datasets))
        return [POOLED, *(datasets if len(datasets) > 1 else [])]

    def of(self, part: str) -> PredictionSet:
        """The predictions of one of `parts`."""
        chosen = [k for k, dataset in enumerate(self.datasets) if part in (POOLED, dataset)]
        ids, datasets, subjects = (
            tuple(names[k] for k in chosen) for names in (self.clip_ids, self.datasets, self.subjects)
        )
        return PredictionSet(self.classes, ids, datasets, subjects, self.y_true[chosen], self.y_pred[:, chosen])

    def confusions(self) -> NDArray[np.int64]:
        """Confusion matrix of each repetition and subject, (R, S, C, C); see `subject_confusions`."""
        return subject_confusions(self.y_true, self.y_pred, self.subjects, self.classes)


def prediction_set(rows: Sequence[dict[str, Any]], classes: tuple[str, ...]) -> PredictionSet:
    """Gather the rows of a run, which `bench.evaluate.predictions.check_predictions` has passed.

    Parameters
    ----------
    rows
        Sorted by repetition, then clip id; not empty.
    classes
        Names of the classes.
    """
    once = [row for row in rows if row["repetition"] == rows[0]["repetition"]]
    predicted = np.array([row["y_pred"] for row in rows], dtype=np.int64)
    return PredictionSet(
        classes=classes,
        clip_ids=tuple(row["clip_id"] for row in once),
        datasets=tuple(row["dataset"] for row in once),
        subjects=tuple(row["subject"] for row in once),
        y_true=np.array([row["y_true"] for row in once], dtype=np.int64),
        y_pred=predicted.reshape(-1, len(once)),
    )


def evaluate_part(
    predictions: PredictionSet, part: str = POOLED, level: float = LEVEL, resamples: int = RESAMPLES
) -> Part:
    """Compute every metric of one of a set's parts, with its interval.

    Parameters
    ----------
    predictions
        The whole set.
    part
        One of its `parts`.
    level, resamples
        See `bench.evaluate.bootstrap.intervals`.
    """
    chosen = predictions.of(part)
    clips, subjects = len(chosen.clip_ids), len(set(chosen.subjects))
    each: tuple[Measures, ...] = ()
    try:
        confusions = chosen.confusions()
        each = tuple(measures(confusion, chosen.classes) for confusion in confusions.sum(axis=1))
        return Part(clips, subjects, each, intervals(confusions, level=level, resamples=resamples), None)
    except MetricError as error:
        return Part(clips, subjects, each, {}, str(error))
