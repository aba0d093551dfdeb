"""The price of leakage: what looking at the test subject, averaging another way and each released fault are worth.

Everything comes from the predictions of the listed runs, compared with an honest run of the same model on the
same clips; intervals and tests are those of `bench.evaluate.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.bootstrap import Comparison, compare, figures_of, subject_confusions
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.escape import markdown_text, write_csv
from fdpbench.bench.report.tables import github

__all__ = ["Effect", "audit_effects", "averaging_table", "fold_means", "write_audit"]


@dataclass(frozen=True)
class Effect:
    """A run beside the honest run of the same model.

    Attributes
    ----------
    run, honest
        The two runs.
    what
        How the run departs: its protocol and faults.
    figure
        The run's UF1, mean over repetitions.
    comparison
        Run minus honest run; None where they do not test the same clips, as with untested subjects.
    inflation
        Run minus honest run, UF1.
    """

    run: Score
    honest: Score
    what: str
    figure: float
    inflation: float
    comparison: Comparison | None


def audit_effects(scores: Sequence[Score]) -> list[Effect]:
    """Compare every run that departs from the honest protocol with the honest run of its model.

    The honest run is the first of the same model, the same settings and the same data sets and classes whose
    protocol is plainly ``honest``: of the same task, or, as truncated sampling makes another task, else of another
    one. A run without one is left out.
    """
    effects = []
    for score in scores:
        if score.protocol == "honest":
            continue
        candidates = [other for other in scores if _same(score, other)]
        if not candidates:
            continue
        honest = next((other for other in candidates if other.entry.task == score.entry.task), candidates[0])
        confusions, other = score.confusions(), honest.confusions()
        figure, reference = (float(figures_of(c.sum(axis=1), "uf1").mean()) for c in (confusions, other))
        alike = _clips(score) == _clips(honest)
        comparison = compare(confusions, other, "uf1") if alike else None
        effects.append(Effect(score, honest, score.protocol, figure, figure - reference, comparison))
    return effects


def fold_means(
    y_true: NDArray[np.int64], y_pred: NDArray[np.int64], folds: Sequence[str], classes: int
) -> tuple[float, float, float]:
    """UF1 in the three ways in which it is averaged.

    Parameters
    ----------
    y_true, y_pred
        Class indices, (N,).
    folds
        Fold of each clip.
    classes
        Number of classes.

    Returns
    -------
    Three floats: F1 from counts pooled over all folds, mean over classes (what this project reports); mean over
    folds of the mean over the classes that the fold's clips have; the same with every class that a fold lacks
    counted as 0.
    """
    confusions = subject_confusions(y_true, y_pred, folds, classes)[0].astype(np.float64)
    pooled = float(figures_of(confusions.sum(axis=0), "uf1"))
    right = np.diagonal(confusions, axis1=1, axis2=2)  # (folds, classes)
    true, said = confusions.sum(axis=2), confusions.sum(axis=1)
    f1 = 2 * right / np.maximum(true + said, 1)
    present = true > 0
    over_present = float(((f1 * present).sum(axis=1) / present.sum(axis=1)).mean())
    return pooled, over_present, float((f1 * present).mean())


def averages_of(score: Score) -> tuple[float, float, float]:
    """UF1 of a run in the three ways of `fold_means`, mean over repetitions."""
    classes = len(score.task.classes)
    ways = [
        fold_means(_column(part, "y_true"), _column(part, "y_pred"), [row["fold"] for row in part], classes)
        for part in _repetitions(score)
    ]
    pooled, over_present, with_zeros = (fmean(values) for values in zip(*ways, strict=True))
    return pooled, over_present, with_zeros


def averaging_table(scores: Sequence[Score]) -> list[dict[str, str]]:
    """Rows of UF1 in three ways for every run that has no fault, mean over repetitions."""
    rows = []
    for score in scores:
        if not score.competes:
            continue
        pooled, over_present, with_zeros = averages_of(score)
        rows.append(
            {
                "run": markdown_text(score.run),
                "task": markdown_text(score.task.task),
                "protocol": markdown_text(score.protocol),
                "pooled (reported)": f"{pooled:.3f}",
                "mean over folds": f"{over_present:.3f}",
                "absent classes as 0": f"{with_zeros:.3f}",
            }
        )
    return rows


def write_audit(scores: Sequence[Score], folder: Path) -> str:
    """Write ``audit.md``, ``audit.csv`` and ``audit.png``.

    Returns
    -------
    The Markdown text.

    Raises
    ------
    ValueError
        If no listed run departs from the honest protocol, so that there is nothing to compare.
    """
    effects = audit_effects(scores)
    if not effects:
        raise ValueError(
            "no run departs from the honest protocol. List some in params.yaml beside an honest run of the same model, "
            "for example `fdp-inner: {task: synthetic, model: fdp, protocol: inner}` and "
            "`fdp-test_selected: {task: synthetic, model: fdp, protocol: test_selected}`"
        )
    rendered = sorted({effect.run.task.task for effect in effects if effect.run.task.rendered})
    note = (
        "UF1 of runs that depart from the honest protocol, minus that of the honest run of the same model on the same "
        "clips.\nIntervals: 95%, paired bootstrap over subjects and repetitions; p: paired permutation test that swaps "
        "whole subjects.\nWritten by `fdpbench audit` from `artifacts/predictions`."
    )
    if rendered:
        names = ", ".join(f"`{name}`" for name in rendered)
        made = f"task {names} is" if len(rendered) == 1 else f"tasks {names} are"
        note += f"\nThe {made} made of rendered faces: what leaks there says little about real data."
    text = "\n\n".join(
        [
            "# The price of leakage",
            note,
            github([_effect_row(effect) for effect in effects]),
            "## What the figure is averaged over",
            "The same predictions, UF1 in three ways. A fold of leave-one-subject-out often lacks classes: means over "
            "folds then depend\non what is done with them, and none of the three can be compared with another.",
            github(averaging_table(scores)),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audit.md").write_text(text + "\n", encoding="utf-8")
    write_csv([_effect_numbers(effect) for effect in effects], folder / "audit.csv")
    _draw(effects, folder / "audit.png")
    return text


def _same(score: Score, other: Score) -> bool:
    return (
        other.protocol == "honest"
        and other.model == score.model
        and other.entry.set == score.entry.set
        and other.task.classes == score.task.classes
        and {row["dataset"] for row in other.rows} == {row["dataset"] for row in score.rows}
    )


def _repetitions(score: Score) -> list[list[dict[str, Any]]]:
    count = len(score.repetitions)
    return [[row for row in score.rows if row["repetition"] == k] for k in range(count)]


def _column(rows: list[dict[str, Any]], name: str) -> NDArray[np.int64]:
    return np.array([row[name] for row in rows], dtype=np.int64)


def _clips(score: Score) -> list[tuple[str, int]]:
    return [(row["clip_id"], row["y_true"]) for row in _repetitions(score)[0]]


def _effect_row(effect: Effect) -> dict[str, str]:
    found = effect.comparison
    difference = f"{effect.inflation:+.3f}"
    if found is not None:
        difference += f" [{found.difference.low:+.3f}, {found.difference.high:+.3f}]"
    return {
        "run": markdown_text(effect.run.run),
        "departs by": markdown_text(effect.what),
        "UF1": f"{effect.figure:.3f}",
        "honest run": markdown_text(effect.honest.run),
        "its UF1": f"{effect.figure - effect.inflation:.3f}",
        "difference": difference,
        "p": "other clips" if found is None else f"{found.p_value:.4f}",
        "clips": str(effect.run.clips),
        "subjects": str(effect.run.subjects),
    }


def _effect_numbers(effect: Effect) -> dict[str, Any]:
    found = effect.comparison
    return {
        "run": effect.run.run,
        "honest": effect.honest.run,
        "task": effect.run.task.task,
        "protocol": effect.what,
        "uf1": effect.figure,
        "uf1_honest": effect.figure - effect.inflation,
        "difference": effect.inflation,
        "low": None if found is None else found.difference.low,
        "high": None if found is None else found.difference.high,
        "p_value": None if found is None else found.p_value,
    }


def _draw(effects: Sequence[Effect], path: Path) -> None:
    """Draw each difference with its interval, one line a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.45 * len(effects)), layout="constrained")
    for place, effect in enumerate(reversed(effects)):
        if effect.comparison is not None:
            found = effect.comparison.difference
            axes.plot([found.low, found.high], [place, place], color="0.35", linewidth=2)
        leaks = effect.run.entry.protocol == "test_selected"
        axes.plot(effect.inflation, place, "D" if leaks else "o", color="tab:red" if leaks else "tab:blue")
    axes.axvline(0, color="0.7", linewidth=1, zorder=0)
    axes.set_yticks(range(len(effects)), [effect.run.run for effect in reversed(effects)])
    axes.set_xlabel("UF1 minus that of the honest run")
    axes.set_title("Line: 95% interval. Diamond: looks at the test subject.", fontsize="medium")
    axes.margins(y=0.08)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
