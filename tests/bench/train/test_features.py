"""Hand-crafted features: what is kept is what a model computes, to the bit; folds refuse what is not their task's."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import fdpbench.bench.train.features
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import FEATURES, load_clips, load_features
from fdpbench.bench.train.features import features_of_run, features_of_subject
from fdpbench.bench.train.settings import Run
from fdpbench.bench.train.stage import train_run
from fdpbench.models.common.registry import create_model, list_models, model_info
from fdpbench.models.flow_histogram import FlowHistogram
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.workers import Unit, UnitError
from fdpbench.prep.store import paths, shards
from tests.support.builders import params, run_of, task_rows, train_fold, write_features, write_task
from tests.support.units import run_here

HAND_CRAFTED = [name for name in list_models() if model_info(name).hand_crafted]
OUT = Path("it.parquet")


def run_with(model: str, **options: Any) -> Run:
    entry = {"task": "tiny", "model": model, "set": {"model": options}}
    return load_run("it", params(runs={"it": entry}))


@pytest.fixture
def task(project: Path) -> Path:
    write_task(paths.task("tiny"), task_rows(side=24, length=6))
    return paths.task("tiny")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run units in this process; the names of those that were run."""
    names: list[str] = []

    def noted(units: Iterable[Unit], *rest: Any) -> Any:
        for name in run_here(units, *rest):
            names.append(name)
            yield name

    monkeypatch.setattr(fdpbench.bench.train.features, "run_units", noted)
    return names


def as_read(inputs: dict[str, Any]) -> dict[str, Any]:
    """Raw inputs as a model reads them, in another way than the stage: frames by a table of 256 values."""
    unit = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float32)
    return {name: unit[array] if array.dtype == np.uint8 else array for name, array in inputs.items()}


@pytest.mark.parametrize("model", HAND_CRAFTED)
def test_a_fold_is_fitted_and_scored_as_by_the_model_itself(task: Path, here: list[str], model: str) -> None:
    """Its checkpoint and scores are those of the model that computes the features of all clips at once."""
    run = run_with(model)
    out = features_of_run(run, task, 1)
    assert shards.subjects_of(out) == ["synthetic/s01", "synthetic/s02", "synthetic/s03"] == here
    clips = load_clips(task, run.model.inputs)
    kept = load_features(out, task)
    estimator = create_model(model, 3, seed=7)
    features = estimator.features(as_read(clips.inputs))
    assert kept.clip_ids == clips.clip_ids and (kept.labels == clips.labels).all()
    np.testing.assert_array_equal(kept.inputs["features"], features)
    assert kept.inputs["features"].dtype == np.float64

    said = train_fold(run, task, Path("out"), "synthetic/s02")
    test = np.array([subject == "synthetic/s02" for subject in clips.subjects])
    rows = read_predictions(Path("out/predictions.parquet"))
    estimator = create_model(model, 3, seed=rows[0]["seed"])
    estimator.fit({"features": features[~test]}, clips.labels[~test])
    assert safetensors.numpy.save(dict(estimator.state())) == said["model.safetensors"]
    assert [row["scores"] for row in rows] == estimator.scores({"features": features[test]}).tolist()


@pytest.mark.pipeline
def test_workers_change_no_byte(task: Path) -> None:
    """Real workers; and a whole run, which reads what they left."""
    run, written = run_of("flow_histogram"), []
    for jobs in (1, 2):
        out = features_of_run(run, task, jobs)
        written.append(out.read_bytes())
        out.unlink()
        for unit in Path(".scratch/features-it").glob("*/units/*/*"):
            unit.unlink()
            unit.parent.rmdir()
    assert written[0] == written[1] == write_features(run, task, Path("by-hand.parquet")).read_bytes()
    train_run(run, task, Artifacts("it"), 2, 1)
    assert Artifacts("it").predictions.is_file()


