"""Published values: read and checked, and set beside what was measured, never among it.

``results/published.csv`` holds one value a line. Its tasks are named as the class maps of `prep.index.class_maps`; a
task of params.yaml stands for the one whose release and classes it has.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import POOLED
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.escape import markdown_text
from fdpbench.bench.report.layout import github
from fdpbench.prep.index.class_maps import COMPOSITE, all_class_maps, maps_of
from fdpbench.prep.settings.section import Section
from fdpbench.prep.settings.task import TaskParams

__all__ = [
    "Beside",
    "Published",
    "PublishedError",
    "beside",
    "beside_numbers",
    "published_of",
    "published_text",
    "read_published",
]


class PublishedError(ValueError):
    """The file of published figures cannot be used; the message names file and line."""


class Published(Section):
    """One line of the file."""

    task: str = Field(description="a class map of `prep.index.class_maps`")
    part: str = Field(pattern=r"^[a-z0-9_]*$", description="a data set of the task; empty: all clips")
    model: str = Field(pattern=r"^[a-z0-9_]+$", description="a model of this project, or the name of another")
    metric: Literal["uf1", "uar"]
    value: float = Field(gt=0, lt=1)
    protocol: str = Field(pattern="^(honest|test_selected|unknown)$", description="who chose the epoch")
    protocol_known_by: Literal["paper", "code", "author's words", "comments", "unknown"] = Field(
        description="what says so: the paper, the released code, its author elsewhere, comments beside the figure"
    )
    source: str = Field(min_length=1, description="the paper, or whose repository")
    note: str = Field(description="what else is to be known of the figure; may be empty")

    @model_validator(mode="after")
    def _known_somehow(self) -> Published:
        if (self.protocol == "unknown") != (self.protocol_known_by == "unknown"):
            raise ValueError(
                f"protocol {self.protocol} cannot be known by {self.protocol_known_by}: both are unknown, or neither"
            )
        return self


@dataclass(frozen=True)
class Beside:
    """A published value beside a run's, of the same task, clips and metric.

    ``difference`` is measured minus published. ``low`` and ``high`` are those of the run's interval minus the
    published value, whose own uncertainty is not known; None where the run's interval is not defined.
    """

    published: Published
    run: str
    protocol: str
    measured: float
    difference: float
    low: float | None
    high: float | None


def read_published(path: Path) -> list[Published]:
    """Read and check the file of published values.

    Raises
    ------
    PublishedError
        If the file is missing or no CSV file, its columns are others, a line's task, metric, protocol, how it is known
        or value is not valid, or a figure is there twice.
    """
    if not path.is_file():
        raise PublishedError(f"{path} not found: it is part of the project; `git checkout {path}` brings it back")
    columns = list(Published.model_fields)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise PublishedError(f"{path}: expected the columns {','.join(columns)}, found {reader.fieldnames}")
            lines = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise PublishedError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    class_maps = all_class_maps()
    found: dict[tuple[str, ...], int] = {}
    result = []
    for number, row in lines:
        where = f"{path}, line {number}"
        if None in row or None in row.values():
            raise PublishedError(f"{where}: expected {len(columns)} cells; quote those that hold a comma")
        try:
            value = float(row["value"])
        except ValueError:
            raise PublishedError(f"{where}: value {row['value']!r} is no number") from None
        try:
            line = Published.model_validate(row | {"value": value})
        except ValidationError as error:
            problem = error.errors()[0]
            what = f"{problem['loc'][0]} {problem['input']!r} is not valid: " if problem["loc"] else ""
            raise PublishedError(f"{where}: {what}{problem['msg']}") from None
        if line.task not in class_maps:
            raise PublishedError(f"{where}: no task {line.task!r}; tasks: {', '.join(class_maps)}")
        key = (line.task, line.part, line.model, line.metric, line.source, line.protocol)
        if key in found:
            raise PublishedError(f"{where}: the same figure as in line {found[key]}, of the same source")
        found[key] = number
        result.append(line)
    return result


def published_of(tasks: Mapping[str, TaskParams], path: Path) -> dict[str, list[Published]]:
    """Give the published values that belong to each task of params.yaml, as far as there are any.

    The file is read only if a task is one of the literature.
    """
    names = {name: found for name, task in tasks.items() if (found := _standard_name(task))}
    lines = read_published(path) if names else []
    return {name: mine for name, found in names.items() if (mine := [line for line in lines if line.task == found])}


def _standard_name(task: TaskParams) -> str | None:
    """The class map whose release and classes a task has."""
    for class_map in maps_of(task.releases[0]) if len(task.releases) == 1 else ():
        classes = {name: list(emotions) for name, emotions in class_map.classes.items()}
        if task.classes == classes:
            return class_map.name
    return None


def beside(group: Sequence[Score], published: Sequence[Published]) -> list[Beside]:
    """Set each published value beside the runs of its model.

    Only clips that are there can be compared: where a data set of a composite is missing, the value over all of its
    clips has nothing beside it. Runs with a rebuilt fault have no part in this, nor those of a named table that
    change the model's settings.

    Parameters
    ----------
    group
        The runs of a task.
    published
        The task's published values.
    """
    result = []
    for line in published:
        for score in sorted(group, key=lambda score: score.run):
            plain = score.protocol in ("honest", "inner", "test_selected")
            if score.model != line.model or not plain or (score.entry.printed_in is not None and score.entry.set):
                continue
            part = _part_of(score, line, published)
            if part is None:
                continue
            measured = score.mean(line.metric, part)
            found = score.parts[part].intervals.get(line.metric)
            ends = (found.low - line.value, found.high - line.value) if found else (None, None)
            result.append(Beside(line, score.run, score.protocol, measured, measured - line.value, *ends))
    return result


def _part_of(score: Score, line: Published, published: Iterable[Published]) -> str | None:
    """The part of a run's clips that a published value is of; None where the run lacks clips of it."""
    there = set(score.clips_by_dataset)
    if not line.part:
        return POOLED if {other.part for other in published if other.part} <= there else None
    if there == {line.part}:
        return POOLED
    return line.part if line.part in score.datasets else None


