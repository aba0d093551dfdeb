"""Predictions: what is missing, doubled, foreign or not a number is named, never averaged over."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fdpbench.bench.evaluate.predictions import (
    PREDICTIONS,
    Prediction,
    PredictionError,
    check_predictions,
    expected_clips,
    prediction_rows,
    read_predictions,
)
from fdpbench.prep.store import images, shards
from tests.support.builders import predictions, task_rows

CLIPS = [
    {key: row[key] for key in ("clip_id", "dataset", "subject", "label")} for row in task_rows(per_class=1, length=2)
]
FIRST = CLIPS[0]["clip_id"]


def rows(repetitions: int = 1) -> list[dict[str, Any]]:
    guess = [clip["label"] for clip in CLIPS]
    return [row for k in range(repetitions) for row in predictions("r", CLIPS, guess, repetition=k)]


def check(changed: list[dict[str, Any]], repetitions: int = 1) -> None:
    check_predictions("r", changed, CLIPS, 3, repetitions)


@pytest.mark.parametrize("repetitions", [1, 3])
def test_complete_predictions_pass(repetitions: int) -> None:
    check(rows(repetitions), repetitions)
    check(rows(repetitions)[::-1], repetitions)


def edited(**values: Any) -> list[dict[str, Any]]:
    changed = copy.deepcopy(rows())
    changed[0] |= values
    return changed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"run": "other"}, "belongs to run 'other'"),
        ({"clip_id": "synthetic/s01/foreign"}, "not among those"),
        ({"y_true": 1}, "label 1"),
        ({"dataset": "casme2"}, "casme2"),
        ({"fold": "synthetic/s02"}, "another fold"),
        ({"subject": "synthetic/s02", "fold": "synthetic/s02"}, "subject synthetic/s02, the task says synthetic/s01"),
        ({"scores": [1.0, float("nan"), 0.0]}, "nan"),
        ({"scores": [1.0, float("inf"), 0.0]}, "inf"),
        ({"scores": [1.0, None, 0.0]}, "scores"),
        ({"scores": [1.0, 0.0]}, "expected 3 numbers"),
        ({"scores": None}, "scores"),
        ({"y_pred": 2}, "y_pred 2 is not the class of the highest score"),
    ],
)
def test_a_bad_row_is_named(values: dict[str, Any], expected: str) -> None:
    changed = edited(**values)
    with pytest.raises(PredictionError, match=expected) as caught:
        check(changed)
    message = str(caught.value)
    assert "r, fold " + changed[0]["fold"] in message
    assert changed[0]["clip_id"] in message


def test_a_missing_fold_is_named() -> None:
    with pytest.raises(PredictionError, match="r, repetition 0: fold synthetic/s02 is missing"):
        check([row for row in rows() if row["fold"] != "synthetic/s02"])


def test_a_missing_clip_is_named_by_its_fold() -> None:
    with pytest.raises(PredictionError, match="fold synthetic/s01 is missing or incomplete"):
        check(rows()[1:])


def test_a_missing_repetition_is_named() -> None:
    with pytest.raises(PredictionError, match="repetition 1"):
        check(rows(), repetitions=2)


def test_a_repetition_too_many_is_named() -> None:
    with pytest.raises(PredictionError, match="repetition 1 of 1"):
        check(rows(2), repetitions=1)


def test_a_doubled_clip_is_named() -> None:
    with pytest.raises(PredictionError, match=f"{FIRST} stands 2 times"):
        check([*rows(), rows()[0]])


def test_no_predictions_at_all() -> None:
    with pytest.raises(PredictionError, match="missing"):
        check([])


def test_rows_are_built_in_the_order_of_scores() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]])
    built = prediction_rows("r", 2, 99, "synthetic/s01", CLIPS[:2], Prediction(scores), 30)
    assert [row["clip_id"] for row in built] == [clip["clip_id"] for clip in CLIPS[:2]]
    assert [row["y_pred"] for row in built] == [1, 0]  # of equal scores the first
    assert [row["scores"] for row in built] == scores.tolist()
    assert {(row["run"], row["repetition"], row["seed"], row["epoch"]) for row in built} == {("r", 2, 99, 30)}
    assert pa.Table.from_pylist(built, schema=PREDICTIONS).to_pylist() == built


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_never_becomes_a_row(bad: float) -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, bad, 0.0]])
    with pytest.raises(PredictionError, match=CLIPS[1]["clip_id"]) as caught:
        prediction_rows("r", 0, 1, "synthetic/s01", CLIPS[:2], Prediction(scores), None)
    assert "r, fold synthetic/s01" in str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_scores_as_clips(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        prediction_rows("r", 0, 1, "synthetic/s01", CLIPS[:2], Prediction(np.zeros((count, 3))), None)


def test_rank_scores_and_generated_images_go_with_their_clip() -> None:
    ranks, generated = np.array([[0.0, 1.5], [2.0, -1.0]]), np.stack([np.zeros((3, 4)), np.full((3, 4), 0.25)])
    built = prediction_rows("r", 0, 1, "synthetic/s01", CLIPS[:2], Prediction(np.eye(3)[:2], ranks, generated), None)
    assert [row["rank_scores"] for row in built] == ranks.tolist()
    assert [images.decode_png(row["drawn"]).tolist() for row in built] == [[[0] * 4] * 3, [[64] * 4] * 3]
    assert pa.Table.from_pylist(built, schema=PREDICTIONS).to_pylist() == built


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["rank scores", "generated image"])
def test_what_else_is_no_number_never_becomes_a_row(what: str, bad: float) -> None:
    values = np.full((2, 3, 3), 0.5)
    values[1, 2, 1] = bad
    said = Prediction(np.eye(3)[:2], values[:, 2] if what == "rank scores" else None, values)
    with pytest.raises(PredictionError, match=f"{what} of {CLIPS[1]['clip_id']}"):
        prediction_rows("r", 0, 1, "synthetic/s01", CLIPS[:2], said, None)


@pytest.mark.parametrize("bad", [-0.1, 1.2])
def test_what_is_generated_outside_the_range_never_wraps(bad: float) -> None:
    generated = np.full((2, 3, 3), 0.5)
    generated[1, 0, 0] = bad
    with pytest.raises(PredictionError, match=rf"generated of {CLIPS[1]['clip_id']} spans .*0\.\.1"):
        prediction_rows("r", 0, 1, "synthetic/s01", CLIPS[:2], Prediction(np.eye(3)[:2], None, generated), None)


@pytest.mark.parametrize("lengths", [(2, 1, 2), (2, 2, 3)])
def test_a_prediction_speaks_of_the_same_clips_throughout(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="2 clips"):
        Prediction(np.zeros((lengths[0], 3)), np.zeros((lengths[1], 8)), np.zeros((lengths[2], 4, 4)))


def test_untested_subjects_are_left_out_and_must_exist() -> None:
    left = expected_clips("r", ["synthetic/s02"], CLIPS)
    assert {clip["subject"] for clip in left} == {clip["subject"] for clip in CLIPS} - {"synthetic/s02"}
    assert expected_clips("r", [], CLIPS) == CLIPS
    with pytest.raises(PredictionError, match=r"runs\.r\.faults\.untested_subjects: synthetic/s9 not in the task"):
        expected_clips("r", ["synthetic/s9"], CLIPS)
    with pytest.raises(PredictionError, match="no clip of class 0, 1, 2 to test"):
        expected_clips("r", sorted({clip["subject"] for clip in CLIPS}), CLIPS)


def test_reading_back(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    shards.write_table(pa.Table.from_pylist(rows(), schema=PREDICTIONS), path)
    assert read_predictions(path) == rows()


def test_a_file_of_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    shards.write_table(pa.table({"clip_id": ["a"]}), path)
    with pytest.raises(shards.ShardError, match=r"r\.parquet"):
        read_predictions(path)
