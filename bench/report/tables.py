"""Stage `tables`: every figure of every listed run, from predictions alone, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from fdpbench.bench.evaluate.bootstrap import COVERAGE
from fdpbench.bench.evaluate.chance import CHANCE, chance_levels
from fdpbench.bench.evaluate.compare import (
    LEVEL,
    RESAMPLES,
    AgainstBest,
    Intervals,
    against_best,
    all_intervals,
    power_note,
)
from fdpbench.bench.evaluate.ranks import Ranks, draw_ranks, rank_models
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.escape import latex_text, markdown_text, write_csv
from fdpbench.bench.report.layout import (
    FIGURES,
    LATEX,
    MARKDOWN,
    PERCEPTION,
    github,
    latex,
    perception_text,
    table_cells,
)
from fdpbench.bench.report.published import Published, beside, beside_numbers, published_text
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import TaskInfo

__all__ = [
    "FIGURES",
    "PERCEPTION",
    "SIMULATED_NOTE",
    "SYNTHETIC_NOTE",
    "github",
    "perception_text",
    "native_note",
    "rendered_note",
    "tables_of",
    "write_tables",
]

_PERCEPTION_COLUMNS = [column for column, _ in PERCEPTION.values()]

RENDERED_NOTE = "This task is made of rendered faces: its scores say nothing about real faces."
SYNTHETIC_NOTE = (
    f"{RENDERED_NOTE} It is small, and its difficulty and the settings of cnn3d were chosen on it: differences below "
    "about 0.1 mean little."
)
NATIVE_NOTE = (
    "Made with arithmetic that was not pinned (FDPBENCH_NATIVE, or a processor without AVX2), in part at least; other "
    "machines will give other values: {}."
)
SIMULATED_NOTE = f"Simulated ({{}}, written by prep simulate). {RENDERED_NOTE}"
LOST_NOTE = (
    "Of these clips {} lack frames between onset and offset, and are kept without them (index.lost_frames: keep)."
)


def write_tables(
    scores: list[Score],
    markdown: Path,
    tables: Path,
    metrics: Path,
    plots: Path,
    published: Mapping[str, Sequence[Published]] | None = None,
) -> str:
    """Write every results file.

    Parameters
    ----------
    scores
        From `score_runs`.
    markdown
        File with one table for each task.
    tables
        Folder of ``<task>.csv``, ``<task>.tex`` (and ``<task>-<table>.tex`` for tables that runs name),
        ``per_class.csv``, ``per_subject.csv``, ``confusion.csv``, ``chance.csv``, ``against_best.csv`` with the tests
        against the best run of each table, ``published.csv`` with measured minus published figures where there are
        any, and ``perception.csv``: rank scores and drawn dynamic images clip by clip.
    metrics
        JSON file for ``dvc metrics``: task -> run -> figure.
    plots
        Folder of ``confusion/<run>.csv`` and ``loss/<run>.csv`` for ``dvc plots``, and of
        ``critical_difference.png`` where enough models were run on enough tasks (`bench.evaluate.ranks`).
    published
        Published figures by task, from `bench.report.published.published_of`.

    Returns
    -------
    The Markdown text.
    """
    tasks = {score.task.task: score.task for score in scores}
    by_task = {name: sorted((s for s in scores if s.task.task == name), key=_rank) for name in tasks}
    # nothing that was made up stands beside a paper
    published = {name: lines for name, lines in (published or {}).items() if not tasks[name].simulated}
    intervals = all_intervals(scores)
    named = {name: tables_of(group) for name, group in by_task.items()}
    tests = {(name, table): against_best(group) for name in named for table, group in named[name].items()}
    pairs = {name: beside(by_task[name], intervals, published.get(name, ())) for name in tasks}
    ranks = rank_models(scores)
    sections = [_legend()]
    for name, group in by_task.items():
        parts = _task_parts(group, intervals, {table: tests[name, table] for table in named[name]})
        if name in published:
            parts.append(published_text(name, group, published[name], pairs[name]))
        sections.append("\n\n".join(parts) + "\n")
    if ranks is not None:
        sections.append(_ranks_text(ranks, [name for name in ranks.tasks if tasks[name].rendered]))
    text = "\n".join(["# Results", "", *sections])
    for folder in (tables, plots):  # nothing of a run or task that is gone stays
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (markdown.parent, tables, metrics.parent, plots / "confusion", plots / "loss"):
        folder.mkdir(parents=True, exist_ok=True)
    markdown.write_text(text, encoding="utf-8")
    for name, group in by_task.items():
        write_csv(_frame(group, intervals), tables / f"{name}.csv")
        for table, members in named[name].items():
            suffix = f"-{table}" if table else ""
            cells = table_cells(members, intervals, tests[name, table], LATEX)
            said = latex_text(power_note(members, tests[name, table]) or ""), _latex_note(tasks[name], members)
            notes = " ".join(filter(None, (_LATEX_NOTES, *said)))
            (tables / f"{name}{suffix}.tex").write_text(latex(cells, notes), encoding="utf-8")
    write_csv(_per_class(scores), tables / "per_class.csv")
    write_csv(_per_subject(scores), tables / "per_subject.csv")
    write_csv(_confusion(scores), tables / "confusion.csv")
    write_csv(_chance(by_task), tables / "chance.csv")
    if any(tests.values()):
        write_csv(
            [_test_row(*key, test) for key, found in tests.items() for test in found], tables / "against_best.csv"
        )
    if any(pairs.values()):
        write_csv([row for name in tasks for row in beside_numbers(name, pairs[name])], tables / "published.csv")
    if any(score.perception for score in scores):
        write_csv(_perception(scores), tables / "perception.csv")
    nested = {name: {score.run: _nested(score) for score in group} for name, group in by_task.items()}
    metrics.write_text(json.dumps(nested, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for score in scores:
        write_csv(_confusion_rows(score), plots / "confusion" / f"{score.run}.csv")
        _loss_curve(score.run, plots / "loss" / f"{score.run}.csv")
    if ranks is not None:
        draw_ranks(ranks, plots / "critical_difference.png")
    return text


def _rank(score: Score) -> tuple[bool, float, str]:
    """Best first; runs that looked at the test subject, or have a fault, after all others."""
    return (not score.competes, -score.mean("uf1"), score.run)


def tables_of(group: list[Score]) -> dict[str, list[Score]]:
    """The tables of one task's runs: its own, named ``""``, and those that runs name.

    A table that runs name also holds the runs of the same models in the task's own, to be compared with.
    """
    own = [score for score in group if score.entry.table is None]
    tables = {"": own} if own else {}
    for name in sorted({score.entry.table for score in group if score.entry.table}):
        models = {score.model for score in group if score.entry.table == name}
        tables[name] = [
            score for score in group if score.entry.table == name or (score in own and score.model in models)
        ]
    return tables


def _legend() -> str:
    coverage = COVERAGE["bca"]
    return (
        "Leave one subject out. Protocols: `honest` trains a fixed number of epochs; `inner` chooses it on "
        "held-out training subjects;\n`test_selected` keeps the epoch that does best on the test subject, which "
        "is no honest figure. Figures are pooled over all folds:\nUF1 is the mean over classes of "
        "2TP/(2TP+FP+FN), UAR the mean recall; with several repetitions, mean ± standard deviation.\n"
        f"In brackets: {100 * LEVEL:.0f}% interval (BCa) of a bootstrap over subjects, and over repetitions where "
        "there are several. In simulations such\nintervals held the true UF1 in "
        f"{', '.join(f'{100 * share:.1f}' for share in coverage.values())}% of releases of "
        f"{', '.join(map(str, coverage))} subjects.\nThe best figure of a column is bold; "
        f"{MARKDOWN.indistinct} marks what is not told from it at 0.05 (paired permutation test over subjects, Holm\n"
        "over the runs of the table; not for single data sets); runs that look at the test subject, or rebuild a fault "
        "of released code, do\nnot compete. Written by `fdpbench tables` from `artifacts/predictions`; `dvc "
        "repro` regenerates everything.\n"
    )


_LATEX_NOTES = (
    f"Brackets: {100 * LEVEL:.0f}\\% interval of a bootstrap over subjects. Bold: best; {LATEX.indistinct}: not told "
    "from it at 0.05 (paired permutation test over subjects, Holm). "
    f"{LATEX.test_selected}: epoch chosen on the test subject, does not compete."
)


def _task_parts(
    group: list[Score], intervals: Mapping[str, Intervals], tests: Mapping[str, Sequence[AgainstBest]]
) -> list[str]:
    """Paragraphs and tables of one task."""
    info = group[0].task
    clips, subjects = max(score.clips for score in group), max(score.subjects for score in group)
    head = (
        f"## {info.task}\n\n{clips} clips, {subjects} subjects, classes: {', '.join(map(markdown_text, info.classes))}."
    )
    note = rendered_note(info)
    parts = [f"{head} {f'**{note}**' if info.simulated else note}".rstrip()]
    for number, (name, members) in enumerate(tables_of(group).items()):
        if name:
            parts.append(f"### {info.task}: {name}")
        parts.append(github(table_cells(members, intervals, tests[name], MARKDOWN)))
        if power := power_note(members, tests[name]):
            parts.append(power)
        if number == 0:
            parts.append(_below(group, intervals))
    perceiving = [score for score in group if score.perception]
    if perceiving:
        parts += [f"### {info.task}: order of frames, and dynamic images drawn of held-out clips", _PERCEPTION_NOTE]
        parts.append(github(_perception_cells(perceiving)))
    return parts


def rendered_note(info: TaskInfo) -> str:
    """What to say of a task's data, as plain text: faces are rendered, clips lack frames; empty if there is nothing."""
    notes = [SYNTHETIC_NOTE] if info.rendered else []
    if info.simulated:
        notes = [SIMULATED_NOTE.format(", ".join(info.simulated))]
    if info.lost_frames:
        notes.append(LOST_NOTE.format(info.lost_frames))
    return " ".join(notes)


