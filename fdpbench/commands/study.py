"""Profiles, repair, and comparison with committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import output
from fdpbench.prep.settings.params import PARAMS_FILE


@app.command(rich_help_panel="Care")
def profile(
    file: Annotated[Path, typer.Argument(help="A profile, such as params.full.yaml.")],
    params: Annotated[Path, typer.Option(help="The file whose other sections stay.")] = PARAMS_FILE,
) -> None:
    """Print params.yaml with the sections of a profile in place of its own; `make study` and others use it."""
    from fdpbench.prep.settings.profile import overlay

    with command("profile"):
        output.out(overlay(file, params), end="")


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
