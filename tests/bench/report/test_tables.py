"""Tables: every metric from predictions alone, every listed run, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fdpbench.bench.evaluate.evaluation import read_clips
from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.predictions import PredictionError, read_predictions
from fdpbench.bench.report.tables import SIMULATED_NOTE, SYNTHETIC_NOTE
from fdpbench.bench.train.protocols import Faults
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.store import images
from fdpbench.prep.store.shards import ShardError
from tests.support.builders import CLASSES, perceived, predictions, task_rows, write_predictions, write_task
from tests.support.evaluation import evaluated, results_of

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


def right_for_one(row: dict[str, Any], repetition: int) -> int:
    return worse_each_time(row, 1)


def text_of(out: Path) -> str:
    return (out / "tables.md").read_text()


def lines_of_table(text: str) -> list[list[str]]:
    """Cells without intervals and marks of what is not told from the best: those are test_compare's matter."""
    text = re.sub(r" \[[\d., ]+\]", "", text).replace("\N{SUPERSCRIPT EQUALS SIGN}", "")
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
    out = results_of(runs, 2)
    written = json.loads((out / "metrics.json").read_text())
    assert set(written) == {"tiny"} and set(written["tiny"]) == set(runs)
    for run in runs:
        found = written["tiny"][run]
        for figure in formula(run):
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
    out = results_of(setup({"first": first, "right": right}), 1)
    head, _, best, other = lines_of_table((out / "tables.md").read_text())
    labels = [metric.label for metric in METRICS.values()]
    assert head == ["run", "model", "protocol", *labels, "clips", "subjects"]
    assert labels[:4] == ["UF1", "UAR", "accuracy", "weighted F1"]
    assert best == ["right", "majority", "honest", *["**1.000**"] * len(labels), "18", "3"]
    assert other[:7] == ["first", "majority", "honest", "0.167", "0.333", "0.333", "0.167"]
    assert other[-2:] == ["18", "3"]


def test_equal_figures_are_all_best_and_runs_are_in_order_of_name() -> None:
    out = results_of(setup({"b": first, "a": first}), 1)
    _, _, one, other = lines_of_table((out / "tables.md").read_text())
    assert (one[0], other[0]) == ("a", "b") and one[3] == other[3] == "**0.167**"


def test_spread_over_repetitions() -> None:
    out = results_of(setup({"worse": worse_each_time}, repetitions=3), 3)
    values = [formula("worse", k)["uf1"] for k in range(3)]
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert f"**{expected}**" in (out / "tables.md").read_text()
    assert expected.replace(" ± ", r" $\pm$ ") in (out / "tables/tiny.tex").read_text()


def test_columns_for_each_data_set() -> None:
    out = results_of(setup({"right": right}, subjects=TWO_SETS), 1)
    head = lines_of_table((out / "tables.md").read_text())[0]
    assert head[3 + len(METRICS) :] == ["casme2 UF1", "casme2 UAR", "smic UF1", "smic UAR", "clips", "subjects"]


def test_a_data_set_that_lacks_a_class_has_no_figure() -> None:
    rows = [row for row in task_rows(subjects=TWO_SETS, length=2) if row["dataset"] != "smic" or row["label"] < 2]
    write_task(Path("data/task/tiny"), rows)
    write_predictions("right", predictions("right", rows, [row["label"] for row in rows]))
    out = results_of({"right": RunEntry(task="tiny", model="majority")}, 1)
    nested = json.loads((out / "metrics.json").read_text())["tiny"]["right"]
    assert "casme2" in nested and "smic" not in nested
    assert "smic UF1" not in (out / "tables.md").read_text() or "not defined" in (out / "tables.md").read_text()


def test_rendered_faces_are_called_so() -> None:
    runs = setup({"right": right}, task="synthetic")
    assert SYNTHETIC_NOTE in (results_of(runs, 1) / "tables.md").read_text()
    runs = setup({"right": right}, task="casme2_5")
    assert SYNTHETIC_NOTE not in (results_of(runs, 1) / "tables.md").read_text()


