"""The loop of a search: trials one after the other until the budget is used, each over the folds of the tuning data.

What a trial gives depends on its values, the data and the seed alone. Folds are reported in their order, so that which
trials are stopped, and what is drawn next, does not depend on the number of workers, nor on how often the search was
interrupted. With one worker no fold is begun that pruning may spare, and the process is kept from trial to trial; with
more, folds of one trial are trained beside each other, and time of those that turn out not to be needed is not counted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from fdpbench.bench.tune.data import TuneError
from fdpbench.bench.tune.fold import FoldWork, Outcome, pooled_uf1, read_outcomes, train_folds
from fdpbench.bench.tune.journal import JOURNAL, OWN, Journal, Trial
from fdpbench.bench.tune.progress import SearchProgress
from fdpbench.bench.tune.search import Search
from fdpbench.prep.runtime.progress import LINE_EVERY, console
from fdpbench.prep.runtime.scratch import Scratch, folder_name, key_of, open_scratch
from fdpbench.prep.runtime.workers import Unit, UnitError, run_units

__all__ = ["Budget", "run_search"]


@dataclass(frozen=True)
class Budget:
    """When a search ends, in all and not in each call: what is reached first.

    Attributes
    ----------
    minutes
        Core-minutes of trials that are done. The trial that passes them is finished.
    trials
        Number of trials that are done; None: any.
    """

    minutes: float
    trials: int | None = None

    def used(self, trials: Sequence[Trial]) -> bool:
        """Whether these trials use it up."""
        done = [trial for trial in trials if trial.counts]
        enough = self.trials is not None and len(done) >= self.trials
        return enough or sum(trial.seconds for trial in done) >= 60 * self.minutes


def run_search(
    search: Search,
    folder: Path,
    budget: Budget,
    jobs: int = 1,
    after: Callable[[list[Trial]], None] = lambda trials: None,
) -> list[Trial]:
    """Go on with a search until its budget is used.

    Parameters
    ----------
    search
        What is searched.
    folder
        Where its journal lies, or is begun.
    budget
        When it ends.
    jobs
        Folds of a trial that are trained at a time.
    after
        Called with all trials at the beginning, now and then, and at the end, whatever ends it.

    Returns
    -------
    All trials.

    Raises
    ------
    TuneError
        If the journal cannot be continued, or the model cannot be trained with its own settings.
    prep.runtime.workers.UnitError
        If a worker dies: the trial is tried again at the next call.
    """
    with open_scratch(folder_name(f"tune {search.name}"), key_of(**search.made_of)) as scratch:
        journal = Journal(folder / JOURNAL, search.run.model.name, search.space, search.made_of)
        for trial in journal.recover():
            console.print(f"tune {search.name}: trial {trial.number} was cut off; its values are tried again")
        after(journal.trials())
        try:
            with SearchProgress(search.name, budget.minutes, journal.trials()) as progress:
                _Loop(search, journal, scratch, budget, jobs, progress, after).run()
        finally:
            after(journal.trials())
        shutil.rmtree(scratch.folder, ignore_errors=True)  # folds of trials that are in the journal
        return journal.trials()


class _Loop:
    """Trials, and the units of work that they are made of."""

    def __init__(
        self,
        search: Search,
        journal: Journal,
        scratch: Scratch,
        budget: Budget,
        jobs: int,
        progress: SearchProgress,
        after: Callable[[list[Trial]], None],
    ) -> None:
        self.search, self.journal, self.scratch, self.budget = search, journal, scratch, budget
        self.progress, self.after, self._told = progress, after, time.monotonic()
        self.by_fold = not search.run.model.hand_crafted  # else a unit is all folds, whose features are computed once
        self.workers = min(jobs, len(search.data.folds)) if self.by_fold else 1
        self.current: _Current | None = None

    def run(self) -> None:
        while not self.budget.used(self.journal.trials()):
            try:
                self._go_on()
            except UnitError:
                self.journal.note_death()
                raise

    def _go_on(self) -> None:
        """Do a trial; with one worker, all trials."""
        done = run_units(self._units(), train_folds, self.scratch, self.workers, self.progress.report)
        with closing(cast(Generator[str], done)):
            for _ in done:
                if self.current is not None and self.current.look() and self.workers > 1:
                    break  # what is still at work is not needed
        if self.current is not None:
            self._end()

    def _units(self) -> Iterator[Unit]:
        """Units that are to be done, as workers become free."""
        while not self.budget.used(self.journal.trials()):
            trial = self.journal.ask(self.search.own, lambda done: self.search.seed("sampler", done))
            self.progress.begin(trial)
            self.current = _Current(self.search, self.journal, self.scratch, trial, self.by_fold)
            for unit in self.current.units():
                if self.current.look():
                    break
                if not self.scratch.has(unit.name):
                    yield unit
            if self.workers > 1:
                return  # the last folds are still at work
            self._end()

    def _end(self) -> None:
        assert self.current is not None
        self.current.look()
        trial = self.current.ended()
        self.current = None
        if trial.refused and trial.what == OWN:
            shutil.rmtree(self.scratch.folder, ignore_errors=True)  # what it says is to be found out anew
            raise TuneError(f"{self.search.run.model.name} cannot be trained with its own settings: {trial.refused}")
        self.journal.tell(trial)
        trials = self.journal.trials()
        self.progress.end(trial, trials)
        if time.monotonic() - self._told >= LINE_EVERY:  # not of each: cheap models have a thousand trials
            self._told = time.monotonic()
            self.after(trials)


class _Current:
    """The trial at work, and what came of its folds so far."""

    def __init__(self, search: Search, journal: Journal, scratch: Scratch, trial: Trial, by_fold: bool) -> None:
        self.search, self.journal, self.scratch, self.trial = search, journal, scratch, trial
        self.run = search.with_values(trial.settings)
        key = key_of(settings=dict(trial.settings))
        folds = search.data.folds
        groups = {fold.name: (fold,) for fold in folds} if by_fold else {"folds": folds}
        self.work = {f"{key}-{name}": group for name, group in groups.items()}
        self.outcomes: list[Outcome] = []
        self.pooled: list[float | None] = []
        self.stopped = False

    def units(self) -> Iterator[Unit]:
        """All units of work, in the order of folds."""
        data, search = self.search.data, self.search
        for name, group in self.work.items():
            folds = tuple((fold.name, *data.sides(fold), search.seed(fold.name)) for fold in group)
            yield Unit(name, FoldWork(self.run, data.folder, folds, data.classes, search.device, search.devices))

    def look(self) -> bool:
        """Take in what is finished, in the order of folds; whether the trial is over."""
        for name, group in self.work.items():
            known = {outcome.fold for outcome in self.outcomes}
            if self.stopped or group[-1].name in known:
                continue
            if not self.scratch.has(name):
                break
            for outcome in read_outcomes(self.scratch.unit(name)):
                if not self.stopped:
                    self._take(outcome)
        return self.stopped or len(self.outcomes) == len(self.search.data.folds)

    def _take(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.confusion is None:
            self.stopped = True
            return
        self.pooled.append(pooled_uf1([one.confusion for one in self.outcomes if one.confusion is not None]))
        stop = self.journal.report(len(self.outcomes) - 1, self.pooled[-1])
        self.stopped = stop and len(self.outcomes) < len(self.search.data.folds)

    def ended(self) -> Trial:
        """The trial, as it is to be told."""
        refused = self.outcomes[-1].refused
        uf1 = None if self.stopped else self.pooled[-1]
        return replace(
            self.trial,
            state="refused" if refused else "pruned" if self.stopped else "finished",
            uf1=uf1,
            pooled=tuple(self.pooled),
            by_fold=tuple(pooled_uf1([one.confusion]) for one in self.outcomes if one.confusion is not None),
            seconds=round(sum(outcome.seconds for outcome in self.outcomes), 3),
            refused=refused,
        )
