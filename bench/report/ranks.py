"""Models over tasks, as text and as a critical-difference plot (`bench.evaluate.ranks`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fdpbench.bench.evaluate.records import Ranks
from fdpbench.bench.report.escape import markdown_text
from fdpbench.bench.report.layout import github

__all__ = ["draw_ranks", "ranks_text"]


def ranks_text(ranks: Ranks, rendered: Sequence[str]) -> str:
    """Lay ranks out as Markdown; ``rendered`` names those of their tasks that are made of rendered faces."""
    rows = [
        {"model": markdown_text(model), "mean rank": f"{rank:.2f}"}
        for model, rank in zip(ranks.models, ranks.mean_ranks, strict=True)
    ]
    note = (
        f"Models that were run on each of {', '.join(ranks.tasks)}, ranked by UF1 on each (1 is the best). Friedman's "
        f"test that all are alike: p = {ranks.p_value:.4f};\nNemenyi's critical difference of mean ranks at 0.05: "
        f"{ranks.critical_difference:.2f} (Demsar, JMLR 7, 2006). Both take tasks as independent: tasks that share "
        "clips are not."
    )
    if rendered:
        note += f" Made of rendered faces, which say nothing about real ones: {', '.join(rendered)}."
    picture = "![Critical differences: models on an axis of mean ranks](plots/critical_difference.png)"
    return "\n\n".join(["## Models over tasks", note, github(rows), picture]) + "\n"


def draw_ranks(ranks: Ranks, path: Path) -> None:
    """Draw the critical-difference plot: models on an axis of mean ranks, a bar under those that do not differ."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    count, stretches = len(ranks.models), ranks.groups
    left = (count + 1) // 2  # the better half is named on the left, the others on the right
    depth = 0.6 + 0.35 * len(stretches)
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.3 * left + 0.15 * len(stretches)), layout="constrained")
    axes.set(xlim=(0.4, count + 0.6), ylim=(-(depth + left + 0.3), 2.1))
    axes.axis("off")
    axes.plot([1, count], [0, 0], color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.2], color="black", linewidth=1)
        axes.text(tick, 0.3, str(tick), ha="center", va="bottom")
    axes.plot([1, 1 + ranks.critical_difference], [1.3, 1.3], color="black", linewidth=2)
    axes.text(1, 1.4, f"critical difference {ranks.critical_difference:.2f}", ha="left", va="bottom")
    for place, (model, rank) in enumerate(zip(ranks.models, ranks.mean_ranks, strict=True)):
        better = place < left
        height = -(depth + (place if better else count - 1 - place) + 0.3)
        edge = 0.9 if better else count + 0.1
        axes.plot([rank, rank, edge], [0, height, height], color="0.4", linewidth=1)
        name = f"{model}  {rank:.2f}" if better else f"{rank:.2f}  {model}"
        axes.text(edge, height, f" {name} ", ha="right" if better else "left", va="center")
    for number, (first, last) in enumerate(stretches):
        ends = ranks.mean_ranks[first] - 0.04, ranks.mean_ranks[last] + 0.04
        axes.plot(ends, [-0.35 * (number + 1)] * 2, color="tab:blue", linewidth=4, solid_capstyle="butt")
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