def native_note(group: list[Score]) -> str:
    """What to say of runs that other machines will not repeat; empty where there are none."""
    runs = sorted(score.run for score in group if score.native)
    return NATIVE_NOTE.format(", ".join(runs)) if runs else ""


def _latex_note(info: TaskInfo, group: list[Score]) -> str:
    return latex_text(" ".join(filter(None, (rendered_note(info), native_note(group)))))


def _below(group: list[Score], intervals: Mapping[str, Intervals]) -> str:
    """What stands below a task's first table: chance, clips of each data set, resamples that were drawn anew."""
    most = max(group, key=lambda score: (score.clips, score.run))
    levels = chance_levels(most.predicted()[0], len(most.task.classes))
    guesses = (f"{CHANCE[way]}: UF1 {level['uf1']:.3f}, UAR {level['uar']:.3f}" for way, level in levels.items())
    lines = [f"Chance: {'; '.join(guesses)}.", *filter(None, [native_note(group)])]
    if most.by_dataset:
        found = Counter(row["dataset"] for row in most.rows if row["repetition"] == 0)
        people = {name: len({row["subject"] for row in most.rows if row["dataset"] == name}) for name in found}
        each = (
            f"{markdown_text(name)} {count} clips of {people[name]} subjects" for name, count in sorted(found.items())
        )
        lines.append(f"Data sets: {', '.join(each)}.")
    redrawn = max((one.redrawn for score in group for one in intervals[score.run].values()), default=0)
    if redrawn:
        lines.append(f"Of {RESAMPLES} resamples at most {redrawn} lacked a class and were drawn anew.")
    return "\n".join(lines)


