"""Stage `tables`: an evaluation as Markdown, CSV, LaTeX, metrics and plots for DVC."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from fdpbench.bench.evaluate.evaluation import ClipResult, Evaluation, read_clips
from fdpbench.bench.evaluate.listed import evaluation_of, listed
from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import CHANCE, COVERAGE, LEVEL, PERCEPTION, POOLED, RESAMPLES, AgainstBest, Table
from fdpbench.bench.evaluate.scores import Score, largest
from fdpbench.bench.report.escape import latex_text, markdown_text, write_csv
from fdpbench.bench.report.layout import LATEX, MARKDOWN, github, latex, perception_cells, table_cells
from fdpbench.bench.report.published import Published, beside, beside_numbers, published_of, published_text
from fdpbench.bench.report.ranks import draw_ranks, ranks_text
from fdpbench.bench.train.artifacts import RESULTS, Artifacts
from fdpbench.bench.train.data import TaskInfo
from fdpbench.bench.train.folds import split_text
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.planned import Planned

__all__ = ["SIMULATED_NOTE", "SYNTHETIC_NOTE", "native_note", "rendered_note", "run", "splits_note", "write_tables"]

RENDERED_NOTE = "This task is made of rendered faces: its scores say nothing about real faces."
SYNTHETIC_NOTE = (
    f"{RENDERED_NOTE} It is small, and its difficulty was chosen by scores of three models (docs/embedded_release.md): "
    "differences below about 0.1 mean little."
)
NATIVE_NOTE = (
    "Made with arithmetic that was not pinned (FDPBENCH_NATIVE, or a processor without AVX2), in part at least; other "
    "machines will give other values: {}."
)
SIMULATED_NOTE = f"Simulated ({{}}, written by prep simulate). {RENDERED_NOTE}"
LOST_NOTE = (
    "Of these clips {} lack frames between onset and offset, and are kept without them (index.lost_frames: keep)."
)
GIVEN_NOTE = (
    "Crops of faces are those that {} came with, resized and not aligned (align.mode: given): where the eyes are in "
    "them is not known."
)


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    all_of = listed(planned)
    evaluation = evaluation_of(all_of.runs)
    used = {entry.task for entry in all_of.runs.values()}
    tasks = {name: task for name, task in all_of.tasks.items() if name in used}
    published = published_of(tasks, RESULTS / "published.csv")
    with open_scratch("tables", "whole") as scratch:
        built = scratch.temporary("results")
        write_tables(evaluation, read_clips(), built, published)
        names = ("tables.md", "tables", "metrics.json", "plots")
        scratch.publish({RESULTS / name: partial(os.rename, built / name) for name in names})
    console.print(f"tables: {len(all_of.runs)} runs in {RESULTS / 'tables.md'}")


def write_tables(
    evaluation: Evaluation,
    clips: Mapping[str, Sequence[ClipResult]],
    out: Path,
    published: Mapping[str, Sequence[Published]] | None = None,
) -> str:
    """Write every results file.

    Parameters
    ----------
    evaluation, clips
        From `bench.evaluate.evaluation`: of all runs, and of each of their clips.
    out
        Folder in which these are written: ``tables.md`` with one section for each task; ``tables/`` of
        ``<task>.csv``, ``<task>.tex`` (and ``<task>-<table>.tex`` for tables that runs name), ``per_class.csv``,
        ``per_subject.csv``, ``confusion.csv``, ``chance.csv``, ``against_best.csv`` with the tests against the best
        run of each table, ``published.csv`` with measured minus published values where there are any, and
        ``perception.csv``, rank scores and generated dynamic images clip by clip; ``metrics.json`` for ``dvc
        metrics``, task -> run -> metric; ``plots/`` of ``confusion/<run>.csv`` and ``loss/<run>.csv`` for ``dvc
        plots``, and of ``critical_difference.png`` where enough models were run on enough tasks.
    published
        Published values by task, from `bench.report.published.published_of`.

    Returns
    -------
    The Markdown text.
    """
    scores, by_task = evaluation.scores, evaluation.by_task
    tasks = {name: group[0].task for name, group in by_task.items()}
    # nothing that was made up stands beside a paper
    published = {name: lines for name, lines in (published or {}).items() if not tasks[name].simulated}
    pairs = {name: beside(by_task[name], published.get(name, ())) for name in tasks}
    sections = [_legend(scores)]
    for name, group in by_task.items():
        parts = _task_parts(group, evaluation)
        if name in published:
            parts.append(published_text(name, group, published[name], pairs[name]))
        sections.append("\n\n".join(parts) + "\n")
    if evaluation.ranks is not None:
        ranked = evaluation.ranks.tasks
        sections.append(ranks_text(evaluation.ranks, [name for name in ranked if tasks[name].rendered]))
    text = "\n".join(["# Results", "", *sections])
    tables, plots = out / "tables", out / "plots"
    for folder in (tables, plots):  # nothing of a run or task that is gone stays
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (tables, plots / "confusion", plots / "loss"):
        folder.mkdir(parents=True, exist_ok=True)
    (out / "tables.md").write_text(text, encoding="utf-8")
    for name, group in by_task.items():
        write_csv(_frame(group), tables / f"{name}.csv")
        for table in evaluation.tables_of(name):
            members = [evaluation.by_run[run] for run in table.runs]
            suffix = f"-{table.name}" if table.name else ""
            notes = " ".join(filter(None, (_LATEX_NOTES, latex_text(table.power or ""), _latex_note(members))))
            printed = latex(table_cells(members, table, LATEX), notes)
            (tables / f"{name}{suffix}.tex").write_text(printed, encoding="utf-8")
    write_csv(_per_class(scores), tables / "per_class.csv")
    write_csv(_per_subject(scores), tables / "per_subject.csv")
    write_csv(_confusion(scores), tables / "confusion.csv")
    write_csv(_chance(evaluation), tables / "chance.csv")
    tests = [_test_row(table, test) for table in evaluation.tables for test in table.tests]
    if tests:
        write_csv(tests, tables / "against_best.csv")
    if any(pairs.values()):
        write_csv([row for name in tasks for row in beside_numbers(name, pairs[name])], tables / "published.csv")
    if any(score.perception for score in scores):
        write_csv(_perception(scores, clips), tables / "perception.csv")
    nested = {name: {score.run: _nested(score) for score in group} for name, group in by_task.items()}
    (out / "metrics.json").write_text(json.dumps(nested, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for score in scores:
        write_csv(_confusion_rows(score, clips[score.run]), plots / "confusion" / f"{score.run}.csv")
        if not score.entry.members:
            _loss_curve(score.run, plots / "loss" / f"{score.run}.csv")
    if evaluation.ranks is not None:
        draw_ranks(evaluation.ranks, plots / "critical_difference.png")
    return text


def splits_note(scores: Sequence[Score]) -> str:
    """How the runs are split into folds, and on how many subjects they train; plain text, a sentence for each."""
    splits = sorted({split_text(score.entry.split) for score in scores}, key=lambda text: (len(text), text))
    notes = ["Leave one subject out."] if "" in splits else []
    if named := ", ".join(filter(None, splits)):
        notes.append(f"{named}: sets of whole subjects, alike in classes and releases; tables of their own.")
    if any(score.entry.training_subjects is not None for score in scores):
        notes.append("N training subjects: each fold trains on so many, drawn at random, the same for all models.")
    return " ".join(notes)


def _legend(scores: Sequence[Score]) -> str:
    coverage = COVERAGE["bca"]
    return (
        f"{splits_note(scores)} Protocols: `honest` trains a fixed number of epochs; `inner` chooses it on "
        "held-out training subjects;\n`test_selected` keeps the epoch that does best on the test subject, which "
        "is no honest figure;\n`zero_shot` trains on no clip of the task. `from NAME`: weights that the run "
        "starts from; such runs stand in a table of their own.\nFigures are pooled over all folds: UF1 is the mean "
        "over classes of 2TP/(2TP+FP+FN), UAR the mean recall; with several repetitions, mean ± standard deviation.\n"
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


def _task_parts(group: Sequence[Score], evaluation: Evaluation) -> list[str]:
    """Paragraphs and tables of one task."""
    info = group[0].task
    clips, subjects = (max(getattr(score.pooled, name) for score in group) for name in ("clips", "subjects"))
    head = (
        f"## {info.task}\n\n{clips} clips, {subjects} subjects, classes: {', '.join(map(markdown_text, info.classes))}."
    )
    note = rendered_note(info)
    parts = [f"{head} {f'**{note}**' if info.simulated else note}".rstrip()]
    for number, table in enumerate(evaluation.tables_of(info.task)):
        if table.name:
            parts.append(f"### {info.task}: {table.name}")
        parts.append(github(table_cells([evaluation.by_run[run] for run in table.runs], table, MARKDOWN)))
        if table.power:
            parts.append(table.power)
        if number == 0:
            parts.append(_below(group, evaluation.chance[info.task]))
    perceiving = [score for score in group if score.perception]
    if perceiving:
        parts += [
            f"### {info.task}: order of frames, and dynamic images constructed of held-out clips",
            _PERCEPTION_NOTE,
        ]
        parts.append(github([_named(score) | perception_cells(score) for score in perceiving]))
    return parts


def _named(score: Score) -> dict[str, str]:
    return {"run": markdown_text(score.run), "protocol": markdown_text(score.protocol)}


def rendered_note(info: TaskInfo) -> str:
    """What to say of a task's data, as plain text: faces are rendered, crops given, clips lack frames; may be empty."""
    notes = [SYNTHETIC_NOTE] if info.rendered else []
    if info.simulated:
        notes = [SIMULATED_NOTE.format(", ".join(info.simulated))]
    if info.given_crops:
        notes.append(GIVEN_NOTE.format(", ".join(info.given_crops)))
    if info.lost_frames:
        notes.append(LOST_NOTE.format(info.lost_frames))
    return " ".join(notes)


