"""Check params.yaml, and train its runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.commands.stages import run_stage
from fdpbench.prep.runtime.command import Jobs, command, every_problem
from fdpbench.prep.runtime.progress import console, output

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


@app.command(rich_help_panel="Train")
def models() -> None:
    """List the models: what each reads, its options, its recipe, its paper."""
    from fdpbench.models.common.registry import list_models, model_info

    for name in list_models():
        info = model_info(name)
        options = ", ".join(f"{key}={value!r}" for key, value in info.options.items()) or "none"
        recipe = f"    recipe: {info.recipe}\n" if info.recipe else ""
        output.print(
            f"[bold]{name}[/] ({info.kind}; inputs: {', '.join(info.inputs) or 'none'})\n"
            f"    options: {options}\n{recipe}    {info.paper}",
        )


@app.command(rich_help_panel="Train")
def check() -> None:
    """Check all of params.yaml before anything runs, and say of each run what it will do.

    Every problem is printed, a line each: unknown keys and values, tasks and runs that cannot be, releases that are
    not linked, emotions that no release has, files that are missing. `make check` runs it, and stage `plan`, the first
    of `dvc repro`, checks the same.
    """
    from fdpbench.bench.plan.check import check_project
    from fdpbench.bench.train.protocols import protocol_text

    with command("check"), every_problem("check"):
        for run in check_project():
            sampling = run.task_params.sampling
            protocol = protocol_text(run.entry.protocol, run.entry.faults, sampling.rule if sampling else None)
            inputs = ", ".join(run.model.inputs) or "none"
            settled = run.settings.model_dump(exclude={"model"}, exclude_defaults=True) | run.settings.model
            words = "".join(f", {key} {value}" for key, value in settled.items())
            output.print(f"{run.name}: {run.model.name} on {run.task}, inputs {inputs}; protocol {protocol}{words}")


@app.command(rich_help_panel="Train")
def plan() -> None:
    """Check params.yaml and resolve it into artifacts/plan, a small file for each item of each stage.

    Each says what the item's result depends on beside data: settings, code, installed versions, files such as weights.
    `dvc repro` plans first of all; where nothing has changed since the last time, this takes a moment.
    """
    from fdpbench.bench.plan.stage import plan_project

    with command("plan"), every_problem("plan"):
        if not plan_project():
            console.print("plan: nothing has changed")


@app.command(rich_help_panel="Train")
def train(run: RunName, jobs: Jobs = None, folds_per_device: FoldsPerDevice = 1) -> None:
    """Train every fold of a run; go on where a killed training stopped.

    Writes artifacts/predictions/RUN.parquet, artifacts/curves/RUN.csv and artifacts/checkpoints/RUN/.
    """
    run_stage("train", run, jobs, folds_per_device=folds_per_device)
