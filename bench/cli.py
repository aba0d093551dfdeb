"""The `python -m bench` commands: train runs, aggregate tables, draw the gallery."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep import paths
from prep.command import Jobs, command, jobs_or_default
from prep.progress import console, output

if TYPE_CHECKING:
    from bench.outside import Said

__all__ = ["app"]

app = typer.Typer(
    name="bench",
    help="Train models per leave-one-subject-out fold and compare them.\n\n"
    "`dvc repro` runs these commands in the right order and skips what is up to date. A run is a line under "
    "`runs` in params.yaml, or `feature_runs` for models of hand-crafted features: a task and a model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

RESULTS = Path("results")

RunName = Annotated[str, typer.Argument(help="Name of a run in params.yaml, such as synthetic-fdp.")]
FoldsPerDevice = Annotated[
    int,
    typer.Option(
        "--folds-per-device",
        envvar="FDPBENCH_FOLDS_PER_DEVICE",
        min=1,
        help="Folds trained at a time on each CUDA device. No effect on the CPU.",
    ),
]


@app.command()
def models() -> None:
    """List the models: what each reads, its options, its paper."""
    from models.registry import list_models, model_info

    for name in list_models():
        info = model_info(name)
        options = ", ".join(f"{key}={value!r}" for key, value in info.options.items()) or "none"
        output.print(
            f"[bold]{name}[/] ({info.kind}; inputs: {', '.join(info.inputs) or 'none'})\n"
            f"    options: {options}\n    {info.paper}",
        )


@app.command()
def check(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write checked.txt and, for each run, the hashes of the files that it reads into this folder "
            "(dvc.yaml uses it)."
        ),
    ] = None,
) -> None:
    """Check all of params.yaml before anything runs, and say of each run what it will do.

    Every problem is printed, a line each: unknown keys and values, tasks and runs that cannot be, releases that are
    not linked, emotions that no release has, files that are missing. `make check` runs it, `make repro` first of
    all, and plain `dvc repro` as its first stage.
    """
    from bench.check import check_project, write_weights
    from bench.protocols import protocol_text
    from prep.problems import ParamsError

    with command("bench check"):
        try:
            runs = check_project()
        except ParamsError as error:
            for problem in error.problems:
                console.print(f"error bench check: {' '.join(problem.split())}")
            raise typer.Exit(1) from None
        for run in runs:
            sampling = run.task_params.sampling
            protocol = protocol_text(run.entry.protocol, run.entry.faults, sampling.rule if sampling else None)
            inputs = ", ".join(run.model.inputs) or "none"
            output.print(f"{run.name}: {run.model.name} on {run.task}, inputs {inputs}; protocol {protocol}")
        if out is not None:
            write_weights(runs, out / "weights")
            (out / "checked.txt").write_text("every run can be trained\n", encoding="utf-8")


@app.command()
def features(run: RunName, jobs: Jobs = None) -> None:
    """Compute the hand-crafted features of a run under `feature_runs`, once for all its folds.

    Writes data/features/RUN.parquet, one row for each clip. Goes on where a killed run stopped.
    """
    from bench.artifacts import Artifacts
    from bench.features import features_of_run
    from bench.params import load_run

    with command("bench features"):
        loaded = load_run(run)
        features_of_run(loaded, paths.task(loaded.task), Artifacts(run).features, jobs_or_default(jobs))


@app.command()
def train(run: RunName, jobs: Jobs = None, folds_per_device: FoldsPerDevice = 1) -> None:
    """Train every fold of a run; go on where a killed training stopped.

    Writes artifacts/predictions/RUN.parquet, artifacts/curves/RUN.csv and artifacts/checkpoints/RUN/.
    """
    from bench.artifacts import Artifacts
    from bench.params import load_run
    from bench.run import train_run

    with command("bench train"):
        loaded = load_run(run)
        train_run(loaded, paths.task(loaded.task), Artifacts(run), jobs_or_default(jobs), folds_per_device)


@app.command()
def tables() -> None:
    """Aggregate the predictions of all listed runs into results/."""
    from bench.params import load_tasks, load_train, run_names
    from bench.published import published_of
    from bench.scores import clear_unlisted, score_runs
    from bench.tables import write_tables
    from prep.scratch import open_scratch

    with command("bench tables"):
        runs = run_names()
        clear_unlisted(list(runs))
        scores = score_runs(runs, load_train().repetitions)
        used = {entry.task for entry in runs.values()}
        tasks = {name: task for name, task in load_tasks().items() if name in used}
        published = published_of(tasks, RESULTS / "published.csv")
        with open_scratch("tables", "whole") as scratch:
            built = scratch.temporary("results")
            names = ("tables.md", "tables", "metrics.json", "plots")
            markdown, folder, metrics, plots = (built / name for name in names)
            write_tables(scores, markdown, folder, metrics, plots, published)
            scratch.publish({RESULTS / name: partial(os.rename, built / name) for name in names})
        console.print(f"tables: {len(scores)} runs in {RESULTS / 'tables.md'}")


File = Annotated[Path, typer.Argument(help="Predictions: our Parquet, a CSV file, or a log of released code.")]
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
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Coverage of the intervals.")]


def _said(path: Path, task: str | None, official: Path | None, order: str | None) -> Said:
    from bench.outside import known_of_official_list, known_of_task, read_said

    if task is not None and official is not None:
        raise ValueError("give --task or --official, not both")
    if order not in (None, "gt-pred", "pred-gt"):
        raise ValueError(f"--order {order}: expected gt-pred or pred-gt")
    known = known_of_task(task) if task else known_of_official_list(official) if official else None
    return read_said(path, known, order)  # type: ignore[arg-type]  # checked above


@app.command()
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
    a project: subjects are resampled. Logs are those of the MEGC2019 challenge, or lists 'Predicted' and 'Ground
    Truth' for each subject. Doubled, unknown, missing or differently labelled clips are refused by name. Examples:

        python -m bench score artifacts/predictions/synthetic-fdp.parquet
        python -m bench score mine.csv
        python -m bench score mine.csv --task casme2_5
        python -m bench score their_log.txt --official combined_3class_gt.csv
    """
    from bench.scoring import score_lines, score_said

    with command("bench score"):
        report = score_said(_said(file, task, official, order), level)
        _show(report, score_lines(report), as_json)


