"""Names in CSV, Markdown and LaTeX: nothing is computed or interpreted, numbers stay; every output is escaped."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdpbench.bench.evaluate.evaluation import ADAPTER, Evaluation, read_clips
from fdpbench.bench.report.audit import write_audit
from fdpbench.bench.report.costs import Cost, costs_table, write_costs
from fdpbench.bench.report.escape import csv_name, csv_text, latex_text, markdown_text, write_csv
from fdpbench.bench.report.model_docs import measured_rows
from fdpbench.bench.report.published import Published, beside, published_text
from fdpbench.bench.report.tables import write_tables
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.store import paths
from tests.support.builders import predictions, task_rows, write_predictions, write_task
from tests.support.evaluation import evaluated

FORMULAS = [
    "=1+1", "=cmd|' /C calc'!A0", "+cmd", "-cmd", "-1+2", "+1+2", "@SUM(1)", "\t=1", "\r=1", "\nx", " =1", "-", "--1",
    "\uff1d1", "'=1",
]  # fmt: skip
NUMBERS = ["-1", "-0.5", "+2", "1e-05", "-.5", "-1.5E+10", "0", "12"]
NAMES = ["a", "synthetic-lbp_top", "casme2/sub01", "a-b", "it's", "'quoted'", "", "5", "R&D", "x=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str) -> None:
    assert csv_text(text) == "'" + text and csv_name(csv_text(text)) == text


@pytest.mark.parametrize("text", [*NUMBERS, *NAMES])
def test_numbers_and_other_names_stay(text: str) -> None:
    assert csv_text(text) == text


@given(st.text(st.sampled_from("'=+-@\t\r\n 1a.e") | st.characters(codec="utf-8"), max_size=6))
@example("'-1")
@example("''=")
def test_a_name_comes_back_from_its_cell(text: str) -> None:
    cell = csv_text(text)
    assert csv_name(cell) == text
    number = re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", cell, re.IGNORECASE)
    assert cell.lstrip(" ")[:1] not in {*"=+-@\t\r\n"} - {""} or number


def test_a_table_keeps_its_numbers(tmp_path: Path) -> None:
    rows = [
        {"name": "=1", "value": -0.25, "count": -3, "text": "-0.5", "none": None, "mixed": None, "-key": 1.0},
        {"name": "b", "value": np.nan, "count": 4, "text": "-x", "none": None, "mixed": 0.5, "-key": -1e-9},
    ]
    write_csv(rows, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "value", "count", "text", "none", "mixed", "'-key"],
            ["'=1", "-0.250000", "-3", "-0.5", "", "", "1.000000"],
            ["b", "", "4", "'-x", "", "0.500000", "-0.000000"],
        ]
    back = pd.read_csv(tmp_path / "t.csv")
    assert back["value"][0] == -0.25 and back["count"].tolist() == [-3, 4]


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=1, max_size=4),
    st.lists(st.sampled_from([*NAMES, *NUMBERS]), min_size=1, max_size=4),
)
def test_a_table_without_formulas_has_the_bytes_that_pandas_writes(numbers: list[float], names: list[str]) -> None:
    size = min(len(numbers), len(names))
    frame = pd.DataFrame({"name": names[:size], "value": numbers[:size], "either": [*names[: size - 1], None]})
    with tempfile.TemporaryDirectory() as folder:
        write_csv(frame, Path(folder) / "ours.csv")
        frame.to_csv(Path(folder) / "theirs.csv", index=False, lineterminator="\n", float_format="%.6f")
        assert (Path(folder) / "ours.csv").read_bytes() == (Path(folder) / "theirs.csv").read_bytes()


@pytest.mark.parametrize(
    ("text", "markdown", "latex"),
    [
        ("synthetic-lbp_top", "synthetic-lbp_top", r"synthetic-lbp\_top"),
        ("fdp (without ['order'], lr 1e-05)", "fdp (without ['order'], lr 1e-05)", "fdp (without ['order'], lr 1e-05)"),
        ("<img src=x>", "&lt;img src=x&gt;", r"\textless{}img src=x\textgreater{}"),
        ("a|b\n\r\tc\u2028d", r"a\|b c d", r"a\textbar{}b c d"),
        ("**a** `b` ~c~ $d$", r"\*\*a\*\* \`b\` \~c\~ \$d\$", r"**a** `b` \textasciitilde{}c\textasciitilde{} \$d\$"),
        ("_a_ b_c", r"\_a\_ b_c", r"\_a\_ b\_c"),
        ("[a](http://b)", r"[a\](http://b)", "[a](http://b)"),
        ("R&D &lt; &#60;", "R&D &amp;lt; &amp;#60;", r"R\&D \&lt; \&\#60;"),
        ("50% of \\x^{2}", r"50% of \\x^{2}", r"50\% of \textbackslash{}x\textasciicircum{}\{2\}"),
        ("\x00\x1b[31m", " [31m", " [31m"),
    ],
)
def test_markdown_and_latex(text: str, markdown: str, latex: str) -> None:
    assert markdown_text(text) == markdown and latex_text(text) == latex


@given(st.text())
def test_no_text_opens_a_tag_or_leaves_its_cell(text: str) -> None:
    shown = markdown_text(text)
    assert not {"<", ">", "\n", "\r"} & set(shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", shown)
    plain = re.sub(r"\\(?:[&#${}_%]|[a-z]+\{\})", "", latex_text(text))
    assert not set("&#${}_%\\~^\n\r") & set(plain)


HOSTILE = ["=cmd|x", "<b>&amp;</b>", "-a|b\n**c**"]
RUN = "-it_|<i>"
DATASETS = ("@d|1", "=d<2>")


def renamed(evaluation: Evaluation, prefix: str) -> Evaluation:
    """The same evaluation of runs whose names begin with something else."""
    text = ADAPTER.dump_json(evaluation).decode()
    for score in evaluation.scores:
        text = text.replace(f'"{score.run}"', json.dumps(f"{prefix}{score.run}"))
    return ADAPTER.validate_json(text)


@pytest.mark.usefixtures("project")
def test_every_output_is_escaped(project: Path) -> None:
    """Hostile names of classes, subjects, clips, data sets and runs, through all that writes tables."""
    subjects = [f"{dataset}/+s{k}" for dataset in DATASETS for k in range(3)]
    rows = task_rows(subjects=subjects, classes=HOSTILE, length=2)
    write_task(paths.task("tiny"), rows, classes=HOSTILE)
    entries: dict[str, dict[str, Any]] = {
        "run_a": {},
        "run_b": {"faults": {"frozen_batch_norm": True}},
        "run_c": {"table": "t", "set": {"lr": 0.5}},
    }
    runs = {
        name: RunEntry.model_validate({"task": "tiny", "model": "cnn3d"} | entry) for name, entry in entries.items()
    }
    for run in runs:
        guess = [(row["label"] + int(number % 4 == 0)) % 3 for number, row in enumerate(rows)]
        write_predictions(run, predictions(run, rows, guess))
    evaluation = evaluated(runs, 1)
    line = {"task": "megc2019", "part": "", "model": "cnn3d", "metric": "uf1", "value": 0.5, "note": ""}
    line |= {"protocol": "unknown", "protocol_known_by": "unknown", "source": "<i>us</i> & them"}
    published = [Published.model_validate(line)]
    out = Path("results")
    # names of runs that are file names too
    safe = renamed(evaluation, "-it_")
    clips = {f"-it_{run}": results for run, results in read_clips().items()}
    Path("artifacts/curves").mkdir(parents=True, exist_ok=True)
    for run in clips:
        (Path("artifacts/curves") / f"{run}.csv").write_text("repetition,fold,epoch,loss\n0,a,1,0.5\n")
    write_tables(safe, clips, out, {"tiny": published})
    write_audit(safe, list(clips), out)
    costs = [Cost(run, 1, 2, 0.5, -1.0) for run in clips]
    scores = [*renamed(evaluation, RUN).scores]
    (out / "costs.md").write_text(costs_table(scores, {}))
    write_costs(costs, dict.fromkeys(clips, "cnn3d"), out / "costs.csv")
    (out / "beside.md").write_text(published_text("tiny", scores, published, beside(scores, published)))
    found = {
        path.suffix: [path for path in out.rglob(f"*{path.suffix}")] for path in out.rglob("*.*") if path.is_file()
    }
    assert len(found[".csv"]) > 9 and len(found[".md"]) == 4 and len(found[".tex"]) == 2
    for path in found[".csv"]:
        with path.open(newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        bad = [cell for cell in cells if not cell.startswith("'") and csv_text(cell) != cell]
        assert not bad, f"{path}: {bad[:3]}"
    for path in found[".md"]:
        text = path.read_text()
        assert not re.search(r"<[a-z/]", text) and "**c**" not in text, path
        widths: dict[int, int] = {}
        for number, line_ in enumerate(text.splitlines()):
            if line_.startswith("|"):  # each table has as many cells in every line
                previous = widths.get(number - 1)
                widths[number] = len(re.findall(r"(?<!\\)\|", line_))
                assert previous in (None, widths[number]), f"{path}: {line_}"
    for path in found[".tex"]:
        body = path.read_text()
        assert "-it\\_" in body and "@d|1" not in body and "<2>" not in body, path
    assert any("'=cmd|x" in path.read_text() for path in found[".csv"])
    assert any("'-it_run_a" in path.read_text() for path in found[".csv"])
    read = {row["run"] for row in measured_rows(out)}
    assert read == {"-it_run_a"}, "names read back from a CSV file are the names"
