"""Progress of a stage: a live bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["console", "duration", "output", "say_left_out", "track"]

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


def track(finished: Iterable[T], label: str, total: int, done: int = 0, what: str = "clips") -> Iterator[T]:
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
    """
    if done:
        console.print(f"{label}: going on, {done} of {total} {what} were finished before")
    start = time.monotonic()
    with _display(label, total, done, what) as advance:
        for count, item in enumerate(finished, start=1):
            advance(done + count, (time.monotonic() - start) / count * (total - done - count))
            yield item
    console.print(f"{label}: {total} {what} in {duration(time.monotonic() - start)}")


def say_left_out(label: str, rejected: list[dict[str, str]]) -> None:
    """Print how many clips were left out, by reason."""
    if rejected:
        reasons = ", ".join(
            f"{reason} {count}" for reason, count in sorted(Counter(r["reason"] for r in rejected).items())
        )
        console.print(f"{label}: left out {len(rejected)} ({reasons}), listed in rejected.parquet")


@contextmanager
def _display(label: str, total: int, done: int, what: str):  # type: ignore[no-untyped-def]
    if console.is_terminal:
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda count, left: bar.update(task, completed=count)
        return
    last = time.monotonic()

    def line(count: int, left: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            console.print(f"{label}: {count} of {total} {what}, about {duration(left)} left")

    yield line
