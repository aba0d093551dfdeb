"""Runs of folds of several subjects: trained, checked, evaluated, printed, scored and compared by their split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fdpbench.bench.train.stage
from fdpbench.bench.evaluate.audit import fold_means
from fdpbench.bench.evaluate.evaluation import read_clips, read_evaluation
from fdpbench.bench.evaluate.metrics import subject_confusions
from fdpbench.bench.evaluate.predictions import PredictionError, read_predictions
from fdpbench.bench.evaluate.records import POOLED
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.external.read import read_said
from fdpbench.bench.external.score import compare_said, comparison_lines, score_lines, score_said
from fdpbench.bench.report.tables import write_tables
from fdpbench.bench.train.arrays import StoredClips
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.folds import SplitError, SubjectKFold, clips_of, fold_by_clip, folds_of
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.bench.train.settings import RunEntry
from fdpbench.bench.train.stage import train_run
from fdpbench.commands import app
from tests.bench.train.test_arrays import run_here
from tests.support.builders import (
    predictions,
    run_of,
    task_rows,
    torch_as_it_was,
    write_params,
    write_predictions,
    write_task,
)

SUBJECTS = tuple(f"synthetic/s{k:02d}" for k in range(1, 8))
KFOLD = {"subject_kfold": 3}
KFOLDS: dict[str, Any] = {"split": KFOLD}
SEED = 1
RECIPE: dict[str, Any] = {"epochs": 2, "batch_size": 8}


@pytest.fixture
def task(project: Path) -> Path:
    write_task(project / "data/task/tiny", task_rows(SUBJECTS, length=2))
    return project / "data/task/tiny"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", run_here)
    with torch_as_it_was():
        yield


def expected(untested: tuple[str, ...] = ()) -> dict[str, str]:
    """Fold that tests each clip, by the splitter."""
    split = SubjectKFold.model_validate(KFOLD)
    return fold_by_clip(folds_of(split, clips_of(task_rows(SUBJECTS, length=2)), SEED, untested))


@pytest.mark.parametrize("protocol", ["honest", "inner", "test_selected"])
def test_a_run_is_trained_by_its_folds(task: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    read = []
    plain = StoredClips.load

    def load(stored: StoredClips, inputs: Any) -> Any:
        read.append(frozenset(stored.folders))
        return plain(stored, inputs)

    monkeypatch.setattr(StoredClips, "load", load)
    run = run_of("ststnet", {"repetitions": 2}, protocol, entry={"split": KFOLD}, **RECIPE)
    train_run(run, task, Artifacts(run.name), 1, 1)
    rows = read_predictions(Artifacts(run.name).predictions)
    assert {(row["repetition"], row["clip_id"]): row["fold"] for row in rows} == {
        (repetition, clip): fold for repetition in range(2) for clip, fold in expected().items()
    }
    assert len({row["seed"] for row in rows}) == 6  # of three folds and two repetitions
    looks = 3 if protocol == "test_selected" else 2  # training clips, then those that are tested
    groups = [frozenset(row["subject"] for row in rows if row["fold"] == f"fold-{k}") for k in (1, 2, 3)]
    assert read == [
        one for _ in range(2) for mine in groups for one in (frozenset(SUBJECTS) - mine, *(looks - 1) * [mine])
    ]
    assert sorted(path.name for path in Artifacts(run.name).checkpoints.iterdir()) == [
        f"{repetition}-fold-{k}.safetensors" for repetition in (0, 1) for k in (1, 2, 3)
    ]
    assert set(pd.read_csv(Artifacts(run.name).curves)["fold"]) == {"fold-1", "fold-2", "fold-3"}
    assert read_provenance(Artifacts(run.name).provenance)["run"]["entry"]["split"] == KFOLD


def test_few_training_subjects_and_untested_ones(task: Path) -> None:
    untested = (SUBJECTS[0],)
    for name, entry in (
        ("few", {"training_subjects": 2}),
        ("untested", {"faults": {"untested_subjects": list(untested)}}),
    ):
        train_run(run_of("majority", entry={"split": KFOLD} | entry), task, Artifacts("it"), 1, 1)
        rows = read_predictions(Artifacts("it").predictions)
        clips = expected(untested if name == "untested" else ())
        assert {row["clip_id"]: row["fold"] for row in rows} == clips, name


def test_too_many_folds_are_named_by_their_run(task: Path) -> None:
    with pytest.raises(SplitError, match="runs.it.split: 8 folds, but 7 subjects to test"):
        train_run(run_of("majority", entry={"split": {"subject_kfold": 8}}), task, Artifacts("it"), 1, 1)
    with pytest.raises(SplitError, match="training_subjects is 5, but fold fold-. has 4 .*; set it to 4 or less"):
        train_run(run_of("majority", entry={"split": KFOLD, "training_subjects": 5}), task, Artifacts("it"), 1, 1)


def one_subject_out_keeps(task: Path) -> bytes:
    train_run(run_of("ststnet", **RECIPE), task, Artifacts("it"), 1, 1)
    return Artifacts("it").predictions.read_bytes()


def test_the_default_split_named_is_the_default(task: Path) -> None:
    plain = one_subject_out_keeps(task)
    train_run(run_of("ststnet", entry={"split": "subject"}, **RECIPE), task, Artifacts("it"), 1, 1)
    assert Artifacts("it").predictions.read_bytes() == plain
    assert "split" not in read_provenance(Artifacts("it").provenance)["run"]["entry"]


def written(runs: dict[str, float], entries: dict[str, dict[str, Any]]) -> dict[str, RunEntry]:
    """Predictions of runs, each wrong in a share of the clips, in the folds of its split."""
    rows = task_rows(SUBJECTS, length=2)
    write_task(Path("data/task/tiny"), rows)
    found = {}
    for run, share in runs.items():
        entry = {"task": "tiny", "model": "ststnet"} | entries.get(run, {})
        missed = np.random.default_rng(0).random(len(rows)) < share
        said = predictions(run, rows, [(row["label"] + int(no)) % 3 for row, no in zip(rows, missed, strict=True)])
        if "split" in entry:
            said = [row | {"fold": expected()[row["clip_id"]]} for row in said]
        write_predictions(run, said)
        found[run] = RunEntry.model_validate(entry)
    return found


def printed(runs: dict[str, RunEntry]) -> str:
    evaluate_runs(runs, 1, seed=SEED)
    return write_tables(read_evaluation(), read_clips(), Path("results"))


def test_runs_of_different_splits_share_no_table(project: Path) -> None:
    runs = written(
        {"plain": 0.4, "folds": 0.1, "folds-inner": 0.0, "folds-ablated": 0.2, "folds-tuned": 0.3, "folds-few": 0.3},
        {
            "folds": KFOLDS,
            "folds-inner": KFOLDS | {"protocol": "inner"},
            "folds-ablated": KFOLDS | {"table": "ablations"},
            "folds-tuned": KFOLDS | {"init": "w"},
            "folds-few": KFOLDS | {"training_subjects": 2},
        },
    )
    text = printed(runs)
    evaluation = read_evaluation()
    assert {one.name: set(one.runs) for one in evaluation.tables} == {
        "": {"plain"},
        "3_folds": {"folds", "folds-inner"},
        "ablations": {"folds-ablated", "folds", "folds-inner"},
        "pretrained-3_folds": {"folds-tuned"},
        "3_folds-2_training_subjects": {"folds-few"},
    }
    best = {one.name: one.best[POOLED]["uf1"] for one in evaluation.tables}
    assert best["3_folds"] == best["ablations"] == ("folds-inner",) and best[""] == ("plain",)
    head = text.partition("## ")[0]
    assert "Leave one subject out. 3 folds: sets of whole subjects" in head and "N training subjects: each" in head
    for protocol in ("honest, 3 folds", "inner, 3 folds", "honest from w, 3 folds", "3 folds, 2 training subjects"):
        assert protocol in text
    assert {one.run: one.honest for one in evaluation.effects} == {"folds-inner": "folds"}
    assert Path("results/tables/tiny-3_folds.tex").is_file()


def test_tables_of_one_subject_out_alone_say_nothing_of_folds(project: Path) -> None:
    text = printed(written({"plain": 0.4}, {}))
    assert (
        "Leave one subject out. Protocols:" in text
        and "training subjects:" not in text
        and "whole subjects" not in text
    )
    text = printed(written({"folds": 0.4}, {"folds": KFOLDS}))
    assert "Leave one subject out" not in text and "# Results\n\n3 folds: sets of whole subjects" in text


def test_means_over_folds_are_over_the_folds_of_the_split(project: Path) -> None:
    runs = written({"plain": 0.4, "folds": 0.4}, {"folds": KFOLDS})
    evaluate_runs(runs, 1, seed=SEED)
    for run, score in read_evaluation().by_run.items():
        rows = read_predictions(Artifacts(run).predictions)
        truth, said = (np.array([row[key] for row in rows]) for key in ("y_true", "y_pred"))
        pooled, present, zeros = fold_means(subject_confusions(truth, said, [row["fold"] for row in rows], "abc")[0])
        found = score.fold_means
        assert (found.pooled, found.over_present, found.with_zeros) == pytest.approx((pooled, present, zeros))
        assert len(score.by_subject) == len(SUBJECTS) and score.pooled.subjects == len(SUBJECTS)


@pytest.mark.parametrize("change", ["one subject out", "another fold", "another seed", "no clip of a fold"])
def test_predictions_of_other_folds_are_refused(project: Path, change: str) -> None:
    runs = written({"folds": 0.4}, {"folds": KFOLDS})
    rows = read_predictions(Artifacts("folds").predictions)
    said = "predicted in another fold than its own"
    if change == "one subject out":
        rows = [row | {"fold": row["subject"]} for row in rows]
    elif change == "another fold":
        rows[0]["fold"] = next(row["fold"] for row in rows if row["fold"] != rows[0]["fold"])
    elif change == "no clip of a fold":
        rows, said = [row for row in rows if row["fold"] != "fold-2"], "repetition 0: fold fold-2 is missing"
    write_predictions("folds", rows)
    with pytest.raises(PredictionError, match=said):
        evaluate_runs(runs, 1, seed=SEED + (change == "another seed"))


def test_score_and_compare_state_the_split(task: Path) -> None:
    files: dict[str, Path] = {}
    entries: dict[str, dict[str, Any]] = {"out": {}, "folds": KFOLDS, "few": KFOLDS | {"training_subjects": 2}}
    for name, entry in entries.items():
        train_run(run_of("majority", entry=entry), task, Artifacts("it"), 1, 1)
        files[name] = Path(f"{name}.parquet")
        files[name].write_bytes(Artifacts("it").predictions.read_bytes())
    said = {name: read_said(path) for name, path in files.items()}
    told = {"out": "leave one subject out", "folds": "3 folds", "few": "3 folds, 2 training subjects"}
    for name, text in told.items():
        report = score_said(said[name], resamples=50)
        assert report["folds"] == text and f"{name}: folds: {text}" in score_lines(report)
    lines = comparison_lines(compare_said(said["out"], said["folds"], resamples=50))
    assert lines[-1] == (
        "The two have other folds, which is part of the difference: out: leave one subject out; folds: 3 folds"
    )
    alike = comparison_lines(compare_said(said["folds"], said["folds"], resamples=50))
    assert alike[-1] == "folds of both: 3 folds"
    lines = [f"{clip},{label},{label}" for clip, label in zip(said["out"].clip_ids, said["out"].y_true, strict=True)]
    Path("theirs.csv").write_text("\n".join(["clip_id,y_true,y_pred", *lines]))
    theirs = read_said(Path("theirs.csv"))
    assert theirs.folds is None and not any("folds" in line for line in score_lines(score_said(theirs, resamples=50)))


def test_check_prints_the_split(project: Path) -> None:
    from tests.support.builders import checked_params

    content = checked_params(synth={"subjects": 4})
    content["runs"]["tiny-ststnet"] |= {"split": KFOLD}
    write_params(content)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0, result.output
    assert "protocol honest, 3 folds" in " ".join(result.output.split())