_PERCEPTION_NOTE = (
    "Pairs in order: share of frame pairs whose rank scores rise with time; chance is 0.5. PSNR and SSIM compare the "
    "drawn image\nwith the true one at the size at which it is drawn, mean over clips. The mean image of the other "
    "subjects' clips is what a model\nwould draw that never looks at the clip: only what exceeds it was seen in the "
    "clip. `tables/perception.csv` has every clip."
)


def _perception_cells(group: list[Score]) -> list[dict[str, str]]:
    rows = []
    for score in group:
        row = {"run": markdown_text(score.run), "protocol": markdown_text(score.protocol)}
        rows.append(row | {label: perception_text(score, label) for label in PERCEPTION})
    return rows


def _ranks_text(ranks: Ranks, rendered: list[str]) -> str:
    rows = [
        {"model": markdown_text(model), "mean rank": f"{rank:.2f}"}
        for model, rank in zip(ranks.models, ranks.mean_ranks, strict=True)
    ]
    note = (
        f"Models that were run on each of {', '.join(ranks.tasks)}, ranked by UF1 on each (1 is the best). Friedman's "
        f"test that all are alike: p = {ranks.p_value:.4f};\nNemenyi's critical difference of mean ranks at 0.05: "
        f"{ranks.critical_difference:.2f} (Demsar, JMLR 7, 2006). Both take tasks as independent: tasks that share "
        "clips are not."
    )
    if rendered:
        note += f" Made of rendered faces, which say nothing about real ones: {', '.join(rendered)}."
    picture = "![Critical differences: models on an axis of mean ranks](plots/critical_difference.png)"
    return "\n\n".join(["## Models over tasks", note, github(rows), picture]) + "\n"


