"""Predictions, ours or anybody's: score, compare, exchange."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import output

if TYPE_CHECKING:
    from fdpbench.bench.external.read import Said

RunName = Annotated[str, typer.Argument(help="Name of a run or an ensemble in params.yaml, such as synthetic-fdp.")]
File = Annotated[
    Path, typer.Argument(help="Predictions: our Parquet, a CSV file, arrays (.npz), or a log of released code.")
]
TaskOption = Annotated[
    str | None, typer.Option("--task", help="A task of params.yaml whose clips are predicted (data/task/TASK).")
]
Official = Annotated[
    Path | None, typer.Option("--official", help="The MEGC2019 challenge's official list, combined_3class_gt.csv.")
]
ColumnOrder = Annotated[
    str | None,
    typer.Option("--order", help="Columns of a MEGC log: gt-pred or pred-gt. Default: found by the labels, and said."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Against = Annotated[
    list[Path] | None, typer.Option("--with", help="What each file is compared with, in the same order: one each.")
]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Coverage of the intervals.")]


def _said(path: Path, task: str | None, official: Path | None, order: str | None) -> Said:
    from fdpbench.bench.external.read import known_of_official_list, known_of_task, read_said

    if task is not None and official is not None:
        raise ValueError("give --task or --official, not both")
    if order not in (None, "gt-pred", "pred-gt"):
        raise ValueError(f"--order {order}: expected gt-pred or pred-gt")
    known = known_of_task(task) if task else known_of_official_list(official) if official else None
    return read_said(path, known, order)  # type: ignore[arg-type]  # checked above


def _pairs(
    files: Sequence[Path],
    against: Sequence[Path],
    task: str | None = None,
    official: Path | None = None,
    order: str | None = None,
    *,
    once: bool,
) -> list[tuple[Said, Said]]:
    """Pairs of files, read; each file may be given `once`, or once on either side."""
    from fdpbench.bench.external.read import refuse_twice

    if len(files) != len(against):
        raise ValueError(
            f"{len(files)} file(s) and {len(against)} by --with: give --with once for each file, in the same order"
        )
    for each in ([*files, *against],) if once else (files, against):
        refuse_twice(each)
    said = [[_said(path, task, official, order) for path in side] for side in (files, against)]
    return list(zip(*said, strict=True))


def _show(report: dict[str, Any], lines: list[str], as_json: bool) -> None:
    if as_json:
        output.out(json.dumps(report, indent=2))
    else:
        for line in lines:
            output.out(line)


@app.command(rich_help_panel="Predictions")
def score(
    file: File,
    task: TaskOption = None,
    official: Official = None,
    order: ColumnOrder = None,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Score predictions, ours or anybody's, with intervals over subjects.

    A CSV file (comma, semicolon or tab) has the columns clip_id (dataset/subject/clip; or dataset, subject, clip) and
    y_pred, and may have y_true; classes by name or index. Columns subject, y_true, y_pred alone are enough, without
    a project: subjects are resampled. A .npz file has the arrays y_true, y_pred and groups (subjects), as scikit-learn
    calls them, or clip_ids; y_pred may be (R, N) for R repetitions. Logs are those of the MEGC2019 challenge, or lists
    'Predicted' and 'Ground Truth' for each subject. Doubled, unknown, missing or differently labelled clips are refused
    by name. Examples:

        fdpbench score artifacts/predictions/synthetic-fdp.parquet
        fdpbench score mine.csv
        fdpbench score mine.csv --task casme2_5
        fdpbench score their_log.txt --official combined_3class_gt.csv
    """
    from fdpbench.bench.external.score import score_lines, score_said

    with command("score"):
        report = score_said(_said(file, task, official, order), level)
        _show(report, score_lines(report), as_json)


@app.command(rich_help_panel="Predictions")
def compare(
    files: Annotated[list[Path], typer.Argument(help="Two files of predictions; with --with, one or more.")],
    against: Against = None,
    task: TaskOption = None,
    official: Official = None,
    order: ColumnOrder = None,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Compare two files of predictions of the same clips: differences, intervals, paired tests.

    Subjects are the unit: they are resampled, or swapped between the two, as a whole. Several models are each compared
    with their counterpart, given by --with in the same order, and the mean of the differences is tested too, over
    resamples and swaps of the same subjects in all pairs. A file, or a run, given twice is refused: its seeds would be
    resampled as those of two models. Examples:

        fdpbench compare artifacts/predictions/casme2-fdp.parquet artifacts/predictions/casme2-ststnet.parquet
        fdpbench compare tuned-a.parquet tuned-b.parquet --with scratch-a.parquet --with scratch-b.parquet
    """
    from fdpbench.bench.external.score import compare_pairs_said, compare_said, comparison_lines

    with command("compare"):
        if against is None and len(files) != 2:
            raise ValueError(f"{len(files)} file(s): give two, or the counterpart of each by --with")
        first, second = (files[:1], files[1:]) if against is None else (files, against)
        pairs = _pairs(first, second, task, official, order, once=True)
        report = compare_said(*pairs[0], level) if len(pairs) == 1 else compare_pairs_said(pairs, level)
        _show(report, comparison_lines(report), as_json)


@app.command(rich_help_panel="Predictions")
def agreement(
    files: Annotated[list[Path], typer.Argument(help="Predictions of each model on one release.")],
    against: Annotated[
        list[Path], typer.Option("--with", help="The same models' on another release, in the same order: one each.")
    ],
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    r"""Say whether two releases put models in the same order: rank correlations of UF1, with intervals.

    Each model is named by two files, one on each release; subjects and repetitions of both are resampled. A shell's
    braces write the files out:

        fdpbench agreement a/artifacts/predictions/{rcn,emr,mdmo}.parquet \
          --with=b/artifacts/predictions/{rcn,emr,mdmo}.parquet
    """
    from fdpbench.bench.external.agreement import agreement_lines, agreement_said

    with command("agreement"):
        report = agreement_said(_pairs(files, against, once=False), level)
        _show(report, agreement_lines(report), as_json)


@app.command("megc-log", rich_help_panel="Predictions")
def megc_log(
    run: RunName,
    out: Annotated[Path, typer.Argument(help="The log to write.")],
    repetition: Annotated[int, typer.Option(min=0, help="Which repetition of the run.")] = 0,
) -> None:
    """Write the predictions of a run or an ensemble in the log format of the MEGC2019 challenge, `clip gt pred`."""
    from fdpbench.bench.evaluate.ensembles import ENSEMBLES
    from fdpbench.bench.external.read import read_said, write_megc_log
    from fdpbench.bench.train.artifacts import Artifacts

    with command("megc-log"):
        of_ensemble = ENSEMBLES / f"{run}.parquet"
        said = read_said(of_ensemble if of_ensemble.is_file() else Artifacts(run).predictions)
        write_megc_log(said, repetition, out)
        output.print(f"{out}: {len(said.clip_ids)} clips of {len(set(said.subjects))} subjects", markup=False)
