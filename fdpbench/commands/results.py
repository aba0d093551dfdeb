"""The trained runs evaluated; tables, pictures and reports of that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.store import paths

if TYPE_CHECKING:
    from fdpbench.bench.evaluate.evaluation import Evaluation
    from fdpbench.bench.train.settings import RunEntry

RESULTS = Path("results")


def _evaluated(runs: Mapping[str, RunEntry]) -> Evaluation:
    """The evaluation of exactly the runs that params.yaml lists.

    Raises
    ------
    ParamsError
        If it is of other runs, or of other entries of them.
    """
    from fdpbench.bench.evaluate.evaluation import FOLDER, read_evaluation
    from fdpbench.prep.settings.problems import ParamsError

    evaluation = read_evaluation()
    entries = {score.run: score.entry for score in evaluation.scores}
    other = sorted(run for run in {*entries, *runs} if entries.get(run) != runs.get(run))
    if other:
        raise ParamsError(f"{FOLDER} is not of the runs of params.yaml ({', '.join(other)} differ): run `dvc repro`")
    return evaluation


@app.command(rich_help_panel="Results")
def evaluate() -> None:
    """Compute every metric, interval and test of all listed runs, from predictions alone: artifacts/evaluation."""
    from fdpbench.bench.evaluate.evaluation import FOLDER
    from fdpbench.bench.evaluate.stage import evaluate_runs
    from fdpbench.bench.plan.params import load_train, run_names
    from fdpbench.prep.runtime.scratch import open_scratch

    with command("evaluate"):
        runs = run_names()
        with open_scratch("evaluate", "whole") as scratch:
            scratch.publish({FOLDER: partial(evaluate_runs, runs, load_train().repetitions)})
        console.print(f"evaluate: {len(runs)} runs in {FOLDER}")


@app.command(rich_help_panel="Results")
def tables() -> None:
    """Print the evaluation of all listed runs as tables: results/tables.md, tables, metrics.json and plots."""
    from fdpbench.bench.evaluate.evaluation import read_clips
    from fdpbench.bench.plan.params import load_tasks, run_names
    from fdpbench.bench.report.published import published_of
    from fdpbench.bench.report.tables import write_tables
    from fdpbench.prep.runtime.scratch import open_scratch

    with command("tables"):
        runs = run_names()
        evaluation = _evaluated(runs)
        used = {entry.task for entry in runs.values()}
        tasks = {name: task for name, task in load_tasks().items() if name in used}
        published = published_of(tasks, RESULTS / "published.csv")
        with open_scratch("tables", "whole") as scratch:
            built = scratch.temporary("results")
            write_tables(evaluation, read_clips(), built, published)
            names = ("tables.md", "tables", "metrics.json", "plots")
            scratch.publish({RESULTS / name: partial(os.rename, built / name) for name in names})
        console.print(f"tables: {len(runs)} runs in {RESULTS / 'tables.md'}")


@app.command(rich_help_panel="Results")
def gallery(
    task: Annotated[
        str | None, typer.Argument(help="A task whose faces may be published; by default the first of params.yaml.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="The run whose generated images are shown; by default the task's first that has any."),
    ] = None,
) -> None:
    """Draw frames, true and generated dynamic images and rank scores of clips: results/dynamic_images.png."""
    from fdpbench.bench.evaluate.evaluation import read_clips
    from fdpbench.bench.plan.params import load_tasks, run_names
    from fdpbench.bench.report.gallery import draw_gallery, draw_note, shown_task
    from fdpbench.bench.train.protocols import Faults
    from fdpbench.prep.runtime.scratch import open_scratch
    from fdpbench.prep.settings.problems import ParamsError

    with command("gallery"):
        out = RESULTS / "dynamic_images.png"
        task = task or shown_task(load_tasks())
        if task is None:
            with open_scratch("gallery", "whole") as scratch:
                scratch.publish({out: draw_note})
            console.print(f"gallery: {out}: no task has frames of faces that may be published")
            return
        runs = run_names()
        mine = [name for name, entry in runs.items() if entry.task == task]
        mine.sort(key=lambda name: (runs[name].protocol != "honest", runs[name].faults != Faults()))  # as listed else
        if run is not None and run not in mine:
            raise ParamsError(f"no run {run!r} of task {task}; its runs: {', '.join(mine) or 'none'}")
        scores = _evaluated(runs).by_run
        shown = next((name for name in (mine if run is None else [run]) if "psnr" in scores[name].perception), None)
        if run is not None and shown is None:
            raise ParamsError(f"the model of run {run!r} generates no dynamic images; leave --run out")
        results = read_clips()[shown] if shown else []
        with open_scratch("gallery", "whole") as scratch:
            scratch.publish({out: partial(draw_gallery, paths.task(task), shown, results)})
        console.print(f"gallery: {out}" + (f", generated by {shown}" if shown else ""))


@app.command(rich_help_panel="Results")
def report() -> None:
    """Write the report, a folder of pages that opens from disk: results/report/index.html.

    Leaderboards with intervals, a page for each run, the audit, the data and the provenance of every figure.
    No faces of a release whose licence forbids it are in it. Needs `dvc repro` to have trained every run.
    """
    from fdpbench.bench.evaluate.evaluation import read_clips
    from fdpbench.bench.plan.params import load_tasks, run_names
    from fdpbench.bench.report.html.build import build_report
    from fdpbench.prep.runtime.scratch import open_scratch
    from fdpbench.prep.settings.params import read_params

    with command("report"):
        params = read_params()
        runs = run_names(params)
        out = RESULTS / "report"
        build = partial(build_report, _evaluated(runs), read_clips(), load_tasks(params), params["releases"])
        with open_scratch("report", "whole") as scratch:
            scratch.publish({out: build})
        console.print(f"report: {len(runs)} runs in {out / 'index.html'}")


@app.command(rich_help_panel="Results")
def audit() -> None:
    """Measure the price of leakage: every run that departs from the honest protocol, beside the honest one.

    Writes results/audit.md, results/audit.csv and results/audit.png: test-selected and inner figures with their
    inflation and its interval, each rebuilt fault of released code, and the same predictions under three ways of
    averaging. Needs `dvc repro` to have run.
    """
    from fdpbench.bench.plan.params import run_names
    from fdpbench.bench.report.audit import write_audit

    with command("audit"):
        runs = run_names()
        print(write_audit(_evaluated(runs), list(runs), RESULTS))
        console.print(f"audit: {RESULTS / 'audit.md'}, audit.csv, audit.png")


@app.command(rich_help_panel="Results")
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
    from fdpbench.bench.plan.params import load_run, load_tasks, run_names
    from fdpbench.bench.report.costs import costs_table, measure_costs, write_costs
    from fdpbench.prep.settings.problems import ParamsError

    with command("costs"):
        entries = run_names()
        evaluation = _evaluated(entries)
        names = list(entries)
        if table is not None:
            members = {one.task: one.runs for one in evaluation.tables if one.name == table}
            names = [run for task in load_tasks() for run in entries if run in members.get(task, ())]
            if not names:
                raise ParamsError(f"params.yaml: no run has `table: {table}`")
        runs = [load_run(name) for name in names]
        measured = measure_costs([run for run in runs if run.model.kind == "module"])
        model_of = {run.name: run.model.name for run in runs}
        text = costs_table([evaluation.by_run[name] for name in names], {cost.run: cost for cost in measured})
        out = RESULTS / ("costs.md" if table is None else f"costs-{table}.md")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        write_costs(measured, model_of, out.with_suffix(".csv"))
        print(text)
        console.print(f"costs: {out} and {out.with_suffix('.csv').name}")


@app.command(rich_help_panel="Results")
def docs() -> None:
    """Write docs/models.md: every model with its paper, inputs, parameters, multiply-adds, time and figures.

    Sizes are counted here; figures and times are read from results/baselines, results/full and results, as far as
    they are there.
    """
    from fdpbench.bench.report.model_docs import models_text

    with command("docs"):
        out = Path("docs/models.md")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(models_text(RESULTS), encoding="utf-8")
        console.print(f"docs: {out}")
