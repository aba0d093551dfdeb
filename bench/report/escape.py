"""Names in files that other programs interpret: CSV in a spreadsheet, Markdown, LaTeX.

Names of subjects, clips, classes and runs come from releases and from users. Whatever they are, a spreadsheet must not
compute them, and a page or a paper must print them as they are. Numbers are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["csv_name", "csv_text", "latex_text", "markdown_text", "write_csv"]

# What a spreadsheet takes for the beginning of a formula: OWASP, "CSV Injection"; with the full-width forms.
FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

MARKDOWN = {char: "\\" + char for char in "|*`~$\\"} | {"<": "&lt;", ">": "&gt;"}
LATEX = (
    {char: "\\" + char for char in "&#${}_%"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


def csv_text(text: str) -> str:
    """Give a text as a cell that no spreadsheet computes: an apostrophe before what would begin a formula.

    Parameters
    ----------
    text
        Any text; a number, such as ``-0.5``, stays as it is.

    Returns
    -------
    str
        `csv_name` gives the text back.
    """
    return "'" + text if _is_formula(text) else text


def csv_name(cell: str) -> str:
    """Give back the text of a cell written by `csv_text`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def markdown_text(text: str) -> str:
    """Give a text that Markdown, also in a table, prints as it is, on one line: no HTML, no emphasis, no link."""
    text = re.sub(r"&(?=#?[0-9A-Za-z]+;)", "&amp;", _one_line(text))  # an entity; else an ampersand is one
    text = "".join(MARKDOWN.get(char, char) for char in text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)  # a link or a footnote
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # within a word an underscore is one


def latex_text(text: str) -> str:
    """Give a text that LaTeX prints as it is, on one line."""
    return "".join(LATEX.get(char, char) for char in _one_line(text))


def write_csv(rows: pd.DataFrame | Sequence[Mapping[str, Any]], path: Path, decimals: str = "%.6f") -> None:
    """Write a table as CSV; its texts, headers among them, by `csv_text`.

    Parameters
    ----------
    rows
        The table, or its rows.
    path
        The file.
    decimals
        Format of floats.
    """
    frame = pd.DataFrame(rows)
    for name in frame:
        cells = [csv_text(cell) if isinstance(cell, str) else cell for cell in frame[name]]
        if any(isinstance(old, str) and old != new for old, new in zip(frame[name], cells, strict=True)):
            frame[name] = pd.Series(cells, index=frame.index, dtype=object)
    frame = frame.rename(columns=lambda name: csv_text(str(name)))
    frame.to_csv(path, index=False, lineterminator="\n", float_format=decimals)


def _is_formula(text: str) -> bool:
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None


def _one_line(text: str) -> str:
    """A text without line ends and other control characters; each run of them, or of spaces, is one space."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
