"""Tables, pictures and reports of the trained runs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.store import paths

RESULTS = Path("results")


@app.command(rich_help_panel="Results")
def tables() -> None:
    """Aggregate the predictions of all listed runs into results/."""
    from fdpbench.bench.evaluate.scores import clear_unlisted, score_runs
    from fdpbench.bench.plan.params import load_tasks, load_train, run_names
    from fdpbench.bench.report.published import published_of
    from fdpbench.bench.report.tables import write_tables
    from fdpbench.prep.runtime.scratch import open_scratch

    with command("tables"):
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


@app.command(rich_help_panel="Results")
def gallery(
    task: Annotated[
        str | None, typer.Argument(help="A task whose faces may be published; by default the first of params.yaml.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run whose drawings are shown; by default the task's first that draws.")
    ] = None,
) -> None:
    """Draw frames, true and drawn dynamic images and rank scores of held-out clips: results/dynamic_images.png."""
    from fdpbench.bench.evaluate.scores import clear_unlisted
    from fdpbench.bench.plan.params import load_tasks, run_names
    from fdpbench.bench.report.gallery import draw_gallery, draw_note, drawing_run, shown_task
    from fdpbench.bench.train.artifacts import Artifacts
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


@app.command(rich_help_panel="Results")
def report() -> None:
    """Write the report, a folder of pages that opens from disk: results/report/index.html.

    Leaderboards with intervals, a page for each run, the audit, the data and the provenance of every figure.
    No faces of a release whose licence forbids it are in it. Needs `dvc repro` to have trained every run.
    """
    from fdpbench.bench.evaluate.scores import clear_unlisted, score_runs
    from fdpbench.bench.plan.params import load_tasks, load_train, run_names
    from fdpbench.bench.report.html.build import build_report
    from fdpbench.prep.runtime.scratch import open_scratch
    from fdpbench.prep.settings.params import read_params

    with command("report"):
        params = read_params()
        runs = run_names(params)
        clear_unlisted(list(runs))
        scores = score_runs(runs, load_train(params).repetitions)
        out = RESULTS / "report"
        with open_scratch("report", "whole") as scratch:
            scratch.publish({out: partial(build_report, scores, load_tasks(params), params["releases"])})
        console.print(f"report: {len(scores)} runs in {out / 'index.html'}")


@app.command(rich_help_panel="Results")
def audit() -> None:
    """Measure the price of leakage: every run that departs from the honest protocol, beside the honest one.

    Writes results/audit.md, results/audit.csv and results/audit.png: test-selected and inner figures with their
    inflation and its interval, each rebuilt fault of released code, and the same predictions under three ways of
    averaging. Needs `dvc repro` to have run.
    """
    from fdpbench.bench.evaluate.audit import write_audit
    from fdpbench.bench.evaluate.scores import score_runs
    from fdpbench.bench.plan.params import load_train, run_names

    with command("audit"):
        runs = run_names()
        scores = sorted(score_runs(runs, load_train().repetitions), key=lambda score: list(runs).index(score.run))
        print(write_audit(scores, RESULTS))
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
    from fdpbench.bench.evaluate.scores import score_runs
    from fdpbench.bench.plan.params import load_run, load_tasks, load_train, run_names
    from fdpbench.bench.report.costs import costs_table, measure_costs, write_costs
    from fdpbench.bench.report.tables import tables_of
    from fdpbench.prep.settings.problems import ParamsError

    with command("costs"):
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
