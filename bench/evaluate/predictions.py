"""Predictions, the only source of metrics: one row for each run, repetition and clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.store import images, shards

__all__ = [
    "FOLDS",
    "MEASURED",
    "PREDICTIONS",
    "Prediction",
    "PredictionError",
    "check_predictions",
    "check_row",
    "prediction_rows",
    "predictions_schema",
    "read_predictions",
    "expected_clips",
    "measured_schema",
    "predictions_table",
]

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
        ("rank_scores", pa.list_(pa.float64())),  # one for each sampled frame; null where the model ranks none
        ("drawn", pa.binary()),  # grey PNG: the dynamic image it generates; null where it gives none
    ]
)


FOLDS = "folds"  # key of a note in a file's schema: what sets its folds apart (`RunEntry.folds_text`)

# Columns that may be null; every other value of a row is there.
MAY_BE_NULL = {"epoch", "rank_scores", "drawn", "measured"}

# A further column of runs that are taken up (`bench.train.kept`): what was measured of a generated image, as JSON; the
# image itself is mostly not there.
MEASURED = pa.field("measured", pa.string())

# Beyond any run (DFME with ten repetitions has 75,000 rows): what is larger is another file, or made to exhaust memory.
MAX_ROWS = 1_000_000
MAX_UNPACKED = 4 * 2**30


@dataclass(frozen=True)
class Prediction:
    """What a model says of N clips.

    Attributes
    ----------
    scores
        (N, classes): higher is likelier.
    rank_scores
        (N, T), where the model ranks frames.
    generated
        Dynamic images (N, h, w) in [0, 1], where the model gives any.
    """

    scores: NDArray[np.float64]
    rank_scores: NDArray[np.float64] | None = None
    generated: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in ("rank_scores", "generated"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.scores):
                raise ValueError(f"scores of {len(self.scores)} clips, but {name} of {len(values)}")


class PredictionError(ValueError):
    """Predictions are incomplete, doubled or not numbers; the message names run, fold and clip."""


def predictions_schema(folds: str) -> pa.Schema:
    """The schema of a file of predictions that notes what sets its folds apart, where anything does."""
    return PREDICTIONS.with_metadata({FOLDS: folds}) if folds else PREDICTIONS


def prediction_rows(
    run: str,
    repetition: int,
    seed: int,
    fold: str,
    clips: list[dict[str, Any]],
    prediction: Prediction,
    epoch: int | None,
) -> list[dict[str, Any]]:
    """Build the rows of one fold.

    Parameters
    ----------
    run, repetition, seed, fold
        Where the scores come from.
    clips
        Index rows (clip_id, dataset, subject, label) of the test clips, in the order of ``prediction``.
    prediction
        What the model says of them. The first of equal scores wins.
    epoch
        The epoch whose weights predict.

    Raises
    ------
    PredictionError
        If a score, a rank score or a pixel of a generated image is not finite, or such a pixel is outside 0..1.
    """
    rows = []
    for k, (clip, row_scores) in enumerate(zip(clips, prediction.scores, strict=True)):
        ranks = None if prediction.rank_scores is None else prediction.rank_scores[k]
        image = None if prediction.generated is None else prediction.generated[k]
        for what, values in (("scores", row_scores), ("rank scores", ranks), ("generated image", image)):
            if values is not None and not np.isfinite(values).all():
                raise PredictionError(f"{run}, fold {fold}: {what} of {clip['clip_id']} are {values.tolist()}")
        if image is not None and not (image.min() >= 0 and image.max() <= 1):
            raise PredictionError(
                f"{run}, fold {fold}: the image generated of {clip['clip_id']} spans "
                f"{image.min():.3g}..{image.max():.3g}, expected 0..1"
            )
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
                "rank_scores": None if ranks is None else ranks.tolist(),
                "drawn": None if image is None else images.encode_png(np.rint(image * 255).astype(np.uint8)),
            }
        )
    return rows


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Read the predictions of a run.

    Raises
    ------
    PredictionError
        If the file is larger than any run's, or a value that every row has is null.
    prep.store.shards.ShardError
        If it is missing or damaged, or has other columns.
    """
    rows, unpacked = shards.size_of(path)
    if rows > MAX_ROWS or unpacked > MAX_UNPACKED:
        raise PredictionError(
            f"{path}: {rows:,} rows, {unpacked / 2**20:,.0f} MiB unpacked; predictions may have {MAX_ROWS:,} rows, "
            f"{MAX_UNPACKED // 2**20:,} MiB"
        )
    table = predictions_table(path)
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name not in MAY_BE_NULL and column.null_count:
            row = column.is_null().index(True).as_py()
            raise PredictionError(f"{path}: {name} of row {row} (counted from 0) is null; every prediction has one")
    if table.column("scores").combine_chunks().flatten().null_count:
        raise PredictionError(f"{path}: a score is null; a prediction has one number for each class")
    result: list[dict[str, Any]] = table.to_pylist()
    return result


