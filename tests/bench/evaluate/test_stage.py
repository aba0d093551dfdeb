"""What the stage leaves: the same bytes whatever the order, records that come back as they were, nothing else read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fdpbench.bench.evaluate.evaluation import FOLDER, read_clips, read_evaluation, write_evaluation
from fdpbench.bench.evaluate.metrics import METRICS, MetricError
from fdpbench.bench.evaluate.moments import frames_up_to_apex
from fdpbench.bench.evaluate.predictions import PREDICTIONS, read_predictions
from fdpbench.bench.evaluate.records import PERCEPTION
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.plan.params import run_names
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.store import shards
from fdpbench.prep.store.documents import DocumentError
from tests.support.builders import predictions, write_predictions, write_task
from tests.support.evaluation import evaluated
from tests.support.reports import RELEASES, REPETITIONS, write_project


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}


@pytest.fixture
def before(project: Path) -> dict[str, bytes]:
    """A project with every kind of run, evaluated: the files."""
    write_project()
    return files()


def test_the_order_of_runs_and_of_rows_changes_no_byte(before: dict[str, bytes]) -> None:
    for run in run_names():
        path = Artifacts(run).predictions
        shards.write_table(pa.Table.from_pylist(read_predictions(path)[::-1], schema=PREDICTIONS), path)
    hashes = {score.run: score.predictions_sha256 for score in read_evaluation().scores}
    evaluate_runs(dict(reversed(run_names().items())), REPETITIONS, releases=RELEASES)
    text = (FOLDER / "evaluation.json").read_text()
    for score in read_evaluation().scores:  # of the files of predictions, which are others now
        text = text.replace(score.predictions_sha256, hashes[score.run])
    assert {**files(), "evaluation.json": text.encode()} == before


def test_files_are_plain_sorted_and_of_no_machine(before: dict[str, bytes], project: Path) -> None:
    assert set(before) == {"evaluation.json", "clips.parquet"}
    content = json.loads(before["evaluation.json"])
    assert before["evaluation.json"].decode() == json.dumps(content, indent=1, sort_keys=True) + "\n"
    assert not any(str(project).encode() in data for data in before.values())


def test_records_come_back_as_they_were_and_cannot_be_changed(before: dict[str, bytes]) -> None:
    evaluation, clips = read_evaluation(), read_clips()
    assert evaluation.effects and evaluation.tables and any(score.perception for score in evaluation.scores)
    sources = [Artifacts(run).predictions for run in clips]
    write_evaluation(evaluation, [clip for each in clips.values() for clip in each], FOLDER, sources)
    assert files() == before
    with pytest.raises(FrozenInstanceError):
        evaluation.scores[0].pooled.clips = 3  # type: ignore[misc]


def test_crops_that_are_given_come_back_and_leave_no_trace_elsewhere(before: dict[str, bytes]) -> None:
    assert b"given_crops" not in before["evaluation.json"]
    evaluation = read_evaluation()
    first, *others = evaluation.scores
    given = replace(evaluation, scores=(replace(first, task=replace(first.task, given_crops=("lab",))), *others))
    write_evaluation(given, [clip for each in read_clips().values() for clip in each], FOLDER, [])
    assert [score.task.given_crops for score in read_evaluation().scores] == [("lab",), *[()] * len(others)]


def test_every_prediction_is_a_clip_result(before: dict[str, bytes]) -> None:
    clips, task_of = read_clips(), {run: entry.task for run, entry in run_names().items()}
    assert list(clips) == sorted(run_names())
    for run, found in clips.items():
        rows = {(row["repetition"], row["clip_id"]): row for row in read_predictions(Artifacts(run).predictions)}
        assert [(clip.repetition, clip.clip_id) for clip in found] == sorted(rows)
        for clip in found:
            row = rows[clip.repetition, clip.clip_id]
            assert (clip.subject, clip.y_true, clip.y_pred) == (row["subject"], row["y_true"], row["y_pred"])
            measured = {*PERCEPTION} if row["drawn"] else set()
            if clip.clip_id not in frames_up_to_apex(task_of[run], RELEASES[task_of[run]]):
                measured -= {"order_to_apex"}
            assert set(clip.perception) == measured


def without_a_key(content: dict[str, Any]) -> Any:
    return {key: value for key, value in content.items() if key != "tables"}


def with_a_text_for_a_number(content: dict[str, Any]) -> Any:
    content["scores"][0]["parts"]["all"]["clips"] = "many"
    return content


def of_other_metrics(content: dict[str, Any]) -> Any:
    return content | {"metrics": [*METRICS, "old"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_a_key, "tables"),
        (with_a_text_for_a_number, r"scores\.0\.parts\.all\.clips"),
        (of_other_metrics, "old, expected uf1"),
        (lambda content: [], "JSON object"),
        (lambda content: content | {"ranks": float("nan")}, "NaN"),
    ],
)
def test_a_damaged_evaluation_is_named(
    before: dict[str, bytes], change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    path = FOLDER / "evaluation.json"
    path.write_text(json.dumps(change(json.loads(before[path.name]))))
    with pytest.raises(DocumentError, match=rf"evaluation\.json.*{said}.*fdpbench evaluate"):
        read_evaluation()


def test_what_native_arithmetic_made_is_marked_on(project: Path) -> None:
    rows = write_task(Path("data/task/tiny"))
    run = {"it": RunEntry(task="tiny", model="majority")}
    path = write_predictions("it", predictions("it", rows, [0] * len(rows)))
    assert not evaluated(run, 1).scores[0].native and not shards.is_native(FOLDER / "clips.parquet")
    native = PREDICTIONS.with_metadata({shards.ARITHMETIC: "native"})
    shards.write_table(pa.Table.from_pylist(read_predictions(path), schema=native), path)
    assert evaluated(run, 1).scores[0].native and shards.is_native(FOLDER / "clips.parquet")


def test_a_task_that_lacks_a_class_is_named_by_its_run(project: Path) -> None:
    rows = [row for row in write_task(Path("data/task/tiny")) if row["class"] != "disgust"]
    write_task(Path("data/task/tiny"), rows)
    write_predictions("it", predictions("it", rows, [0] * len(rows)))
    with pytest.raises(MetricError, match="it: no clip is labelled disgust"):
        evaluate_runs({"it": RunEntry(task="tiny", model="majority")}, 1)
