"""Score predictions with intervals, whoever made them, and compare two sets of them.

`fdpbench score FILE` and `fdpbench compare A B`; the intervals are those of `bench.evaluate.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from tabulate import tabulate

from fdpbench.bench.evaluate.bootstrap import compare_pairs, holm
from fdpbench.bench.evaluate.metrics import METRICS, MetricError
from fdpbench.bench.evaluate.prediction_set import evaluate_part
from fdpbench.bench.evaluate.records import LEVEL, POOLED, RESAMPLES, Comparison, Part
from fdpbench.bench.external.read import OutsideError, Said, as_dict

__all__ = ["check_alike", "compare_pairs_said", "compare_said", "comparison_lines", "score_lines", "score_said"]


def score_said(said: Said, level: float = LEVEL, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Score predictions over all clips and for each data set.

    Parameters
    ----------
    said
        The predictions.
    level, resamples
        Of the intervals; see `bench.evaluate.bootstrap.intervals`.

    Returns
    -------
    What `bench.external.read.as_dict` tells, and ``figures``: for ``all`` and each data set a mapping from metric
    to its interval, or a text that says why it is not defined there. Where the metric is defined but its interval is
    not, as with one subject, the ends are None and ``no_interval`` says why.
    """
    parts = {part: evaluate_part(said, part, level, resamples) for part in said.parts}
    return as_dict(said) | {"level": level, "figures": {name: _metrics(part, level) for name, part in parts.items()}}


def _metrics(part: Part, level: float) -> dict[str, dict[str, Any]] | str | None:
    """Metrics with their intervals, or why there are none."""
    if part.intervals:
        return {metric: asdict(part.intervals[metric]) for metric in METRICS}
    if not part.repetitions:
        return part.why_not
    values = {metric: float(np.mean([one.values[metric] for one in part.repetitions])) for metric in METRICS}
    counts = {"subjects": part.subjects, "clips": part.clips, "repetitions": len(part.repetitions), "redrawn": 0}
    ends = {"low": None, "high": None, "level": level, "method": None} | counts | {"no_interval": part.why_not}
    return {metric: {"value": value} | ends for metric, value in values.items()}


def score_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report of `score_said` out for a terminal."""
    lines = [*report["notes"]]
    rows = []
    for part, metrics in report["figures"].items():
        if isinstance(metrics, str):
            rows.append([part, "not defined: " + metrics])
            continue
        first = next(iter(metrics.values()))
        rows.append([part, *(_text(metrics[metric]) for metric in METRICS), first["clips"], first["subjects"]])
    headers = ["", *(metric.label for metric in METRICS.values()), "clips", "subjects"]
    lines += tabulate(rows, headers=headers, disable_numparse=True).splitlines()
    for part, metrics in report["figures"].items():
        if isinstance(metrics, dict) and (reason := metrics["uf1"].get("no_interval")):
            lines.append(f"{part}: no interval: {reason}")
    pooled = report["figures"][POOLED]
    if isinstance(pooled, dict) and "no_interval" not in pooled["uf1"]:
        redrawn = max(one["redrawn"] for one in pooled.values())
        lines.append(
            f"{report['name']}: {100 * report['level']:.0f}% intervals (BCa) of a bootstrap over subjects"
            + (f" and {report['repetitions']} repetitions" if report["repetitions"] > 1 else "")
            + (f"; {redrawn} resamples lacked a class and were drawn anew" if redrawn else "")
        )
    if report["folds"]:
        lines.append(f"{report['name']}: folds: {report['folds']}")
    return lines


def compare_said(first: Said, second: Said, level: float = LEVEL, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare two sets of predictions of the same clips: ``first`` minus ``second``.

    Returns
    -------
    ``differences``: for ``all`` and each data set a mapping from metric to the difference's interval and the
    p-value of the paired permutation test, as it is and adjusted (Holm) for the number of tests here.

    Raises
    ------
    OutsideError
        If the two are not of the same clips, subjects, labels and number of classes; the first clip that differs is
        named. Where one of them does not name its clips, subjects and labels alone are compared.
    """
    check_alike(first, second)
    return {"first": as_dict(first), "second": as_dict(second), "level": level} | _tested(
        [(first, second)], level, resamples
    )


