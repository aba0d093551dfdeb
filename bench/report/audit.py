"""The price of leakage, as Markdown, CSV and a picture: what `bench.evaluate.audit` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fdpbench.bench.evaluate.evaluation import Evaluation
from fdpbench.bench.evaluate.records import Effect
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.escape import markdown_text, write_csv
from fdpbench.bench.report.layout import github

__all__ = ["write_audit"]


def write_audit(evaluation: Evaluation, order: Sequence[str], folder: Path) -> str:
    """Write ``audit.md``, ``audit.csv`` and ``audit.png``.

    Parameters
    ----------
    evaluation
        Of all listed runs.
    order
        Names of the runs, as they are to follow each other.
    folder
        Where to write.

    Returns
    -------
    The Markdown text.

    Raises
    ------
    ValueError
        If no listed run departs from the honest protocol, so that there is nothing to compare.
    """
    scores = evaluation.by_run
    effects = sorted(evaluation.effects, key=lambda effect: order.index(effect.run))
    if not effects:
        raise ValueError(
            "no run departs from the honest protocol. List some in params.yaml beside an honest run of the same model, "
            "for example `fdp-inner: {task: synthetic, model: fdp, protocol: inner}` and "
            "`fdp-test_selected: {task: synthetic, model: fdp, protocol: test_selected}`"
        )
    rendered = sorted({scores[effect.run].task.task for effect in effects if scores[effect.run].task.rendered})
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
            github([_effect_row(effect, scores[effect.run]) for effect in effects]),
            "## What the figure is averaged over",
            "The same predictions, UF1 in three ways. A fold of few subjects often lacks classes: means over folds "
            "then depend\non what is done with them, and none of the three can be compared with another.",
            github([_averages_row(scores[run]) for run in order if scores[run].competes]),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audit.md").write_text(text + "\n", encoding="utf-8")
    write_csv([_effect_numbers(effect, scores[effect.run]) for effect in effects], folder / "audit.csv")
    _draw(effects, scores, folder / "audit.png")
    return text


def _effect_row(effect: Effect, score: Score) -> dict[str, str]:
    found = effect.comparison
    difference = f"{effect.inflation:+.3f}"
    if found is not None:
        difference += f" [{found.difference.low:+.3f}, {found.difference.high:+.3f}]"
    return {
        "run": markdown_text(effect.run),
        "departs by": markdown_text(score.protocol),
        "UF1": f"{effect.uf1:.3f}",
        "honest run": markdown_text(effect.honest),
        "its UF1": f"{effect.uf1 - effect.inflation:.3f}",
        "difference": difference,
        "p": "other clips" if found is None else f"{found.p_value:.4f}",
        "clips": str(score.pooled.clips),
        "subjects": str(score.pooled.subjects),
    }


def _effect_numbers(effect: Effect, score: Score) -> dict[str, Any]:
    found = effect.comparison
    return {
        "run": effect.run,
        "honest": effect.honest,
        "task": score.task.task,
        "protocol": score.protocol,
        "uf1": effect.uf1,
        "uf1_honest": effect.uf1 - effect.inflation,
        "difference": effect.inflation,
        "low": None if found is None else found.difference.low,
        "high": None if found is None else found.difference.high,
        "p_value": None if found is None else found.p_value,
    }


def _averages_row(score: Score) -> dict[str, str]:
    return {
        "run": markdown_text(score.run),
        "task": markdown_text(score.task.task),
        "protocol": markdown_text(score.protocol),
        "pooled (reported)": f"{score.fold_means.pooled:.3f}",
        "mean over folds": f"{score.fold_means.over_present:.3f}",
        "absent classes as 0": f"{score.fold_means.with_zeros:.3f}",
    }


def _draw(effects: Sequence[Effect], scores: Mapping[str, Score], path: Path) -> None:
    """Draw each difference with its interval, one line a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.45 * len(effects)), layout="constrained")
    for place, effect in enumerate(reversed(effects)):
        if effect.comparison is not None:
            found = effect.comparison.difference
            axes.plot([found.low, found.high], [place, place], color="0.35", linewidth=2)
        leaks = scores[effect.run].entry.protocol == "test_selected"
        axes.plot(effect.inflation, place, "D" if leaks else "o", color="tab:red" if leaks else "tab:blue")
    axes.axvline(0, color="0.7", linewidth=1, zorder=0)
    axes.set_yticks(range(len(effects)), [effect.run for effect in reversed(effects)])
    axes.set_xlabel("UF1 minus that of the honest run")
    axes.set_title("Line: 95% interval. Diamond: looks at the test subject.", fontsize="medium")
    axes.margins(y=0.08)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