def published_text(task: str, group: Sequence[Score], published: Sequence[Published], pairs: Sequence[Beside]) -> str:
    """Lay a task's published values out as Markdown, those of models without a run last."""
    counts = group[0].clips_by_dataset
    missing = sorted({line.part for line in published if line.part} - set(counts))
    sources = list(dict.fromkeys(line.source for line in published))
    notes = [
        "Published figures beside those measured here; difference: measured minus published, with the 95% interval of "
        "the measured one\n(the published one's own uncertainty is not known). Source: the model's paper; a figure "
        "that others reported of it is noted so in\n`results/published.csv`. Protocol `unknown`: who chose the epoch "
        "is not said, or was not found;\nelse what says so is beside it: the paper, the code, the author's words, or "
        "comments beside the figure."
    ]
    if missing:
        here = ", ".join(f"{markdown_text(name)} ({count} clips)" for name, count in sorted(counts.items()))
        notes.append(
            f"**Not the published protocol**: a published figure of one data set comes from a model trained on all of "
            f"{markdown_text(', '.join(sorted({*missing, *counts})))};\nhere were {here} alone. Figures over all clips "
            "have nothing beside them."
        )
    whole = COMPOSITE if published[0].task == "megc2019" else {}
    partial = [
        f"{name} ({counts[name]} of {whole[name]})"
        for name in sorted(whole)
        if counts.get(name) not in (None, whole[name])
    ]
    if partial:
        notes.append(f"**Not all clips**: {', '.join(partial)}. Published figures are of all.")
    rows = _rows(published, pairs, sources)
    numbered = "\n".join(f"{number}. {markdown_text(source)}" for number, source in enumerate(sources, start=1))
    return "\n\n".join([f"### {task}: published figures", *notes, github(rows), numbered])


def _rows(published: Sequence[Published], pairs: Sequence[Beside], sources: list[str]) -> list[dict[str, str]]:
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for pair in pairs:
        line = pair.published
        key = (line.model, line.source, line.protocol, pair.run, line.part)
        row = rows.setdefault(key, _head(line, sources) | {"run": markdown_text(pair.run)} | _columns())
        row["its protocol"] = markdown_text(pair.protocol)
        name = METRICS[line.metric].label
        row[f"published {name}"] = f"{line.value:.4f}"
        ends = "" if pair.low is None or pair.high is None else f" [{pair.low:+.3f}, {pair.high:+.3f}]"
        row[f"measured {name}"] = f"{pair.measured:.3f}"
        row[f"difference {name}"] = f"{pair.difference:+.3f}{ends}"
    compared = {(pair.published.model, pair.published.part) for pair in pairs}
    for line in published:
        if not line.part and (line.model, line.part) not in compared:
            row = rows.setdefault(
                (line.model, line.source, line.protocol), _head(line, sources) | {"run": "-"} | _columns()
            )
            row[f"published {METRICS[line.metric].label}"] = f"{line.value:.4f}"
    return list(rows.values())


def _head(line: Published, sources: list[str]) -> dict[str, str]:
    number = str(sources.index(line.source) + 1)
    known_by = "-" if line.protocol == "unknown" else line.protocol_known_by
    head = {"model": line.model, "source": number, "protocol": line.protocol, "known by": known_by}
    return head | {"clips": line.part or "all"}


def _columns() -> dict[str, str]:
    names = [f"{what} {name}" for name in ("UF1", "UAR") for what in ("published", "measured", "difference")]
    return {"its protocol": "-"} | dict.fromkeys(names, "-")


def beside_numbers(task: str, pairs: Sequence[Beside]) -> list[dict[str, Any]]:
    """Rows for machines."""
    return [
        {"task": task, "run": pair.run, "protocol": pair.protocol}
        | {key: getattr(pair.published, key) for key in ("model", "part", "metric")}
        | {"published": pair.published.value, "published_protocol": pair.published.protocol}
        | {"protocol_known_by": pair.published.protocol_known_by}
        | {"measured": pair.measured, "difference": pair.difference, "low": pair.low, "high": pair.high}
        | {"source": pair.published.source}
        for pair in pairs
    ]
