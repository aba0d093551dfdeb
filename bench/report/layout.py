"""How a table of runs is printed: its cells once, and their marks in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from fdpbench.bench.evaluate.bootstrap import Figure
from fdpbench.bench.evaluate.compare import AgainstBest, Intervals, best_runs, indistinct
from fdpbench.bench.evaluate.scores import Score, with_spread
from fdpbench.bench.report.escape import latex_text, markdown_text

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
    plain
        Gives a text of which every character is printed as it is.
    """

    best: str
    indistinct: str
    interval: str
    test_selected: str
    plain: Callable[[str], str]


MARKDOWN = Style("**{}**", "\N{SUPERSCRIPT EQUALS SIGN}", " [{:.3f}, {:.3f}]", "", markdown_text)
LATEX = Style(r"\textbf{{{}}}", "$^{=}$", r" {{\scriptsize [{:.3f}, {:.3f}]}}", r"$^{\dagger}$", latex_text)


def table_cells(
    group: Sequence[Score], intervals: Mapping[str, Intervals], tests: Sequence[AgainstBest], style: Style
) -> list[dict[str, str]]:
    """Rows of one printed table.

    Parameters
    ----------
    group
        The runs of the table, in order.
    intervals
        From `bench.evaluate.compare.all_intervals`.
    tests
        From `bench.evaluate.compare.against_best` of these runs.
    style
        The marks.
    """
    datasets = dict.fromkeys(dataset for score in group for dataset in score.by_dataset)
    columns: list[tuple[str, str, str | None]] = [(label, label, None) for label in FIGURES]
    columns += [(f"{style.plain(dataset)} {label}", label, dataset) for dataset in datasets for label in ("UF1", "UAR")]
    rows = []
    for score in group:
        mark = style.test_selected if score.entry.protocol == "test_selected" else ""
        names = {"run": score.run, "model": score.model_text, "protocol": score.protocol}
        rows.append({key: style.plain(name) for key, name in names.items()})
        rows[-1]["run"] += mark
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
    """Rows of texts as a LaTeX table with booktabs' rules, and notes below it in small print.

    Names in them are escaped already (`LATEX`); the sign between a mean and its spread is put into mathematics here.
    """
    cells = [[cell.replace(" ± ", r" $\pm$ ") for cell in row.values()] for row in rows]
    body = tabulate(cells, list(rows[0]), tablefmt="latex_raw", disable_numparse=True)
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    lines = [next(rules) if line == r"\hline" else line for line in body.splitlines()]
    if notes:
        lines.append(rf"\par{{\footnotesize {notes}\par}}")
    return "\n".join(lines) + "\n"


def perception_text(score: Score, label: str) -> str:
    """A column of `PERCEPTION` as a table prints it; a dash where the model does not rank or draw."""
    column, decimals = PERCEPTION[label]
    values = score.perceived(column)
    return with_spread(values, decimals) if values else "-"
