"""docs/models.md is up to date in what does not depend on the machine, and says what was measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import fdpbench.bench.report.model_docs
from fdpbench.bench.report.layout import github
from fdpbench.bench.report.model_docs import STATED, measured_rows, size_rows
from fdpbench.commands import app
from fdpbench.models.common.registry import list_models
from tests.support.builders import torch_as_it_was

ROOT = Path(__file__).resolve().parents[3]


def test_sizes_are_those_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # params.yaml has the options
    with torch_as_it_was():
        rows = size_rows()
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert github(rows) in text, "docs/models.md is not up to date: run `fdpbench docs`"
    assert [row["model"] for row in rows] == [f"`{name}`" for name in list_models()]
    by_model = {row["model"]: row for row in rows}
    assert by_model["`ststnet`"]["parameters"] == "1,683" and by_model["`majority`"]["parameters"] == "-"
    assert set(STATED) <= set(list_models())


def write_tables(folder: Path, rows: list[tuple[str, str, str, str, float]], seeds: int) -> None:
    folder.mkdir(parents=True)
    columns = ["run", "model", "protocol", "table", "uf1"]
    frame = pd.DataFrame(rows, columns=columns).assign(uar=0.5, repetitions=seeds, clips=40 * seeds, subjects=4)
    frame.to_csv(folder / "tiny.csv", index=False)
    pd.DataFrame({"task": ["tiny"], "run": ["it"]}).to_csv(folder / "per_class.csv", index=False)


def test_figures_come_from_the_full_results_first(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables", [("b", "cnn3d", "honest", "", 0.1), ("a", "fdp", "honest", "", 0.2)], seeds=1)
    full = [
        ("z-best", "fdp", "honest", "", 0.9),
        ("fdp", "fdp", "honest", "", 0.8),
        ("fdp-inner", "fdp", "inner", "", 0.7),
        ("an-ablation", "fdp", "honest", "ablations", 0.95),
    ]
    write_tables(tmp_path / "full/tables", full, seeds=3)
    pd.DataFrame({"run": ["fdp"], "fold_s": [12.34]}).to_csv(tmp_path / "full/costs.csv", index=False)
    plain, fdp = measured_rows(tmp_path)
    assert (plain["model"], plain["task"], plain["UF1"], plain["seeds"]) == ("`cnn3d`", "tiny", "0.100", "1")
    assert plain["seconds of a fold"] == "-"
    assert (fdp["run"], fdp["UF1"], fdp["seeds"], fdp["seconds of a fold"]) == ("fdp", "0.800", "3", "12.3")
    assert (plain["clips"], fdp["clips"], fdp["subjects"]) == ("40", "120", "4")  # of two releases, and said so


def test_each_split_has_a_row_of_its_own(tmp_path: Path) -> None:
    rows = [
        ("a", "fdp", "honest, 5 folds", "5_folds", 0.3),
        ("b", "fdp", "honest", "", 0.2),
        ("c", "fdp", "honest, 5 folds", "ablations", 0.9),
        ("d", "fdp", "honest, 2 training subjects", "2_training_subjects", 0.1),
        ("e", "fdp", "honest from w, 5 folds", "pretrained-5_folds", 0.8),
    ]
    write_tables(tmp_path / "baselines/tables", rows, seeds=1)
    found = [(row["split"], row["run"], row["UF1"]) for row in measured_rows(tmp_path)]
    assert found == [("5 folds", "a", "0.300"), ("one subject out", "b", "0.200")]


def test_without_results_there_is_nothing(tmp_path: Path) -> None:
    assert measured_rows(tmp_path) == []


def test_the_command_writes_the_page(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdpbench.bench.report.model_docs, "size_rows", lambda: [{"model": "`one`"}])
    write_tables(Path("results/tables"), [("a", "fdp", "honest", "", 0.2)], seeds=1)
    result = CliRunner().invoke(app, ["docs"])
    assert result.exit_code == 0 and "docs/models.md" in result.stderr
    text = Path("docs/models.md").read_text()
    row = "| `fdp`   | tiny   | one subject out | 40      | 4          | a     | 0.200 |"
    assert "| `one`   |" in text and row in text
