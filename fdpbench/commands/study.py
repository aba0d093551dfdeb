"""Lay out a study; repair it, and compare it with committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command, every_problem
from fdpbench.prep.runtime.progress import output


@app.command(rich_help_panel="Set up")
def new(
    folder: Annotated[Path, typer.Argument(help="The study's folder: a new one, or an empty one.")],
    profile: Annotated[
        str | None,
        typer.Option(
            help="smoke, calm, pretrained, full, baselines, tuning, or a YAML file of sections of params.yaml."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Write params.yaml and dvc.yaml of a study anew; what it has made stays.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Share no links, weights and cache with this folder.")] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="No release, task and run: for data of your own alone, added next.")
    ] = False,
) -> None:
    """Lay out a study: a folder with params.yaml and dvc.yaml, in which `dvc repro` runs everything.

    Git and DVC are initialised in it. Its params.yaml is that of the folder you are in, if it has one, else the one
    that runs on the embedded release. Example:

        fdpbench new mystudy
        cd mystudy
        dvc repro

    With data of your own alone:

        fdpbench new mylab --empty
        cd mylab
        fdpbench describe ~/data/mylab --add
        fdpbench link mylab ~/data/mylab --runs majority,ststnet
        dvc repro
    """
    from fdpbench.bench.plan.study import lay_out

    with command("new"):
        shared = lay_out(folder, profile, again=again, alone=alone, empty=empty)
        output.print(f"{folder}: a study" + (f", which shares {', '.join(shared)}" if shared else ""), markup=False)
        data = "fdpbench describe DIR --add (your own) or fdpbench link RELEASE DIR (a published release)"
        if empty:
            output.print(f"Next: cd {folder}; add data by {data}; then dvc repro", markup=False)
        else:
            output.print(f"Next: cd {folder} && dvc repro", markup=False)
            output.print(f"There: data of yours by {data}", markup=False)


@app.command(rich_help_panel="Set up")
def part(
    kept: Annotated[Path, typer.Argument(help="Folder of finished runs, as `fdpbench keep` writes it.")],
    runs: Annotated[list[str] | None, typer.Argument(help="Runs to do; by default all that params.yaml lists.")] = None,
) -> None:
    """Do some runs of a study, and take up those that are finished: `make baselines RUNS="run-a run-b"`.

    Says of each run in a line what will be done with it, and takes off params.yaml what is neither named nor finished.
    Finished predictions are taken up only if code, settings, data and device are those that they were made of. Where
    they are not, nothing is done until you name the run, to train it again, or delete its file, to do without it. Run
    `dvc repro task init` before, and `dvc repro` after it.
    """
    from fdpbench.bench.plan.part import take_up

    with command("part"), every_problem("part"):
        for line in take_up(kept, runs or ()):
            output.print(line, markup=False)


@app.command(rich_help_panel="Care")
def keep(
    folder: Annotated[Path, typer.Argument(help="Where to write a file for each run.")] = Path("results/runs"),
) -> None:
    """Keep the finished runs of a study as files that can be committed, for other clones to take up.

    A file holds a run's predictions with all that they were made of, loss curves, and of generated images those that
    are shown. Needs `dvc repro` to have run.
    """
    from fdpbench.bench.plan.ensembles import evaluated
    from fdpbench.bench.report.kept import keep_runs

    with command("keep"):
        files = keep_runs(evaluated(), folder)
        size = sum(path.stat().st_size for path in files) / 1e6
        output.print(f"keep: {len(files)} runs in {folder}, {size:.1f} MB", markup=False)


@app.command(rich_help_panel="Care")
def repair() -> None:
    """Drop dvc.lock and .dvc/tmp/rwlock where a kill left them empty or cut short; `make repro` does so first.

    DVC refuses to start on such a file. Without it `dvc repro` runs again, and takes from its run cache what
    has not changed. Says what it dropped; a file that is whole is left alone.
    """
    from fdpbench.prep.runtime.repair import repair as run

    with command("repair"):
        for line in run():
            output.print(f"repair: {line}", markup=False)


@app.command(rich_help_panel="Care")
def verify(
    against: Annotated[
        str, typer.Option(help="A git revision, or a file like dvc.lock, whose outputs are expected.")
    ] = "HEAD",
) -> None:
    """Compare what this machine made with the committed results: identical, or which stage differs first.

    Looks at the hashes that dvc.lock records of every output, and at results/metrics.json; run it after `dvc repro`
    (`make verify` does both). The exit code is 1 if an output differs or is missing.
    """
    from fdpbench.bench.report.verify import verify as run
    from fdpbench.bench.report.verify import verify_lines

    with command("verify"):
        found = run(against)
        for line in verify_lines(found, against):
            output.out(line)
        if not found.identical:
            raise typer.Exit(1)
