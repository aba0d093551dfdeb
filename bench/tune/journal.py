"""The journal of a search: Optuna's journal storage in one file, to which each event of a trial is added as a line.

The file is text, a JSON object a line: parameters with their ranges, UF1 after each fold, states, times of the day, and
random identifiers of the processes that wrote it; no path and no name of a machine or a user. Optuna reads it without
this project: ``optuna.load_study(study_name=MODEL, storage=JournalStorage(JournalFileBackend("journal.jsonl")))``.

Optuna is imported when a journal is opened, so that all else goes without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fdpbench.bench.tune.data import TuneError
from fdpbench.bench.tune.search import STARTUP, UNPRUNED, differing
from fdpbench.bench.tune.spaces import Choice, Dimension, Real, Space
from fdpbench.prep.runtime.durable import flush

__all__ = ["JOURNAL", "OWN", "Journal", "Trial", "require_optuna"]

JOURNAL = "journal.jsonl"
OWN, SAMPLED = "own recipe", "sampled"
MOST_DEATHS = 2  # times that a trial's worker may die before its settings are given up

State = Literal["finished", "pruned", "refused", "failed", "running", "waiting"]


@dataclass(frozen=True)
class Trial:
    """A trial, as the journal has it.

    Attributes
    ----------
    number
        Place in the journal, from 0 on.
    state
        ``finished``; ``pruned``, stopped after some folds; ``refused``, its settings cannot be trained; ``failed``, cut
        off; else not done yet.
    what
        `OWN`, or how its values came about.
    seed
        Of the sampler that drew its values; None of those that were given.
    again
        Number of the trial that was cut off and whose values these are.
    settings
        Values by name, as they were trained.
    uf1
        UF1 over the tuning data; None unless finished.
    pooled
        UF1 over the clips of the first folds together, after each fold; None where a class had no clip yet.
    by_fold
        UF1 of each fold by itself, likewise.
    seconds
        Core-seconds.
    refused
        Why its settings cannot be trained.
    """

    number: int
    state: State
    what: str
    seed: int | None = None
    again: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    uf1: float | None = None
    pooled: tuple[float | None, ...] = ()
    by_fold: tuple[float | None, ...] = ()
    seconds: float = 0.0
    refused: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is done, and counts towards the budget."""
        return self.state in ("finished", "pruned", "refused")