def test_any_task_of_rendered_faces_is_called_so() -> None:
    """A second task on the embedded release, under another name."""
    runs = setup({"right": right}, task="synthetic_3")
    assert SYNTHETIC_NOTE in (results_of(runs, 1) / "tables.md").read_text()


def test_simulated_releases_are_called_so() -> None:
    """Figures on a release in the form of a real one must not be taken for figures on it."""
    runs = setup({"right": right}, task="casme2_5")
    write_task(Path("data/task/casme2_5"), task_rows(length=2), name="casme2_5", simulated=["casme2", "samm"])
    text = (results_of(runs, 1) / "tables.md").read_text()
    assert SIMULATED_NOTE.format("casme2, samm") in text and SYNTHETIC_NOTE not in text


def test_order_of_prediction_rows_changes_nothing() -> None:
    runs = setup({"right": right, "worse": worse_each_time}, subjects=TWO_SETS, repetitions=2)
    for seed, run in enumerate(runs):
        path = Path("artifacts/predictions") / f"{run}.parquet"
        write_predictions(run, perceived(read_predictions(path), seed=seed))
    before = contents(results_of(runs, 2))
    assert "tables/perception.csv" in before
    for run in runs:
        path = Path("artifacts/predictions") / f"{run}.parquet"
        rows = read_predictions(path)
        order = np.random.default_rng(0).permutation(len(rows))
        write_predictions(run, [rows[k] for k in order])
    assert contents(results_of(runs, 2)) == before


def contents(folder: Path) -> dict[str, Any]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_order_of_runs_does_not_change_the_tables_of_a_task() -> None:
    runs = setup({"right": right, "first": first})
    before = contents(results_of(runs, 1))
    after = contents(results_of(dict(reversed(runs.items())), 1))
    for name in ("tables.md", "metrics.json", "tables/tiny.csv", "tables/tiny.tex"):
        assert after[name] == before[name]


def test_tables_of_classes_and_subjects() -> None:
    out = results_of(setup({"first": first}), 1)
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
    out = results_of(runs, 1)
    shown = pd.read_csv(out / "plots/loss/net.csv")
    assert shown["epoch"].tolist() == [1, 2] and shown["loss"].tolist() == [3.0, 1.5]
    assert not (out / "plots/loss/majority.csv").exists()


def test_results_of_a_run_taken_off_the_list_do_not_stay_behind() -> None:
    """Also where the command is run by hand: DVC is not there to empty the folders."""
    runs = setup({"kept": right, "gone": first})
    results_of(runs, 1)
    del runs["gone"]
    assert not list(results_of(runs, 1).rglob("*gone*"))


def test_a_missing_run_fails_by_name() -> None:
    runs = setup({"there": right}) | {"not_there": RunEntry(task="tiny", model="majority")}
    with pytest.raises(ShardError, match=r"not_there\.parquet not found"):
        evaluated(runs, 1)


def test_incomplete_predictions_fail_by_name() -> None:
    runs = setup({"r": right})
    rows = read_predictions(Path("artifacts/predictions/r.parquet"))
    write_predictions("r", [row for row in rows if row["fold"] != "synthetic/s02"])
    with pytest.raises(PredictionError, match="r, repetition 0: fold synthetic/s02"):
        evaluated(runs, 1)


def latex_is_sound(text: str) -> None:
    """Environments and braces balance, every row has as many cells as the head, nothing special is bare."""
    begins, ends = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert begins == ends == ["tabular"]
    assert text.count("$") % 2 == 0
    bare = re.sub(r"\$[^$]*\$", "", text)  # mathematics
    bare = re.sub(r"\\[\\{}_%&#$~^]|\\[a-zA-Z]+", "", bare)
    assert bare.count("{") == bare.count("}")
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
    text = (results_of(runs, repetitions) / "tables/tiny.tex").read_text()
    latex_is_sound(text)
    assert r"\textbf{1.000" in text and r"run\_one" in text


