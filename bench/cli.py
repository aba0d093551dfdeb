"""The `python -m bench` commands: train runs, aggregate tables, draw the gallery."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prep import paths
from prep.command import Jobs, command, jobs_or_default
from prep.progress import console, output

__all__ = ["app"]

app = typer.Typer(
    name="bench",
    help="Train models per leave-one-subject-out fold and compare them.\n\n"
    "`dvc repro` runs these commands in the right order and skips what is up to date. A run is a line under "
    "`runs` in params.yaml: a task and a model.",
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
    out: Annotated[Path | None, typer.Option(help="Write a one-line file when all is well (dvc.yaml uses it).")] = None,
) -> None:
    """Check every run of params.yaml before anything trains: task, model, inputs, options, releases."""
    from bench.params import load_runs
    from bench.protocols import protocol_text
    from prep.link import check_links
    from prep.params import read_params

    with command("bench check"):
        runs = load_runs()
        check_links(read_params())
        for run in runs:
            sampling = run.task_params.sampling
            protocol = protocol_text(run.entry.protocol, run.entry.faults, sampling.rule if sampling else None)
            inputs = ", ".join(run.model.inputs) or "none"
            output.print(f"{run.name}: {run.model.name} on {run.task}, inputs {inputs}; protocol {protocol}")
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("every run can be trained\n", encoding="utf-8")


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
    from bench.params import load_train, run_names
    from bench.scores import clear_unlisted, score_runs
    from bench.tables import write_tables
    from prep.scratch import open_scratch

    with command("bench tables"):
        runs = run_names()
        clear_unlisted(list(runs))
        scores = score_runs(runs, load_train().repetitions)
        with open_scratch("tables", "whole") as scratch:
            built = scratch.temporary("results")
            write_tables(scores, built / "tables.md", built / "tables", built / "metrics.json", built / "plots")
            names = ("tables.md", "tables", "metrics.json", "plots")
            scratch.publish({RESULTS / name: partial(os.rename, built / name) for name in names})
        console.print(f"tables: {len(scores)} runs in {RESULTS / 'tables.md'}")


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
def costs(
    table: Annotated[
        str | None,
        typer.Option(help="Only the runs of this table (`table:` of a run) and those they are compared with."),
    ] = None,
) -> None:
    """Measure what each run costs, beside its figures: parameters, multiply-adds, time of a training step.

    Writes results/costs.md, or results/costs-TABLE.md. Needs `dvc repro` to have run. Times are of this machine.
    """
    from bench.costs import costs_table, measure_costs
    from bench.params import ParamsError, changes_of, load_run, load_tasks, load_train, run_names
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
        text = costs_table(scores, {run.name: changes_of(run) for run in runs}, {cost.run: cost for cost in measured})
        out = RESULTS / ("costs.md" if table is None else f"costs-{table}.md")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        print(text)
        console.print(f"costs: {out}")
