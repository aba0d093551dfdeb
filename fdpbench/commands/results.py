"""The trained runs evaluated; tables, pictures and reports of that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.commands.stages import run_stage
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import console

RESULTS = Path("results")


@app.command(rich_help_panel="Results")
def evaluate() -> None:
    """Compute every metric, interval and test of all listed runs, from predictions alone: artifacts/evaluation."""
    run_stage("evaluate")


@app.command(rich_help_panel="Results")
def tables() -> None:
    """Print the evaluation of all listed runs as tables: results/tables.md, tables, metrics.json and plots."""
    run_stage("tables")


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
    run_stage("gallery", task=task, run=run)


@app.command(rich_help_panel="Results")
def report() -> None:
    """Write the report, a folder of pages that opens from disk: results/report/index.html.

    Leaderboards with intervals, a page for each run, the audit, the data and the provenance of every figure.
    No faces of a release whose licence forbids it are in it. Needs `dvc repro` to have trained every run.
    """
    run_stage("report")


@app.command(rich_help_panel="Results")
def audit() -> None:
    """Measure the price of leakage: every run that departs from the honest protocol, beside the honest one.

    Writes results/audit.md, results/audit.csv and results/audit.png: test-selected and inner figures with their
    inflation and its interval, each rebuilt fault of released code, and the same predictions under three ways of
    averaging. Needs `dvc repro` to have run.
    """
    from fdpbench.bench.evaluate.listed import evaluation_of
    from fdpbench.bench.plan.ensembles import evaluated
    from fdpbench.bench.report.audit import write_audit

    with command("audit"):
        runs = evaluated()
        print(write_audit(evaluation_of(runs), list(runs), RESULTS))
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
    from fdpbench.bench.evaluate.listed import evaluation_of
    from fdpbench.bench.plan.ensembles import evaluated
    from fdpbench.bench.plan.params import load_run, load_tasks, run_names
    from fdpbench.bench.report.costs import costs_table, measure_costs, write_costs
    from fdpbench.prep.settings.problems import ParamsError

    with command("costs"):
        entries = run_names()
        evaluation = evaluation_of(evaluated())
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