# --- protocols and faults

CURVE = "repetition,fold,epoch,loss,watched_accuracy,watched_cross_entropy\n0,a,1,2.0,0.5,1.0\n0,a,2,1.0,0.75,0.5\n"


def crowd(**entries: Any) -> dict[str, RunEntry]:
    """Runs of every protocol and fault; those that must not win guess right, the honest ones do not."""
    runs = {
        "plain": RunEntry(task="tiny", model="cnn3d"),
        "nested": RunEntry(task="tiny", model="cnn3d", protocol="inner"),
        "best-test_selected": RunEntry(task="tiny", model="cnn3d", protocol="test_selected"),
        "own_set": RunEntry(task="tiny", model="cnn3d", faults=Faults(own_set_normalisation=True)),
        "frozen": RunEntry(task="tiny", model="cnn3d", protocol="inner", faults=Faults(frozen_batch_norm=True)),
        "fewer": RunEntry(task="tiny", model="cnn3d", faults=Faults(untested_subjects=["synthetic/s03"])),
    } | entries
    rows = task_rows(length=2)
    write_task(Path("data/task/tiny"), rows)
    for seed, (run, entry) in enumerate(runs.items()):
        mine = [row for row in rows if row["subject"] not in entry.faults.untested_subjects]
        guess = right_for_one if run == "plain" else first if run == "nested" else right
        written = predictions(run, mine, [guess(row, 0) for row in mine])
        write_predictions(run, perceived(written, seed=seed), CURVE if "selected" in run else "repetition,fold\n")
    for run in runs:
        if "selected" not in run:
            Path(f"artifacts/curves/{run}.csv").write_text("repetition,fold,epoch,loss\n")
    return runs


PROTOCOLS = {
    "plain": "honest",
    "nested": "inner",
    "best-test_selected": "test_selected",
    "own_set": "honest + own-set normalisation",
    "frozen": "inner + frozen batch norm",
    "fewer": "honest + untested: synthetic/s03",
}


def test_the_protocol_stands_in_every_row_of_every_table() -> None:
    out = results_of(crowd(), 1)
    printed, perception = text_of(out).split("### tiny: order of frames")
    latex = (out / "tables/tiny.tex").read_text()
    for head, *rest in (lines_of_table(printed), lines_of_table(perception), lines_of_latex(latex)):
        found = {row[0]: row[head.index("protocol")] for row in rest}
        assert {run: text for run, text in found.items() if run in PROTOCOLS} == PROTOCOLS
    names = {path.name for path in (out / "tables").glob("*.csv")}
    others = {"chance.csv", "against_best.csv"}  # of no run; of runs that compete
    assert names == {"tiny.csv", "per_class.csv", "per_subject.csv", "confusion.csv", "perception.csv", *others}
    for name in names - others:
        frame = pd.read_csv(out / "tables" / name)
        assert set(frame["run"]) == set(PROTOCOLS), name
        assert (frame["protocol"] == frame["run"].map(PROTOCOLS)).all(), name


def lines_of_latex(text: str) -> list[list[str]]:
    text = re.sub(r" \{\\scriptsize [^}]*\}|\$\^\{(\\dagger|=)\}\$", "", text)
    rows = [line.removesuffix(r"\\").split("&") for line in text.splitlines() if line.endswith(r"\\")]
    return [[cell.strip().replace(r"\_", "_") for cell in row] for row in rows]


def test_test_selected_is_never_printed_without_that_word() -> None:
    out = results_of(crowd(), 1)
    for path in (path for path in out.rglob("*") if path.is_file()):
        for line in path.read_text().splitlines():
            if "best-" in line:
                assert "test_selected" in line.replace(r"\_", "_"), path
    for name in ("confusion/best-test_selected.csv", "loss/best-test_selected.csv"):
        assert (out / "plots" / name).is_file()
    assert '"best-test_selected": {' in (out / "metrics.json").read_text()