def predictions_table(path: Path) -> pa.Table:
    """Read a file of predictions as it is: with its notes, and with `MEASURED` where it has that.

    Raises
    ------
    prep.store.shards.ShardError
        If it is missing or damaged, or has other columns.
    """
    return shards.read_table(path, measured_schema() if MEASURED.name in shards.read_notes(path) else PREDICTIONS)


def measured_schema(like: pa.Schema = PREDICTIONS) -> pa.Schema:
    """The schema of predictions with `MEASURED`, and a note that says so beside those of another."""
    return pa.schema([*PREDICTIONS, MEASURED]).with_metadata({**(like.metadata or {}), MEASURED.name: "json"})


def expected_clips(run: str, untested: list[str], clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Index rows that a run must predict: all of its task's, less those of its untested subjects.

    Raises
    ------
    PredictionError
        If an untested subject is not in the task, or a class is left without clips.
    """
    subjects = sorted({clip["subject"] for clip in clips})
    strange = [subject for subject in untested if subject not in subjects]
    if strange:
        raise PredictionError(
            f"runs.{run}.faults.untested_subjects: {', '.join(strange)} not in the task; "
            f"its subjects: {', '.join(subjects)}"
        )
    left = [clip for clip in clips if clip["subject"] not in untested]
    lost = {clip["label"] for clip in clips} - {clip["label"] for clip in left}
    if lost:
        raise PredictionError(
            f"runs.{run}.faults.untested_subjects leaves no clip of class {', '.join(map(str, sorted(lost)))} to test; "
            "name fewer subjects"
        )
    return left


def check_predictions(
    run: str,
    rows: list[dict[str, Any]],
    clips: list[dict[str, Any]],
    classes: int,
    repetitions: int,
    fold_by_clip: Mapping[str, str] | None = None,
) -> None:
    """Check that a run's predictions hold each clip of its task exactly once in each repetition.

    Parameters
    ----------
    run
        Name of the run.
    rows
        Its predictions.
    clips
        Index rows of the clips that must be there (`expected_clips`), with the true labels.
    classes
        Number of classes of the task.
    repetitions
        ``train.repetitions``.
    fold_by_clip
        Name of the fold that tests each clip (`bench.train.folds.fold_by_clip`); by default its subject's.

    Raises
    ------
    PredictionError
        Naming what is missing, doubled, foreign, labelled otherwise, or not a number.
    """
    expected = {clip["clip_id"]: clip for clip in clips}
    if fold_by_clip is None:
        fold_by_clip = {clip["clip_id"]: clip["subject"] for clip in clips}
    for row in rows:
        clip_id, where = row["clip_id"], f"{run}, fold {row['fold']}, clip {row['clip_id']}"
        if row["run"] != run:
            raise PredictionError(f"{where}: the row belongs to run {row['run']!r}")
        if clip_id not in expected:
            raise PredictionError(f"{where}: this clip is not among those that the task and the run test")
        clip = expected[clip_id]
        if row["y_true"] != clip["label"] or row["dataset"] != clip["dataset"]:
            raise PredictionError(
                f"{where}: label {row['y_true']} of {row['dataset']}, "
                f"the task says {clip['label']} of {clip['dataset']}"
            )
        if row["subject"] != clip["subject"]:
            raise PredictionError(f"{where}: subject {row['subject']}, the task says {clip['subject']}")
        if row["fold"] != fold_by_clip[clip_id]:
            raise PredictionError(f"{where}: predicted in another fold than its own, {fold_by_clip[clip_id]}")
        check_row(where, row, classes)
    counts = Counter((row["repetition"], row["clip_id"]) for row in rows)
    for repetition in range(repetitions):
        lost = {fold_by_clip[clip["clip_id"]] for clip in clips if not counts[repetition, clip["clip_id"]]}
        if lost:
            raise PredictionError(
                f"{run}, repetition {repetition}: fold {', '.join(sorted(lost))} is missing or incomplete"
            )
    for (repetition, clip_id), count in counts.items():
        if count > 1 or not 0 <= repetition < repetitions:
            raise PredictionError(f"{run}: {clip_id} stands {count} times in repetition {repetition} of {repetitions}")


def check_row(where: str, row: dict[str, Any], classes: int) -> None:
    """Check that a prediction has a finite score for each class and is the class of the highest.

    Parameters
    ----------
    where
        Names run and clip, for messages.
    row
        From `read_predictions`.
    classes
        Number of classes.

    Raises
    ------
    PredictionError
        If it is not so, or the true class is none of them.
    """
    scores = np.array(row["scores"], dtype=np.float64)
    if scores.shape != (classes,) or not classes or not np.isfinite(scores).all():
        raise PredictionError(f"{where}: scores {row['scores']}, expected {classes or 'at least one'} numbers")
    if row["y_pred"] != int(scores.argmax()):
        raise PredictionError(f"{where}: y_pred {row['y_pred']} is not the class of the highest score")
    if not 0 <= row["y_true"] < classes:
        raise PredictionError(f"{where}: y_true {row['y_true']}, expected 0 to {classes - 1}")
