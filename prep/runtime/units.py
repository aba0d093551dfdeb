"""Units of work: what a stage hands over to be built, and what the function that builds one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.disk import disk_fault

__all__ = ["Context", "Function", "Unit", "UnitError", "fault_of"]


class UnitError(RuntimeError):
    """A unit of work failed or its worker died; the message names the unit."""


@dataclass(frozen=True)
class Unit:
    """One unit of work: its name, unique in the stage, and what the function needs."""

    name: str
    payload: Any


@dataclass(frozen=True)
class Context:
    """What the function gets beside the payload: where to write, how to report, which worker it is."""

    folder: Path
    report: Callable[[dict[str, Any]], None]
    worker: int


Function = Callable[[Any, Context], None]


def fault_of(error: Exception, folder: Path) -> tuple[str, bool]:
    """What is said of a unit that raised.

    Parameters
    ----------
    error
        What it raised.
    folder
        Where it was writing.

    Returns
    -------
    A line, and whether the traceback says more than it: of a fault of the disk and of bad input the line says all.
    """
    of_disk = disk_fault(error, folder)
    return of_disk or f"{type(error).__name__}: {error}", of_disk is None and not isinstance(error, ValueError)
