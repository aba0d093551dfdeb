"""Progress of a stage: a live bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from fdpbench.prep.runtime.fleet import LargestFleet, fleet, fleet_text
from fdpbench.prep.runtime.time_left import ChangingTimeLeft

__all__ = [
    "FleetColumn",
    "LeftColumn",
    "console",
    "duration",
    "left_text",
    "output",
    "say_left_out",
    "track",
    "workers_now",
]

T = TypeVar("T")

# Progress and messages, whose text may hold brackets of file names; what was asked for goes to `output`.
console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
output = Console(highlight=False, soft_wrap=True)

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


def duration(seconds: float) -> str:
    """Seconds as a person reads them: ``45 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def workers_now(here: int) -> int:
    """How many units are worked on at a time: on a cluster by its workers, else by those of this machine."""
    now = fleet()
    return here if now is None else max(1, now.workers)


def left_text(left: ChangingTimeLeft | None, before: str = "") -> str:
    """``about 3 min 05 s left`` after some text; empty where nothing is known."""
    seconds = None if left is None else left.left(time.monotonic())
    return "" if seconds is None else f"{before}about {duration(seconds)} left"


class LeftColumn(ProgressColumn):
    """The time left of a bar's work, from the task's field ``left``: it runs on between two reports."""

    def render(self, task: Task) -> Text:
        """Text of the moment."""
        return Text(left_text(task.fields.get("left")), style="progress.remaining")


class FleetColumn(ProgressColumn):
    """Nodes and workers of a cluster beside the bar of a stage, where there is one."""

    def render(self, task: Task) -> Text:
        """Text of the moment."""
        return Text(fleet_text() if "left" in task.fields else "")


def track(
    finished: Iterable[T], label: str, total: int, done: int = 0, what: str = "clips", workers: int = 1
) -> Iterator[T]:
    """Pass through what is finished and show how far it has come.

    Parameters
    ----------
    finished
        Yields once for each finished unit.
    label
        Name of the stage.
    total
        Number of units in all.
    done
        Number of units already finished in an earlier, interrupted run.
    what
        What a unit is called.
    workers
        How many units are worked on at a time on this machine.
    """
    if done:
        console.print(f"{label}: going on, {done} of {total} {what} were finished before")
    start = time.monotonic()
    largest = LargestFleet()
    left = ChangingTimeLeft(total - done, workers, 1.0, start)
    with _display(label, total, done, what, left) as advance:
        for count, item in enumerate(finished, start=1):
            largest.look()
            left.report(time.monotonic(), count, workers_now(workers))
            advance(done + count)
            yield item
    console.print(f"{label}: {total} {what} in {duration(time.monotonic() - start)}{largest.text(', on ')}")


def say_left_out(label: str, rejected: list[dict[str, str]]) -> None:
    """Print how many clips were left out, by reason."""
    if rejected:
        reasons = ", ".join(
            f"{reason} {count}" for reason, count in sorted(Counter(r["reason"] for r in rejected).items())
        )
        console.print(f"{label}: left out {len(rejected)} ({reasons}), listed in rejected.parquet")


@contextmanager
def _display(label: str, total: int, done: int, what: str, left: ChangingTimeLeft) -> Iterator[Callable[[int], None]]:
    if console.is_terminal:
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn())
        with Progress(*columns, FleetColumn(), LeftColumn(), console=console, transient=True) as bar:
            task = bar.add_task(label, total=total, completed=done, left=left)
            yield lambda count: bar.update(task, completed=count)
        return
    last = time.monotonic()

    def line(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            console.print(f"{label}: {count} of {total} {what}{fleet_text(', on ')}{left_text(left, ', ')}")

    yield line