def _frame(group: list[Score], intervals: Mapping[str, Intervals]) -> pd.DataFrame:
    rows = []
    for score in group:
        row: dict[str, Any] = {"run": score.run, "model": score.model, "protocol": score.protocol}
        row |= {"changes": score.changes, "rendered": score.task.rendered}
        row |= {"table": score.entry.table, "clips": score.clips, "subjects": score.subjects}
        row["repetitions"] = len(score.repetitions)
        row |= {attribute: score.mean(attribute) for attribute in FIGURES.values()}
        for dataset in score.by_dataset:
            row |= {f"{dataset}_{attribute}": score.mean(attribute, dataset) for attribute in FIGURES.values()}
        for (part, figure), found in intervals[score.run].items():
            name = f"{part}_{figure}" if part else figure
            row |= {f"{name}_low": found.low, f"{name}_high": found.high}
        row |= {column: fmean(values) for column in _PERCEPTION_COLUMNS if (values := score.perceived(column))}
        rows.append(row)
    return pd.DataFrame(rows)


def _nested(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {attribute: round(score.mean(attribute), 6) for attribute in FIGURES.values()}
    for dataset in score.by_dataset:
        result[dataset] = {attribute: round(score.mean(attribute, dataset), 6) for attribute in FIGURES.values()}
    result |= {column: round(fmean(values), 6) for column in _PERCEPTION_COLUMNS if (values := score.perceived(column))}
    return result


def _who(score: Score) -> dict[str, str]:
    return {"task": score.task.task, "run": score.run, "protocol": score.protocol}


def _per_class(scores: list[Score]) -> list[dict[str, Any]]:
    return [
        _who(score)
        | {"repetition": k, "class": one.name, "clips": one.clips}
        | {"precision": one.precision, "recall": one.recall, "f1": one.f1}
        for score in scores
        for k, repetition in enumerate(score.repetitions)
        for one in repetition.classes
    ]


def _per_subject(scores: list[Score]) -> list[dict[str, Any]]:
    """Accuracy for each subject: UF1 of one is not defined where the subject lacks a class."""
    rows = []
    for score in scores:
        frame = pd.DataFrame(score.rows)
        frame["correct"] = frame["y_true"] == frame["y_pred"]
        for (repetition, subject), part in frame.groupby(["repetition", "subject"], sort=True):
            rows.append(
                _who(score)
                | {"repetition": repetition, "subject": subject}
                | {"clips": len(part), "accuracy": float(part["correct"].mean())}
            )
    return rows


def _confusion(scores: list[Score]) -> list[dict[str, Any]]:
    return [
        _who(score)
        | {"repetition": k, "actual": actual, "predicted": predicted}
        | {"clips": int(repetition.confusion[i, j])}
        for score in scores
        for k, repetition in enumerate(score.repetitions)
        for i, actual in enumerate(score.task.classes)
        for j, predicted in enumerate(score.task.classes)
    ]


def _chance(by_task: Mapping[str, list[Score]]) -> list[dict[str, Any]]:
    rows = []
    for name, group in by_task.items():
        most = max(group, key=lambda score: (score.clips, score.run))
        levels = chance_levels(most.predicted()[0], len(most.task.classes))
        rows += [{"task": name, "guess": way} | level for way, level in levels.items()]
    return rows


def _test_row(task: str, table: str, test: AgainstBest) -> dict[str, Any]:
    return {"task": task, "table": table} | asdict(test)


def _perception(scores: list[Score]) -> list[dict[str, Any]]:
    return [_who(score) | row for score in scores for row in score.perception]


def _confusion_rows(score: Score) -> list[dict[str, Any]]:
    """One row for each prediction, the form that DVC's confusion template counts."""
    names = score.task.classes
    return [{"actual": names[row["y_true"]], "predicted": names[row["y_pred"]]} for row in score.rows]


def _loss_curve(run: str, path: Path) -> None:
    """Write the loss of each epoch, mean over folds and repetitions; estimators have none, so no file."""
    curve = pd.read_csv(Artifacts(run).curves)
    if "training" in curve:  # protocol inner trains twice
        curve = curve[curve["training"] == "final"].dropna(axis=1, how="all")
    if len(curve):
        mean = curve.groupby("epoch", sort=True).mean(numeric_only=True).drop(columns="repetition")
        mean.to_csv(path, lineterminator="\n", float_format="%.6g")
