"""How runs stand: chance by enumeration, printed intervals and marks, ranks over tasks after Demsar."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fdpbench.bench.evaluate.bootstrap import compare, critical_difference, holm, intervals, permutation_test
from fdpbench.bench.evaluate.metrics import METRICS, MetricError, chance_levels, metric_of, subject_confusions
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.evaluate.ranks import ranks_of
from fdpbench.bench.evaluate.records import COVERAGE, POOLED, Table
from fdpbench.bench.train.settings import RunEntry
from tests.support.builders import predictions, task_rows, write_predictions, write_task
from tests.support.evaluation import evaluated, results_of

SUBJECTS = tuple(f"synthetic/s{k:02d}" for k in range(12))


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1], [0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 1, 1]])
def test_chance_is_the_mean_over_all_guesses(labels: list[int]) -> None:
    """Every way to guess, weighted by its probability."""
    classes = max(labels) + 1
    shares = np.bincount(labels) / len(labels)
    known = [name for name, metric in METRICS.items() if metric.guessed is not None]
    expected: dict[str, float | None] = dict.fromkeys(METRICS)
    expected |= dict.fromkeys(known, 0.0)
    for guess in itertools.product(range(classes), repeat=len(labels)):
        confusion = np.zeros((classes, classes))
        np.add.at(confusion, (labels, list(guess)), 1)
        for name in known:
            expected[name] += float(metric_of(confusion, name)) * float(np.prod(shares[list(guess)]))  # type: ignore[operator]
    found = chance_levels(labels, "abc"[:classes])
    assert found["stratified"] == pytest.approx(expected)
    most = int(np.argmax(shares))
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, [most] * len(labels)), 1)
    assert found["majority"] == pytest.approx({name: float(metric_of(confusion, name)) for name in METRICS})


def test_chance_of_megc2019_by_hand() -> None:
    found = chance_levels([0] * 250 + [1] * 109 + [2] * 83, "abc")
    assert found["majority"]["uf1"] == pytest.approx(2 * 250 / (250 + 442) / 3)
    assert found["majority"]["uar"] == found["stratified"]["uar"] == pytest.approx(1 / 3)
    # with so many clips F1 of class k is near its share
    assert found["stratified"]["uf1"] == pytest.approx(1 / 3, abs=2e-3)


def test_chance_needs_every_class() -> None:
    with pytest.raises(MetricError, match="no clip is labelled b"):
        chance_levels([0, 0, 2], "abc")


# --- runs that start from weights


@pytest.mark.parametrize("table", [None, "mine"])
def test_pretrained_runs_and_others_share_no_table(table: str | None, project: Path) -> None:
    """The pretrained ones are of the same model, and better: neither kind is best in, or tested against, the other."""
    runs = setup({"plain": 0.4, "worse": 0.5, "other": 0.3, "tuned": 0.1, "shot": 0.0, "ablated": 0.2})
    started = {"task": "tiny", "model": "majority", "init": "w", "table": table}
    runs["tuned"] = RunEntry.model_validate(started)
    runs["shot"] = RunEntry.model_validate(started | {"protocol": "zero_shot"})
    runs["ablated"] = RunEntry(task="tiny", model="majority", table="ablations")
    runs["other"] = RunEntry(task="tiny", model="cnn3d")
    found = {one.name: one for one in evaluated(runs, 2).tables}
    assert {name: set(one.runs) for name, one in found.items()} == {
        "": {"plain", "worse", "other"},
        "ablations": {"ablated", "plain", "worse"},
        table or "pretrained": {"shot", "tuned"},
    }
    assert found[table or "pretrained"].best[POOLED]["uf1"] == ("shot",)
    assert found[""].best[POOLED]["uf1"] == ("other",)
    for one in found.values():
        assert {test.run for test in one.tests} < set(one.runs)
    text = (results_of(runs, 2) / "tables.md").read_text()
    _, printed = text.split(f"### tiny: {table or 'pretrained'}")
    rows = {row[0]: row for row in cells_of(printed.split("### ")[0])}
    assert "zero_shot from w" in rows["shot"] and "honest from w" in rows["tuned"] and "plain" not in rows
    assert "`from NAME`" in text and "`zero_shot` trains on no clip" in text
    frame = pd.read_csv("results/tables/tiny.csv", keep_default_na=False).set_index("run")
    assert frame.loc[["shot", "plain"], "table"].tolist() == [table or "pretrained", ""]


def test_runs_of_few_training_subjects_stand_apart_unless_a_table_is_named(project: Path) -> None:
    runs = setup({"plain": 0.4, "two": 0.1, "tuned-two": 0.0, "five": 0.2, "curve-2": 0.3, "curve-5": 0.2})
    two = {"task": "tiny", "model": "majority", "training_subjects": 2}
    five = two | {"training_subjects": 5}
    runs |= {
        name: RunEntry.model_validate(entry)
        for name, entry in {
            "two": two,
            "tuned-two": two | {"init": "w"},
            "five": five,
            "curve-2": two | {"table": "curve"},
            "curve-5": five | {"table": "curve"},
        }.items()
    }
    found = {one.name: one for one in evaluated(runs, 2).tables}
    assert {name: set(one.runs) for name, one in found.items()} == {
        "": {"plain"},
        "2_training_subjects": {"two"},
        "5_training_subjects": {"five"},
        "pretrained-2_training_subjects": {"tuned-two"},
        "curve": {"curve-2", "curve-5", "plain"},
    }
    assert found["curve"].best[POOLED]["uf1"] == ("curve-5",)
    text = (results_of(runs, 2) / "tables.md").read_text()
    rows = {row[0]: row for row in cells_of(text)}
    assert "honest, 2 training subjects" in rows["two"] and "honest" in rows["plain"]
    assert "honest from w, 2 training subjects" in rows["tuned-two"]
    assert Path("results/tables/tiny-2_training_subjects.tex").is_file()


def test_a_fault_or_a_look_at_the_test_subject_is_never_best_among_pretrained_ones(project: Path) -> None:
    runs = setup({"tuned": 0.4, "faulty": 0.0, "tuned-test_selected": 0.0})
    started = {"task": "tiny", "model": "ststnet", "init": "w"}
    runs["tuned"] = RunEntry.model_validate(started)
    runs["faulty"] = RunEntry.model_validate(started | {"faults": {"own_set_normalisation": True}})
    runs["tuned-test_selected"] = RunEntry.model_validate(started | {"protocol": "test_selected"})
    assert own_table(runs).best[POOLED]["uf1"] == ("tuned",)


# --- printed intervals and marks


def setup(wrong: dict[str, float], subjects: tuple[str, ...] = SUBJECTS, task: str = "tiny") -> dict[str, RunEntry]:
    """Write a task and runs of two repetitions, each wrong in a share of the clips: the more, also in those before."""
    rows = task_rows(subjects=subjects, length=2)
    write_task(Path("data/task") / task, rows, name=task)
    for run, share in wrong.items():
        written = []
        for repetition in range(2):
            missed = np.random.default_rng(repetition).random(len(rows)) < share
            guess = [(row["label"] + int(miss)) % 3 for row, miss in zip(rows, missed, strict=True)]
            written += predictions(run, rows, guess, repetition=repetition)
        write_predictions(run, written)
    return {run: RunEntry(task=task, model="majority") for run in wrong}


def own_table(runs: dict[str, RunEntry]) -> Table:
    """The only table of the only task of some runs."""
    (table,) = evaluated(runs, 2).tables
    return table


def cells_of(text: str, separator: str = "|") -> list[list[str]]:
    ends = (separator,) if separator == "|" else ("\\\\",)
    lines = [line.strip() for line in text.splitlines() if line.strip().endswith(ends)]
    return [[cell.strip() for cell in line.removesuffix("\\\\").strip("|").split(separator)] for line in lines]


def confusions_from_disk(run: str, dataset: str | None = None) -> np.ndarray:
    rows = read_predictions(Path("artifacts/predictions") / f"{run}.parquet")
    frame = pd.DataFrame([row for row in rows if dataset in (None, row["dataset"])])
    table = frame.pivot(index="clip_id", columns="repetition", values="y_pred")
    once = frame[frame["repetition"] == 0].set_index("clip_id").loc[table.index]
    return subject_confusions(once["y_true"], table.to_numpy().T, list(once["subject"]), "abc")


def test_printed_intervals_are_those_of_the_predictions(project: Path) -> None:
    two = tuple(f"{name}/s{k}" for name in ("casme2", "smic") for k in range(6))
    out = results_of(setup({"good": 0.2, "bad": 0.5}, two), 2)
    printed = {row[0]: row for row in cells_of((out / "tables.md").read_text())}
    latex = {row[0]: row for row in cells_of((out / "tables/tiny.tex").read_text(), "&")}
    frame = pd.read_csv(out / "tables/tiny.csv").set_index("run")
    for run in ("good", "bad"):
        for dataset, figure in itertools.product((None, "casme2", "smic"), METRICS):
            found = intervals(confusions_from_disk(run, dataset))[figure]
            name = f"{dataset}_{figure}" if dataset else figure
            assert frame.loc[run, f"{name}_low"] == pytest.approx(found.low, abs=1e-6)
            assert frame.loc[run, f"{name}_high"] == pytest.approx(found.high, abs=1e-6)
            assert found.low < frame.loc[run, name] < found.high
        for place, figure in ((3, "uf1"), (4, "uar")):
            ends = f"[{frame.loc[run, f'{figure}_low']:.3f}, {frame.loc[run, f'{figure}_high']:.3f}]"
            assert printed[run][place].endswith(f" {ends}")
            assert latex[run][place].endswith(rf" {{\scriptsize {ends}}}") and r"$\pm$" in latex[run][place]
    text = (out / "tables.md").read_text()
    assert "Data sets: casme2 36 clips of 6 subjects, smic 36 clips of 6 subjects." in text
    assert all(f"{100 * share:.1f}" in text for share in COVERAGE["bca"].values())


def test_what_is_not_significantly_different_from_the_best_is_marked(project: Path) -> None:
    runs = setup({"best": 0.2, "near": 0.22, "far": 0.6, "selected": 0.0})
    runs["selected"] = RunEntry(task="tiny", model="majority", protocol="test_selected")
    out = results_of(runs, 2)
    for text, separator, mark, bold in (
        ((out / "tables.md").read_text(), "|", "\N{SUPERSCRIPT EQUALS SIGN}", "**"),
        ((out / "tables/tiny.tex").read_text(), "&", "$^{=}$", r"\textbf"),
    ):
        rows = {row[0]: row[3 : 3 + len(METRICS)] for row in cells_of(text, separator)}
        dagger = r"selected$^{\dagger}$" if separator == "&" else "selected"
        assert all(cell.startswith(bold) and mark not in cell for cell in rows["best"])
        assert all(bold not in cell and mark in cell for cell in rows["near"])
        assert all(bold not in cell and mark not in cell for cell in (*rows["far"], *rows[dagger]))
    assert r"best$^{\dagger}$" not in (out / "tables/tiny.tex").read_text()
    tests = pd.read_csv(out / "tables/against_best.csv")
    assert len(tests) == 2 * len(METRICS) and set(tests["best"]) == {"best"}
    for figure, part in tests.groupby("figure"):
        pairs = [(confusions_from_disk("best"), confusions_from_disk(run)) for run in part["run"]]
        found = [compare(*pair)[str(figure)] for pair in pairs]
        assert part["p_value"].tolist() == pytest.approx([one.p_value for one in found], abs=1e-6)
        assert part["p_value_holm"].tolist() == pytest.approx(holm([one.p_value for one in found]), abs=1e-6)
        assert part["difference"].tolist() == pytest.approx([one.difference.value for one in found], abs=1e-6)


def test_correction_is_over_the_runs_of_the_table(project: Path) -> None:
    """A run that would differ significantly from the best alone does not, where many others are compared as well."""
    shares = {"best": 0.2, "near": 0.24} | {f"other{k}": 0.22 for k in range(8)}
    runs = setup(shares)
    alone = own_table({run: runs[run] for run in ("best", "near")})
    together = own_table(runs)
    assert len(together.tests) == 9 * len(METRICS)
    one = next(test for test in alone.tests if test.metric == "uf1")
    same = next(
        test for test in together.tests if test.metric == "uf1" and {test.best, test.run} == {one.best, one.run}
    )
    assert same.p_value == one.p_value == one.p_value_holm < same.p_value_holm
    assert together.alike("uf1") > alone.alike("uf1")


def test_one_subject_of_a_data_set_gives_it_no_interval(project: Path) -> None:
    runs = setup({"it": 0.3}, (*SUBJECTS, "smic/s01"))
    (score,) = evaluated(runs, 2).scores
    assert {part: set(one.intervals) for part, one in score.parts.items()} == {
        POOLED: {*METRICS}, "synthetic": {*METRICS}, "smic": set(),
    }  # fmt: skip
    assert score.parts["smic"].repetitions and "at least two" in str(score.parts["smic"].why_not)
    row = cells_of((results_of(runs, 2) / "tables.md").read_text())[2]
    assert "smic_uf1_low" not in pd.read_csv("results/tables/tiny.csv").columns and "not defined" not in row


def test_resamples_drawn_anew_are_told(project: Path) -> None:
    rows = task_rows(subjects=SUBJECTS, length=2)
    rows = [row for row in rows if row["label"] < 2 or row["subject"] in SUBJECTS[:2]]
    write_task(Path("data/task/tiny"), rows)
    write_predictions("it", predictions("it", rows, [row["label"] for row in rows]))
    runs = {"it": RunEntry(task="tiny", model="majority")}
    (number,) = {one.redrawn for one in evaluated(runs, 1).scores[0].pooled.intervals.values()}
    assert number > 100  # (10 / 12) ** 12 of 2000
    assert f"Of 2000 resamples at most {number} lacked a class" in (results_of(runs, 1) / "tables.md").read_text()


# --- what the tests could have found


def random_pair(seed: int, subjects: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Confusions of two runs: one right of all clips, one wrong of a share of them."""
    generator = np.random.default_rng(seed)
    truth = np.tile([0, 1, 2], 2 * subjects)
    people = [f"s{k // 6}" for k in range(len(truth))]
    said = np.where(generator.random(len(truth)) < share, (truth + 1) % 3, truth)
    other = np.where(generator.random(len(truth)) < 0.1, (truth + 1) % 3, truth)
    first, second = (subject_confusions(truth, one[None], people, "abc") for one in (said, other))
    return first, second


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_a_difference_is_significant_exactly_where_it_exceeds_the_critical_one(level: float) -> None:
    significant = set()
    for seed, subjects, share in itertools.product(range(4), (4, 6, 9, 20), (0.1, 0.3, 0.6)):
        first, second = random_pair(seed, subjects, share)
        value = float(metric_of(first.sum(axis=1), "uf1").mean() - metric_of(second.sum(axis=1), "uf1").mean())
        critical = critical_difference(first, second, level)
        assert (permutation_test(first, second)["uf1"] <= level) == (abs(value) > critical + 1e-12)
        assert subjects > 4 or critical == float("inf")
        significant.add(abs(value) > critical)
    assert significant == {True, False}