def test_what_was_finished_is_not_done_again(task: Path, here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("flow_histogram")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        finish = Scratch.finish

        def cut_off(self: Scratch, name: str) -> None:
            finish(self, name)
            if name == "synthetic/s02":
                raise KeyboardInterrupt

        patch.setattr(Scratch, "finish", cut_off)
        features_of_run(run, task, 1)
    assert not list(Path(".scratch/features").glob("*")) and here == ["synthetic/s01"]
    here.clear()
    out = features_of_run(run, task, 1)
    assert here == ["synthetic/s03"]
    assert out.read_bytes() == write_features(run, task, Path("by-hand.parquet")).read_bytes()


def test_features_are_kept_by_what_they_are_made_of(task: Path, here: list[str]) -> None:
    plain, code = run_of("flow_histogram"), {"code": {"models/flow_histogram.py": "a"}}
    first = features_of_run(plain, task, 1, code)
    here.clear()
    assert features_of_run(run_with("flow_histogram", bins=8), task, 1, code) == first  # the default, written out
    assert here == []
    for run, made_by in (
        (run_with("flow_histogram", bins=4), code),
        (plain, {"code": {"models/flow_histogram.py": "b"}}),
    ):
        other = features_of_run(run, task, 1, made_by)
        assert len(here) == 3 and other != first and not first.exists()  # the one before is of no use any more
        here.clear()
        first = other
    write_task(task, task_rows(seed=1, side=24, length=6))
    assert features_of_run(plain, task, 1, code) != first and len(here) == 3


def test_a_changed_clip_changes_its_own_features_alone(task: Path) -> None:
    run = run_of("flow_histogram")
    before = load_features(write_features(run, task, Path("a.parquet")), task)
    rows = task_rows(side=24, length=6)
    rows[4]["flow"] = (np.array(rows[4]["flow"]) ** 2).tolist()
    write_task(task, rows)
    after = load_features(write_features(run, task, Path("b.parquet")), task)
    same = (before.inputs["features"] == after.inputs["features"]).all(axis=1)
    assert [name for name, kept in zip(before.clip_ids, same, strict=True) if not kept] == [rows[4]["clip_id"]]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (np.full((1, 3), np.nan), r"synthetic/s01/\w+: what flow_histogram computes as features holds NaN"),
        (np.ones((1, 3), np.float32), "flow_histogram: features are float32, expected float64"),
    ],
)
def test_what_folds_could_not_take_as_it_is(
    task: Path, monkeypatch: pytest.MonkeyPatch, returned: Any, said: str
) -> None:
    monkeypatch.setattr(FlowHistogram, "features", lambda self, inputs: returned)
    with pytest.raises(ValueError, match=said):
        features_of_subject(run_of("flow_histogram"), task, "synthetic/s01")


def test_a_model_that_does_not_take_the_tasks_inputs(task: Path) -> None:
    run = run_with("flow_histogram", grid=40)
    with pytest.raises(UnitError, match=r"synthetic/s01: ModelOptionError: flow_histogram: flow of shape .* >= 40"):
        features_of_run(run, task, 1)
    assert not list(Path(".scratch/features").glob("*"))


def test_features_that_are_not_the_tasks(task: Path) -> None:
    run, rows = run_of("flow_histogram"), task_rows()
    with pytest.raises(
        shards.ShardError, match=r"it\.parquet not found: the stage before has not run; run `dvc repro`"
    ):
        load_features(OUT, task)
    write_features(run, task, OUT)
    others = copy.deepcopy(rows)
    others[3]["clip_id"] += "_new"
    for other, named in (
        (rows[:-1], rows[-1]["clip_id"]),
        (others, rows[3]["clip_id"]),
        (rows[6:], rows[4]["clip_id"]),
    ):
        write_task(task, other)
        with pytest.raises(ValueError, match=rf"it\.parquet: not the clips of data/task/tiny, {named} among others"):
            load_features(OUT, task)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([[1.0, 2.0], [1.0]], "features of lengths"),
        ([[], []], "features of lengths"),
        ([[1.0], None], "features of lengths"),
        ([[1.0], [float("inf")]], r"synthetic/s01/b: features holds NaN or infinite values"),
    ],
)
def test_features_that_are_damaged(project: Path, features: list[Any], said: str) -> None:
    rows = task_rows(["synthetic/s01"], per_class=1)[:2]
    for row, name in zip(rows, "ab", strict=True):
        row["clip_id"] = f"synthetic/s01/{name}"
    write_task(paths.task("tiny"), rows)
    made = [
        {"clip_id": row["clip_id"], "subject": row["subject"], "features": values}
        for row, values in zip(rows, features, strict=True)
    ]
    shards.write_subjects(OUT, FEATURES, [shards.pa.Table.from_pylist(made, schema=FEATURES)])
    with pytest.raises(ValueError, match=said):
        load_features(OUT, paths.task("tiny"))
