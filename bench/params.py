"""The sections of params.yaml that training and evaluation read, and how a run's settings come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.protocols import Faults, Protocol
from models.registry import ModelInfo, check_options, list_models, model_info
from prep.params import NAME, ParamsError, Section, TaskParams, read_params, section

__all__ = [
    "ModelSettings",
    "Run",
    "RunEntry",
    "TrainParams",
    "changes_of",
    "load_run",
    "load_runs",
    "load_tasks",
    "load_train",
    "run_names",
]


class TrainParams(Section):
    """What all runs share."""

    seed: int = Field(ge=0, description="base seed; each fold's own is a hash of it, task, model, fold, repetition")
    repetitions: int = Field(ge=1, description="how often each run is trained, each time with other seeds")
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: cuda if there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="auto: bfloat16 autocast on cuda, float32 on the CPU"
    )
    deterministic: bool = Field(
        description="true: the same bytes each time; false: on cuda the quickest algorithms, whose sums vary"
    )


class ModelSettings(Section):
    """How one model is trained. The first four are for models trained by gradient descent alone."""

    epochs: int | None = Field(default=None, ge=1, description="passes over the training set, fixed")
    batch_size: int | None = Field(default=None, ge=2, description="clips in a batch")
    lr: float | None = Field(default=None, gt=0, description="Adam's learning rate")
    weight_decay: float | None = Field(default=None, ge=0, description="Adam's L2 penalty")
    stack: int | None = Field(
        default=None, ge=2, description="folds trained together, in order of subject; absent: each alone"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="the model's own options")


class RunEntry(Section):
    """A line of the run list: a task, a model, and settings of this run alone."""

    task: str
    model: str
    protocol: Protocol = Field(
        default="honest",
        description="honest: fixed epochs; inner: epochs chosen on held-out training subjects; test_selected: "
        "the epoch that does best on the test subject",
    )
    faults: Faults = Field(default=Faults(), description="faults of the released code to rebuild")
    table: str | None = Field(
        default=None,
        pattern=NAME,
        description="prints the run in a table of this name beside the task's own; absent: in the task's own",
    )
    set: dict[str, Any] = Field(default_factory=dict, description="overrides of options.<model>")

    @model_validator(mode="after")
    def _named(self) -> RunEntry:
        if not self.task or not self.model:
            raise ValueError("a run needs a task and a model")
        return self


@dataclass(frozen=True)
class Run:
    """A run with everything it needs, checked."""

    name: str
    task: str
    task_params: TaskParams
    entry: RunEntry
    model: ModelInfo
    settings: ModelSettings
    train: TrainParams


def load_tasks(params: dict[str, Any] | None = None) -> dict[str, TaskParams]:
    """All tasks of params.yaml."""
    params = read_params() if params is None else params
    return {name: section(TaskParams, entry, f"tasks.{name}") for name, entry in params["tasks"].items()}


def run_names(params: dict[str, Any] | None = None) -> dict[str, RunEntry]:
    """Names of the listed runs with their entries, without a look at tasks or models."""
    params = read_params() if params is None else params
    if not params["runs"]:
        raise ParamsError("params.yaml: runs is empty; list at least one run")
    runs = {name: section(RunEntry, entry, f"runs.{name}") for name, entry in params["runs"].items()}
    for name, entry in runs.items():
        if entry.protocol == "test_selected" and "test_selected" not in name:
            raise ParamsError(
                f"runs.{name}: a run of protocol test_selected carries that word in its name, so that no figure of it "
                f"is ever read without: call it {name}-test_selected"
            )
        if entry.protocol != "test_selected" and "test_selected" in name:
            raise ParamsError(f"runs.{name}: its name says test_selected, its protocol is {entry.protocol}; change one")
    return runs


def load_run(name: str, params: dict[str, Any] | None = None) -> Run:
    """One run, checked against its task and its model.

    Raises
    ------
    ParamsError
        If the run is not listed, its task or settings are missing, a key is unknown, or the task
        does not give an input that the model needs.
    models.registry.UnknownModelError, models.registry.ModelOptionError
        If the model or one of its options does not exist.
    """
    params = read_params() if params is None else params
    runs, tasks = run_names(params), load_tasks(params)
    if name not in runs:
        raise ParamsError(f"params.yaml: no run {name!r}; runs: {', '.join(runs)}")
    entry = runs[name]
    if entry.task not in tasks:
        raise ParamsError(f"runs.{name}.task: no task {entry.task!r}; tasks: {', '.join(tasks)}")
    task = tasks[entry.task]
    model = model_info(entry.model)
    missing = [needed for needed in (*model.inputs, *model.targets) if needed not in task.inputs]
    if missing:
        raise ParamsError(
            f"runs.{name}: model {entry.model!r} needs {', '.join(missing)}, but task {entry.task!r} gives "
            f"{', '.join(task.inputs)}; choose another model or task"
        )
    _check_protocol(name, entry, model)
    return Run(name, entry.task, task, entry, model, _settings(name, entry, model, params), load_train(params))


def load_runs(params: dict[str, Any] | None = None) -> list[Run]:
    """All listed runs, each checked, and that their releases are named for DVC's stages."""
    params = read_params() if params is None else params
    for model in params["options"]:
        if model not in list_models():
            raise ParamsError(f"params.yaml: options.{model}: no such model; known models: {', '.join(list_models())}")
    runs = [load_run(name, params) for name in run_names(params)]
    listed = [*params["releases"], *params["flow_releases"]]
    for run in runs:
        for release in run.task_params.releases:
            if release not in listed:
                raise ParamsError(
                    f"runs.{run.name}: its task {run.task!r} needs release {release!r}; name it under releases "
                    "(image frames) or flow_releases (flow images) in params.yaml"
                )
    return runs


