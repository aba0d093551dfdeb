"""Progress of training: which folds, or repetitions, are at work, their epoch and loss, and the time that is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fdpbench.prep.runtime.fleet import LargestFleet, fleet_text
from fdpbench.prep.runtime.progress import (
    LINE_EVERY,
    FleetColumn,
    LeftColumn,
    console,
    duration,
    left_text,
    workers_now,
)
from fdpbench.prep.runtime.time_left import ChangingTimeLeft
from fdpbench.prep.runtime.units import Unit

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """A bar for the run and a line for each unit at work; plain lines where there is no terminal.

    Parameters
    ----------
    run
        Name of the run.
    total, done
        Units in all, and those finished before.
    workers
        How many units are trained at a time on this machine.
    unit
        What a unit is called.
    """

    def __init__(self, run: str, total: int, done: int, workers: int = 1, unit: str = "fold") -> None:
        self.run, self.total, self.done, self._workers = run, total, done, workers
        self.unit = unit
        self._counted = f"{total} {unit}" + "s" * (total != 1)
        self._start = self._last = time.monotonic()
        self._left: ChangingTimeLeft | None = None  # until the first report tells whether there are epochs
        self._share: dict[str, float] = {}  # of each unit at work, what part of it is done
        self._new = 0
        self._largest = LargestFleet()
        self._tasks: dict[str, Any] = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Progress(
            *columns, TimeElapsedColumn(), FleetColumn(), LeftColumn(), console=console, transient=True
        )

    def __enter__(self) -> TrainingProgress:
        if self.done:
            console.print(f"train {self.run}: going on, {self.done} of {self._counted} were finished before")
        if console.is_terminal:
            self._bar.start()
            self._tasks[""] = self._bar.add_task(f"train {self.run}", total=self.total, completed=self.done, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is None:
            took = duration(time.monotonic() - self._start)
            console.print(f"train {self.run}: {self._counted} in {took}{self._largest.text(', on ')}")

    def report(self, unit: Unit, message: dict[str, Any]) -> None:
        """Take a worker's message: epoch, epochs, loss."""
        self._share[unit.name] = message["epoch"] / message["epochs"]
        self._measure()
        text = f"loss {message['loss']:.4f}"
        if console.is_terminal:
            if unit.name not in self._tasks:
                self._tasks[unit.name] = self._bar.add_task(
                    f"  {self.unit} {unit.name}", total=message["epochs"], text=text
                )
            self._bar.update(self._tasks[unit.name], completed=message["epoch"], total=message["epochs"], text=text)
            self._bar.update(self._tasks[""], left=self._left)
        elif time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            console.print(
                f"train {self.run}: {self.done} of {self._counted}; {self.unit} {unit.name} "
                f"epoch {message['epoch']}/{message['epochs']} {text}{fleet_text('; on ')}"
                f"{left_text(self._left, '; ')}"
            )

    def finished(self, name: str) -> None:
        """Count a finished unit."""
        self.done += 1
        self._new += 1
        self._largest.look()
        self._share.pop(name, None)
        self._measure()
        if console.is_terminal:
            if name in self._tasks:
                self._bar.remove_task(self._tasks.pop(name))
            self._bar.update(self._tasks[""], completed=self.done, left=self._left)

    def _measure(self) -> None:
        """Take the time of what is done."""
        if self._left is None:
            left = self.total - self.done + self._new
            self._left = ChangingTimeLeft(left, self._workers, 0.25 if self._share else 1.0, self._start)
        at_work = [1 - share for share in self._share.values()]
        done = self._new + sum(self._share.values())
        self._left.report(time.monotonic(), done, workers_now(self._workers), at_work)
