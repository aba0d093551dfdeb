"""No test subject is seen: poisoned ones change nothing, to the last digit, and subjects that are read do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fdpbench.bench.tune.loop
from fdpbench.bench.train.data import load_clips
from fdpbench.bench.train.folds import SUBJECT, SubjectKFold
from fdpbench.bench.train.settings import Run
from fdpbench.bench.tune.data import TuningData, nested_data
from fdpbench.bench.tune.fold import FoldWork, read_outcomes, train_folds
from fdpbench.bench.tune.journal import Trial
from fdpbench.bench.tune.loop import Budget
from fdpbench.bench.tune.results import RECORD, TRIALS
from fdpbench.bench.tune.run import tune
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.workers import Context
from fdpbench.prep.store import images, paths
from tests.support.builders import task_rows, torch_as_it_was, write_task
from tests.support.tuning import SUBJECTS, inside, run_backwards, search_of, told, write_tuning

pytest.importorskip("optuna", reason="needs the extra tune")

# Flow and frames, a network that draws and is compared with a target, features, and features of frames.
MODELS = ("ststnet", "fdp", "flow_histogram", "lbp_top")
TIMES = ["core_seconds", "core_minutes_so_far"]


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


@pytest.fixture
def rows(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(fdpbench.bench.tune.loop, "run_units", run_backwards)
    return write_tuning()


def poison(rows: list[dict[str, Any]], subjects: tuple[str, ...], labels: bool) -> list[dict[str, Any]]:
    """Rows of some subjects with what nobody can read in place of their inputs, and with other labels."""
    poisoned = copy.deepcopy(rows)
    for row in poisoned:
        if row["subject"] in subjects:
            row |= {"flow": [float("nan")] * len(row["flow"]), "frames": [b"no image"] * len(row["frames"])}
            row |= {"dynamic_image": b"no image", "apex": b"no image"}
            if labels:
                row["label"] = (row["label"] + 1) % 3
    return poisoned


def searched(model: str, folder: Path, split: Any, name: str) -> tuple[list[Trial], str, dict[str, Any]]:
    """A search inside an outer fold: its trials, and what its files say beside times."""
    (found,) = tune(model, Budget(60, 4), split=split, names=[name], folds=2, folder=folder)
    table = pd.read_csv(found.folder / TRIALS).drop(columns=TIMES).to_csv()
    record = json.loads((found.folder / RECORD).read_text())
    assert record.pop("core_minutes") > 0
    return found.trials, table, record


@pytest.mark.parametrize("model", MODELS)
def test_poisoned_test_subjects_change_nothing(model: str, rows: list[dict[str, Any]]) -> None:
    """Leave one subject out: labels are poisoned too, since the outer folds are those of the subjects' names."""
    before = searched(model, Path("before"), SUBJECT, SUBJECTS[1])
    write_tuning(poison(rows, SUBJECTS[1:2], labels=True))
    after = searched(model, Path("after"), SUBJECT, SUBJECTS[1])
    assert told(before[0]) == told(after[0]) and before[1:] == after[1:]
    assert any(trial.state == "finished" for trial in before[0])


def test_poisoned_test_subjects_of_a_larger_fold_change_nothing(rows: list[dict[str, Any]]) -> None:
    split = SubjectKFold(subject_kfold=2)
    before = searched("ststnet", Path("before"), split, "fold-1")
    (data,) = nested_data("tiny", split, ["fold-1"], 2, 1)
    tested = tuple(set(SUBJECTS) - set(data.subjects))
    assert len(tested) >= 2
    write_tuning(poison(rows, tested, labels=False))
    after = searched("ststnet", Path("after"), split, "fold-1")
    assert told(before[0]) == told(after[0]) and before[1:] == after[1:]


@pytest.mark.parametrize("model", MODELS)
def test_a_poisoned_tuning_subject_is_noticed(model: str, rows: list[dict[str, Any]]) -> None:
    """Else the test above could not fail."""
    write_tuning(poison(rows, SUBJECTS[:1], labels=False))
    with pytest.raises(ValueError, match="synthetic/s01|not_an_image"):
        searched(model, Path("it"), SUBJECT, SUBJECTS[1])


