"""Stage `report`: fill the templates and write the folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fdpbench.bench.evaluate.compare import LEVEL, SIGNIFICANCE
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.html import charts
from fdpbench.bench.report.html.data import Release, Task, releases_of, tasks_of
from fdpbench.bench.report.html.facts import ALL, NAMES, Estimate, RunFacts, chance, standings
from fdpbench.bench.report.html.leakage import averages, effects, span
from fdpbench.bench.report.html.pictures import gallery_of
from fdpbench.bench.report.tables import native_note, rendered_note
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import TaskInfo
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import paths

__all__ = ["build_report"]

STATIC = ("report.css", "report.js")
PROTOCOLS = {
    "honest": "trains a fixed number of epochs and never looks at the test subject",
    "inner": "chooses the number of epochs on held-out training subjects, then trains on all of them",
    "test_selected": "keeps the epoch that does best on the test subject: not an honest figure",
}


@dataclass(frozen=True)
class _Curve:
    """One column of a run's loss curve: the drawing, and its means over folds and repetitions."""

    name: str
    drawing: Markup
    epochs: list[int]
    means: list[float]


def build_report(scores: Sequence[Score], tasks: Mapping[str, TaskParams], releases: Sequence[str], out: Path) -> None:
    """Write the report: the same bytes from the same artifacts.

    Parameters
    ----------
    scores
        Of every listed run (`bench.evaluate.scores.score_runs`).
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
    facts = {score.run: RunFacts(score) for score in scores}
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

    by_task = [_Board(name, [one for one in facts.values() if one.score.task.task == name]) for name in _tasks(scores)]
    write("index.html.j2", "index.html", boards=by_task, protocols=PROTOCOLS, runs=len(facts))
    for one in facts.values():
        write("run.html.j2", f"runs/{one.run}.html", **_run_page(one, out))
    shown = effects(facts)
    write(
        "audit.html.j2",
        "audit.html",
        effects=shown,
        span=span(shown),
        averages=averages(facts),
        rendered=_rendered(scores),
    )
    known: list[Release] = releases_of(releases)
    held: list[Task] = tasks_of(tasks)
    write("data.html.j2", "data.html", releases=known, tasks=held)


class _Board:
    """One task's section of the first page."""

    def __init__(self, name: str, facts: list[RunFacts]) -> None:
        self.task = name
        self.info: TaskInfo = facts[0].score.task
        self.clips = max(one.score.clips for one in facts)
        self.subjects = max(one.score.subjects for one in facts)
        self.parts = list(dict.fromkeys(part for one in facts for part in one.score.by_dataset))
        self.tables = standings(facts)
        self.chance = chance(facts)
        self.native = native_note([one.score for one in facts])


def _tasks(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(score.task.task for score in scores))


def _rendered(scores: Sequence[Score]) -> bool:
    return any(score.task.rendered for score in scores)


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
        "ALL": ALL,
        "ALIKE": SIGNIFICANCE,
        "NAMES": NAMES,
        "axis": charts.axis,
        "dot": lambda number, departs: _drawn(Estimate(number), departs),
        "drawn": _drawn,
        "level": round(100 * LEVEL),
        "native_note": native_note,
        "rendered_note": rendered_note,
    }
    return environment


def _drawn(estimate: Estimate, departs: bool, low: float = 0.0, high: float = 1.0) -> Markup:
    """The drawing of an estimate."""
    ends = None
    if estimate.low is not None and estimate.high is not None:
        ends = (estimate.low.value, estimate.high.value)
    return charts.interval(estimate.value.value, ends, low, high, "departs" if departs else "honest")


def _run_page(facts: RunFacts, out: Path) -> dict[str, Any]:
    """What a run's page shows."""
    artifacts = Artifacts(facts.run)
    provenance, curves = read_provenance(artifacts.provenance), _curves(artifacts.curves)
    entry = {key: value for key, value in provenance["run"]["entry"].items() if value not in ({}, [], None)}
    params = {"run": entry, "settings": provenance["settings"], "train": provenance["train"]}
    digest = hashlib.sha256("".join(f"{name} {code}\n" for name, code in provenance["code"].items()).encode())
    return {
        "facts": facts,
        "score": facts.score,
        "predictions": artifacts.predictions.as_posix(),
        "predictions_hash": hash_file(artifacts.predictions),
        "curves": curves,
        "epochs": max((curve.epochs for curve in curves), key=len, default=[]),
        "curves_file": artifacts.curves.as_posix(),
        "gallery": gallery_of(facts, paths.task(facts.score.task.task), out),
        "provenance": provenance,
        "code_hash": digest.hexdigest(),
        "params": yaml.safe_dump(params, sort_keys=False, default_flow_style=False),
        "explained": PROTOCOLS[facts.score.entry.protocol],
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