@app.command()
def compare(
    first: File,
    second: File,
    task: TaskOption = None,
    official: Official = None,
    order: ColumnOrder = None,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Compare two files of predictions of the same clips: differences, intervals, paired tests.

    Subjects are the unit: they are resampled, or swapped between the two, as a whole. Example:

        python -m bench compare artifacts/predictions/casme2-fdp.parquet artifacts/predictions/casme2-ststnet.parquet
    """
    from bench.scoring import compare_said, comparison_lines

    with command("bench compare"):
        report = compare_said(_said(first, task, official, order), _said(second, task, official, order), level)
        _show(report, comparison_lines(report), as_json)


@app.command()
def audit() -> None:
    """Measure the price of leakage: every run that departs from the honest protocol, beside the honest one.

    Writes results/audit.md, results/audit.csv and results/audit.png: test-selected and inner figures with their
    inflation and its interval, each rebuilt fault of released code, and the same predictions under three ways of
    averaging. Needs `dvc repro` to have run.
    """
    from bench.audit import write_audit
    from bench.params import load_train, run_names
    from bench.scores import score_runs

    with command("bench audit"):
        runs = run_names()
        scores = sorted(score_runs(runs, load_train().repetitions), key=lambda score: list(runs).index(score.run))
        print(write_audit(scores, RESULTS))
        console.print(f"audit: {RESULTS / 'audit.md'}, audit.csv, audit.png")


@app.command("megc-log")
def megc_log(
    run: RunName,
    out: Annotated[Path, typer.Argument(help="The log to write.")],
    repetition: Annotated[int, typer.Option(min=0, help="Which repetition of the run.")] = 0,
) -> None:
    """Write a run's predictions in the log format of the MEGC2019 challenge, `clip gt pred`."""
    from bench.artifacts import Artifacts
    from bench.outside import read_said, write_megc_log

    with command("bench megc-log"):
        said = read_said(Artifacts(run).predictions)
        write_megc_log(said, repetition, out)
        output.print(f"{out}: {len(said.clip_ids)} clips of {len(set(said.subjects))} subjects", markup=False)


def _show(report: dict[str, Any], lines: list[str], as_json: bool) -> None:
    if as_json:
        output.out(json.dumps(report, indent=2))
    else:
        for line in lines:
            output.out(line)


@app.command()
def gallery(
    task: Annotated[str, typer.Argument(help="A task whose faces may be published.")] = "synthetic",
    run: Annotated[
        str | None, typer.Option(help="The run whose drawings are shown; by default the task's first that draws.")
    ] = None,
) -> None:
    """Draw frames, true and drawn dynamic images and rank scores of held-out clips: results/dynamic_images.png."""
    from bench.artifacts import Artifacts
    from bench.gallery import draw_gallery, drawing_run
    from bench.params import ParamsError, run_names
    from bench.protocols import Faults
    from bench.scores import clear_unlisted
    from prep.scratch import open_scratch

    with command("bench gallery"):
        out = RESULTS / "dynamic_images.png"
        runs = run_names()
        clear_unlisted(list(runs))
        mine = [name for name, entry in runs.items() if entry.task == task]
        mine.sort(key=lambda name: (runs[name].protocol != "honest", runs[name].faults != Faults()))  # as listed else
        if run is not None and run not in mine:
            raise ParamsError(f"no run {run!r} of task {task}; its runs: {', '.join(mine) or 'none'}")
        if run is not None and not Artifacts(run).predictions.is_file():
            raise ParamsError(
                f"run {run!r} is not trained yet, {Artifacts(run).predictions} not found: run `dvc repro`"
            )
        drawing = drawing_run(mine if run is None else [run])
        if run is not None and drawing is None:
            raise ParamsError(f"the model of run {run!r} draws no dynamic images; leave --run out")
        with open_scratch("gallery", "whole") as scratch:
            scratch.publish({out: partial(draw_gallery, paths.task(task), drawing)})
        console.print(f"gallery: {out}" + (f", drawn by {drawing}" if drawing else ""))


@app.command()
def report() -> None:
    """Write the report, a folder of pages that opens from disk: results/report/index.html.

    Leaderboards with intervals, a page for each run, the audit, the data and the provenance of every figure.
    No faces of a release whose licence forbids it are in it. Needs `dvc repro` to have trained every run.
    """
    from bench.params import load_tasks, load_train, run_names
    from bench.report.build import build_report
    from bench.scores import clear_unlisted, score_runs
    from prep.params import read_params
    from prep.scratch import open_scratch

    with command("bench report"):
        params = read_params()
        runs = run_names(params)
        clear_unlisted(list(runs))
        scores = score_runs(runs, load_train(params).repetitions)
        releases = [*params["releases"], *params["flow_releases"]]
        out = RESULTS / "report"
        with open_scratch("report", "whole") as scratch:
            scratch.publish({out: partial(build_report, scores, load_tasks(params), releases)})
        console.print(f"report: {len(scores)} runs in {out / 'index.html'}")


@app.command()
def costs(
    table: Annotated[
        str | None,
        typer.Option(help="Only the runs of this table (`table:` of a run) and those they are compared with."),
    ] = None,
) -> None:
    """Measure what each run costs, beside its figures: parameters, multiply-adds, time of a training step.

    Writes results/costs.md and costs.csv, or costs-TABLE.md and costs-TABLE.csv. Needs `dvc repro` to have run. Times
    are of this machine.
    """
    from bench.costs import costs_table, measure_costs, write_costs
    from bench.params import ParamsError, load_run, load_tasks, load_train, run_names
    from bench.scores import score_runs
    from bench.tables import tables_of

    with command("bench costs"):
        entries = run_names()
        scores = sorted(score_runs(entries, load_train().repetitions), key=lambda score: list(entries).index(score.run))
        if table is not None:
            groups = [[score for score in scores if score.task.task == task] for task in load_tasks()]
            scores = [score for group in groups for score in tables_of(group).get(table, [])]
            if not scores:
                raise ParamsError(f"params.yaml: no run has `table: {table}`")
        runs = [load_run(score.run) for score in scores]
        measured = measure_costs([run for run in runs if run.model.kind == "module"])
        model_of = {run.name: run.model.name for run in runs}
        text = costs_table(scores, {cost.run: cost for cost in measured})
        out = RESULTS / ("costs.md" if table is None else f"costs-{table}.md")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        write_costs(measured, model_of, out.with_suffix(".csv"))
        print(text)
        console.print(f"costs: {out} and {out.with_suffix('.csv').name}")


@app.command()
def verify(
    against: Annotated[
        str, typer.Option(help="A git revision, or a file like dvc.lock, whose outputs are expected.")
    ] = "HEAD",
) -> None:
    """Compare what this machine made with the committed results: identical, or which stage differs first.

    Looks at the hashes that dvc.lock records of every output, and at results/metrics.json; run it after `dvc repro`
    (`make verify` does both). The exit code is 1 if an output differs or is missing.
    """
    from bench.verify import verify as run
    from bench.verify import verify_lines

    with command("bench verify"):
        found = run(against)
        for line in verify_lines(found, against):
            output.out(line)
        if not found.identical:
            raise typer.Exit(1)


@app.command()
def docs() -> None:
    """Write docs/models.md: every model with its paper, inputs, parameters, multiply-adds, time and figures.

    Sizes are counted here; figures and times are read from results/baselines, results/full and results, as far as
    they are there.
    """
    from bench.model_docs import models_text

    with command("bench docs"):
        out = Path("docs/models.md")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(models_text(RESULTS), encoding="utf-8")
        console.print(f"docs: {out}")
