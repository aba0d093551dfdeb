"""Files of a search: its trials as a table, the best settings ready to paste, a record of it all, and a plot.

They are written anew after each trial, of the journal alone (`bench.tune.journal`), which nothing reads but the search.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd

from fdpbench.bench.report.escape import csv_text, write_csv
from fdpbench.bench.tune.journal import OWN, Trial
from fdpbench.bench.tune.loop import Budget
from fdpbench.bench.tune.progress import best_of, core_minutes
from fdpbench.bench.tune.search import Search
from fdpbench.bench.tune.spaces import settings_of
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.settings.yaml_edit import block

__all__ = ["BEST", "PLOT", "RECORD", "TRIALS", "Curve", "curve_of", "draw_curves", "pasted", "write_files"]

TRIALS, BEST, RECORD, PLOT = "trials.csv", "best.yaml", "record.json", "budget.png"


def write_files(search: Search, budget: Budget, trials: Sequence[Trial], folder: Path) -> None:
    """Write the table of trials, the record and, as soon as a trial is finished, the best settings.

    Parameters
    ----------
    search, budget
        The search, and the budget of this call.
    trials
        All trials so far.
    folder
        That of the journal.
    """
    write_csv(pd.DataFrame(trial_rows(search, trials)), folder / TRIALS, "%.6g")
    write_durably(folder / RECORD, json.dumps(record_of(search, budget, trials), indent=2) + "\n")
    best = best_of(trials)
    if best is not None:
        write_durably(folder / BEST, best_text(search, trials, best))


def trial_rows(search: Search, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """A row for each trial: state, UF1, cost, seeds and settings."""
    rows, seconds, best = [], 0.0, None
    folds = search.data.folds
    for trial in trials:
        if trial.counts:
            seconds += trial.seconds
        if trial.uf1 is not None and (best is None or trial.uf1 > best):
            best = trial.uf1
        row: dict[str, Any] = {"trial": trial.number, "state": trial.state, "uf1": trial.uf1, "best_uf1": best}
        row |= {"core_seconds": trial.seconds, "core_minutes_so_far": seconds / 60}
        for what, values in (("after", trial.pooled), ("uf1", trial.by_fold)):
            row |= {f"{what}_{fold.name}": values[k] if k < len(values) else None for k, fold in enumerate(folds)}
        row |= {"values": trial.what, "again": trial.again, "reason": csv_text(trial.refused)}
        row |= {"seed_sampler": trial.seed} | {f"seed_{fold.name}": search.seed(fold.name) for fold in folds}
        rows.append(row | {name: trial.settings.get(name) for name in search.space})
    whole = ("again", "seed_sampler")  # with gaps, which pandas would print as decimals
    return [{key: "" if value is None and key in whole else value for key, value in row.items()} for row in rows]


def record_of(search: Search, budget: Budget, trials: Sequence[Trial]) -> dict[str, Any]:
    """What a search was: data, folds, budget, what was found, and all that its trials depend on."""
    best, data = best_of(trials), search.data
    own = next((trial for trial in trials if trial.what == OWN and trial.uf1 is not None), None)
    states = ("finished", "pruned", "refused", "failed")
    return {
        "model": search.run.model.name,
        "task": data.task,
        "part": data.part,
        "tuning_data": data.where,
        "subjects": list(data.subjects),
        "clips": len(data.subject_of),
        "folds": {fold.name: list(data.sides(fold)[1]) for fold in data.folds},
        "budget": {"minutes": budget.minutes, "trials": budget.trials},
        "core_minutes": round(core_minutes(trials), 3),
        "trials": {state: sum(trial.state == state for trial in trials) for state in states},
        "own": None if own is None else {"trial": own.number, "uf1": own.uf1, "by_fold": list(own.by_fold)},
        "best": None
        if best is None
        else {
            "trial": best.number,
            "uf1": best.uf1,
            "by_fold": list(best.by_fold),
            "set": settings_of(best.settings),
        },
        "made_of": search.made_of,
    }


def best_text(search: Search, trials: Sequence[Trial], best: Trial) -> str:
    """The best settings as a run of params.yaml takes them, below comments that say where they come from."""
    data = search.data
    own = next((trial.uf1 for trial in trials if trial.what == OWN and trial.uf1 is not None), None)
    score = f"UF1 there: {best.uf1:.3f}" + ("" if own is None else f"; by the model's own recipe {own:.3f}")
    if best.what == OWN:
        score = f"UF1 there: {best.uf1:.3f}. No trial was better than the model's own recipe, which this is"
    clips, inputs = search.made_of["clips"][:16], search.made_of["inputs"][:16]
    lines = (
        f"Settings of {search.run.model.name} by `fdpbench tune`: the best of {sum(trial.counts for trial in trials)} "
        f"trials in {core_minutes(trials):.1f} core-minutes.",
        f"Tuning data: {data.where}; {len(data.subject_of)} clips of {len(data.subjects)} subjects, {len(data.folds)} "
        f"folds of subjects; clips {clips}, inputs {inputs}.",
        f"{score}. Chosen on these clips: on others it is lower.",
    )
    comments = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return comments + pasted(best.settings)


def pasted(values: Mapping[str, Any]) -> str:
    """Values by name as the block ``set:`` of a run."""
    return block({"set": settings_of(values)})


@dataclass(frozen=True)
class Curve:
    """What a plot shows of a search.

    Attributes
    ----------
    title
        Its name.
    minutes, uf1
        Of each finished trial: core-minutes until its end, and its UF1.
    own
        UF1 of the model's own recipe, where it is known.
    end
        Core-minutes in all.
    """

    title: str
    minutes: tuple[float, ...]
    uf1: tuple[float, ...]
    own: float | None
    end: float


def curve_of(title: str, trials: Sequence[Trial]) -> Curve:
    """The curve of trials."""
    points, seconds = [], 0.0
    for trial in trials:
        seconds += trial.seconds if trial.counts else 0.0
        if trial.uf1 is not None:
            points.append((seconds / 60, trial.uf1))
    own = next((trial.uf1 for trial in trials if trial.what == OWN and trial.uf1 is not None), None)
    return Curve(title, tuple(x for x, _ in points), tuple(y for _, y in points), own, seconds / 60)


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draw, for each search, the best UF1 against the budget used, beside all trials and the model's own recipe.

    Parameters
    ----------
    curves
        At least one.
    path
        PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(4, len(curves))
    rows = ceil(len(curves) / columns)
    size = (3.0 * columns + 2.0 * (columns == 1), 2.4 * rows + 0.7)
    figure, places = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axes, curve in zip(places.flat, curves, strict=False):
        axes.plot(curve.minutes, curve.uf1, ".", color="0.6", markersize=4)
        if curve.uf1:
            best = list(_best_so_far(curve.uf1))
            axes.step([*curve.minutes, curve.end], [*best, best[-1]], where="post", color="tab:blue")
        if curve.own is not None:
            axes.axhline(curve.own, color="tab:orange", linestyle="--", linewidth=1)
        axes.set_title(curve.title, fontsize="medium")
        axes.set_xlim(left=0)
    for axes in list(places.flat)[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("core-minutes", fontsize="medium")
    figure.supylabel("UF1 on the tuning data", fontsize="medium")
    figure.suptitle("line: best so far; dots: finished trials; dashed: own recipe", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _best_so_far(values: Sequence[float]) -> Iterator[float]:
    best = values[0]
    for value in values:
        best = max(best, value)
        yield best
