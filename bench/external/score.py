"""Score predictions with intervals, whoever made them, and compare two sets of them.

`fdpbench score FILE` and `fdpbench compare A B`; the intervals are those of `bench.evaluate.bootstrap`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from tabulate import tabulate

from fdpbench.bench.evaluate.bootstrap import (
    FIGURES,
    Comparison,
    Figure,
    StatsError,
    compare,
    figures_of,
    holm,
    intervals,
    subject_confusions,
)
from fdpbench.bench.external.read import OutsideError, Said, as_dict
from fdpbench.bench.report.tables import FIGURES as COLUMNS

__all__ = ["compare_said", "comparison_lines", "score_lines", "score_said"]

NAMES = {attribute: label for label, attribute in COLUMNS.items()}
POOLED = "all"


def score_said(said: Said, level: float = 0.95, resamples: int = 2000) -> dict[str, Any]:
    """Score predictions over all clips and for each data set.

    Parameters
    ----------
    said
        The predictions.
    level, resamples
        Of the intervals; see `bench.evaluate.bootstrap.interval`.

    Returns
    -------
    What `bench.external.read.as_dict` tells, and ``figures``: for ``all`` and each data set a mapping from figure
    to its interval, or a text that says why it is not defined there. Where the figure is defined but its interval is
    not, as with one subject, the ends are None and ``no_interval`` says why.
    """
    figures: dict[str, Any] = {}
    for part in _parts(said):
        try:
            confusions = _confusions(said, part)
        except StatsError as error:
            figures[part] = str(error)
            continue
        try:
            found = intervals(confusions, level=level, resamples=resamples)
            figures[part] = {figure: asdict(one) for figure, one in found.items()}
        except StatsError as error:
            figures[part] = {figure: _without_interval(confusions, figure, level, str(error)) for figure in FIGURES}
    return as_dict(said) | {"level": level, "figures": figures}


def score_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report of `score_said` out for a terminal."""
    lines = [*report["notes"]]
    rows = []
    for part, figures in report["figures"].items():
        if isinstance(figures, str):
            rows.append([part, "not defined: " + figures])
            continue
        first = next(iter(figures.values()))
        rows.append([part, *(_text(figures[figure]) for figure in FIGURES), first["clips"], first["subjects"]])
    headers = ["", *(NAMES[figure] for figure in FIGURES), "clips", "subjects"]
    lines += tabulate(rows, headers=headers, disable_numparse=True).splitlines()
    for part, figures in report["figures"].items():
        if isinstance(figures, dict) and (reason := figures[FIGURES[0]].get("no_interval")):
            lines.append(f"{part}: no interval: {reason}")
    pooled = report["figures"][POOLED]
    if isinstance(pooled, dict) and "no_interval" not in pooled[FIGURES[0]]:
        redrawn = max(figure["redrawn"] for figure in pooled.values())
        lines.append(
            f"{report['name']}: {100 * report['level']:.0f}% intervals (BCa) of a bootstrap over subjects"
            + (f" and {report['repetitions']} repetitions" if report["repetitions"] > 1 else "")
            + (f"; {redrawn} resamples lacked a class and were drawn anew" if redrawn else "")
        )
    return lines


def compare_said(first: Said, second: Said, level: float = 0.95, resamples: int = 2000) -> dict[str, Any]:
    """Compare two sets of predictions of the same clips: ``first`` minus ``second``.

    Returns
    -------
    ``differences``: for ``all`` and each data set a mapping from figure to the difference's interval and the
    p-value of the paired permutation test, as it is and adjusted (Holm) for the number of tests here.

    Raises
    ------
    OutsideError
        If the two are not of the same clips, subjects, labels and number of classes; the first clip that differs is
        named. Where one of them does not name its clips, subjects and labels alone are compared.
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
    found: dict[tuple[str, Figure], Comparison] = {}
    undefined: dict[str, str] = {}
    for part in _parts(first):
        try:
            pair = _confusions(first, part), _confusions(second, part)
            for figure in FIGURES:
                found[part, figure] = compare(*pair, figure, level=level, resamples=resamples)
        except StatsError as error:
            undefined[part] = str(error)
    adjusted = holm([one.p_value for one in found.values()])
    differences: dict[str, Any] = {part: text for part, text in undefined.items()}
    for ((part, name), one), p_value in zip(found.items(), adjusted, strict=True):
        entry = {"difference": asdict(one.difference), "p_value": one.p_value, "p_value_holm": p_value}
        differences.setdefault(part, {})[name] = entry
    return {
        "first": as_dict(first),
        "second": as_dict(second),
        "level": level,
        "tests": len(found),
        "differences": differences,
    }


def comparison_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report of `compare_said` out for a terminal."""
    rows = []
    for part, figures in report["differences"].items():
        if isinstance(figures, str):
            rows.append([part, "not defined: " + figures])
            continue
        for figure, entry in figures.items():
            p_values = f"{entry['p_value']:.4f}", f"{entry['p_value_holm']:.4f}"
            rows.append([part, NAMES[figure], _text(entry["difference"], sign="+"), *p_values])
    headers = ["", "figure", f"{report['first']['name']} - {report['second']['name']}", "p", "p (Holm)"]
    lines = [*report["first"]["notes"], *report["second"]["notes"]]
    lines += tabulate(rows, headers=headers, disable_numparse=True).splitlines()
    lines.append(
        f"{100 * report['level']:.0f}% intervals of a paired bootstrap over subjects; p of a paired permutation test "
        f"that swaps whole subjects, and adjusted for {report['tests']} tests (Holm)"
    )
    return lines


def _parts(said: Said) -> list[str]:
    datasets = sorted(set(said.datasets))
    return [POOLED, *(datasets if len(datasets) > 1 else [])]


def _confusions(said: Said, part: str) -> Any:
    chosen = np.array([part in (POOLED, dataset) for dataset in said.datasets])
    subjects = [subject for subject, kept in zip(said.subjects, chosen, strict=True) if kept]
    return subject_confusions(said.y_true[chosen], said.y_pred[:, chosen], subjects, len(said.classes))


def _rows(said: Said, named: bool) -> list[tuple[str, str, int] | tuple[str, int]]:
    """What two sets of predictions must share: clip, subject and label, or, of clips without names, the last two."""
    if named:
        return [(a, b, int(c)) for a, b, c in zip(said.clip_ids, said.subjects, said.y_true, strict=True)]
    return [*sorted((subject, int(label)) for subject, label in zip(said.subjects, said.y_true, strict=True))]


def _without_interval(confusions: Any, figure: Figure, level: float, reason: str) -> dict[str, Any]:
    """A figure whose interval is not defined, in the form of the others."""
    repetitions, subjects = confusions.shape[:2]
    return {
        "value": float(figures_of(confusions.sum(axis=1), figure).mean()),
        "low": None,
        "high": None,
        "level": level,
        "method": None,
        "subjects": subjects,
        "clips": int(confusions[0].sum()),
        "repetitions": repetitions,
        "redrawn": 0,
        "no_interval": reason,
    }


def _text(found: dict[str, Any], sign: str = "") -> str:
    if found["low"] is None:
        return f"{found['value']:{sign}.3f}"
    return f"{found['value']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"
