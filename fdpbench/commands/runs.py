"""Check params.yaml, and train its runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.commands.stages import run_stage
from fdpbench.prep.runtime.command import Jobs, command, every_problem
from fdpbench.prep.runtime.progress import console, output

PretrainName = Annotated[str, typer.Argument(help="Name of an entry under `pretrain` in params.yaml.")]
RunName = Annotated[str, typer.Argument(help="Name of a run in params.yaml, such as synthetic-fdp.")]
References = Annotated[
    list[str],
    typer.Argument(help="Models: installed names such as fdp, or a file and its class such as my_net.py:MyNet."),
]
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
        settings = info.recipe.model_dump(exclude_defaults=True) if info.recipe else {}
        recipe = f"    recipe: {' '.join(f'{key}={value!r}' for key, value in settings.items())}\n" if settings else ""
        output.print(
            f"[bold]{name}[/] ({info.kind}; inputs: {', '.join(info.inputs) or 'none'})\n"
            f"    options: {options}\n{recipe}    {info.paper}",
        )


@app.command(rich_help_panel="Train")
def conformance(reference: References) -> None:
    """Check that models keep what every model promises: shapes, gradients, seeds, saving, refusal of bad options.

    Runs the checks that all models of FDP-Bench pass, on one of your own as well; seconds for most. Prints a line for
    each check, of a failed one what was expected, what was found and what to do; the exit code is 1 if one failed.
    The clips have 8 frames of 48 x 48 pixels, flow of 28 x 28 and 68 landmarks. A model whose option `preset` takes
    `"tiny"` is built with that. Example:

        fdpbench conformance models/my_net.py:MyNet
        fdpbench conformance fdp
    """
    from fdpbench.models.common.conformance import checks_of, fault_of

    with command("conformance"):
        failed = 0
        for name, checks in [(name, checks_of(name)) for name in reference]:  # first all names are looked up
            faults = 0
            for check_name, check in checks:
                fault = fault_of(check, name)
                faults += fault is not None
                output.out(f"{name}: {check_name} " + ("passed" if fault is None else f"failed: {fault}"))
            output.out(f"{name}: {len(checks) - faults} of {len(checks)} checks passed")
            failed += faults
        if failed:
            raise typer.Exit(1)


@app.command(rich_help_panel="Train")
def check() -> None:
    """Check all of params.yaml before anything runs, and say of each run what it will do.

    Every problem is printed, a line each: unknown keys and values, tasks and runs that cannot be, releases that are
    not linked, emotions that no release has, files that are missing. `make check` runs it, and stage `plan`, the first
    of `dvc repro`, checks the same.
    """
    from fdpbench.bench.plan.check import check_project
    from fdpbench.bench.plan.ensembles import evaluated
    from fdpbench.bench.plan.pretraining import PREDICTING
    from fdpbench.bench.train.protocols import protocol_text
    from fdpbench.bench.train.settings import in_words

    with command("check"), every_problem("check"):
        for run in check_project():
            sampling = run.task_params.sampling
            rule = sampling.rule if sampling else None
            entry = run.entry
            protocol = protocol_text(entry.protocol, entry.faults, rule, entry.init, entry.folds_text)
            inputs = ", ".join(run.model.inputs) or "none"
            read = set(PREDICTING) if run.entry.protocol == "zero_shot" else set(type(run.settings).model_fields)
            settled = run.settings.model_dump(include=read - {"model"}, exclude_defaults=True) | run.settings.model
            words = "".join(f", {word}" for word in in_words(settled))
            output.print(f"{run.name}: {run.model.name} on {run.task}, inputs {inputs}; protocol {protocol}{words}")
        for name, entry in evaluated().items():
            if entry.members:
                output.print(f"{name}: ensemble on {entry.task}, mean of {', '.join(entry.members)}")


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
def pretrain(name: PretrainName, jobs: Jobs = None) -> None:
    """Train a network on a corpus, for runs to start from (section `pretrain` of params.yaml).

    Writes weights and their card, as JSON and Markdown, into artifacts/pretrained/NAME. A run starts from them by
    `init: NAME`; with `protocol: zero_shot` it is not trained any further.
    """
    run_stage("pretrain", name, jobs=jobs)


@app.command(rich_help_panel="Train")
def init() -> None:
    """Write down the hashes of the weights that each run starts from, into artifacts/init."""
    run_stage("init")


@app.command(rich_help_panel="Train")
def train(run: RunName, jobs: Jobs = None, folds_per_device: FoldsPerDevice = 1) -> None:
    """Train every fold of a run; go on where a killed training stopped.

    Writes artifacts/predictions/RUN.parquet, artifacts/curves/RUN.csv and artifacts/checkpoints/RUN/.
    """
    run_stage("train", run, jobs, folds_per_device=folds_per_device)