def compare_pairs_said(
    pairs: Sequence[tuple[Said, Said]], level: float = LEVEL, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Compare pairs of predictions, all of the same clips: each pair, and the mean of their differences.

    Returns
    -------
    ``pairs``: of each what `compare_said` gives, its p-values adjusted for its own tests alone; ``pooled``: the same of
    the mean difference (`bench.evaluate.bootstrap.compare_pairs`).

    Raises
    ------
    OutsideError
        If they are not all of the same clips, subjects, labels and number of classes.
    """
    for other, _ in pairs[1:]:
        check_alike(pairs[0][0], other)
    each = [compare_said(first, second, level, resamples) for first, second in pairs]
    return {"pairs": each, "pooled": {"level": level} | _tested(pairs, level, resamples)}


def check_alike(first: Said, second: Said) -> None:
    """Refuse two sets of predictions that are not of the same clips, subjects, labels and number of classes.

    Raises
    ------
    OutsideError
        Naming the first clip that differs.
    """
    if len(first.classes) != len(second.classes):
        raise OutsideError(
            f"{first.name} has {len(first.classes)} classes ({', '.join(first.classes)}), {second.name} "
            f"{len(second.classes)} ({', '.join(second.classes)})"
        )
    named = first.named and second.named
    for a, b in zip(_rows(first, named), _rows(second, named), strict=False):
        if a != b:
            what = "clip, subject, label" if named else "subject, label"
            raise OutsideError(f"{first.name} has {a}, where {second.name} has {b} ({what})")
    if len(first.clip_ids) != len(second.clip_ids):
        raise OutsideError(f"{first.name} has {len(first.clip_ids)} clips, {second.name} {len(second.clip_ids)}")


def _tested(pairs: Sequence[tuple[Said, Said]], level: float, resamples: int) -> dict[str, Any]:
    """Mean differences of pairs over each part, and how many tests their p-values are adjusted for."""
    found: dict[str, dict[str, Comparison]] = {}
    differences: dict[str, Any] = {}  # first the parts where it is not defined
    for part in pairs[0][0].parts:
        try:
            confusions = [(first.of(part).confusions(), second.of(part).confusions()) for first, second in pairs]
            found[part] = compare_pairs(confusions, level=level, resamples=resamples)
        except MetricError as error:
            differences[part] = str(error)
    tests = [one for each in found.values() for one in each.values()]
    adjusted = iter(holm([one.p_value for one in tests]))
    for part, each in found.items():
        differences[part] = {
            metric: {"difference": asdict(one.difference), "p_value": one.p_value, "p_value_holm": next(adjusted)}
            for metric, one in each.items()
        }
    return {"tests": len(tests), "differences": differences}


def comparison_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report of `compare_said` or `compare_pairs_said` out for a terminal."""
    if "pairs" not in report:
        notes = [*report["first"]["notes"], *report["second"]["notes"]]
        return [*notes, *_table(report, _title(report)), _explained(report), *_folds(report)]
    lines: list[str] = []
    for each in report["pairs"]:
        lines += [*each["first"]["notes"], *each["second"]["notes"], *_table(each, _title(each)), *_folds(each), ""]
    lines += _table(report["pooled"], f"mean of the {len(report['pairs'])} differences")
    lines.append(_explained(report["pooled"]) + ", of each table by itself")
    lines.append("the mean: a resample or a swap takes the same subjects in all pairs")
    return lines


def _title(report: dict[str, Any]) -> str:
    return f"{report['first']['name']} - {report['second']['name']}"


def _table(report: dict[str, Any], title: str) -> list[str]:
    rows = []
    for part, metrics in report["differences"].items():
        if isinstance(metrics, str):
            rows.append([part, "not defined: " + metrics])
            continue
        for metric, entry in metrics.items():
            p_values = f"{entry['p_value']:.4f}", f"{entry['p_value_holm']:.4f}"
            rows.append([part, METRICS[metric].label, _text(entry["difference"], sign="+"), *p_values])
    return tabulate(rows, headers=["", "metric", title, "p", "p (Holm)"], disable_numparse=True).splitlines()


def _explained(report: dict[str, Any]) -> str:
    return (
        f"{100 * report['level']:.0f}% intervals of a paired bootstrap over subjects; p of a paired permutation test "
        f"that swaps whole subjects, and adjusted for {report['tests']} tests (Holm)"
    )


def _folds(report: dict[str, Any]) -> list[str]:
    first, second = report["first"], report["second"]
    if first["folds"] != second["folds"]:
        told = (f"{one['name']}: {one['folds'] or 'not told by the file'}" for one in (first, second))
        return [f"The two have other folds, which is part of the difference: {'; '.join(told)}"]
    return [f"folds of both: {first['folds']}"] if first["folds"] else []


def _rows(said: Said, named: bool) -> list[tuple[str, str, int] | tuple[str, int]]:
    """What two sets of predictions must share: clip, subject and label, or, of clips without names, the last two."""
    if named:
        return [(a, b, int(c)) for a, b, c in zip(said.clip_ids, said.subjects, said.y_true, strict=True)]
    return [*sorted((subject, int(label)) for subject, label in zip(said.subjects, said.y_true, strict=True))]


def _text(found: dict[str, Any], sign: str = "") -> str:
    if found["low"] is None:
        return f"{found['value']:{sign}.3f}"
    return f"{found['value']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"
