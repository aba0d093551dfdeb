"""Stage `tables`: every figure of every listed run, from predictions alone, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.artifacts import Artifacts
from bench.data import TaskInfo, load_index, load_task_info
from bench.metrics import Figures, MetricError, figures
from bench.params import RunEntry
from bench.predictions import check_predictions, read_predictions
from prep import paths
from prep.progress import console

__all__ = ["FIGURES", "Score", "clear_unlisted", "score_runs", "write_tables"]

# Column -> attribute of `Figures`.
FIGURES = {"UF1": "uf1", "UAR": "uar", "accuracy": "accuracy", "weighted F1": "weighted_f1"}

SYNTHETIC_NOTE = (
    "This task is made of rendered faces: its scores say nothing about real faces. It is small, and its difficulty "
    "and the settings of fdp and cnn3d were chosen on it: differences below about 0.1 mean little."
)


@dataclass(frozen=True)
class Score:
    """A run's figures: one `Figures` for each repetition, over all clips and for each data set.

    ``by_dataset`` is empty for a task of one data set; a data set that lacks a class is left out of it.
    """

    run: str
    model: str
    task: TaskInfo
    clips: int
    subjects: int
    repetitions: list[Figures]
    by_dataset: dict[str, list[Figures]]
    rows: list[dict[str, Any]]

    def mean(self, attribute: str, dataset: str | None = None) -> float:
        """Mean of a figure over repetitions."""
        chosen = self.by_dataset[dataset] if dataset else self.repetitions
        return fmean(getattr(one, attribute) for one in chosen)

    def text(self, attribute: str, dataset: str | None = None) -> str:
        """A figure with three decimals, and its standard deviation over repetitions if there are several."""
        if dataset and dataset not in self.by_dataset:
            return "not defined"
        chosen = self.by_dataset[dataset] if dataset else self.repetitions
        values = [getattr(one, attribute) for one in chosen]
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        return f"{fmean(values):.3f}{spread}"


def clear_unlisted(runs: Sequence[str]) -> list[str]:
    """Remove the outputs of runs that are no longer listed, and name them.

    DVC leaves the output of a removed stage behind; as part of a folder that the tables depend on it
    would make this checkout differ from a fresh one. DVC's cache keeps the files.
    """
    removed = []
    found = [*Path("artifacts/predictions").glob("*.parquet"), *Path("artifacts/curves").glob("*.csv")]
    for run in sorted({path.stem for path in found} - set(runs)):
        Artifacts(run).predictions.unlink(missing_ok=True)
        Artifacts(run).curves.unlink(missing_ok=True)
        removed.append(run)
        console.print(f"tables: {run} is not in the run list any more; its predictions are removed")
    return removed


def score_runs(runs: dict[str, RunEntry], repetitions: int) -> list[Score]:
    """Read, check and score the predictions of every listed run.

    Raises
    ------
    bench.predictions.PredictionError
        If a run's predictions are incomplete, doubled or not numbers.
    prep.shards.ShardError
        If a run has no predictions yet.
    """
    scores = []
    for name, entry in runs.items():
        folder = paths.task(entry.task)
        info, clips = load_task_info(folder), load_index(folder)
        rows = sorted(
            read_predictions(Artifacts(name).predictions), key=lambda row: (row["repetition"], row["clip_id"])
        )
        check_predictions(name, rows, clips, len(info.classes), repetitions)
        datasets = sorted({clip["dataset"] for clip in clips})
        scores.append(
            Score(
                run=name,
                model=entry.model,
                task=info,
                clips=len(clips),
                subjects=len({clip["subject"] for clip in clips}),
                repetitions=[_figures(rows, k, info) for k in range(repetitions)],
                by_dataset=_by_dataset(rows, datasets, repetitions, info) if len(datasets) > 1 else {},
                rows=rows,
            )
        )
    return scores


def _figures(rows: list[dict[str, Any]], repetition: int, info: TaskInfo, dataset: str | None = None) -> Figures:
    chosen = [row for row in rows if row["repetition"] == repetition and dataset in (None, row["dataset"])]
    return figures([row["y_true"] for row in chosen], [row["y_pred"] for row in chosen], info.classes)


def _by_dataset(
    rows: list[dict[str, Any]], datasets: list[str], repetitions: int, info: TaskInfo
) -> dict[str, list[Figures]]:
    result = {}
    for dataset in datasets:
        try:
            result[dataset] = [_figures(rows, k, info, dataset) for k in range(repetitions)]
        except MetricError as error:
            console.print(f"tables: {info.task}, {dataset} alone: {error}")
    return result


def write_tables(scores: list[Score], markdown: Path, tables: Path, metrics: Path, plots: Path) -> str:
    """Write every results file.

    Parameters
    ----------
    scores
        From `score_runs`.
    markdown
        File with one table for each task.
    tables
        Folder of ``<task>.csv``, ``<task>.tex``, ``per_class.csv``, ``per_subject.csv``, ``confusion.csv``.
    metrics
        JSON file for ``dvc metrics``: task -> run -> figure.
    plots
        Folder of ``confusion/<run>.csv`` and ``loss/<run>.csv`` for ``dvc plots``.

    Returns
    -------
    The Markdown text.
    """
    tasks = {score.task.task: score.task for score in scores}
    by_task = {name: sorted((s for s in scores if s.task.task == name), key=_rank) for name in tasks}
    text = "\n".join(["# Results", "", _legend(), *(_markdown(by_task[name]) for name in tasks)])
    for folder in (tables, plots):  # nothing of a run or task that is gone stays
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (markdown.parent, tables, metrics.parent, plots / "confusion", plots / "loss"):
        folder.mkdir(parents=True, exist_ok=True)
    markdown.write_text(text, encoding="utf-8")
    for name, group in by_task.items():
        _frame(group).to_csv(tables / f"{name}.csv", index=False, lineterminator="\n", float_format="%.6f")
        (tables / f"{name}.tex").write_text(_latex(group), encoding="utf-8")
    _csv(_per_class(scores), tables / "per_class.csv")
    _csv(_per_subject(scores), tables / "per_subject.csv")
    _csv(_confusion(scores), tables / "confusion.csv")
    nested = {name: {score.run: _nested(score) for score in group} for name, group in by_task.items()}
    metrics.write_text(json.dumps(nested, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for score in scores:
        _csv(_confusion_rows(score), plots / "confusion" / f"{score.run}.csv")
        _loss_curve(score.run, plots / "loss" / f"{score.run}.csv")
    return text


def _rank(score: Score) -> tuple[float, str]:
    return (-score.mean("uf1"), score.run)


def _legend() -> str:
    return (
        "Leave one subject out, fixed number of epochs, no look at the test subject. Figures are "
        "pooled over all folds:\nUF1 is the mean over classes of 2TP/(2TP+FP+FN), UAR the mean recall. "
        "The best figure of a column is bold.\nWritten by `python -m bench tables` from "
        "`artifacts/predictions`; `dvc repro` regenerates everything.\n"
    )


def _markdown(group: list[Score]) -> str:
    info = group[0].task
    head = (
        f"## {info.task}\n\n{group[0].clips} clips, {group[0].subjects} subjects, classes: {', '.join(info.classes)}."
    )
    note = f" {SYNTHETIC_NOTE}" if info.rendered else ""
    body = tabulate(_cells(group, "**{}**"), headers="keys", tablefmt="github", disable_numparse=True)
    return f"{head}{note}\n\n{body}\n"


def _cells(group: list[Score], bold: str) -> list[dict[str, str]]:
    """Rows of a printed table; the best figure of each column is marked."""
    columns: list[tuple[str, str, str | None]] = [(label, attribute, None) for label, attribute in FIGURES.items()]
    for one in group[0].by_dataset:
        columns.extend((f"{one} {label}", FIGURES[label], one) for label in ("UF1", "UAR"))
    rows = [{"run": score.run, "model": score.model} for score in group]
    for label, attribute, dataset in columns:
        defined = [score for score in group if dataset is None or dataset in score.by_dataset]
        best = max(score.mean(attribute, dataset) for score in defined)
        for row, score in zip(rows, group, strict=True):
            text = score.text(attribute, dataset)
            row[label] = bold.format(text) if score in defined and score.mean(attribute, dataset) == best else text
    return rows


def _latex(group: list[Score]) -> str:
    rows = [
        {key: value.replace("_", r"\_").replace(" ± ", r" $\pm$ ") for key, value in row.items()}
        for row in _cells(group, r"\textbf{{{}}}")
    ]
    headers = [key.replace("_", r"\_") for key in rows[0]]
    body = tabulate([list(row.values()) for row in rows], headers, tablefmt="latex_raw", disable_numparse=True)
    lines = body.splitlines()
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    return "\n".join(next(rules) if line == r"\hline" else line for line in lines) + "\n"


def _frame(group: list[Score]) -> pd.DataFrame:
    rows = []
    for score in group:
        row: dict[str, Any] = {"run": score.run, "model": score.model, "clips": score.clips, "subjects": score.subjects}
        row["repetitions"] = len(score.repetitions)
        row |= {attribute: score.mean(attribute) for attribute in FIGURES.values()}
        for dataset in score.by_dataset:
            row |= {f"{dataset}_{attribute}": score.mean(attribute, dataset) for attribute in FIGURES.values()}
        rows.append(row)
    return pd.DataFrame(rows)


def _nested(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {attribute: round(score.mean(attribute), 6) for attribute in FIGURES.values()}
    for dataset in score.by_dataset:
        result[dataset] = {attribute: round(score.mean(attribute, dataset), 6) for attribute in FIGURES.values()}
    return result


def _per_class(scores: list[Score]) -> list[dict[str, Any]]:
    return [
        {"task": score.task.task, "run": score.run, "repetition": k, "class": one.name, "clips": one.clips}
        | {"precision": one.precision, "recall": one.recall, "f1": one.f1}
        for score in scores
        for k, repetition in enumerate(score.repetitions)
        for one in repetition.classes
    ]


def _per_subject(scores: list[Score]) -> list[dict[str, Any]]:
    """Accuracy for each subject: most subjects lack a class, so that UF1 of one is not defined."""
    rows = []
    for score in scores:
        frame = pd.DataFrame(score.rows)
        frame["correct"] = frame["y_true"] == frame["y_pred"]
        for (repetition, subject), part in frame.groupby(["repetition", "subject"], sort=True):
            rows.append(
                {"task": score.task.task, "run": score.run, "repetition": repetition, "subject": subject}
                | {"clips": len(part), "accuracy": float(part["correct"].mean())}
            )
    return rows


def _confusion(scores: list[Score]) -> list[dict[str, Any]]:
    return [
        {"task": score.task.task, "run": score.run, "repetition": k, "actual": actual, "predicted": predicted}
        | {"clips": int(repetition.confusion[i, j])}
        for score in scores
        for k, repetition in enumerate(score.repetitions)
        for i, actual in enumerate(score.task.classes)
        for j, predicted in enumerate(score.task.classes)
    ]


def _confusion_rows(score: Score) -> list[dict[str, Any]]:
    """One row for each prediction, the form that DVC's confusion template counts."""
    names = score.task.classes
    return [{"actual": names[row["y_true"]], "predicted": names[row["y_pred"]]} for row in score.rows]


def _loss_curve(run: str, path: Path) -> None:
    """Write the loss of each epoch, mean over folds and repetitions; estimators have none, so no file."""
    curve = pd.read_csv(Artifacts(run).curves)
    if len(curve):
        mean = curve.groupby("epoch", sort=True).mean(numeric_only=True).drop(columns="repetition")
        mean.to_csv(path, lineterminator="\n", float_format="%.6g")


def _csv(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n", float_format="%.6f")
