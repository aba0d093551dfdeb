"""A search: a model, its space, the tuning data, and all that its trials depend on, by which its journal is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import arithmetic
from fdpbench.bench.plan.closure import closure, version_of
from fdpbench.bench.plan.params import load_tasks, load_train
from fdpbench.bench.plan.recipes import errors_of_settings, merged_settings
from fdpbench.bench.train.seeds import seed_of
from fdpbench.bench.train.settings import Run, RunEntry
from fdpbench.bench.tune.data import TuneError, TuningData, hash_clips
from fdpbench.bench.tune.spaces import Space, own_values, settings_of, space_of
from fdpbench.models.common.lookup import source_of
from fdpbench.models.common.registry import ModelInfo, UnknownModelError, list_models, model_info
from fdpbench.prep.settings.problems import near
from fdpbench.prep.settings.task import TaskParams

__all__ = [
    "STARTUP",
    "UNPRUNED",
    "Search",
    "check_task_gives",
    "differing",
    "known_model",
    "make_search",
]

# How it searches. A journal made otherwise is not continued.
STARTUP = 10  # trials drawn at random, the model's own among them, before the estimator of densities (TPE) draws
UNPRUNED = 5  # finished trials before one is stopped whose UF1 is below the median after as many folds

METHOD = {"sampler": "TPE", "startup": STARTUP, "pruner": "median", "unpruned": UNPRUNED}

# What a journal's trials depend on, and how a message names it; in the order in which differences are told.
PARTS = {
    "model": "model",
    "task": "task",
    "part": "part of the task",
    "clips": "clips",
    "inputs": "input data",
    "task_settings": "settings of the task",
    "folds": "number of folds",
    "space": "search space",
    "settings": "own settings of the model",
    "train": "section train of params.yaml",
    "hardware": "device, precision or arithmetic",
    "method": "way to search",
    "code": "code",
    "versions": "package versions",
}


@dataclass(frozen=True)
class Search:
    """What is searched, and where.

    Attributes
    ----------
    run
        The model on the task with its own settings.
    data
        The tuning data.
    space
        The search space.
    device, devices
        Where networks are trained: ``cpu`` or ``cuda``, and how many there are.
    made_of
        All that a trial depends on beside its values (`PARTS`), as JSON holds it.
    """

    run: Run
    data: TuningData
    space: Space
    device: str
    devices: int
    made_of: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the search, for messages and scratch."""
        return f"{self.run.model.name} on {self.data.task}, {self.data.part}"

    @property
    def own(self) -> dict[str, Any]:
        """The model's own values."""
        return own_values(self.run.model, self.run.settings, self.space)

    def with_values(self, values: Mapping[str, Any]) -> Run:
        """The run with values of the space in place of its own."""
        layers = {"own": self.run.settings.model_dump(), "trial": settings_of(values)}
        return replace(self.run, settings=merged_settings(self.run.entry.model, layers))

    def seed(self, what: str, number: int = 0) -> int:
        """Seed of a fold within, or of what is drawn for a trial: by names, whatever was done before."""
        name = f"tune/{self.data.part}/{what}"
        return seed_of(self.run.train.seed, self.data.task, self.run.model.name, name, number)


def known_model(reference: str) -> ModelInfo:
    """What a model is.

    Raises
    ------
    TuneError
        If there is no such model; the message names the one that may have been meant.
    """
    try:
        return model_info(reference)
    except UnknownModelError as error:
        raise TuneError(f"{error}{near(reference, list_models())}") from None


def check_task_gives(model: ModelInfo, task: str, params: dict[str, Any]) -> TaskParams:
    """The settings of a task that gives all that a model reads.

    Raises
    ------
    TuneError
        If params.yaml lists no such task, or the task lacks an input.
    """
    tasks = load_tasks(params)
    if task not in tasks:
        raise TuneError(f"--task: params.yaml has no task {task!r}{near(task, tasks)}; tasks: {', '.join(tasks)}")
    missing = [name for name in (*model.inputs, *model.targets) if name not in tasks[task].inputs]
    if missing:
        gives = ", ".join(tasks[task].inputs)
        raise TuneError(f"--task: {model.name} reads {', '.join(missing)}, but task {task} gives {gives}")
    return tasks[task]


def make_search(reference: str, data: TuningData, params: dict[str, Any]) -> Search:
    """A search for settings of a model.

    Parameters
    ----------
    reference
        The model, as a run names it.
    data
        The tuning data.
    params
        What `read_params` gave: tasks, section ``train``, and ``options`` of the model, which are its own settings
        where they differ from its recipe.

    Raises
    ------
    TuneError
        If there is nothing to tune.
    ValueError
        If the model's own settings in params.yaml are wrong.
    """
    model = known_model(reference)
    task = check_task_gives(model, data.task, params)
    layers = {f"options.{reference}": params["options"].get(reference, {})}
    for error in errors_of_settings(f"options.{reference}", reference, layers):
        raise error
    settings = merged_settings(reference, layers)
    space = space_of(model, settings)
    if not space:
        raise TuneError(
            f"{model.name}: nothing to tune: it is fitted at once, and bench/tune/spaces.py has no option of it"
        )
    train = load_train(params).model_copy(update={"repetitions": 1})
    entry = RunEntry(task=data.task, model=reference)
    run = Run(f"tune-{model.name}", data.task, task, entry, model, settings, train)
    device, devices, precision = _hardware(run)
    code = closure("fdpbench.arithmetic", "fdpbench.bench.tune.fold", source_of(reference))
    made_of = {
        "model": model.name,
        "task": data.task,
        "part": data.part,
        "clips": hash_clips(data, None),
        "inputs": hash_clips(data, tuple(dict.fromkeys((*model.inputs, *model.targets)))),
        "task_settings": task.model_dump(),
        "folds": len(data.folds),
        "space": {name: dimension.described() for name, dimension in space.items()},
        "settings": settings.model_dump(),
        "train": train.model_dump(exclude={"repetitions", "device", "precision"}),
        "hardware": [device, precision, arithmetic()],
        "method": METHOD,
        "code": code.hashes(),
        "versions": code.versions() | {"optuna": version_of("optuna")},
    }
    return Search(run, data, space, device, devices, json.loads(json.dumps(made_of)))


def differing(place: Path, stored: Any, now: Mapping[str, Any]) -> str:
    """What sets the trials of a journal apart from those that would be made now; empty if nothing does.

    Parameters
    ----------
    place
        The journal, for the message.
    stored, now
        `Search.made_of` of the journal and of now.
    """
    stored = stored if isinstance(stored, dict) else {}
    for part, words in PARTS.items():
        before, after = stored.get(part), now[part]
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            detail = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        else:
            detail = f"{_short(before)}, now {_short(after)}"
        return (
            f"{place}: its trials were made with other {words} ({detail}) and cannot be continued; name "
            f"another --folder, or delete {place.parent} to begin anew"
        )
    return ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _hardware(run: Run) -> tuple[str, int, str]:
    """Device, number of devices and precision; estimators are fitted on the CPU."""
    if run.model.kind == "estimator":
        return "cpu", 1, "float64"
    import torch

    from fdpbench.bench.train.step import resolve_device, resolve_precision

    device = resolve_device(run.train.device)
    return device, torch.cuda.device_count() if device == "cuda" else 1, resolve_precision(run.train.precision, device)