def native_note(group: Sequence[Score]) -> str:
    """What to say of runs that other machines will not repeat; empty where there are none."""
    runs = sorted(score.run for score in group if score.native)
    return NATIVE_NOTE.format(", ".join(runs)) if runs else ""


def _latex_note(group: Sequence[Score]) -> str:
    return latex_text(" ".join(filter(None, (rendered_note(group[0].task), native_note(group)))))


def _below(group: Sequence[Score], chance: Mapping[str, Mapping[str, float | None]]) -> str:
    """What stands below a task's first table: chance, clips of each data set, resamples that were sampled anew."""
    guesses = (f"{text}: UF1 {chance[way]['uf1']:.3f}, UAR {chance[way]['uar']:.3f}" for way, text in CHANCE.items())
    lines = [f"Chance: {'; '.join(guesses)}.", *filter(None, [native_note(group)])]
    parts = largest(group).parts
    if largest(group).datasets:
        each = (
            f"{markdown_text(name)} {parts[name].clips} clips of {parts[name].subjects} subjects"
            for name in sorted(parts)
            if name != POOLED
        )
        lines.append(f"Data sets: {', '.join(each)}.")
    found = [one for score in group for part in score.parts.values() for one in part.intervals.values()]
    redrawn = max((one.redrawn for one in found), default=0)
    if redrawn:
        lines.append(f"Of {RESAMPLES} resamples at most {redrawn} lacked a class and were drawn anew.")
    return "\n".join(lines)


