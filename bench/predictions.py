"""Predictions, the only source of figures: one row for each run, repetition and clip."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep import shards

__all__ = ["PREDICTIONS", "PredictionError", "check_predictions", "prediction_rows", "read_predictions"]

PREDICTIONS = pa.schema(
    [
        ("run", pa.string()),
        ("repetition", pa.int32()),
        ("seed", pa.int64()),  # of the fold
        ("clip_id", pa.string()),
        ("dataset", pa.string()),
        ("subject", pa.string()),
        ("fold", pa.string()),
        ("y_true", pa.int32()),
        ("y_pred", pa.int32()),
        ("scores", pa.list_(pa.float64())),  # one for each class
        ("epoch", pa.int32()),  # the epoch whose weights predict; null for models without epochs
    ]
)


class PredictionError(ValueError):
    """Predictions are incomplete, doubled or not numbers; the message names run, fold and clip."""


def prediction_rows(
    run: str,
    repetition: int,
    seed: int,
    fold: str,
    clips: list[dict[str, Any]],
    scores: NDArray[np.float64],
    epoch: int | None,
) -> list[dict[str, Any]]:
    """Build the rows of one fold.

    Parameters
    ----------
    run, repetition, seed, fold
        Where the scores come from.
    clips
        Index rows (clip_id, dataset, subject, label) of the test clips, in the order of ``scores``.
    scores
        (N, classes), higher is likelier. The first of equal scores wins.
    epoch
        The epoch whose weights predict.

    Raises
    ------
    PredictionError
        If a score is not finite.
    """
    rows = []
    for clip, row_scores in zip(clips, scores, strict=True):
        if not np.isfinite(row_scores).all():
            raise PredictionError(f"{run}, fold {fold}: scores of {clip['clip_id']} are {row_scores.tolist()}")
        rows.append(
            {
                "run": run,
                "repetition": repetition,
                "seed": seed,
                "clip_id": clip["clip_id"],
                "dataset": clip["dataset"],
                "subject": clip["subject"],
                "fold": fold,
                "y_true": clip["label"],
                "y_pred": int(row_scores.argmax()),
                "scores": row_scores.tolist(),
                "epoch": epoch,
            }
        )
    return rows


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Read the predictions of a run."""
    rows: list[dict[str, Any]] = shards.read_table(path, PREDICTIONS).to_pylist()
    return rows


def check_predictions(
    run: str, rows: list[dict[str, Any]], clips: list[dict[str, Any]], classes: int, repetitions: int
) -> None:
    """Check that a run's predictions hold each clip of its task exactly once in each repetition.

    Parameters
    ----------
    run
        Name of the run.
    rows
        Its predictions.
    clips
        Index rows of its task: what must be there, with the true labels.
    classes
        Number of classes of the task.
    repetitions
        ``train.repetitions``.

    Raises
    ------
    PredictionError
        Naming what is missing, doubled, foreign, labelled otherwise, or not a number.
    """
    expected = {clip["clip_id"]: clip for clip in clips}
    for row in rows:
        clip_id, where = row["clip_id"], f"{run}, fold {row['fold']}, clip {row['clip_id']}"
        if row["run"] != run:
            raise PredictionError(f"{where}: the row belongs to run {row['run']!r}")
        if clip_id not in expected:
            raise PredictionError(f"{where}: this clip is not in the task")
        clip = expected[clip_id]
        if row["y_true"] != clip["label"] or row["dataset"] != clip["dataset"]:
            raise PredictionError(
                f"{where}: label {row['y_true']} of {row['dataset']}, "
                f"the task says {clip['label']} of {clip['dataset']}"
            )
        if row["subject"] != clip["subject"] or row["fold"] != clip["subject"]:
            raise PredictionError(f"{where}: predicted in another fold than its subject's, {clip['subject']}")
        scores = np.array(row["scores"], dtype=np.float64)
        if scores.shape != (classes,) or not np.isfinite(scores).all():
            raise PredictionError(f"{where}: scores {row['scores']}, expected {classes} numbers")
        if row["y_pred"] != int(scores.argmax()):
            raise PredictionError(f"{where}: y_pred {row['y_pred']} is not the class of the highest score")
    counts = Counter((row["repetition"], row["clip_id"]) for row in rows)
    for repetition in range(repetitions):
        lost = {clip["subject"] for clip in clips if not counts[repetition, clip["clip_id"]]}
        if lost:
            raise PredictionError(
                f"{run}, repetition {repetition}: fold {', '.join(sorted(lost))} is missing or incomplete"
            )
    for (repetition, clip_id), count in counts.items():
        if count > 1 or not 0 <= repetition < repetitions:
            raise PredictionError(f"{run}: {clip_id} stands {count} times in repetition {repetition} of {repetitions}")