def test_other_labels_of_a_tuning_subject_give_other_trials(rows: list[dict[str, Any]]) -> None:
    before = searched("flow_histogram", Path("before"), SUBJECT, SUBJECTS[1])
    for row in rows:
        if row["subject"] == SUBJECTS[0]:
            row["label"] = (row["label"] + 1) % 3
    write_tuning(rows)
    after = searched("flow_histogram", Path("after"), SUBJECT, SUBJECTS[1])
    assert before[0][0].uf1 != after[0][0].uf1
    assert before[2]["made_of"]["clips"] != after[2]["made_of"]["clips"]


def work_of(model: str, data: TuningData, run: Run | None = None) -> FoldWork:
    search = search_of(model, data)
    folds = tuple((fold.name, *data.sides(fold), search.seed(fold.name)) for fold in data.folds)
    return FoldWork(run or search.run, data.folder, folds, data.classes, "cpu", 1)


@pytest.mark.parametrize("model", ["flow_histogram", "lbp_top"])
def test_a_fold_is_what_the_model_itself_says(model: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Its confusion matrices, by the model on all clips at once."""
    data = inside()
    work = work_of(model, data)
    (tmp_path / "out").mkdir()
    train_folds(work, Context(tmp_path / "out", lambda message: None, 0))
    clips = load_clips(data.folder, work.run.model.inputs, data.subjects.__contains__)
    unit = {name: array / np.float32(255) if name == "frames" else array for name, array in clips.inputs.items()}
    features = create_model(model, 3).features(unit)
    for (_, train, held_out, seed), outcome in zip(work.folds, read_outcomes(tmp_path / "out"), strict=True):
        own = np.array([subject in train for subject in clips.subjects])
        estimator = create_model(model, 3, seed=seed)
        estimator.fit({"features": features[own]}, clips.labels[own])
        said = estimator.scores({"features": features[~own]}).argmax(axis=1)
        expected = np.zeros((3, 3), int)
        for truth, predicted in zip(clips.labels[~own], said, strict=True):
            expected[truth, predicted] += 1
        assert outcome.confusion is not None and outcome.confusion.tolist() == expected.tolist()
        assert set(held_out) == {clips.subjects[k] for k in np.flatnonzero(~own)}
        assert outcome.refused == "" and outcome.seconds >= 0


def test_what_cannot_be_trained_is_an_outcome_and_no_error(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """A shift that takes the face out of the image, and a learning rate at which the loss is no number."""
    search = search_of("ststnet", inside())
    for values, said in (
        ({"augment.shift": 7, "augment.mirror": False}, "fold fold-1: augment.shift 7: flow has 28 pixels a side"),
        ({"lr": 1e30, "epochs": 20}, "fold fold-1: loss is"),
    ):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        work = work_of("ststnet", inside(), search.with_values(values))
        train_folds(work, Context(folder, lambda message: None, 0))
        (outcome,) = read_outcomes(folder)
        assert outcome.confusion is None and outcome.refused.startswith(said)


def test_more_frames_than_a_clip_has_are_refused_by_the_model(project: Path, tmp_path: Path) -> None:
    write_tuning(task_rows(SUBJECTS, side=32, length=4))
    search = search_of("lbp_top", inside())
    work = work_of("lbp_top", inside(), search.with_values({"model.radius_t": 3}))
    train_folds(work, Context(tmp_path, lambda message: None, 0))
    (outcome,) = read_outcomes(tmp_path)
    assert outcome.confusion is None and "radius" in outcome.refused


def test_damaged_data_are_an_error_and_no_trial(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows[0]["flow"] = [float("nan")] * len(rows[0]["flow"])
    write_task(paths.task("tiny"), rows, inputs=("frames", "dynamic_image", "flow", "apex"))
    data = nested_data("tiny", SUBJECT, SUBJECTS[1:2], 2, 1)[0]
    run = search_of("ststnet", inside(SUBJECTS[0])).run
    work = FoldWork(run, data.folder, (("fold-1", data.subjects[:2], data.subjects[2:], 1),), data.classes, "cpu", 1)
    with pytest.raises(ValueError, match=f"{rows[0]['clip_id']}: flow holds NaN"):
        train_folds(work, Context(tmp_path, lambda message: None, 0))
    assert images.decode_png(rows[0]["apex"]).size, "all else of the row can be read"
