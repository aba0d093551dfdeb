"""Check params.yaml, and train its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import Jobs, command, jobs_or_default
from fdpbench.prep.runtime.progress import console, output
from fdpbench.prep.store import paths

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
    from fdpbench.bench.plan.check import check_project, write_weights
    from fdpbench.bench.train.protocols import protocol_text
    from fdpbench.prep.settings.problems import ParamsError

    with command("check"):
        try:
            runs = check_project()
        except ParamsError as error:
            for problem in error.problems:
                console.print(f"error check: {' '.join(problem.split())}")
            raise typer.Exit(1) from None
        for run in runs:
            sampling = run.task_params.sampling
            protocol = protocol_text(run.entry.protocol, run.entry.faults, sampling.rule if sampling else None)
            inputs = ", ".join(run.model.inputs) or "none"
            settled = run.settings.model_dump(exclude={"model"}, exclude_defaults=True) | run.settings.model
            words = "".join(f", {key} {value}" for key, value in settled.items())
            output.print(f"{run.name}: {run.model.name} on {run.task}, inputs {inputs}; protocol {protocol}{words}")
        if out is not None:
            write_weights(runs, out / "weights")
            (out / "checked.txt").write_text("every run can be trained\n", encoding="utf-8")


@app.command(rich_help_panel="Train")
def features(run: RunName, jobs: Jobs = None) -> None:
    """Compute the hand-crafted features of a run, once for all its folds.

    Writes data/features/RUN.parquet, one row for each clip. Goes on where a killed run stopped.
    """
    from fdpbench.bench.plan.params import load_run
    from fdpbench.bench.train.artifacts import Artifacts
    from fdpbench.bench.train.features import features_of_run

    with command("features"):
        loaded = load_run(run)
        features_of_run(loaded, paths.task(loaded.task), Artifacts(run).features, jobs_or_default(jobs))


@app.command(rich_help_panel="Train")
def train(run: RunName, jobs: Jobs = None, folds_per_device: FoldsPerDevice = 1) -> None:
    """Train every fold of a run; go on where a killed training stopped.

    Writes artifacts/predictions/RUN.parquet, artifacts/curves/RUN.csv and artifacts/checkpoints/RUN/.
    """
    from fdpbench.bench.plan.params import load_run
    from fdpbench.bench.train.artifacts import Artifacts
    from fdpbench.bench.train.run import train_run

    with command("train"):
        loaded = load_run(run)
        train_run(loaded, paths.task(loaded.task), Artifacts(run), jobs_or_default(jobs), folds_per_device)
