"""Tables: every figure from predictions alone, every listed run, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.params import RunEntry
from bench.predictions import PredictionError, read_predictions
from bench.scores import Score, clear_unlisted, score_runs
from bench.tables import FIGURES, SYNTHETIC_NOTE, write_tables
from prep.shards import ShardError
from tests.builders import CLASSES, predictions, task_rows, write_predictions, write_task

pytestmark = pytest.mark.usefixtures("project")

TWO_SETS = ("casme2/sub01", "casme2/sub02", "smic/s01", "smic/s02")


def setup(
    guesses: dict[str, Callable[[dict[str, Any], int], int]],
    subjects: tuple[str, ...] = ("synthetic/s01", "synthetic/s02", "synthetic/s03"),
    task: str = "tiny",
    repetitions: int = 1,
) -> dict[str, RunEntry]:
    """Write a task and predictions of runs; a guess is a function of the clip's row and the repetition."""
    rows = task_rows(subjects=subjects, length=2)
    write_task(Path("data/task") / task, rows, name=task)
    for run, guess in guesses.items():
        written = [
            one
            for k in range(repetitions)
            for one in predictions(run, rows, [guess(row, k) for row in rows], repetition=k)
        ]
        write_predictions(run, written)
    return {run: RunEntry(task=task, model="majority") for run in guesses}


def right(row: dict[str, Any], repetition: int) -> int:
    return row["label"]


def first(row: dict[str, Any], repetition: int) -> int:
    return 0


def worse_each_time(row: dict[str, Any], repetition: int) -> int:
    return row["label"] if repetition == 0 or row["subject"].endswith("1") else 0


def write(scores: list[Score]) -> Path:
    out = Path("results")
    write_tables(scores, out / "tables.md", out / "tables", out / "metrics.json", out / "plots")
    return out