def test_runs_that_do_not_compete_are_last_and_never_bold() -> None:
    """They are perfect here, and the honest ones are not."""
    out = results_of(crowd(), 1)
    for text, mark in (((out / "tables.md").read_text(), "**"), ((out / "tables/tiny.tex").read_text(), r"\textbf")):
        lines = lines_of_table(text) if mark == "**" else lines_of_latex(text)
        rows = {row[0]: row for row in lines[: 2 + len(PROTOCOLS)] if row[0] in PROTOCOLS}
        assert list(rows)[:2] == ["plain", "nested"] and len(rows) == len(PROTOCOLS)
        assert all(cell.startswith(mark) for cell in rows["plain"][3 : 3 + len(METRICS)])
        for run in ("best-test_selected", "own_set", "frozen", "fewer"):
            assert mark not in "".join(rows[run]) and rows[run][3] == "1.000"
    frame = pd.read_csv(out / "tables/tiny.csv")
    assert frame["run"].tolist()[:2] == ["plain", "nested"]


def test_inner_may_win() -> None:
    runs = setup({"plain": first, "nested": right})
    runs["nested"] = RunEntry(task="tiny", model="majority", protocol="inner")
    rows = lines_of_table((results_of(runs, 1) / "tables.md").read_text())
    assert rows[2][:4] == ["nested", "majority", "inner", "**1.000**"]


def test_where_no_run_competes_none_is_bold() -> None:
    runs = setup({"it-test_selected": right})
    runs["it-test_selected"] = RunEntry(task="tiny", model="majority", protocol="test_selected")
    out = results_of(runs, 1)
    assert "**" not in (out / "tables.md").read_text() and "textbf" not in (out / "tables/tiny.tex").read_text()


def test_truncated_sampling_is_printed_and_does_not_compete() -> None:
    runs = setup({"right": right})
    write_task(Path("data/task/tiny"), task_rows(length=2), sampling="truncated")
    out = results_of(runs, 1)
    (row,) = (row for row in lines_of_table((out / "tables.md").read_text()) if row[0] == "right")
    assert row == ["right", "majority", "honest + truncated sampling", *["1.000"] * len(METRICS), "18", "3"]


def test_untested_subjects_are_counted_out() -> None:
    runs = crowd()
    out = results_of(runs, 1)
    frame = pd.read_csv(out / "tables/tiny.csv").set_index("run")
    assert frame["clips"].to_dict() == {run: 12 if run == "fewer" else 18 for run in runs}
    assert frame["subjects"].to_dict() == {run: 2 if run == "fewer" else 3 for run in runs}
    assert "18 clips, 3 subjects" in (out / "tables.md").read_text()
    subjects = pd.read_csv(out / "tables/per_subject.csv").groupby("run")["subject"].apply(list)
    assert subjects["fewer"] == ["synthetic/s01", "synthetic/s02"]
    classes = pd.read_csv(out / "tables/per_class.csv").groupby("run")["clips"].sum()
    assert classes["fewer"] == 12 and classes["plain"] == 18
    out = results_of({"fewer": runs["fewer"]}, 1)
    assert "12 clips, 2 subjects" in (out / "tables.md").read_text()


def test_a_row_of_an_untested_subject_is_refused() -> None:
    runs = crowd()
    rows = task_rows(length=2)
    write_predictions("fewer", predictions("fewer", rows, [0] * len(rows)))
    with pytest.raises(PredictionError, match="fewer, fold synthetic/s03, clip .*not among those"):
        evaluated(runs, 1)


def test_an_unknown_untested_subject_is_refused() -> None:
    runs = crowd()
    runs["fewer"] = RunEntry(task="tiny", model="cnn3d", faults=Faults(untested_subjects=["synthetic/s33"]))
    with pytest.raises(PredictionError, match=r"runs\.fewer\.faults\.untested_subjects: synthetic/s33 not in the task"):
        evaluated(runs, 1)


