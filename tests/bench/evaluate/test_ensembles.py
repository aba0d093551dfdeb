"""Ensembles: the mean of probabilities by hand, beside runs in tables and report, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fdpbench.bench.evaluate.ensembles import ensemble_rows, predictions_of
from fdpbench.bench.evaluate.evaluation import read_clips, read_evaluation
from fdpbench.bench.evaluate.listed import evaluation_of
from fdpbench.bench.evaluate.predictions import PredictionError, check_predictions, read_predictions
from fdpbench.bench.evaluate.ranks import rank_models
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.external.read import read_said
from fdpbench.bench.plan.check import check_project
from fdpbench.bench.plan.ensembles import evaluated
from fdpbench.bench.plan.params import run_names
from fdpbench.bench.plan.resolve import resolve
from fdpbench.bench.report.html.build import build_report
from fdpbench.bench.report.tables import write_tables
from fdpbench.commands import app
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.problems import ParamsError
from tests.support.builders import checked_params, predictions, task_rows, write_params, write_predictions, write_task

NETWORKS = {"a": {"task": "tiny", "model": "ststnet"}, "b": {"task": "tiny", "model": "off_apexnet"}}


def probable(run: str, repetitions: int = 1, seed: int = 0) -> list[dict[str, Any]]:
    """Predictions with random probabilities of each clip of the task."""
    rows = sorted(task_rows(), key=lambda row: row["clip_id"])
    found = []
    for repetition in range(repetitions):
        scores = np.random.default_rng([seed, repetition, 1]).dirichlet([1, 1, 1], len(rows))
        for row, one in zip(predictions(run, rows, scores.argmax(axis=1), repetition), scores, strict=True):
            found.append(row | {"scores": one.tolist()})
    return found


def test_the_mean_is_over_seeds_then_members() -> None:
    members = [probable("a", 3, seed=1), probable("b", 3, seed=2), probable("c", 1, seed=3)]
    rows = ensemble_rows("all", members)
    clips = sorted(task_rows(), key=lambda row: row["clip_id"])
    check_predictions("all", rows, clips, 3, 1)
    for row in rows:
        means = []
        for member in members:
            mine = [np.array(other["scores"]) for other in member if other["clip_id"] == row["clip_id"]]
            means.append(sum(mine) / len(mine))
        wanted = sum(means) / 3
        np.testing.assert_allclose(row["scores"], wanted, rtol=1e-12)
        assert row["y_pred"] == int(np.argmax(wanted)) and row["run"] == "all" and row["epoch"] is None
    assert any(row["y_pred"] != other["y_pred"] for row, other in zip(rows, members[0], strict=False))


def test_scores_that_are_no_probabilities_are_refused() -> None:
    rows = probable("b")
    rows[4]["scores"] = [2.0, -0.5, -0.5]
    with pytest.raises(PredictionError, match=rf"ensemble all: scores of b are not .* of {rows[4]['clip_id']}"):
        ensemble_rows("all", [probable("a"), rows])


@pytest.fixture
def study(project: Path) -> dict[str, Any]:
    """A project of two trained networks with two seeds, and two ensembles."""
    content = checked_params(train={"repetitions": 2})
    content |= {"runs": NETWORKS, "ensembles": {"both": ["a", "b"], "seeds-of-a": ["a"]}}
    write_params(content)
    write_task(project / "data/task/tiny")
    for seed, name in enumerate(NETWORKS):
        write_predictions(name, probable(name, 2, seed), "repetition,fold,epoch,loss\n0,s,1,0.5\n")
    return content


def test_ensembles_stand_beside_runs(study: dict[str, Any], project: Path) -> None:
    runs = evaluated(read_params())
    assert list(runs) == ["a", "b", "both", "seeds-of-a"]
    evaluate_runs(runs, 2, project / "artifacts/evaluation")
    evaluation = evaluation_of(runs)
    assert evaluation == read_evaluation() and set(evaluation.by_run) == set(runs)
    score = evaluation.by_run["both"]
    path = predictions_of("both", runs["both"])
    assert score.predictions_sha256 == hash_file(path) and len(score.values("uf1")) == 1
    assert (score.model, score.changes, score.competes) == ("ensemble", "of a, b", True)
    (table,) = evaluation.tables_of("tiny")
    assert set(table.runs) == set(runs)
    wanted = ensemble_rows("both", [read_predictions(predictions_of(name, runs[name])) for name in ("a", "b")])
    assert read_predictions(path) == wanted
    assert read_said(path).clip_ids == tuple(row["clip_id"] for row in wanted)
    alone = read_predictions(predictions_of("seeds-of-a", runs["seeds-of-a"]))
    assert alone == ensemble_rows("seeds-of-a", [read_predictions(predictions_of("a", runs["a"]))])

    text = write_tables(evaluation, read_clips(), project / "out")
    assert "| both " in text and "ensemble (of a, b)" in text
    assert not (project / "out/plots/loss/both.csv").exists() and (project / "out/plots/loss/a.csv").exists()


def test_runs_alone_leave_no_trace_of_ensembles(study: dict[str, Any], project: Path) -> None:
    runs = run_names(read_params())
    evaluate_runs(runs, 2, project / "artifacts/evaluation")
    assert sorted(path.name for path in (project / "artifacts/evaluation").iterdir()) == [
        "clips.parquet",
        "evaluation.json",
    ]
    assert "members" not in (project / "artifacts/evaluation/evaluation.json").read_text()


def test_the_report_has_a_page_of_an_ensemble(study: dict[str, Any], project: Path) -> None:
    """Alone, since runs would need provenance: an ensemble has none of its own."""
    runs = evaluated(read_params())
    evaluate_runs(runs, 2, project / "artifacts/evaluation")
    evaluation = evaluation_of(runs)
    only = {"both", "seeds-of-a"}
    shown = type(evaluation)(
        evaluation.metrics, tuple(s for s in evaluation.scores if s.run in only), (), evaluation.chance, (), None
    )
    build_report(shown, read_clips(), {}, [], project / "report")
    page = (project / "report/runs/both.html").read_text()
    assert '<a href="a.html">a</a>, <a href="b.html">b</a>' in page
    assert "artifacts/evaluation/ensembles/both.parquet" in page and "averages the class probabilities" in page


def test_an_ensemble_is_no_model_among_ranks(study: dict[str, Any], project: Path) -> None:
    runs = evaluated(read_params())
    evaluate_runs(runs, 2, project / "artifacts/evaluation")
    scores = read_evaluation().scores
    other = [type(s)(**(vars(s) | {"task": type(s.task)(**(vars(s.task) | {"task": "other"}))})) for s in scores]
    assert rank_models([*scores, *other]) is None  # two models are not enough


def test_check_says_what_an_ensemble_is(study: dict[str, Any], project: Path) -> None:
    check_project()
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0, result.output
    assert "both: ensemble on tiny, mean of a, b" in result.output
    planned = resolve("evaluate", "", read_params()).settings["runs"]
    assert planned["both"]["members"] == ["a", "b"] and "members" not in planned["a"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["a", "bb"], "ensembles.it: no run 'bb' .did you mean 'b'..; runs: a, b"),
        (["a", "a"], "ensembles.it: duplicate run 'a'"),
        (["a", "other"], "ensembles.it: 'other' is an ensemble itself; list its runs instead"),
        (["a", "histogram"], "ensembles.it: histogram: scores of flow_histogram are not probabilities"),
        (["a", "elsewhere"], "ensembles.it: task of elsewhere is not that of a; members share task, protocol, split"),
        (["a", "folds"], "ensembles.it: split of folds is not that of a"),
        (["a", "few"], "ensembles.it: training_subjects of few is not that of a"),
        (["a", "inner"], "ensembles.it: protocol of inner is not that of a"),
        (["a", "frozen"], "ensembles.it: faults of frozen is not that of a"),
        (["a"], "ensembles.it: one run with one seed is no ensemble; name another run, or set train.repetitions"),
        ([], r"ensembles.it: expected a list of runs, such as .run-a, run-b. \(found \[\]\)"),
        ("a", "ensembles.it: expected a list of runs"),
        (["a", 3], "ensembles.it: expected a list of runs"),
    ],
)
def test_what_cannot_be_is_named(project: Path, members: Any, message: str) -> None:
    content = checked_params()
    content["tasks"]["tiny2"] = content["tasks"]["tiny"]
    content["runs"] = NETWORKS | {
        "histogram": {"task": "tiny", "model": "flow_histogram"},
        "elsewhere": {"task": "tiny2", "model": "ststnet"},
        "inner": {"task": "tiny", "model": "ststnet", "protocol": "inner"},
        "folds": {"task": "tiny", "model": "ststnet", "split": {"subject_kfold": 2}},
        "few": {"task": "tiny", "model": "ststnet", "training_subjects": 1},
        "frozen": {"task": "tiny", "model": "ststnet", "faults": {"frozen_batch_norm": True}},
    }
    content["ensembles"] = {"it": members, "other": ["a", "b"]}
    with pytest.raises(ParamsError, match=f"^params.yaml: {message}"):
        evaluated(content)
    write_params(content)
    with pytest.raises(ParamsError, match=message) as error:
        check_project()
    assert len(error.value.problems) == 1


def test_the_name_of_a_run_is_refused(project: Path) -> None:
    with pytest.raises(ParamsError, match="ensembles.a: a run has this name; name the ensemble otherwise"):
        evaluated(checked_params() | {"runs": NETWORKS, "ensembles": {"a": ["a", "b"]}})


def test_an_ensemble_of_test_selected_runs_says_so(project: Path) -> None:
    runs = {f"{name}-test_selected": NETWORKS[name] | {"protocol": "test_selected"} for name in NETWORKS}
    content = checked_params() | {"runs": runs, "ensembles": {"both": list(runs)}}
    with pytest.raises(ParamsError, match="ensembles.both: .*call it both-test_selected"):
        evaluated(content)
    content["ensembles"] = {"both-test_selected": list(runs)}
    assert evaluated(content)["both-test_selected"].protocol == "test_selected"


def test_members_are_not_written_under_runs(project: Path) -> None:
    content = checked_params() | {"runs": NETWORKS | {"both": {"task": "tiny", "model": "x", "members": ["a", "b"]}}}
    with pytest.raises(ParamsError, match=r"runs.both.members: .*list it under ensembles: .*both: \[a, b\]"):
        run_names(content)