def lines_of_table(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def formula(run: str, repetition: int = 0, dataset: str | None = None) -> dict[str, float]:
    """UF1 and the rest by the formulas, from the Parquet file."""
    rows = [
        row
        for row in read_predictions(Path("artifacts/predictions") / f"{run}.parquet")
        if row["repetition"] == repetition and dataset in (None, row["dataset"])
    ]
    truth, guess = np.array([r["y_true"] for r in rows]), np.array([np.argmax(r["scores"]) for r in rows])
    f1, recall, share = [], [], []
    for k in range(len(CLASSES)):
        tp, fp, fn = (
            ((truth == k) & (guess == k)).sum(),
            ((truth != k) & (guess == k)).sum(),
            ((truth == k) & (guess != k)).sum(),
        )
        f1.append(2 * tp / (2 * tp + fp + fn))
        recall.append(tp / (tp + fn))
        share.append((tp + fn) / len(truth))
    return {
        "uf1": float(np.mean(f1)),
        "uar": float(np.mean(recall)),
        "accuracy": float((truth == guess).mean()),
        "weighted_f1": float(np.dot(f1, share)),
    }


def test_metrics_are_what_the_predictions_say() -> None:
    runs = setup({"right": right, "first": first, "worse": worse_each_time}, subjects=TWO_SETS, repetitions=2)
    out = write(score_runs(runs, 2))
    written = json.loads((out / "metrics.json").read_text())
    assert set(written) == {"tiny"} and set(written["tiny"]) == set(runs)
    for run in runs:
        found = written["tiny"][run]
        for figure in FIGURES.values():
            mean = np.mean([formula(run, k)[figure] for k in range(2)])
            assert found[figure] == pytest.approx(mean, abs=1e-6)
            for dataset in ("casme2", "smic"):
                mean = np.mean([formula(run, k, dataset)[figure] for k in range(2)])
                assert found[dataset][figure] == pytest.approx(mean, abs=1e-6)
    frame = pd.read_csv(out / "tables/tiny.csv").set_index("run")
    assert frame.loc["worse", "uf1"] == pytest.approx(written["tiny"]["worse"]["uf1"], abs=1e-6)
    assert frame.loc["worse", "smic_uar"] == pytest.approx(written["tiny"]["worse"]["smic"]["uar"], abs=1e-6)
    assert frame["clips"].tolist() == [24] * 3 and frame["subjects"].tolist() == [4] * 3


def test_markdown_ranks_runs_and_marks_the_best() -> None:
    out = write(score_runs(setup({"first": first, "right": right}), 1))
    head, _, best, other = lines_of_table((out / "tables.md").read_text())
    assert head == ["run", "model", "protocol", "UF1", "UAR", "accuracy", "weighted F1"]
    assert best == ["right", "majority", "honest", *["**1.000**"] * 4]
    assert other == ["first", "majority", "honest", "0.167", "0.333", "0.333", "0.167"]


def test_equal_figures_are_all_best_and_runs_are_in_order_of_name() -> None:
    out = write(score_runs(setup({"b": first, "a": first}), 1))
    _, _, one, other = lines_of_table((out / "tables.md").read_text())
    assert (one[0], other[0]) == ("a", "b") and one[3] == other[3] == "**0.167**"


def test_spread_over_repetitions() -> None:
    out = write(score_runs(setup({"worse": worse_each_time}, repetitions=3), 3))
    values = [formula("worse", k)["uf1"] for k in range(3)]
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert f"**{expected}**" in (out / "tables.md").read_text()
    assert expected.replace(" ± ", r" $\pm$ ") in (out / "tables/tiny.tex").read_text()


def test_columns_for_each_data_set() -> None:
    out = write(score_runs(setup({"right": right}, subjects=TWO_SETS), 1))
    head = lines_of_table((out / "tables.md").read_text())[0]
    assert head[7:] == ["casme2 UF1", "casme2 UAR", "smic UF1", "smic UAR"]


def test_a_data_set_that_lacks_a_class_has_no_figure() -> None:
    rows = [row for row in task_rows(subjects=TWO_SETS, length=2) if row["dataset"] != "smic" or row["label"] < 2]
    write_task(Path("data/task/tiny"), rows)
    write_predictions("right", predictions("right", rows, [row["label"] for row in rows]))
    out = write(score_runs({"right": RunEntry(task="tiny", model="majority")}, 1))
    nested = json.loads((out / "metrics.json").read_text())["tiny"]["right"]
    assert "casme2" in nested and "smic" not in nested
    assert "smic UF1" not in (out / "tables.md").read_text() or "not defined" in (out / "tables.md").read_text()


def test_rendered_faces_are_called_so() -> None:
    runs = setup({"right": right}, task="synthetic")
    assert SYNTHETIC_NOTE in (write(score_runs(runs, 1)) / "tables.md").read_text()
    runs = setup({"right": right}, task="casme2_5")
    assert SYNTHETIC_NOTE not in (write(score_runs(runs, 1)) / "tables.md").read_text()


def test_any_task_of_rendered_faces_is_called_so() -> None:
    """A second task on the embedded release, under another name."""
    runs = setup({"right": right}, task="synthetic_3")
    assert SYNTHETIC_NOTE in (write(score_runs(runs, 1)) / "tables.md").read_text()


def test_order_of_prediction_rows_changes_nothing() -> None:
    runs = setup({"right": right, "worse": worse_each_time}, subjects=TWO_SETS, repetitions=2)
    before = contents(write(score_runs(runs, 2)))
    for run in runs:
        path = Path("artifacts/predictions") / f"{run}.parquet"
        rows = read_predictions(path)
        order = np.random.default_rng(0).permutation(len(rows))
        write_predictions(run, [rows[k] for k in order])
    assert contents(write(score_runs(runs, 2))) == before


def contents(folder: Path) -> dict[str, Any]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_order_of_runs_does_not_change_the_tables_of_a_task() -> None:
    runs = setup({"right": right, "first": first})
    before = contents(write(score_runs(runs, 1)))
    after = contents(write(score_runs(dict(reversed(runs.items())), 1)))
    for name in ("tables.md", "metrics.json", "tables/tiny.csv", "tables/tiny.tex"):
        assert after[name] == before[name]


def test_tables_of_classes_and_subjects() -> None:
    out = write(score_runs(setup({"first": first}), 1))
    classes = pd.read_csv(out / "tables/per_class.csv")
    assert classes["class"].tolist() == list(CLASSES) and classes["clips"].tolist() == [6, 6, 6]
    assert classes["recall"].tolist() == [1, 0, 0] and classes["precision"].tolist() == pytest.approx([1 / 3, 0, 0])
    subjects = pd.read_csv(out / "tables/per_subject.csv")
    assert subjects["subject"].tolist() == [f"synthetic/s0{k}" for k in (1, 2, 3)]
    assert subjects["accuracy"].tolist() == pytest.approx([1 / 3] * 3)
    confusion = pd.read_csv(out / "plots/confusion/first.csv")
    assert set(confusion["predicted"]) == {"happiness"} and set(confusion["actual"]) == set(CLASSES)
    assert len(confusion) == 18


def test_loss_curves_are_means_over_folds() -> None:
    runs = setup({"net": right, "majority": first})
    curve = "repetition,fold,epoch,loss\n0,a,1,2.0\n0,a,2,1.0\n0,b,1,4.0\n0,b,2,2.0\n"
    write_predictions("net", read_predictions(Path("artifacts/predictions/net.parquet")), curve)
    out = write(score_runs(runs, 1))
    drawn = pd.read_csv(out / "plots/loss/net.csv")
    assert drawn["epoch"].tolist() == [1, 2] and drawn["loss"].tolist() == [3.0, 1.5]
    assert not (out / "plots/loss/majority.csv").exists()


def test_an_unlisted_run_is_removed_and_named(capsys: pytest.CaptureFixture) -> None:
    runs = setup({"kept": right, "gone": first})
    del runs["gone"]
    assert clear_unlisted(list(runs)) == ["gone"]
    assert "gone is not in the run list" in capsys.readouterr().err
    assert not list(Path("artifacts").rglob("*gone*"))
    assert Path("artifacts/predictions/kept.parquet").is_file() and Path("artifacts/curves/kept.csv").is_file()
    assert clear_unlisted(list(runs)) == []
    assert "gone" not in (write(score_runs(runs, 1)) / "tables.md").read_text()


def test_a_curve_without_predictions_is_removed_too() -> None:
    """The curves are a dependency of the tables as well: a fresh clone would not have it."""
    runs = setup({"kept": right})
    Path("artifacts/curves/gone.csv").write_text("repetition,fold,epoch,loss\n")
    clear_unlisted(list(runs))
    assert not Path("artifacts/curves/gone.csv").exists()


def test_results_of_a_run_taken_off_the_list_do_not_stay_behind() -> None:
    """Also where the command is run by hand: DVC is not there to empty the folders."""
    runs = setup({"kept": right, "gone": first})
    write(score_runs(runs, 1))
    del runs["gone"]
    assert not list(write(score_runs(runs, 1)).rglob("*gone*"))


def test_a_missing_run_fails_by_name() -> None:
    runs = setup({"there": right}) | {"not_there": RunEntry(task="tiny", model="majority")}
    with pytest.raises(ShardError, match=r"not_there\.parquet not found"):
        score_runs(runs, 1)


def test_incomplete_predictions_fail_by_name() -> None:
    runs = setup({"r": right})
    rows = read_predictions(Path("artifacts/predictions/r.parquet"))
    write_predictions("r", [row for row in rows if row["fold"] != "synthetic/s02"])
    with pytest.raises(PredictionError, match="r, repetition 0: fold synthetic/s02"):
        score_runs(runs, 1)


def latex_is_sound(text: str) -> None:
    """Environments and braces balance, every row has as many cells as the head, nothing special is bare."""
    begins, ends = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert begins == ends == ["tabular"]
    bare = re.sub(r"\\[\\{}_%&#$~^]|\\[a-zA-Z]+", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[_%#~^<>|]", bare), bare
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"\hline" not in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    cells = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
    assert len(cells) == 1 and len(rows) >= 2
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None and len(columns.group(1)) == cells.pop() + 1


@pytest.mark.parametrize("repetitions", [1, 2])
def test_latex_is_sound(repetitions: int) -> None:
    runs = setup({"run_one": right, "run_two": worse_each_time}, subjects=TWO_SETS, repetitions=repetitions)
    text = (write(score_runs(runs, repetitions)) / "tables/tiny.tex").read_text()
    latex_is_sound(text)
    assert r"\textbf{1.000" in text and r"run\_one" in text
