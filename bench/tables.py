"""Stage `tables`: every figure of every listed run, from predictions alone, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.artifacts import Artifacts
from bench.data import TaskInfo
from bench.scores import Score, with_spread

__all__ = [
    "FIGURES",
    "PERCEPTION",
    "SIMULATED_NOTE",
    "SYNTHETIC_NOTE",
    "github",
    "perception_text",
    "tables_of",
    "write_tables",
]

# Column -> attribute of `Figures`.
FIGURES = {"UF1": "uf1", "UAR": "uar", "accuracy": "accuracy", "weighted F1": "weighted_f1"}

# Column -> column of `Score.perception`, and decimals.
PERCEPTION = {
    "pairs in order": ("order_accuracy", 3),
    "PSNR, dB": ("psnr", 2),
    "SSIM": ("ssim", 3),
    "PSNR of mean image": ("psnr_of_mean", 2),
    "SSIM of mean image": ("ssim_of_mean", 3),
}

_PERCEPTION_COLUMNS = [column for column, _ in PERCEPTION.values()]

RENDERED_NOTE = "This task is made of rendered faces: its scores say nothing about real faces."
SYNTHETIC_NOTE = (
    f"{RENDERED_NOTE} It is small, and its difficulty and the settings of cnn3d were chosen on it: differences below "
    "about 0.1 mean little."
)
SIMULATED_NOTE = f"**Simulated ({{}}, written by `prep simulate`).** {RENDERED_NOTE}"


def write_tables(scores: list[Score], markdown: Path, tables: Path, metrics: Path, plots: Path) -> str:
    """Write every results file.

    Parameters
    ----------
    scores
        From `score_runs`.
    markdown
        File with one table for each task.
    tables
        Folder of ``<task>.csv``, ``<task>.tex`` (and ``<task>-<table>.tex`` for tables that runs name),
        ``per_class.csv``, ``per_subject.csv``, ``confusion.csv``, and ``perception.csv``: rank scores and
        drawn dynamic images clip by clip.
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
    named = {name: tables_of(group) for name, group in by_task.items()}
    for folder in (tables, plots):  # nothing of a run or task that is gone stays
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (markdown.parent, tables, metrics.parent, plots / "confusion", plots / "loss"):
        folder.mkdir(parents=True, exist_ok=True)
    markdown.write_text(text, encoding="utf-8")
    for name, group in by_task.items():
        _frame(group).to_csv(tables / f"{name}.csv", index=False, lineterminator="\n", float_format="%.6f")
        for table, members in named[name].items():
            suffix = f"-{table}" if table else ""
            (tables / f"{name}{suffix}.tex").write_text(_latex(_cells(members, r"\textbf{{{}}}")), encoding="utf-8")
    _csv(_per_class(scores), tables / "per_class.csv")
    _csv(_per_subject(scores), tables / "per_subject.csv")
    _csv(_confusion(scores), tables / "confusion.csv")
    if any(score.perception for score in scores):
        _csv(_perception(scores), tables / "perception.csv")
    nested = {name: {score.run: _nested(score) for score in group} for name, group in by_task.items()}
    metrics.write_text(json.dumps(nested, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for score in scores:
        _csv(_confusion_rows(score), plots / "confusion" / f"{score.run}.csv")
        _loss_curve(score.run, plots / "loss" / f"{score.run}.csv")
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
    return (
        "Leave one subject out. Protocols: `honest` trains a fixed number of epochs; `inner` chooses it on "
        "held-out training subjects;\n`test_selected` keeps the epoch that does best on the test subject, which "
        "is no honest figure. Figures are pooled over all folds:\nUF1 is the mean over classes of "
        "2TP/(2TP+FP+FN), UAR the mean recall; with several repetitions, mean ± standard deviation.\nThe best "
        "figure of a column is bold; runs that look at the test subject, or rebuild a fault of released code, do "
        "not compete.\nWritten by `python -m bench tables` from `artifacts/predictions`; `dvc repro` regenerates "
        "everything.\n"
    )


def _markdown(group: list[Score]) -> str:
    info = group[0].task
    clips, subjects = max(score.clips for score in group), max(score.subjects for score in group)
    head = f"## {info.task}\n\n{clips} clips, {subjects} subjects, classes: {', '.join(info.classes)}."
    parts = [f"{head} {_rendered_note(info)}".rstrip()]
    for name, members in tables_of(group).items():
        if name:
            parts.append(f"### {info.task}: {name}")
        parts.append(github(_cells(members, "**{}**")))
    perceiving = [score for score in group if score.perception]
    if perceiving:
        parts += [f"### {info.task}: order of frames, and dynamic images drawn of held-out clips", _PERCEPTION_NOTE]
        parts.append(github(_perception_cells(perceiving)))
    return "\n\n".join(parts) + "\n"


def _rendered_note(info: TaskInfo) -> str:
    if info.simulated:
        return SIMULATED_NOTE.format(", ".join(info.simulated))
    return SYNTHETIC_NOTE if info.rendered else ""


def github(rows: list[dict[str, str]]) -> str:
    """Rows of texts as a Markdown table."""
    return str(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


_PERCEPTION_NOTE = (
    "Pairs in order: share of frame pairs whose rank scores rise with time; chance is 0.5. PSNR and SSIM compare the "
    "drawn image\nwith the true one at the size at which it is drawn, mean over clips. The mean image of the other "
    "subjects' clips is what a model\nwould draw that never looks at the clip: only what exceeds it was seen in the "
    "clip. `tables/perception.csv` has every clip."
)


def _perception_cells(group: list[Score]) -> list[dict[str, str]]:
    rows = []
    for score in group:
        row = {"run": score.run, "protocol": score.protocol}
        rows.append(row | {label: perception_text(score, label) for label in PERCEPTION})
    return rows


def perception_text(score: Score, label: str) -> str:
    """A column of `PERCEPTION` as a table prints it; a dash where the model does not rank or draw."""
    column, decimals = PERCEPTION[label]
    values = score.perceived(column)
    return with_spread(values, decimals) if values else "-"


def _cells(group: list[Score], bold: str) -> list[dict[str, str]]:
    """Rows of a printed table; the best figure of each column is marked."""
    columns: list[tuple[str, str, str | None]] = [(label, attribute, None) for label, attribute in FIGURES.items()]
    for one in dict.fromkeys(dataset for score in group for dataset in score.by_dataset):
        columns.extend((f"{one} {label}", FIGURES[label], one) for label in ("UF1", "UAR"))
    rows = [{"run": score.run, "model": score.model, "protocol": score.protocol} for score in group]
    for label, attribute, dataset in columns:
        defined = [s for s in group if s.competes and (dataset is None or dataset in s.by_dataset)]
        best = max((score.mean(attribute, dataset) for score in defined), default=None)
        for row, score in zip(rows, group, strict=True):
            text = score.text(attribute, dataset)
            row[label] = bold.format(text) if score in defined and score.mean(attribute, dataset) == best else text
    return rows


def _latex(cells: list[dict[str, str]]) -> str:
    rows = [{key: value.replace("_", r"\_").replace(" ± ", r" $\pm$ ") for key, value in row.items()} for row in cells]
    headers = [key.replace("_", r"\_") for key in rows[0]]
    body = tabulate([list(row.values()) for row in rows], headers, tablefmt="latex_raw", disable_numparse=True)
    lines = body.splitlines()
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    return "\n".join(next(rules) if line == r"\hline" else line for line in lines) + "\n"


def _frame(group: list[Score]) -> pd.DataFrame:
    rows = []
    for score in group:
        row: dict[str, Any] = {"run": score.run, "model": score.model, "protocol": score.protocol}
        row |= {"table": score.entry.table, "clips": score.clips, "subjects": score.subjects}
        row["repetitions"] = len(score.repetitions)
        row |= {attribute: score.mean(attribute) for attribute in FIGURES.values()}
        for dataset in score.by_dataset:
            row |= {f"{dataset}_{attribute}": score.mean(attribute, dataset) for attribute in FIGURES.values()}
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
    """Accuracy for each subject: most subjects lack a class, so that UF1 of one is not defined."""
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


def _csv(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n", float_format="%.6f")