@pytest.mark.parametrize("subjects", [3, 4, 5, 6, 7])
def test_no_p_value_is_below_the_one_that_is_named(subjects: int) -> None:
    """Two runs that differ as far as runs can: one is right of every clip, the other of none."""
    truth = np.tile([0, 1, 2], subjects)
    people = [f"s{k // 3}" for k in range(len(truth))]
    right, wrong = (subject_confusions(truth, said[None], people, "abc") for said in (truth, (truth + 1) % 3))
    # of 10,000 random swaps, so that the exact value is met within three standard deviations
    smallest = 2.0 ** (1 - subjects)
    assert permutation_test(right, wrong)["uf1"] == pytest.approx(smallest, abs=3 * (smallest / 10_000) ** 0.5)


def note_of(wrong: dict[str, float], subjects: int) -> str | None:
    return own_table(setup(wrong, SUBJECTS[:subjects])).power


def test_few_subjects_are_named_where_they_can_tell_nothing(project: Path) -> None:
    alone = note_of({"best": 0.0, "far": 0.9}, 4)
    assert alone is not None and "With 4 subjects" in alone and "below about 0.125:" in alone
    among = note_of({"best": 0.0, "far": 0.9, "other": 0.8, "third": 0.7}, 6)
    assert among is not None and "0.0312, 0.0938 adjusted for 3 comparisons (Holm)" in among
    assert note_of({"best": 0.0}, 4) is None, "one run is compared with nothing"


