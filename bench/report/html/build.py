"""Stage `report`: fill the templates and write the folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fdpbench.bench.evaluate.ensembles import predictions_of
from fdpbench.bench.evaluate.evaluation import ClipResult, Evaluation, read_clips
from fdpbench.bench.evaluate.listed import evaluation_of, listed
from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import LEVEL, POOLED, SIGNIFICANCE
from fdpbench.bench.report.html import charts
from fdpbench.bench.report.html.data import Release, Task, releases_of, tasks_of
from fdpbench.bench.report.html.facts import NAMES, Estimate, RunFacts, chance, leaderboards
from fdpbench.bench.report.html.leakage import averages, effects, span
from fdpbench.bench.report.html.pictures import gallery_of
from fdpbench.bench.report.tables import native_note, rendered_note, splits_note
from fdpbench.bench.train.artifacts import RESULTS, Artifacts
from fdpbench.bench.train.data import TaskInfo
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import paths

__all__ = ["build_report", "run"]

STATIC = ("report.css", "report.js")
PROTOCOLS = {
    "honest": "trains a fixed number of epochs and never looks at the test subject",
    "inner": "chooses the number of epochs on held-out training subjects, then trains on all of them",
    "test_selected": "keeps the epoch that does best on the test subject: not an honest figure",
    "zero_shot": "trains on no clip of the task: the weights that it starts from predict as they are",
}
EXPLAINED_ENSEMBLE = "averages the class probabilities of its members, of each over all of its seeds"


@dataclass(frozen=True)
class _Curve:
    """One column of a run's loss curve: the drawing, and its means over folds and repetitions."""

    name: str
    drawing: Markup
    epochs: list[int]
    means: list[float]


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    all_of, out = listed(planned), RESULTS / "report"
    build = partial(build_report, evaluation_of(all_of.runs), read_clips(), all_of.tasks, all_of.releases)
    with open_scratch("report", "whole") as scratch:
        scratch.publish({out: build})
    console.print(f"report: {len(all_of.runs)} runs in {out / 'index.html'}")


def build_report(
    evaluation: Evaluation,
    clips: Mapping[str, Sequence[ClipResult]],
    tasks: Mapping[str, TaskParams],
    releases: Sequence[str],
    out: Path,
) -> None:
    """Write the report: the same bytes from the same artifacts.

    Parameters
    ----------
    evaluation, clips
        From `bench.evaluate.evaluation`: of every listed run, and of each of their clips.
    tasks
        The tasks of params.yaml.
    releases
        Names of the releases that the data page tells of.
    out
        Folder to write; must not exist.

    Raises
    ------
    ValueError
        If something that a page shows is missing: a run's provenance or curves, a release's report.
    """
    facts = {score.run: RunFacts(score) for score in evaluation.scores}
    environment = _environment()
    out.mkdir(parents=True)
    (out / "runs").mkdir()
    package = Path(__file__).parent / "static"
    for name in STATIC:
        shutil.copyfile(package / name, out / name)

    def write(template: str, path: str, **content: Any) -> None:
        root = "../" * path.count("/")
        text = environment.get_template(template).render(root=root, page=path, **content)
        (out / path).write_text(text, encoding="utf-8", newline="\n")

    boards = [_Board(name, facts, evaluation) for name in evaluation.by_task]
    write(
        "index.html.j2",
        "index.html",
        boards=boards,
        protocols=PROTOCOLS,
        runs=len(facts),
        splits=splits_note(evaluation.scores),
    )
    for one in facts.values():
        write("run.html.j2", f"runs/{one.run}.html", **_run_page(one, clips[one.run], out))
    shown = effects(facts, evaluation.effects)
    write(
        "audit.html.j2",
        "audit.html",
        effects=shown,
        span=span(shown),
        averages=averages(facts),
        rendered=any(score.task.rendered for score in evaluation.scores),
    )
    known: list[Release] = releases_of(releases)
    held: list[Task] = tasks_of(tasks)
    write("data.html.j2", "data.html", releases=known, tasks=held)


