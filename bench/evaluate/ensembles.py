"""Predictions of an ensemble: the mean of its members' class probabilities, each member's over all of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.evaluation import FOLDER
from fdpbench.bench.evaluate.predictions import PREDICTIONS, PredictionError
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.settings import RunEntry

__all__ = ["ENSEMBLES", "ensemble_rows", "predictions_of"]

ENSEMBLES = FOLDER / "ensembles"  # a file of predictions for each

# How far a clip's scores may be from a sum of 1 and still be probabilities.
TOLERANCE = 1e-6


def predictions_of(run: str, entry: RunEntry, evaluation: Path = FOLDER) -> Path:
    """File of the predictions of a run or an ensemble; those of ensembles lie with the evaluation."""
    return evaluation / ENSEMBLES.name / f"{run}.parquet" if entry.members else Artifacts(run).predictions


def ensemble_rows(ensemble: str, members: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of an ensemble, as `bench.evaluate.predictions.PREDICTIONS` has them.

    A member counts as much as any other. The ensemble has one repetition, no seed (0), no epoch, and no rank scores or
    generated images.

    Parameters
    ----------
    ensemble
        Its name.
    members
        Rows of each member by repetition and clip, which `bench.evaluate.predictions.check_predictions` has passed; all
        are of the same clips.

    Raises
    ------
    PredictionError
        If scores of a member are not probabilities.
    """
    probabilities = np.mean([_probabilities(ensemble, rows) for rows in members], axis=0)  # (N, classes)
    once = [row for row in members[0] if row["repetition"] == members[0][0]["repetition"]]
    nothing = {"repetition": 0, "seed": 0, "epoch": None, "rank_scores": None, "drawn": None}
    return [
        {key: row[key] for key in PREDICTIONS.names}
        | nothing
        | {"run": ensemble, "y_pred": int(scores.argmax()), "scores": scores.tolist()}
        for row, scores in zip(once, probabilities, strict=True)
    ]


def _probabilities(ensemble: str, rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Of each clip, mean over the repetitions of a run: (N, classes)."""
    scores = np.array([row["scores"] for row in rows], dtype=np.float64)
    strange = (scores < 0).any(axis=1) | (np.abs(scores.sum(axis=1) - 1) > TOLERANCE)
    if strange.any():
        row = rows[int(strange.argmax())]
        raise PredictionError(
            f"ensemble {ensemble}: scores of {row['run']} are not probabilities, such as {row['scores']} of "
            f"{row['clip_id']}; take the run out of ensembles.{ensemble}"
        )
    repetitions = len({row["repetition"] for row in rows})
    mean: NDArray[np.float64] = scores.reshape(repetitions, -1, scores.shape[1]).mean(axis=0)
    return mean