_PERCEPTION_NOTE = (
    "Pairs in order: share of frame pairs whose rank scores rise with time, of all pairs, and of those up to the\n"
    "annotated apex; chance is 0.5. PSNR and SSIM compare the constructed image with the true one at the size of the\n"
    "former, mean over clips. The mean image of the other subjects' clips is what a model would give that\n"
    "never looks at the clip: only what exceeds it was seen in the clip. The clip's frames, standardised, pooled and\n"
    "scaled, are what a model gives that copies them: only what exceeds that was learned. `tables/perception.csv` has\n"
    "every clip."
)


def _frame(group: Sequence[Score]) -> pd.DataFrame:
    rows = []
    for score in group:
        row: dict[str, Any] = {"run": score.run, "model": score.model, "protocol": score.protocol}
        row |= {"changes": score.changes, "rendered": score.task.rendered}
        row |= {"table": score.entry.printed_in, "clips": score.pooled.clips, "subjects": score.pooled.subjects}
        row["repetitions"] = len(score.pooled.repetitions)
        prefixes = {POOLED: ""} | {dataset: f"{dataset}_" for dataset in score.datasets}
        for part, prefix in prefixes.items():
            row |= {f"{prefix}{metric}": score.mean(metric, part) for metric in METRICS}
        for part, prefix in prefixes.items():
            found = score.parts[part].intervals
            for metric in METRICS:
                if metric in found:
                    row |= {f"{prefix}{metric}_low": found[metric].low, f"{prefix}{metric}_high": found[metric].high}
        rows.append(row | _perception_means(score))
    return pd.DataFrame(rows)