class _Board:
    """One task's section of the first page."""

    def __init__(self, task: str, facts: Mapping[str, RunFacts], evaluation: Evaluation) -> None:
        scores = [score for score in evaluation.scores if score.task.task == task]
        self.task = task
        self.info: TaskInfo = scores[0].task
        self.clips = max(score.pooled.clips for score in scores)
        self.subjects = max(score.pooled.subjects for score in scores)
        self.parts = list(dict.fromkeys(part for score in scores for part in score.datasets))
        self.tables = leaderboards(facts, evaluation.tables_of(task))
        self.chance = chance(facts, task, evaluation)
        self.native = native_note(scores)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fdpbench.bench.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "ALIKE": SIGNIFICANCE,
        "LEAST": min(metric.least for metric in METRICS.values()),
        "MAIN": [name for name, metric in METRICS.items() if metric.main],
        "NAMES": NAMES,
        "POOLED": POOLED,
        "axis": charts.axis,
        "chart": _chart,
        "dot": lambda number, departs: _chart(Estimate(number), departs),
        "level": round(100 * LEVEL),
        "native_note": native_note,
        "rendered_note": rendered_note,
    }
    return environment


def _chart(estimate: Estimate, departs: bool, low: float = 0.0, high: float = 1.0) -> Markup:
    """The drawing of an estimate."""
    ends = None
    if estimate.low is not None and estimate.high is not None:
        ends = (estimate.low.value, estimate.high.value)
    return charts.interval(estimate.value.value, ends, low, high, "departs" if departs else "honest")


def _run_page(facts: RunFacts, clips: Sequence[ClipResult], out: Path) -> dict[str, Any]:
    """What a run's page shows."""
    entry = facts.score.entry
    if entry.members:
        return {
            "facts": facts,
            "score": facts.score,
            "predictions": predictions_of(facts.run, entry).as_posix(),
            "explained": EXPLAINED_ENSEMBLE,
            "provenance": None,
        }
    artifacts = Artifacts(facts.run)
    provenance, curves = read_provenance(artifacts.provenance), _curves(artifacts.curves)
    said = {key: value for key, value in provenance["run"]["entry"].items() if value not in ({}, [], None)}
    params = {"run": said, "settings": provenance["settings"], "train": provenance["train"]}
    digest = hashlib.sha256("".join(f"{name} {code}\n" for name, code in provenance["code"].items()).encode())
    return {
        "facts": facts,
        "score": facts.score,
        "predictions": artifacts.predictions.as_posix(),
        "curves": curves,
        "epochs": max((curve.epochs for curve in curves), key=len, default=[]),
        "curves_file": artifacts.curves.as_posix(),
        "gallery": gallery_of(facts, clips, paths.task(facts.score.task.task), out),
        "provenance": provenance,
        "code_hash": digest.hexdigest(),
        "params": yaml.safe_dump(params, sort_keys=False, default_flow_style=False),
        "explained": PROTOCOLS[entry.protocol],
    }


def _curves(path: Path) -> list[_Curve]:
    """Every column of a run's loss curve over epochs: mean over folds and repetitions, and their range."""
    if not path.is_file():
        raise ValueError(f"{path} not found: the run is not trained yet; run `dvc repro`")
    table = pd.read_csv(path)
    final = table[table["training"] == "final"] if "training" in table else table  # protocol inner trains twice
    curves = []
    names = [name for name in table.columns if name not in ("repetition", "fold", "epoch", "training")]
    for name in names:
        # what was watched to choose the epoch is, under `inner`, of the first training
        values = (table if name.startswith("watched_") else final).dropna(subset=[name])
        if values.empty:
            continue
        grouped = values.groupby("epoch", sort=True)[name]
        mean, low, high = grouped.mean(), grouped.min(), grouped.max()
        epochs = [int(epoch) for epoch in mean.index]
        label = name.replace("_", " ")
        line = charts.Line(label, mean.tolist(), low.tolist(), high.tolist())
        first, last = (f"{mean.iloc[k]:.3g} in epoch {epochs[k]}" for k in (0, -1))
        summary = f"{label} by epoch: from {first} to {last}"
        curves.append(_Curve(label, charts.curve(epochs, [line], "epoch", label, summary), epochs, mean.tolist()))
    return curves
