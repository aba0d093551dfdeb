"""How a table of runs is printed: its cells once, and their marks in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bench.scores import Score, with_spread
from bench.standings import AgainstBest, Intervals, best_runs, indistinct
from bench.stats import Figure

__all__ = ["FIGURES", "LATEX", "MARKDOWN", "PERCEPTION", "Style", "github", "latex", "perception_text", "table_cells"]

# Column -> attribute of `Figures`.
FIGURES: dict[str, Figure] = {"UF1": "uf1", "UAR": "uar", "accuracy": "accuracy", "weighted F1": "weighted_f1"}

# Columns whose intervals are printed beside the figure; tables/<task>.csv has those of all.
WITH_INTERVAL = ("UF1", "UAR")

# Column -> column of `Score.perception`, and decimals.
PERCEPTION = {
    "pairs in order": ("order_accuracy", 3),
    "PSNR, dB": ("psnr", 2),
    "SSIM": ("ssim", 3),
    "PSNR of mean image": ("psnr_of_mean", 2),
    "SSIM of mean image": ("ssim_of_mean", 3),
}


@dataclass(frozen=True)
class Style:
    """How one format marks cells.

    Attributes
    ----------
    best
        Format of the best figure of a column.
    indistinct
        What follows a figure that is not told from the best.
    interval
        Format of an interval's two ends, after the figure.
    test_selected
        What follows the name of a run whose epoch was chosen on the test subject.
    special
        What stands for characters that the format would take for its own; ``_`` and ``%`` are `latex`'s matter.
    """

    best: str
    indistinct: str
    interval: str
    test_selected: str
    special: Mapping[str, str]

    def plain(self, text: str) -> str:
        """A text of which every character is printed as it is."""
        return "".join(self.special.get(char, char) for char in text)


MARKDOWN = Style("**{}**", "\N{SUPERSCRIPT EQUALS SIGN}", " [{:.3f}, {:.3f}]", "", {"|": r"\|"})
LATEX = Style(
    r"\textbf{{{}}}",
    "$^{=}$",
    r" {{\scriptsize [{:.3f}, {:.3f}]}}",
    r"$^{\dagger}$",
    {char: "\\" + char for char in "&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
)


def table_cells(
    group: Sequence[Score], intervals: Mapping[str, Intervals], tests: Sequence[AgainstBest], style: Style
) -> list[dict[str, str]]:
    """Rows of one printed table.

    Parameters
    ----------
    group
        The runs of the table, in order.
    intervals
        From `bench.standings.all_intervals`.
    tests
        From `bench.standings.against_best` of these runs.
    style
        The marks.
    """
    datasets = dict.fromkeys(dataset for score in group for dataset in score.by_dataset)
    columns: list[tuple[str, str, str | None]] = [(label, label, None) for label in FIGURES]
    columns += [(f"{dataset} {label}", label, dataset) for dataset in datasets for label in ("UF1", "UAR")]
    rows = []
    for score in group:
        mark = style.test_selected if score.entry.protocol == "test_selected" else ""
        rows.append({"run": score.run + mark, "model": style.plain(score.model_text), "protocol": score.protocol})
    for column, label, dataset in columns:
        figure = FIGURES[label]
        best = best_runs(group, figure, dataset)
        alike = indistinct(tests, figure) if dataset is None else frozenset()
        for row, score in zip(rows, group, strict=True):
            text = score.text(figure, dataset)
            if score in best:
                text = style.best.format(text)
            elif score.run in alike:
                text += style.indistinct
            found = intervals[score.run].get((dataset, figure))
            if found is not None and column in WITH_INTERVAL:
                text += style.interval.format(found.low, found.high)
            row[column] = text
    for row, score in zip(rows, group, strict=True):
        row |= {"clips": str(score.clips), "subjects": str(score.subjects)}
    return rows


def github(rows: list[dict[str, str]]) -> str:
    """Rows of texts as a Markdown table."""
    return str(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def latex(rows: list[dict[str, str]], notes: str = "") -> str:
    """Rows of texts as a LaTeX table with booktabs' rules, and notes below it in small print."""
    rows = [{key: _escaped(value) for key, value in row.items()} for row in rows]
    headers = [_escaped(key) for key in rows[0]]
    body = tabulate([list(row.values()) for row in rows], headers, tablefmt="latex_raw", disable_numparse=True)
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    lines = [next(rules) if line == r"\hline" else line for line in body.splitlines()]
    if notes:
        lines.append(rf"\par{{\footnotesize {_escaped(notes)}\par}}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace(" ± ", r" $\pm$ ")


def perception_text(score: Score, label: str) -> str:
    """A column of `PERCEPTION` as a table prints it; a dash where the model does not rank or draw."""
    column, decimals = PERCEPTION[label]
    values = score.perceived(column)
    return with_spread(values, decimals) if values else "-"