def _check_protocol(name: str, entry: RunEntry, model: ModelInfo) -> None:
    if model.kind == "estimator" and (entry.protocol != "honest" or entry.faults.frozen_batch_norm):
        raise ParamsError(f"runs.{name}: {entry.model} is fitted at once: it has no epoch to choose and no batch norm")
    if entry.faults.own_set_normalisation and (model.kind == "estimator" or model.scales_itself):
        how = "scales each frame by itself" if model.scales_itself else "reads its inputs as they are"
        raise ParamsError(f"runs.{name}: {entry.model} {how}: own_set_normalisation would change nothing")


def _check_stack(name: str, entry: RunEntry, model: ModelInfo) -> None:
    alone = f"set: {{stack: null}} in runs.{name} trains each fold alone"
    if not model.stackable:
        raise ParamsError(f"runs.{name}: {entry.model} cannot be stacked; take `stack` out of its options, or {alone}")
    if entry.protocol != "honest":
        raise ParamsError(f"runs.{name}: protocol {entry.protocol} chooses an epoch for each fold; {alone}")
    if entry.faults.frozen_batch_norm:
        raise ParamsError(f"runs.{name}: stacked folds cannot rebuild the fault frozen_batch_norm; {alone}")


def _settings(name: str, entry: RunEntry, model: ModelInfo, params: dict[str, Any]) -> ModelSettings:
    options = params["options"]
    if entry.model not in options:
        raise ParamsError(f"params.yaml: options.{entry.model} is missing; run {name!r} needs it")
    default = section(ModelSettings, options[entry.model], f"options.{entry.model}")
    override = section(ModelSettings, entry.set, f"runs.{name}.set")
    merged = default.model_dump() | override.model_dump(exclude_unset=True)
    merged["model"] = default.model | override.model
    settings = section(ModelSettings, merged, f"runs.{name}")
    if settings.stack:
        _check_stack(name, entry, model)
    recipe = {key: value for key, value in merged.items() if key not in ("model", "stack")}
    if model.kind == "module":
        absent = [key for key, value in recipe.items() if value is None]
        if absent:
            raise ParamsError(f"options.{entry.model}: missing {', '.join(absent)}; this model is trained in epochs")
    else:
        given = [key for key, value in recipe.items() if value is not None]
        if given:
            raise ParamsError(f"options.{entry.model}: {', '.join(given)} mean nothing to it; it is fitted at once")
    check_options(entry.model, settings.model)
    return settings


def changes_of(run: Run) -> str:
    """What a run sets that its model's options do not, as a table prints it: ``pooling learned, lr 0.001``.

    Who is stacked with whom is left out: it changes the rounding alone.
    """
    recipe = {key: value for key, value in run.entry.set.items() if key not in ("model", "stack")}
    return ", ".join(f"{key} {value}" for key, value in (run.entry.set.get("model", {}) | recipe).items())


def load_train(params: dict[str, Any] | None = None) -> TrainParams:
    """Section ``train`` of params.yaml."""
    params = read_params() if params is None else params
    return section(TrainParams, params["train"], "train")
