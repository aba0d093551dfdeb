"""Files of a search and the table of several: all of it from the journal, and readable by what takes it up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

import fdpbench.bench.tune.loop
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.tune.data import TuneError
from fdpbench.bench.tune.loop import Budget
from fdpbench.bench.tune.progress import best_of
from fdpbench.bench.tune.report import read_tunings, report_text, write_report
from fdpbench.bench.tune.results import BEST, PLOT, RECORD, TRIALS, curve_of
from fdpbench.bench.tune.run import Tuned, tune
from tests.support.builders import params
from tests.support.tuning import made_up, run_backwards, search_of, write_tuning

pytest.importorskip("optuna", reason="needs the extra tune")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.setattr(fdpbench.bench.tune.loop, "run_units", run_backwards)
        patch.setattr(fdpbench.bench.tune.loop, "train_folds", made_up)
        patch.setattr(os, "fsync", lambda descriptor: None)
        write_tuning()
        yield Path.cwd()


def searched(folder: Path, model: str = "ststnet", trials: int = 8, minutes: float = 15.0) -> Tuned:
    (found,) = tune(model, Budget(minutes, trials), whole=True, folder=folder)
    return found


@pytest.fixture(scope="module")
def found(place: Path) -> Tuned:
    return searched(place / "results" / "ststnet")


def test_the_table_has_every_trial(found: Tuned) -> None:
    table = pd.read_csv(found.folder / TRIALS)
    assert table["trial"].tolist() == list(range(8)) and set(table["state"]) <= {"finished", "pruned"}
    for row, trial in zip(table.to_dict("records"), found.trials, strict=True):
        assert row["core_seconds"] == trial.seconds and row["values"] == trial.what
        assert {key: row[key] for key in trial.settings} == pytest.approx(dict(trial.settings))
        for k, fold in enumerate(("fold-1", "fold-2", "fold-3")):
            given = k < len(trial.pooled)
            assert row[f"after_{fold}"] == pytest.approx(trial.pooled[k], abs=1e-6) if given else True
            assert pd.isna(row[f"uf1_{fold}"]) != given
            assert row[f"seed_{fold}"] == found.search.seed(fold)
    assert table["core_minutes_so_far"].iloc[-1] == pytest.approx(
        sum(one.seconds for one in found.trials) / 60, abs=1e-5
    )
    assert pd.isna(table["seed_sampler"][0]) and table["seed_sampler"][1:].astype(int).tolist() == [
        one.seed for one in found.trials[1:]
    ]


def test_the_best_settings_are_taken_by_a_run_as_they_stand(found: Tuned) -> None:
    text = (found.folder / BEST).read_text(encoding="utf-8")
    best = best_of(found.trials)
    assert best and best.uf1
    run = {"task": "tiny", "model": "ststnet"} | yaml.safe_load(text)
    assert load_run("it", params(runs={"it": run})).settings == found.search.with_values(best.settings).settings
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "the best of 8 trials in 0." in comments[0] and "all of task tiny; 30 clips of 5 subjects" in comments[1]
    assert found.search.made_of["inputs"][:16] in comments[1]
    assert f"UF1 there: {best.uf1:.3f}; by the model's own recipe {found.trials[0].uf1:.3f}" in comments[2]


def test_where_nothing_is_better_the_recipe_is_said_to_be_best(place: Path) -> None:
    one = searched(place / "one", trials=1)
    assert "No trial was better than the model's own recipe, which this is" in (one.folder / BEST).read_text()
    assert yaml.safe_load((one.folder / BEST).read_text())["set"]["lr"] == 0.001
    assert any("own recipe" in line for line in one.lines())


def test_the_record_says_on_what_and_within_which_budget(found: Tuned) -> None:
    record = json.loads((found.folder / RECORD).read_text())
    assert record["budget"] == {"minutes": 15.0, "trials": 8} and record["part"] == "whole"
    assert record["tuning_data"] == "all of task tiny" and record["clips"] == 30 and len(record["subjects"]) == 5
    assert sorted(name for names in record["folds"].values() for name in names) == record["subjects"]
    assert record["made_of"] == found.search.made_of
    best = best_of(found.trials)
    assert best and record["best"]["trial"] == best.number and record["best"]["uf1"] == best.uf1
    assert record["own"]["uf1"] == found.trials[0].uf1
    assert sum(record["trials"].values()) == 8


def test_the_curve_ends_at_the_budget_and_rises_to_the_best(found: Tuned) -> None:
    curve = curve_of("it", found.trials)
    best = best_of(found.trials)
    assert best and max(curve.uf1) == best.uf1 and curve.own == found.trials[0].uf1
    assert list(curve.minutes) == sorted(curve.minutes) and curve.minutes[0] == 3 / 60
    assert curve.end == pytest.approx(sum(one.seconds for one in found.trials) / 60)
    image = cv2.imread(str(found.folder / PLOT))
    assert image is not None and len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_several_searches_are_one_table(found: Tuned) -> None:
    searched(found.folder.parent / "rcn", "rcn")
    text = write_report(found.folder.parent)
    assert (found.folder.parent / "tables.md").read_text(encoding="utf-8") == text
    rows = [line for line in text.splitlines() if line.startswith(("| rcn", "| ststnet"))]
    assert [row.split("|")[1].strip() for row in rows] == ["rcn", "ststnet"]
    best, own = best_of(found.trials), found.trials[0]
    assert best and best.uf1 and own.uf1
    folds = ", ".join(f"{value:.3f}" for value in best.by_fold)
    assert f"| {best.uf1:.3f} [{folds}] " in rows[1] and f"| +{best.uf1 - own.uf1:.3f} " in rows[1]
    assert "| 15 or 8 trials |" in " ".join(rows[1].split()) and "Not the same" not in text
    assert "all of task tiny, 30 clips of 5 subjects" in text
    table = pd.read_csv(found.folder.parent / "tables.csv")
    assert table["model"].tolist() == ["rcn", "ststnet"] and table["trials"].tolist() == [8, 8]
    image = cv2.imread(str(found.folder.parent / PLOT))
    assert image is not None and image.shape[1] > 1.5 * image.shape[0], "two panels"


def test_the_same_searches_give_the_same_files(found: Tuned) -> None:
    names = ("tables.md", "tables.csv", PLOT)
    write_report(found.folder.parent)
    before = {name: (found.folder.parent / name).read_bytes() for name in names}
    write_report(found.folder.parent)
    assert {name: (found.folder.parent / name).read_bytes() for name in names} == before


def test_searches_that_do_not_compare_are_said_not_to(place: Path, found: Tuned) -> None:
    tunings = read_tunings(found.folder)
    made_of = tunings[0].record["made_of"]
    changes: dict[str, dict[str, Any]] = {
        "budget": {"budget": {"minutes": 30.0, "trials": 8}},
        "tuning data": {"part": "subject/a"},
        "number of folds": {"made_of": made_of | {"folds": 5}},
        "device, precision or arithmetic": {"made_of": made_of | {"hardware": ["cuda", "bfloat16", "pinned"]}},
    }
    for what, change in changes.items():
        other = type(tunings[0])(tunings[0].record | change, tunings[0].trials)
        text = report_text([tunings[0], other])
        assert f"**Not the same {what} for all of them: their results do not compare.**" in text
    estimator = tunings[0].record["made_of"] | {"hardware": ["cpu", "float64", "pinned"]}
    network = tunings[0].record["made_of"] | {"hardware": ["cpu", "float32", "pinned"]}
    both = [type(tunings[0])(tunings[0].record | {"made_of": one}, tunings[0].trials) for one in (estimator, network)]
    assert "Not the same" not in report_text(both)


@pytest.mark.parametrize("name", [RECORD, TRIALS])
def test_a_damaged_file_is_named(place: Path, name: str) -> None:
    searched(place / "damaged" / "it", trials=1)
    path = place / "damaged" / "it" / name
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match=f"damaged.*{'git' if name == RECORD else 'is missing or damaged'}"):
        write_report(place / "damaged")
    path.unlink()
    with pytest.raises(TuneError, match="no search in it|is missing or damaged"):
        write_report(place / "damaged")


def test_names_in_a_table_are_printed_as_they_are(found: Tuned) -> None:
    tuning = read_tunings(found.folder)[0]
    other = type(tuning)(tuning.record | {"part": "subject/a|b"}, tuning.trials)
    assert "ststnet, subject/a\\|b" in report_text([other])


def test_own_settings_of_params_yaml_are_the_first_trial(place: Path) -> None:
    own = search_of(options={"ststnet": {"epochs": 7, "batch_size": 4, "model": {"dropout": 0.123456789}}}).own
    assert (own["epochs"], own["batch_size"], own["model.dropout"]) == (7, 4, 0.123456789)
