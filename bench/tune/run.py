"""`fdpbench tune`: the searches that a call asks for, one after the other, and what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdpbench.bench.plan.params import load_tasks, load_train
from fdpbench.bench.train.folds import Split
from fdpbench.bench.tune.data import WHOLE, TuneError, check_unreported, nested_data, whole_data
from fdpbench.bench.tune.journal import OWN, Trial, require_optuna
from fdpbench.bench.tune.loop import Budget, run_search
from fdpbench.bench.tune.progress import best_of, core_minutes
from fdpbench.bench.tune.results import BEST, PLOT, curve_of, draw_curves, pasted, write_files
from fdpbench.bench.tune.search import Search, check_task_gives, known_model, make_search
from fdpbench.models.common.registry import ModelInfo
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import folder_name
from fdpbench.prep.settings.params import read_params

__all__ = ["PLACE", "Tuned", "tune"]

PLACE = Path("artifacts/tuning")


@dataclass(frozen=True)
class Tuned:
    """A search whose budget is used: what it searched, its trials, and the folder of its files."""

    search: Search
    trials: list[Trial]
    folder: Path

    def lines(self) -> list[str]:
        """What it found, in words, with the settings to paste."""
        best, counted = best_of(self.trials), [trial for trial in self.trials if trial.counts]
        own = next((trial for trial in self.trials if trial.what == OWN and trial.uf1 is not None), None)
        pruned = sum(trial.state == "pruned" for trial in counted)
        said = [
            f"{self.search.name}: {len(counted)} trials ({pruned} pruned) in {core_minutes(self.trials):.1f} "
            f"core-minutes; tuning data: {self.search.data.where}"
        ]
        if best is not None and own is not None:
            said.append(f"UF1 on the tuning data: own recipe {own.uf1:.3f}, best {best.uf1:.3f} (trial {best.number})")
            said += pasted(best.settings).splitlines()
        return [*said, f"{self.folder / BEST}; all trials, record and plot beside it"]


def tune(
    reference: str,
    budget: Budget,
    *,
    task: str | None = None,
    whole: bool = False,
    split: Split = "subject",
    names: Sequence[str] = (),
    folds: int = 3,
    folder: Path | None = None,
    jobs: int = 1,
) -> list[Tuned]:
    """Search for settings of a model of the project in the working directory.

    Parameters
    ----------
    reference
        The model, as a run names it.
    budget
        Of each search.
    task
        Name of a task; by default the first of params.yaml that gives what the model reads.
    whole
        All subjects of the task are tuning data, which no run may report on; else those that outer folds train on.
    split, names
        The outer split, and the outer folds to search in: a search for each. None: all.
    folds
        Number of folds within the tuning data.
    folder
        Where to write: files of the one search, or a folder for each outer fold. By default a folder of `PLACE`.
    jobs
        Folds of a trial that are trained at a time.

    Raises
    ------
    TuneError
        If there is nothing to search, or a search cannot be continued.
    """
    require_optuna()
    model = known_model(reference)
    params = read_params()
    task = task or _first_task(model, params)
    check_task_gives(model, task, params)
    seed = load_train(params).seed
    root = folder or PLACE / folder_name(model.name) / task
    if whole:
        check_unreported(task, params)
        places = [(whole_data(task, folds, seed), folder or root / WHOLE)]
    else:
        places = [(data, root / data.part) for data in nested_data(task, split, names, folds, seed)]
    if len(places) > 1:
        console.print(
            f"tune {model.name}: {len(places)} searches, one for each outer fold, of {budget.minutes:g} minutes"
        )
    return [_searched(make_search(reference, data, params), place, budget, jobs) for data, place in places]


def _searched(search: Search, place: Path, budget: Budget, jobs: int) -> Tuned:
    trials = run_search(search, place, budget, jobs, lambda known: write_files(search, budget, known, place))
    draw_curves([curve_of(search.name, trials)], place / PLOT)
    return Tuned(search, trials, place)


def _first_task(model: ModelInfo, params: dict[str, Any]) -> str:
    """The first task of params.yaml that gives what a model reads."""
    for name in load_tasks(params):
        try:
            check_task_gives(model, name, params)
            return name
        except TuneError:
            continue
    raise TuneError(
        f"no task of params.yaml gives what {model.name} reads: {', '.join(model.inputs)}; name one by --task"
    )
