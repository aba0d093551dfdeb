"""Progress of a search: the budget that is used, and the best UF1; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fdpbench.bench.tune.journal import OWN, Trial
from fdpbench.prep.runtime.progress import LINE_EVERY, console
from fdpbench.prep.runtime.workers import Unit

__all__ = ["SearchProgress", "best_of", "core_minutes"]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial of the highest UF1, of several the first; None if there is none."""
    finished = [trial for trial in trials if trial.uf1 is not None]
    return max(finished, key=lambda trial: (trial.uf1, -trial.number), default=None)


def core_minutes(trials: Sequence[Trial]) -> float:
    """Core-minutes of the trials that count."""
    return sum(trial.seconds for trial in trials if trial.counts) / 60


class SearchProgress:
    """A bar of the budget and a line for the trial at work, or a line for each trial, at most every ten seconds.

    Parameters
    ----------
    name
        Of the search.
    minutes
        The budget.
    trials
        Those of earlier calls.
    """

    def __init__(self, name: str, minutes: float, trials: Sequence[Trial]) -> None:
        self.name, self.minutes = name, minutes
        self._trials = list(trials)
        self._last = time.monotonic()
        self._task: Any = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> SearchProgress:
        done = sum(trial.counts for trial in self._trials)
        if done:
            console.print(f"tune {self.name}: going on, {self._said()}")
        if console.is_terminal:
            self._bar.start()
            self._task = self._bar.add_task(f"tune {self.name}", total=self.minutes, text=self._said())
            self._bar.update(self._task, completed=min(core_minutes(self._trials), self.minutes))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._bar.stop()

    def begin(self, trial: Trial) -> None:
        """Show that a trial is at work."""
        self._at_work = f"trial {trial.number}" + (f" ({OWN})" if trial.what == OWN else "")

    def report(self, unit: Unit, message: dict[str, Any]) -> None:
        """Take a worker's message: epoch, epochs, loss."""
        if self._task is not None:
            fold = unit.name.partition("-")[2]
            text = f"{self._said()}; {self._at_work}, {fold}, epoch {message['epoch']}/{message['epochs']}"
            self._bar.update(self._task, text=text)

    def end(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """Count a trial that is done."""
        self._trials = list(trials)
        if self._task is not None:
            self._bar.update(self._task, completed=min(core_minutes(trials), self.minutes), text=self._said())
        elif time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            score = f"UF1 {trial.uf1:.3f}" if trial.uf1 is not None else trial.state
            console.print(f"tune {self.name}: trial {trial.number} {score}; {self._said()}")

    def _said(self) -> str:
        best = best_of(self._trials)
        text = f"{sum(trial.counts for trial in self._trials)} trials, {core_minutes(self._trials):.1f} of "
        text += f"{self.minutes:g} core-minutes"
        return text + (f", best UF1 {best.uf1:.3f}" if best else "")