def test_columns_of_data_sets_are_those_of_all_runs() -> None:
    """A run that leaves a whole data set untested comes first here; the other's figures must not go with it."""
    rows = task_rows(subjects=TWO_SETS, length=2)
    write_task(Path("data/task/tiny"), rows)
    untested = {"half": ["smic/s01", "smic/s02"], "whole": ["smic/s01"]}
    runs = {}
    for run, subjects in untested.items():
        runs[run] = RunEntry(task="tiny", model="majority", faults=Faults(untested_subjects=subjects))
        mine = [row for row in rows if row["subject"] not in subjects]
        write_predictions(run, predictions(run, mine, [row["label"] if run == "half" else 0 for row in mine]))
    text = (results_of(runs, 1) / "tables.md").read_text()
    (whole,) = (row for row in lines_of_table(text) if row[0] == "whole")
    head = lines_of_table(text)[0]
    assert head[3 + len(METRICS) :] == ["casme2 UF1", "casme2 UAR", "smic UF1", "smic UAR", "clips", "subjects"]
    assert whole[3 + len(METRICS) :] == ["0.167", "0.333", "0.167", "0.333", "18", "3"]


def test_loss_curves_of_inner_are_of_the_final_training() -> None:
    runs = setup({"nested": right})
    curve = (
        "repetition,fold,epoch,loss,training,cross_entropy,watched_accuracy,watched_cross_entropy\n"
        "0,a,1,9.0,choice,9.0,0.5,1.0\n0,a,2,8.0,choice,8.0,0.6,0.9\n0,a,3,7.0,choice,7.0,0.4,0.9\n"
        "0,a,1,2.0,final,2.0,,\n0,a,2,1.0,final,1.0,,\n"
        "0,b,1,9.0,choice,9.0,0.5,1.0\n0,b,1,4.0,final,4.0,,\n"
    )
    write_predictions("nested", read_predictions(Path("artifacts/predictions/nested.parquet")), curve)
    shown = pd.read_csv(results_of(runs, 1) / "plots/loss/nested.csv")
    assert shown["epoch"].tolist() == [1, 2] and shown["loss"].tolist() == [3.0, 1.0]
    assert shown["cross_entropy"].tolist() == [3.0, 1.0]
    assert not shown.isna().any().any(), "columns without a value"


# --- tables that runs name


def test_named_tables_hold_their_runs_and_those_of_the_same_models() -> None:
    runs = setup({"reference": right, "other": right, "without": first, "less": right_for_one, "alone": first})
    runs["other"] = RunEntry(task="tiny", model="cnn3d")
    for run in ("without", "less"):
        runs[run] = RunEntry(task="tiny", model="majority", table="ablations")
    runs["alone"] = RunEntry(task="tiny", model="ststnet", table="zoo")
    out = results_of(runs, 1)
    own, ablations, zoo = (lines_of_table(part) for part in re.split(r"^### .*$", text_of(out), flags=re.MULTILINE))
    assert [row[0] for row in own[2:]] == ["other", "reference"]
    assert [row[0] for row in ablations[2:]] == ["reference", "less", "without"]
    assert [row[0] for row in zoo[2:]] == ["alone"]
    assert re.findall(r"^### .*$", text_of(out), re.MULTILINE) == ["### tiny: ablations", "### tiny: zoo"]
    assert ablations[2][3] == "**1.000**" and zoo[2][3].startswith("**")
    for name, members in (("tiny", own), ("tiny-ablations", ablations), ("tiny-zoo", zoo)):
        text = (out / f"tables/{name}.tex").read_text()
        latex_is_sound(text)
        assert [row[0] for row in lines_of_latex(text)[1:]] == [row[0] for row in members[2:]]
    frame = pd.read_csv(out / "tables/tiny.csv", keep_default_na=False).set_index("run")
    assert set(frame.index) == set(runs)
    assert frame["table"].to_dict() == {run: entry.table or "" for run, entry in runs.items()}
    assert set(json.loads((out / "metrics.json").read_text())["tiny"]) == set(runs)