def _perception_means(score: Score) -> dict[str, float]:
    return {name: fmean(score.perception[name]) for name in PERCEPTION if name in score.perception}


def _nested(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {metric: round(score.mean(metric), 6) for metric in METRICS}
    for dataset in score.datasets:
        result[dataset] = {metric: round(score.mean(metric, dataset), 6) for metric in METRICS}
    return result | {name: round(mean, 6) for name, mean in _perception_means(score).items()}


def _who(score: Score) -> dict[str, str]:
    return {"task": score.task.task, "run": score.run, "protocol": score.protocol}


def _per_class(scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        _who(score)
        | {"repetition": k, "class": one.name, "clips": one.clips}
        | {"precision": one.precision, "recall": one.recall, "f1": one.f1}
        for score in scores
        for k, repetition in enumerate(score.pooled.repetitions)
        for one in repetition.classes
    ]


def _per_subject(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Accuracy for each subject: UF1 of one is not defined where the subject lacks a class."""
    return [
        _who(score)
        | {"repetition": k, "subject": one.subject}
        | {"clips": one.clips, "accuracy": one.right[k] / one.clips}
        for score in scores
        for k in range(len(score.pooled.repetitions))
        for one in score.by_subject
    ]


def _confusion(scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        _who(score) | {"repetition": k, "actual": actual, "predicted": predicted, "clips": repetition.confusion[i][j]}
        for score in scores
        for k, repetition in enumerate(score.pooled.repetitions)
        for i, actual in enumerate(score.task.classes)
        for j, predicted in enumerate(score.task.classes)
    ]


def _chance(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {"task": task, "guess": way} | {metric: evaluation.chance[task][way][metric] for metric in METRICS}
        for task in evaluation.by_task
        for way in CHANCE
    ]


def _test_row(table: Table, test: AgainstBest) -> dict[str, Any]:
    row = asdict(test)
    return {"task": table.task, "table": table.name, "figure": row.pop("metric")} | row


def _perception(scores: Sequence[Score], clips: Mapping[str, Sequence[ClipResult]]) -> list[dict[str, Any]]:
    return [
        _who(score)
        | {"repetition": clip.repetition, "clip_id": clip.clip_id, "subject": clip.subject}
        | clip.perception
        for score in scores
        for clip in clips[score.run]
        if clip.perception
    ]


def _confusion_rows(score: Score, clips: Sequence[ClipResult]) -> list[dict[str, Any]]:
    """One row for each prediction, the form that DVC's confusion template counts."""
    names = score.task.classes
    return [{"actual": names[clip.y_true], "predicted": names[clip.y_pred]} for clip in clips]


def _loss_curve(run: str, path: Path) -> None:
    """Write the loss of each epoch, mean over folds and repetitions; estimators have none, so no file."""
    curve = pd.read_csv(Artifacts(run).curves)
    if "training" in curve:  # protocol inner trains twice
        curve = curve[curve["training"] == "final"].dropna(axis=1, how="all")
    if len(curve):
        mean = curve.groupby("epoch", sort=True).mean(numeric_only=True).drop(columns="repetition")
        mean.to_csv(path, lineterminator="\n", float_format="%.6g")
