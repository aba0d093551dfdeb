"""`training_subjects`: which subjects a fold is trained on, whole trainings with few, and classes that those lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fdpbench.bench.train.stage
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.train.arrays import StoredClips
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.folds import drawn_subjects
from fdpbench.bench.train.settings import Run
from fdpbench.bench.train.stage import train_run
from fdpbench.models.common.registry import list_models, model_info
from fdpbench.prep.task.inputs import INPUTS
from tests.bench.train.test_arrays import run_here
from tests.support.builders import run_of, task_rows, torch_as_it_was, train_fold, write_task

SUBJECTS = tuple(f"synthetic/s0{k}" for k in range(1, 6))
RECIPE: dict[str, Any] = {"epochs": 4, "batch_size": 8}
DRAWN = ("s06", "s10", "s34")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


@pytest.fixture
def task(project: Path) -> Path:
    write_task(project / "data/task/tiny", task_rows(SUBJECTS, length=2, side=24))
    return project / "data/task/tiny"


names = st.sets(st.text("abc/01", min_size=1, max_size=4), min_size=2, max_size=8)


@given(names, st.data(), st.integers(0, 9), st.text(max_size=3), st.integers(0, 3))
def test_fewer_are_among_more_whatever_the_order(
    subjects: set[str], data: st.DataObject, seed: int, fold: str, repetition: int
) -> None:
    drawn = [drawn_subjects(subjects, count, seed, "t", fold, repetition) for count in range(1, len(subjects) + 1)]
    for count, some in enumerate(drawn, start=1):
        assert len(set(some)) == count and list(some) == sorted(some)
    assert all(set(fewer) < set(more) for fewer, more in zip(drawn, drawn[1:], strict=False))
    assert set(drawn[-1]) == subjects
    shuffled = data.draw(st.permutations(sorted(subjects)))
    assert drawn_subjects(shuffled + shuffled[:1], 1, seed, "t", fold, repetition) == drawn[0]


def test_every_name_in_the_seed_counts() -> None:
    subjects = [f"s{k:02d}" for k in range(40)]
    given_names = [(1, "t", "f", 0), (2, "t", "f", 0), (1, "u", "f", 0), (1, "t", "g", 0), (1, "t", "f", 1)]
    assert len({drawn_subjects(subjects, 5, *one) for one in given_names}) == len(given_names)
    assert drawn_subjects(subjects, 3, 1, "t", "f", 0) == DRAWN, "other subjects: published learning curves change"


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="training_subjects is 3, but fold f has 2 training subjects"):
        drawn_subjects(["a", "b"], 3, 1, "t", "f", 0)


def trained(run: Run, task: Path, monkeypatch: pytest.MonkeyPatch) -> list[frozenset[str]]:
    """Train a run; the sets of subjects that were read, in order: training and test of each fold."""
    read = []
    plain = StoredClips.load

    def load(stored: StoredClips, inputs: tuple[str, ...]) -> object:
        read.append(frozenset(stored.folders))
        return plain(stored, inputs)

    with monkeypatch.context() as patched:
        patched.setattr(StoredClips, "load", load)
        patched.setattr(fdpbench.bench.train.stage, "run_units", run_here)
        train_run(run, task, Artifacts("it"), 1, 1)
    return read


def test_folds_read_the_drawn_subjects_alone(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = {}
    for model in ("ststnet", "cnn3d"):
        run = run_of(model, {"repetitions": 2}, entry={"training_subjects": 2}, epochs=1, batch_size=8)
        read[model] = trained(run, task, monkeypatch)
        rows = read_predictions(Artifacts("it").predictions)
        assert len(rows) == 2 * len(SUBJECTS) * 6 and all(row["fold"] == row["subject"] for row in rows)
    expected = [
        frozenset(one)
        for repetition in range(2)
        for fold in SUBJECTS
        for one in (drawn_subjects(set(SUBJECTS) - {fold}, 2, 1, "tiny", fold, repetition), (fold,))
    ]
    assert read["ststnet"] == expected and read["cnn3d"] == expected
    assert len(set(expected[: 2 * len(SUBJECTS) : 2])) > 1  # else any fixed choice would do


def test_all_of_them_are_as_none_named(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for entry in ({}, {"training_subjects": len(SUBJECTS) - 1}, {"training_subjects": 2}):
        trained(run_of("ststnet", entry=entry, **RECIPE), task, monkeypatch)
        found.append(read_predictions(Artifacts("it").predictions))
    assert found[0] == found[1] != found[2]


def test_more_than_there_are_is_refused_before_any_training(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdpbench.bench.train.stage, "_train_fold", None)
    with pytest.raises(
        ValueError, match=r"runs.it: training_subjects is 5, but fold synthetic/s01 has 4 .*; set it to 4 or less"
    ):
        train_run(run_of("ststnet", entry={"training_subjects": 5}), task, Artifacts("it"), 1, 1)
    assert not Artifacts("it").predictions.exists()


@pytest.mark.parametrize("model", [name for name in list_models() if model_info(name).kind == "estimator"])
@pytest.mark.parametrize("classes", [{0, 2}, {1}])
def test_an_estimator_never_predicts_a_class_that_its_subjects_lack(
    project: Path, model: str, classes: set[int]
) -> None:
    rows = task_rows(SUBJECTS, side=48, length=8)
    kept = [row for row in rows if row["subject"] == SUBJECTS[0] or row["label"] in classes]
    write_task(project / "task", kept, inputs=tuple(INPUTS))
    train_fold(run_of(model), project / "task", project / "out", SUBJECTS[0])
    said = read_predictions(project / "out/predictions.parquet")
    assert {row["y_true"] for row in said} == {0, 1, 2}
    assert {row["y_pred"] for row in said} <= classes


@pytest.mark.parametrize("settings", [{}, {"class_weight": 1.0}, {"objective": "group_dro", "dro_step": 0.01}])
def test_a_network_seldom_predicts_a_class_that_its_subjects_lack(project: Path, settings: dict[str, Any]) -> None:
    """Its clips are there to be tested, and nothing of it is learnt."""
    rows = task_rows(SUBJECTS, length=2)
    kept = [row for row in rows if row["subject"] == SUBJECTS[0] or row["label"] != 1]
    write_task(project / "task", kept)
    run = run_of("ststnet", epochs=30, batch_size=8, **settings)
    train_fold(run, project / "task", project / "out", SUBJECTS[0])
    said = read_predictions(project / "out/predictions.parquet")
    assert sum(row["y_true"] == 1 for row in said) == 2
    assert [row["y_pred"] for row in said if row["y_true"] != 1] == [
        row["y_true"] for row in said if row["y_true"] != 1
    ]
    assert sum(row["y_pred"] == 1 for row in said) == 0
