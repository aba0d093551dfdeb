"""The command line `fdpbench`, to which the modules of this folder add their commands."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="fdpbench",
    help="Micro-expression recognition, from releases on disk to tables of results.\n\n"
    "`dvc repro` runs these commands in the right order and skips what is up to date; run one by hand to look at its "
    "messages. Everything is read from params.yaml and the folders of the project that you are in.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fdpbench {metadata.version('fdpbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