def test_what_a_run_sets_stands_beside_its_model() -> None:
    runs = setup({"plain": right, "wet": right})
    runs["wet"] = RunEntry(task="tiny", model="ststnet", set={"lr": 0.1, "model": {"dropout": 0.2}})
    out = results_of(runs, 1)
    models = {row[0]: row[1] for row in lines_of_table(text_of(out))[2:]}
    assert models == {"plain": runs["plain"].model, "wet": "ststnet (dropout 0.2, lr 0.1)"}
    assert r"ststnet (dropout 0.2, lr 0.1)" in (out / "tables/tiny.tex").read_text()
    frame = pd.read_csv(out / "tables/tiny.csv", keep_default_na=False).set_index("run")
    assert frame["changes"].to_dict() == {"plain": "", "wet": "dropout 0.2, lr 0.1"}


def test_a_task_whose_runs_all_name_a_table_has_no_empty_one() -> None:
    runs = setup({"it": right})
    runs["it"] = RunEntry(task="tiny", model="majority", table="ablations")
    out = results_of(runs, 1)
    assert [row[0] for row in lines_of_table(text_of(out))[2:]] == ["it"]
    assert [path.name for path in (out / "tables").glob("*.tex")] == ["tiny-ablations.tex"]


def test_a_table_that_is_gone_leaves_no_file() -> None:
    runs = setup({"it": right})
    results_of({"it": RunEntry(task="tiny", model="majority", table="old")}, 1)
    assert not list(results_of(runs, 1).rglob("*old*"))


# --- rank scores and generated images


def copied(frames: list[np.ndarray]) -> np.ndarray:
    """What lies between the running means of standardised frames, summed over pairs and scaled."""
    standard = [(frame - frame.mean()) / frame.std() for frame in frames]
    means = [np.mean(standard[: t + 1], axis=0) for t in range(len(frames))]
    image = sum(means[q] - means[t] for q in range(len(frames)) for t in range(q))
    return (image - image.min()) / (image.max() - image.min())


def perception_of(run: str) -> list[dict[str, Any]]:
    """Every measure from the Parquet files by plain loops and scikit-image; images are half the truth's side."""
    rows = {row["clip_id"]: row for row in task_rows(length=2)}

    def halved(image: np.ndarray) -> np.ndarray:
        return image.reshape(8, 2, 8, 2).mean(axis=(1, 3))

    def small(clip: str) -> np.ndarray:
        return halved(images.decode_png(rows[clip]["dynamic_image"]) / 255)

    found = []
    for row in read_predictions(Path("artifacts/predictions") / f"{run}.parquet"):
        scores, one = row["rank_scores"], {key: row[key] for key in ("repetition", "clip_id", "subject")}
        if scores is not None:
            pairs = [(a, b) for k, a in enumerate(scores) for b in scores[k + 1 :]]
            one["order_accuracy"] = sum(b > a for a, b in pairs) / len(pairs)
        if row["drawn"] is not None:
            truth, generated = small(row["clip_id"]), images.decode_png(row["drawn"]) / 255
            others = [small(clip) for clip in rows if rows[clip]["subject"] != row["subject"]]
            copy = copied([images.decode_png(frame) for frame in rows[row["clip_id"]]["frames"]])
            pictures = {"": generated, "_of_mean": np.mean(others, axis=0), "_of_copy": halved(copy)}
            for suffix, picture in pictures.items():
                one[f"psnr{suffix}"] = peak_signal_noise_ratio(truth, picture, data_range=1)
                one[f"ssim{suffix}"] = structural_similarity(truth, picture, win_size=7, data_range=1)
        found.append(one)
    return sorted(found, key=lambda one: (one["repetition"], one["clip_id"]))


