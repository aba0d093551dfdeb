"""What every command shares: errors as one line, Ctrl-C, the number of workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from fdpbench.arithmetic import unpinned_notice
from fdpbench.prep.runtime.disk import disk_fault
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.workers import UnitError, available_cpus, end_with_parent
from fdpbench.prep.settings.problems import ParamsError

__all__ = ["Jobs", "command", "every_problem", "jobs_or_default"]

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        envvar="FDPBENCH_JOBS",
        min=1,
        help="Worker processes, one thread each. Default: one for each processor; on a cluster (FDPBENCH_CLUSTER) its "
        "nodes decide. Never changes a result.",
    ),
]


def jobs_or_default(jobs: int | None) -> int:
    """Return the number of workers asked for, or one for each processor."""
    return jobs or available_cpus()


@contextmanager
def command(name: str, *, resumes: bool = False) -> Iterator[None]:
    """Run the body of a command; turn an expected error into one line and exit code 1.

    One that `resumes` goes on where it was interrupted when it is run again, and says so.

    Expected errors are those whose message says what to do: ValueError and its subclasses, which
    every module of this project raises for bad input, and a failed unit of work. Anything else is a
    fault of the program and shows its traceback, but for faults of the disk, such as a full one (`prep.runtime.disk`).
    """
    end_with_parent(only_under_dvc=True)
    if notice := unpinned_notice():
        console.print(f"{name}: {notice}")
    try:
        yield
    except (ValueError, UnitError) as error:
        console.print(f"error {name}: " + " ".join(str(error).split()))
        sys.exit(1)
    except Exception as error:
        line = disk_fault(error)
        if line is None:
            raise
        console.print(f"error {name}: {line}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print(f"{name}: interrupted." + " What was finished is kept: run the same command to go on." * resumes)
        sys.exit(130)


@contextmanager
def every_problem(name: str) -> Iterator[None]:
    """Print each problem of params.yaml as a line of its own; exit code 1 if there are any."""
    try:
        yield
    except ParamsError as error:
        for problem in error.problems:
            console.print(f"error {name}: {' '.join(problem.split())}")
        sys.exit(1)
