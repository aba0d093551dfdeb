"""The price of leakage: what is compared with what, three ways of averaging, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from fdpbench.bench.evaluate.audit import fold_means
from fdpbench.bench.evaluate.metrics import subject_confusions
from fdpbench.commands import app
from fdpbench.prep.store import images, paths
from tests.support.builders import params, predictions, write_params, write_predictions, write_task

RUNS: dict[str, dict[str, Any]] = {
    "tiny-ststnet": {"task": "tiny", "model": "ststnet"},
    "tiny-ststnet-inner": {"task": "tiny", "model": "ststnet", "table": "protocols", "protocol": "inner"},
    "tiny-ststnet-test_selected": {"task": "tiny", "model": "ststnet", "protocol": "test_selected"},
    "tiny-ststnet-wet-inner": {
        "task": "tiny", "model": "ststnet", "table": "wet", "protocol": "inner", "set": {"model": {"dropout": 0.1}},
    },
    "tiny-untested": {
        "task": "tiny", "model": "ststnet", "table": "faults", "faults": {"untested_subjects": ["synthetic/s01"]},
    },
}  # fmt: skip


@pytest.fixture
def ready(project: Path) -> Path:
    content = params(train={"repetitions": 2})
    content |= {"runs": RUNS}
    write_params(content)
    rows = write_task(paths.task("tiny"))
    right = [row["label"] for row in rows]
    wrong = {"tiny-ststnet": 6, "tiny-ststnet-inner": 6, "tiny-ststnet-test_selected": 0}
    for run, entry in RUNS.items():
        tested = [row for row in rows if row["subject"] not in entry.get("faults", {}).get("untested_subjects", [])]
        guess = list(right[: len(tested)]) if "faults" not in entry else [row["label"] for row in tested]
        for k in range(wrong.get(run, 3)):
            guess[2 * k] = (guess[2 * k] + 1) % 3
        write_predictions(run, [row for k in range(2) for row in predictions(run, tested, guess, repetition=k)])
    return project


def audit() -> Any:
    evaluated = CliRunner().invoke(app, ["evaluate"])
    assert evaluated.exit_code == 0, evaluated.output
    return CliRunner().invoke(app, ["audit"])


def test_the_honest_run_is_of_the_same_task_where_there_is_one(project: Path) -> None:
    """Two tasks of the same clips and classes, as with another sampling: each departure belongs to its own."""
    content = params()
    content["tasks"]["other"] = content["tasks"]["tiny"]
    content["runs"] = {
        "a-honest": {"task": "other", "model": "ststnet"},
        "b-honest": {"task": "tiny", "model": "ststnet"},
        "b-selected-test_selected": {"task": "tiny", "model": "ststnet", "protocol": "test_selected"},
        "c-inner": {"task": "tiny", "model": "cnn3d", "protocol": "inner"},
        "d-honest": {"task": "other", "model": "cnn3d"},
    }
    write_params(content)
    for task in ("other", "tiny"):
        rows = write_task(paths.task(task), name=task)
    for run in content["runs"]:
        write_predictions(run, predictions(run, rows, [row["label"] for row in rows]))
    result = audit()
    assert result.exit_code == 0, result.output
    table = pd.read_csv("results/audit.csv").set_index("run")
    assert table["honest"].to_dict() == {"b-selected-test_selected": "b-honest", "c-inner": "d-honest"}


def test_each_departure_is_beside_its_honest_run(ready: Path) -> None:
    result = audit()
    assert result.exit_code == 0, result.output
    table = pd.read_csv("results/audit.csv").set_index("run")
    # the run of other settings has no honest run of its own, and is not compared with another's
    assert table.index.tolist() == ["tiny-ststnet-inner", "tiny-ststnet-test_selected", "tiny-untested"]
    assert set(table["honest"]) == {"tiny-ststnet"}
    assert table.loc["tiny-ststnet-inner", "difference"] == 0 and table.loc["tiny-ststnet-inner", "p_value"] == 1
    selected = table.loc["tiny-ststnet-test_selected"]
    assert selected["uf1"] == 1 and selected["difference"] == pytest.approx(1 - selected["uf1_honest"])
    assert 0 <= selected["low"] <= selected["difference"] <= selected["high"] < 1
    untested = table.loc["tiny-untested"]
    assert np.isnan(untested["p_value"]) and untested["difference"] == pytest.approx(
        untested["uf1"] - untested["uf1_honest"], abs=1e-6
    )
    text = Path("results/audit.md").read_text(encoding="utf-8")
    assert "other clips" in text and "test_selected" in text and "mean over folds" in text
    assert "| tiny-untested" not in text.partition("three ways")[2], "a fault is no averaging"
    assert images.read_image(Path("results/audit.png")).shape[1] > 500


def test_runs_that_start_from_weights_or_of_few_subjects_are_no_departure_and_no_reference_of_others(
    project: Path,
) -> None:
    content = params()
    content["runs"] = {
        "a-tuned": {"task": "tiny", "model": "ststnet", "init": "w"},
        "a-tuned-test_selected": {"task": "tiny", "model": "ststnet", "init": "w", "protocol": "test_selected"},
        "b-shot": {"task": "tiny", "model": "ststnet", "init": "w", "protocol": "zero_shot"},
        "c-honest": {"task": "tiny", "model": "ststnet"},
        "d-inner": {"task": "tiny", "model": "ststnet", "protocol": "inner"},
        "e-inner": {"task": "tiny", "model": "cnn3d", "protocol": "inner"},
        "f-tuned": {"task": "tiny", "model": "cnn3d", "init": "v"},
        "g-few": {"task": "tiny", "model": "ststnet", "training_subjects": 1},
        "h-few-test_selected": {
            "task": "tiny",
            "model": "ststnet",
            "training_subjects": 1,
            "protocol": "test_selected",
        },
        "i-few": {"task": "tiny", "model": "cnn3d", "training_subjects": 1},
    }
    content["pretrain"] = {"w": {"corpus": "c", "model": "ststnet"}, "v": {"corpus": "c", "model": "cnn3d"}}
    write_params(content)
    rows = write_task(paths.task("tiny"))
    for run in content["runs"]:
        write_predictions(run, predictions(run, rows, [row["label"] for row in rows]))
    result = audit()
    assert result.exit_code == 0, result.output
    table = pd.read_csv("results/audit.csv").set_index("run")
    assert table["honest"].to_dict() == {"d-inner": "c-honest", "h-few-test_selected": "g-few"}


def test_nothing_to_compare_is_said(ready: Path) -> None:
    content = params(train={"repetitions": 2})
    content |= {"runs": {"tiny-ststnet": RUNS["tiny-ststnet"]}}
    write_params(content)
    result = audit()
    assert result.exit_code == 1 and not Path("results/audit.md").exists()


def test_three_ways_by_hand() -> None:
    truth, said, folds = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["a", "a", "a", "b"]
    pooled, present, zeros = fold_means(subject_confusions(truth, said, folds, "ab")[0])
    assert pooled == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert present == pytest.approx(((2 / 3 + 2 / 3) / 2 + 1) / 2)
    assert zeros == pytest.approx(((2 / 3 + 2 / 3) / 2 + 1 / 2) / 2)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("abc")), min_size=3, max_size=40))
def test_three_ways_agree_with_scikit_learn(rows: list[tuple[int, int, str]]) -> None:
    truth, said, folds = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(truth.tolist())) < 3:
        return
    pooled, present, zeros = fold_means(subject_confusions(truth, said, folds.tolist(), "abc")[0])
    each = [(truth[folds == fold], said[folds == fold]) for fold in np.unique(folds)]
    over_present = [f1_score(a, b, labels=np.unique(a), average="macro", zero_division=0.0) for a, b in each]
    with_zeros = [
        sum(f1_score(a, b, labels=[k], average="macro", zero_division=0.0) for k in np.unique(a)) / 3 for a, b in each
    ]
    assert pooled == pytest.approx(f1_score(truth, said, average="macro", labels=[0, 1, 2], zero_division=0.0))
    assert present == pytest.approx(np.mean(over_present)) and zeros == pytest.approx(np.mean(with_zeros))