MEASURES = ["order_accuracy", "psnr", "ssim", "psnr_of_mean", "ssim_of_mean", "psnr_of_copy", "ssim_of_copy"]


@pytest.mark.parametrize("repetitions", [1, 2])
def test_perception_is_what_predictions_and_truth_say(repetitions: int) -> None:
    runs = setup({"both": right, "ranks": first, "draws": first, "blind": first}, repetitions=repetitions)
    for seed, (run, options) in enumerate({"both": {}, "ranks": {"side": None}, "draws": {"ranks": False}}.items()):
        rows = read_predictions(Path("artifacts/predictions") / f"{run}.parquet")
        write_predictions(run, perceived(rows, seed=seed, **options))  # type: ignore[arg-type]
    out = results_of(runs, repetitions)
    frame = pd.read_csv(out / "tables/perception.csv")
    assert set(frame["run"]) == {"both", "ranks", "draws"} and (frame["task"] == "tiny").all()
    nested = json.loads((out / "metrics.json").read_text())["tiny"]
    summary = pd.read_csv(out / "tables/tiny.csv").set_index("run")
    _, section = text_of(out).split("### tiny: order of frames")
    head, _, *printed = lines_of_table(section)
    assert [row[0] for row in printed] == ["both", "draws", "ranks"]
    for run in ("both", "ranks", "draws"):
        expected = pd.DataFrame(perception_of(run))
        mine = frame[frame["run"] == run].reset_index(drop=True)
        assert mine["clip_id"].tolist() == expected["clip_id"].tolist()
        assert mine["repetition"].tolist() == expected["repetition"].tolist()
        (line,) = (dict(zip(head, row, strict=True)) for row in printed if row[0] == run)
        for column, label, decimals in zip(MEASURES, [head[2], *head[4:]], (3, 2, 3, 2, 3, 2, 3), strict=True):
            if column not in expected:
                assert line[label] == "-" and column not in nested[run]
                assert mine[column].isna().all() and np.isnan(summary.loc[run, column])
                continue
            np.testing.assert_allclose(mine[column], expected[column], atol=1e-5)
            each = expected.groupby("repetition")[column].mean()
            assert nested[run][column] == pytest.approx(each.mean(), abs=2e-6)
            assert summary.loc[run, column] == pytest.approx(each.mean(), abs=2e-6)
            spread = f" ± {each.std(ddof=1):.{decimals}f}" if repetitions > 1 else ""
            assert line[label] == f"{each.mean():.{decimals}f}{spread}"
    assert not set(MEASURES) & set(nested["blind"]) and "**" not in section


def test_without_rank_scores_and_images_there_is_no_such_section() -> None:
    out = results_of(setup({"blind": right}), 1)
    assert "order of frames" not in text_of(out)
    assert not (out / "tables/perception.csv").exists()
    assert not set(MEASURES) & set(pd.read_csv(out / "tables/tiny.csv").columns)


def test_an_image_of_another_clip_is_another_figure() -> None:
    """Generated images are held against the truth of their own clip, whatever the order of rows."""
    runs, rows = setup({"it": right}), task_rows(length=2)
    written = read_predictions(Path("artifacts/predictions/it.parquet"))
    truth = {row["clip_id"]: row["dynamic_image"] for row in rows}
    write_predictions("it", [row | {"drawn": truth[row["clip_id"]]} for row in written[::-1]])
    evaluated(runs, 1)
    assert min(clip.perception["ssim"] for clip in read_clips()["it"]) == pytest.approx(1)
    shifted = [row["clip_id"] for row in written[1:] + written[:1]]
    write_predictions("it", [row | {"drawn": truth[clip]} for row, clip in zip(written, shifted, strict=True)])
    evaluated(runs, 1)
    assert max(clip.perception["ssim"] for clip in read_clips()["it"]) < 0.9