def test_a_note_says_what_difference_was_needed(project: Path) -> None:
    runs = setup({"best": 0.3, "near": 0.32, "other": 0.34})
    note = own_table(runs).power
    pairs = [(confusions_from_disk("best"), confusions_from_disk(run)) for run in ("near", "other")]
    ends = sorted(f"{critical_difference(*pair, 0.025):.3f}" for pair in pairs)
    assert note is not None and "With 12 subjects and 2 comparisons (Holm)" in note
    assert f"only if it exceeds {ends[0]} to {ends[1]}, depending on the run" in note
    out = results_of(runs, 2)
    assert note in (out / "tables.md").read_text() and note in (out / "tables/tiny.tex").read_text()


def test_there_is_no_note_where_a_run_is_significantly_different(project: Path) -> None:
    runs = setup({"best": 0.2, "near": 0.22, "far": 0.6})
    assert own_table(runs).power is None
    assert "permutation test gives" not in (results_of(runs, 2) / "tables.md").read_text()


# --- models over tasks


def test_ranks_are_those_of_demsars_example() -> None:
    """Tables 2 and 6 and section 3.2.4 of the paper: four variants of C4.5 on 14 data sets."""
    figures = [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
    found = ranks_of(figures, ["C4.5", "+m", "+cf", "+m+cf"], [str(k) for k in range(14)])
    assert dict(zip(found.models, found.mean_ranks, strict=True)) == pytest.approx(
        {"C4.5": 3.143, "+m": 2.000, "+cf": 2.893, "+m+cf": 1.964}, abs=0.04
    )
    assert found.models[0] == "+m+cf" and found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.p_value < 0.05


@pytest.mark.parametrize(("count", "quantile"), [(3, 2.343), (4, 2.569), (6, 2.850), (10, 3.164)])
def test_critical_differences_are_those_of_demsars_table(count: int, quantile: float) -> None:
    figures = np.random.default_rng(0).random((5, count))
    found = ranks_of(figures, [f"m{k}" for k in range(count)], list("abcde"))
    assert found.critical_difference == pytest.approx(quantile * np.sqrt(count * (count + 1) / 30), rel=5e-4)


def test_groups_of_models_that_do_not_differ() -> None:
    figures = [[0.9, 0.8, 0.7, 0.6, 0.5]] * 8
    found = ranks_of(figures, list("abcde"), [str(k) for k in range(8)])  # ranks 1 to 5, critical difference 2.16
    assert found.critical_difference == pytest.approx(2.157, abs=1e-3)
    assert found.groups == ((0, 2), (1, 3), (2, 4))
    assert ranks_of([[0.5] * 3] * 2, list("abc"), ["x", "y"]).groups == ((0, 2),)


def over_tasks(tasks: tuple[str, ...], models: tuple[str, ...]) -> dict[str, RunEntry]:
    runs: dict[str, RunEntry] = {}
    for task in tasks:
        setup({f"{task}-{model}": 0.1 + 0.2 * k for k, model in enumerate(models)}, SUBJECTS[:3], task)
        runs |= {f"{task}-{model}": RunEntry(task=task, model=model) for model in models}
    return runs


def test_the_plot_is_written_where_there_is_something_to_rank(project: Path) -> None:
    runs = over_tasks(("one", "two"), ("ststnet", "cnn3d", "majority"))
    out = results_of(runs, 2)
    assert (out / "plots/critical_difference.png").read_bytes().startswith(b"\x89PNG")
    _, section = (out / "tables.md").read_text().split("## Models over tasks")
    assert [row for row in cells_of(section)[2:]] == [["ststnet", "1.00"], ["cnn3d", "2.00"], ["majority", "3.00"]]
    (link,) = re.findall(r"\]\((.+)\)", section)
    assert (out / link).is_file() and "one, two" in section
    fewer = {run: entry for run, entry in runs.items() if run != "two-majority"}
    assert not (results_of(fewer, 2) / "plots/critical_difference.png").exists()
    assert "Models over tasks" not in (out / "tables.md").read_text()


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        ({}, True),
        ({"protocol": "inner"}, True),
        ({"protocol": "test_selected"}, False),
        ({"table": "ablations"}, False),
        ({"faults": {"frozen_batch_norm": True}}, False),
        ({"init": "w"}, False),
        ({"init": "w", "protocol": "zero_shot"}, False),
        ({"init": "w", "table": "mine"}, False),
    ],
)
def test_whose_runs_are_ranked(entry: dict[str, Any], counts: bool, project: Path) -> None:
    runs = over_tasks(("one", "two"), ("ststnet", "cnn3d", "majority"))
    runs["two-ststnet"] = RunEntry.model_validate({"task": "two", "model": "ststnet"} | entry)
    assert (evaluated(runs, 2).ranks is not None) == counts


def test_of_several_runs_of_a_model_the_plain_one_is_ranked(project: Path) -> None:
    """Never the one that scores best: that would be a look at the test subject."""
    runs = over_tasks(("one", "two"), ("cnn3d", "ststnet", "majority"))
    setup({"one-a-majority": 0.0}, SUBJECTS[:3], "one")
    runs["one-a-majority"] = RunEntry(task="one", model="majority", set={"model": {}, "lr": 0.1})
    found = evaluated(runs, 2).ranks
    assert found is not None and found.models == ("cnn3d", "ststnet", "majority")
