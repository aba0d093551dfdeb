"""Search for settings of models within an equal budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import console, output

RESULTS = Path("results/tuning")


@app.command("tune", rich_help_panel="Train")
def tune_command(
    model: Annotated[str, typer.Argument(help="A model, as a run names it: `fdpbench models` lists them.")],
    task: Annotated[
        str | None,
        typer.Option(help="A task that is made. Default: the first of params.yaml that gives what the model reads."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Budget in core-minutes, in all and not of this call alone.")
    ] = 15.0,
    trials: Annotated[
        int | None, typer.Option(min=1, help="End after so many trials in all, if the minutes last as long.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="All subjects are tuning data: of a release that no run of params.yaml reports on."
        ),
    ] = False,
    split: Annotated[
        str,
        typer.Option(help="Without --whole, the outer split: subject (leave one subject out), or a number of folds."),
    ] = "subject",
    fold: Annotated[
        list[str] | None,
        typer.Option("--fold", help="Search inside this outer fold alone; may be given again. Default: in each."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of subjects within the tuning data.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write, and go on from. Default: artifacts/tuning/MODEL/TASK/...")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, help="Folds of a trial at a time; more than one spend time on folds in vain."
        ),
    ] = 1,
) -> None:
    """Search for settings of a model within a budget, on subjects that no result is reported on.

    A trial trains the model with some settings on folds of whole subjects of the tuning data; its score is UF1 over all
    clips held out in turn. The first trial is the model's own recipe; then Optuna draws settings (TPE) from the ranges
    of bench/tune/spaces.py, and stops trials that are behind the median after a fold. Without --whole the tuning data
    are the training subjects of an outer fold, with a search for each outer fold; those it tests are never read.

    The budget is time of the processor for training and prediction, and the same on any number of cores. With --minutes
    the number of trials depends on the machine, with --trials it does not. Run the same command again to go on after
    Ctrl-C or a kill, or with more minutes. Needs Optuna (extra `tune`). Example, for a run on task synthetic:

        fdpbench tune ststnet --task synthetic --split 5 --fold fold-1 --minutes 15

    On a release made for tuning, in a study of its own (`make tune` does this):

        fdpbench new tuning --profile tuning && cd tuning && dvc repro task
        fdpbench tune ststnet --task tuning --whole --minutes 15

    Writes the journal of all trials, trials.csv, best.yaml (the block `set:` of a run), record.json and budget.png.
    """
    with command("tune", resumes=True):
        from fdpbench.bench.tune.data import TuneError, parsed_split
        from fdpbench.bench.tune.loop import Budget
        from fdpbench.bench.tune.run import tune

        if whole and (fold or split != "subject"):
            raise TuneError("--whole: there are no outer folds then; leave --split and --fold out")
        found = tune(
            model,
            Budget(minutes, trials),
            task=task,
            whole=whole,
            split=parsed_split(split),
            names=fold or (),
            folds=folds,
            folder=folder,
            jobs=jobs,
        )
        for one in found:
            for line in one.lines():
                output.print(line, markup=False)


@app.command("tune-report", rich_help_panel="Results")
def tune_report(
    folder: Annotated[Path, typer.Argument(help="Folder of searches, such as `make tune` writes.")] = RESULTS,
) -> None:
    """Gather searches into one table and one plot: budget, trials, own recipe and best settings of each model.

    Writes FOLDER/tables.md, tables.csv and budget.png; says so where models were not tuned alike.
    """
    with command("tune-report"):
        from fdpbench.bench.tune.report import write_report

        print(write_report(folder))
        console.print(f"tune-report: {folder / 'tables.md'}, tables.csv, budget.png")