def require_optuna() -> Any:
    """Optuna's package.

    Raises
    ------
    TuneError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise TuneError(
            "Optuna is needed to tune and is not installed: pip install 'fdpbench[tune]', in a clone pip install -c "
            f"constraints.txt -e '.[tune]' ({error})"
        ) from None
    return optuna


class Journal:
    """Trials of a search, kept in a file. One process at a time may have it open (`bench.tune.loop` holds a lock).

    Parameters
    ----------
    path
        The file; begun if it is not there.
    name
        Of the study in it: the model's.
    space
        The search space.
    made_of
        What the trials depend on.

    Raises
    ------
    TuneError
        If Optuna is not installed, the file is damaged, or its trials depend on anything else.
    """

    def __init__(self, path: Path, name: str, space: Space, made_of: Mapping[str, Any]) -> None:
        self.path, self.space = path, space
        self._optuna = require_optuna()
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self._distributions = {key: _distribution(self._optuna, one) for key, one in space.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        with self._damage_told():
            storages = self._optuna.storages
            backend = storages.journal.JournalFileBackend(str(path), lock_obj=_Held())
            storage = storages.JournalStorage(backend)
            names = [study.study_name for study in storage.get_all_studies()]
        if names and names != [name]:
            raise TuneError(f"{path}: it is the journal of {', '.join(names)}, not of {name}; name another --folder")
        with self._damage_told():
            pruner = self._optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED)
            self._study = self._optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
            )
        if names and self.trials() and (other := differing(path, self._study.user_attrs.get("made_of"), made_of)):
            raise TuneError(other)
        if self._study.user_attrs.get("made_of") != made_of:
            self._study.set_user_attr("made_of", dict(made_of))
        self._asked: Any = None  # the trial at work

    def trials(self) -> list[Trial]:
        """All trials, in order."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def recover(self) -> list[Trial]:
        """Mark trials that were cut off as failed, and put their values in line to be tried again.

        Returns
        -------
        The trials that were cut off.
        """
        states, found = self._optuna.trial.TrialState, []
        for frozen in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            attrs = frozen.user_attrs
            if attrs.get("deaths", 0) >= MOST_DEATHS and attrs["what"] != OWN:
                self._study.tell(frozen.number, state=states.PRUNED)
                continue
            self._study.tell(frozen.number, state=states.FAIL)
            found.append(self._trial(frozen))
            if attrs.get("settings", {}).keys() == self.space.keys():  # else the next trial will draw the same
                kept = {key: attrs[key] for key in ("what", "seed", "deaths") if key in attrs}
                self._study.enqueue_trial(dict(attrs["settings"]), user_attrs=kept | {"again": frozen.number})
        return found

    def ask(self, own: Mapping[str, Any], seed: Callable[[int], int]) -> Trial:
        """Begin a trial: the first of all has the model's own values, then those that were cut off, then drawn ones.

        Parameters
        ----------
        own
            The model's own values.
        seed
            Seed of the sampler, by the number of trials that count: what is drawn depends on it and on the trials that
            are done, and not on how often the search was interrupted.
        """
        known = self.trials()
        if not any(trial.what == OWN and trial.state != "failed" for trial in known):
            self._study.enqueue_trial(dict(own), user_attrs={"what": OWN})
        drawn_by = seed(sum(trial.counts for trial in known))
        samplers = self._optuna.samplers
        self._study.sampler = samplers.TPESampler(seed=drawn_by, n_startup_trials=STARTUP, constant_liar=False)
        self._asked = self._study.ask(self._distributions)
        given = self._asked.user_attrs
        if "what" not in given:
            self._asked.set_user_attr("what", SAMPLED)
            self._asked.set_user_attr("seed", drawn_by)
        values = dict(own)
        if given.get("what") != OWN:
            values = {name: one.rounded(self._asked.params[name]) for name, one in self.space.items()}
        self._asked.set_user_attr("settings", values)
        return self.trials()[self._asked.number]

    def report(self, step: int, pooled: float | None) -> bool:
        """Note UF1 after a fold of the trial at work; whether the trial is to be stopped."""
        if pooled is None:  # a class has no clip in the folds so far
            return False
        self._asked.report(pooled, step)
        return bool(self._asked.should_prune()) and self._asked.user_attrs["what"] != OWN

    def note_death(self) -> None:
        """Note that a worker of the trial at work died."""
        self._asked.set_user_attr("deaths", self._asked.user_attrs.get("deaths", 0) + 1)

    def tell(self, trial: Trial) -> None:
        """End the trial at work: its state, UF1, folds and core-seconds."""
        assert trial.counts and trial.number == self._asked.number
        outcome = {"pooled": trial.pooled, "by_fold": trial.by_fold, "core_seconds": trial.seconds}
        self._asked.set_user_attr("outcome", outcome | {"refused": trial.refused})
        if trial.state == "finished":
            self._study.tell(trial.number, trial.uf1)
        else:  # one without any UF1 counts as the worst of those that were stopped
            self._study.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def _trial(self, frozen: Any) -> Trial:
        attrs, name = frozen.user_attrs, frozen.state.name
        outcome = attrs.get("outcome", {})
        refused = outcome.get("refused", "")
        if name == "PRUNED" and not outcome:
            refused = f"its worker died {attrs.get('deaths')} times"
        states = {"COMPLETE": "finished", "PRUNED": "refused" if refused else "pruned", "FAIL": "failed"}
        state: Any = states.get(name, name.lower())
        return Trial(
            frozen.number,
            state,
            attrs.get("what", SAMPLED),
            attrs.get("seed"),
            attrs.get("again"),
            attrs.get("settings", {}),
            frozen.value if name == "COMPLETE" else None,
            tuple(outcome.get("pooled", ())),
            tuple(outcome.get("by_fold", ())),
            outcome.get("core_seconds", 0.0),
            refused,
        )

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        """Whatever Optuna raises of lines that are none of its own is an error that names the file."""
        try:
            yield
        except Exception as error:
            raise TuneError(
                f"{self.path}: not a journal that Optuna can read ({type(error).__name__}: {error}); take it from git "
                "again, or delete it to begin anew"
            ) from None


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    of = optuna.distributions.FloatDistribution if isinstance(dimension, Real) else optuna.distributions.IntDistribution
    return of(dimension.low, dimension.high, log=dimension.log)


class _Held:
    """In place of Optuna's lock, a link beside the file that stays after a kill: the search holds a lock of its own."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> None:
    """Drop a last line that a kill cut short; check that all others are objects of JSON.

    Raises
    ------
    TuneError
        Naming the file and the line that is damaged.
    """
    content = path.read_bytes() if path.is_file() else b""
    whole, newline, rest = content.rpartition(b"\n")
    if rest:
        path.write_bytes(whole + newline)
        flush(path)
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise TuneError(f"{path}, line {number}: damaged; take the file from git again, or delete it to begin anew")
