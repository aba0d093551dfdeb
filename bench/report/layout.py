"""How a table of runs is printed: its cells once, and their marks in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import PERCEPTION, POOLED, Table
from fdpbench.bench.evaluate.scores import Score, with_spread
from fdpbench.bench.report.escape import latex_text, markdown_text

__all__ = ["LATEX", "MARKDOWN", "Style", "github", "latex", "perception_cells", "table_cells"]


@dataclass(frozen=True)
class Style:
    """How one format marks cells.

    Attributes
    ----------
    best
        Format of the best value of a column.
    indistinct
        What follows a value that is not significantly different from the best.
    interval
        Format of an interval's two ends, after the value.
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


def table_cells(group: Sequence[Score], table: Table, style: Style) -> list[dict[str, str]]:
    """Rows of one printed table.

    Parameters
    ----------
    group
        The runs of the table, in order.
    table
        How they compare.
    style
        The marks.
    """
    datasets = dict.fromkeys(dataset for score in group for dataset in score.datasets)
    columns = [(metric.label, name, POOLED) for name, metric in METRICS.items()]
    main = {name: metric for name, metric in METRICS.items() if metric.main}
    columns += [
        (f"{style.plain(dataset)} {metric.label}", name, dataset)
        for dataset in datasets
        for name, metric in main.items()
    ]
    rows = []
    for score in group:
        mark = style.test_selected if score.entry.protocol == "test_selected" else ""
        names = {"run": score.run, "model": score.model_text, "protocol": score.protocol}
        rows.append({key: style.plain(name) for key, name in names.items()})
        rows[-1]["run"] += mark
    for column, name, part in columns:
        alike = table.alike(name) if part == POOLED else frozenset()
        for row, score in zip(rows, group, strict=True):
            text = score.text(name, part)
            if score.run in table.best[part][name]:
                text = style.best.format(text)
            elif score.run in alike:
                text += style.indistinct
            found = score.pooled.intervals.get(name)
            if found is not None and part == POOLED and name in main:
                text += style.interval.format(found.low, found.high)
            row[column] = text
    for row, score in zip(rows, group, strict=True):
        row |= {"clips": str(score.pooled.clips), "subjects": str(score.pooled.subjects)}
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


def perception_cells(score: Score, columns: Sequence[str] = tuple(PERCEPTION)) -> dict[str, str]:
    """Some of `PERCEPTION` as tables print them; a dash where the model does not rank frames or generate images."""
    cells = {}
    for column in columns:
        label, decimals = PERCEPTION[column]
        values = score.perception.get(column)
        cells[label] = with_spread(values, decimals) if values else "-"
    return cells
