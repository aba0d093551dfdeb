"""The sections of params.yaml that training and evaluation read, and how a run's settings come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.protocols import Faults, Protocol
from models.registry import ModelInfo, UnknownModelError, check_options, list_models, model_info
from prep.params import NAME, ParamsError, Section, TaskParams, load_task, read_params, section

__all__ = [
    "ModelSettings",
    "Run",
    "RunEntry",
    "TrainParams",
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


# Names of tables beside those of the tasks in results/tables.
RESERVED = {"against_best", "chance", "confusion", "per_class", "per_subject", "perception", "published"}

RECIPE = ("epochs", "batch_size", "lr", "weight_decay")  # what every module needs


class ModelSettings(Section):
    """How one model is trained. All but ``model`` is for models trained by gradient descent alone."""

    epochs: int | None = Field(default=None, ge=1, description="passes over the training set, fixed")
    batch_size: int | None = Field(default=None, ge=2, description="clips in a batch")
    lr: float | None = Field(default=None, gt=0, description="Adam's learning rate")
    weight_decay: float | None = Field(default=None, ge=0, description="Adam's L2 penalty")
    objective: Literal["erm", "group_dro"] = Field(
        default="erm",
        description="erm: the mean loss of the clips; group_dro: the loss of the training subjects that do worst",
    )
    dro_step: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="with group_dro alone: step size of the subjects' weights"
    )
    stack: int | None = Field(
        default=None,
        ge=2,
        description="folds trained together, in order of subject, on a GPU as one network; absent: each alone",
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

    @property
    def model_options(self) -> dict[str, Any]:
        """All options of the model: those that are set, and the others' defaults."""
        return {**self.model.options, **self.settings.model}


def load_tasks(params: dict[str, Any] | None = None) -> dict[str, TaskParams]:
    """All tasks of params.yaml."""
    params = read_params() if params is None else params
    taken = sorted(RESERVED & set(params["tasks"]))
    if taken:
        raise ParamsError(f"params.yaml: tasks.{taken[0]}: a table of results has this name; name the task otherwise")
    return {name: load_task(name, params) for name in params["tasks"]}


def run_names(params: dict[str, Any] | None = None) -> dict[str, RunEntry]:
    """Names of the listed runs with their entries, those of hand-crafted features last; no look at tasks or models."""
    params = read_params() if params is None else params
    listed = {name: (key, entry) for key in ("runs", "feature_runs") for name, entry in params[key].items()}
    if not listed:
        raise ParamsError("params.yaml: runs is empty, and so is feature_runs; list at least one run")
    for name in params["feature_runs"]:
        if name in params["runs"]:
            raise ParamsError(f"params.yaml: {name} stands under runs and under feature_runs; names differ")
    runs = {name: section(RunEntry, entry, f"{key}.{name}") for name, (key, entry) in listed.items()}
    for name, entry in runs.items():
        key = listed[name][0]
        if entry.protocol == "test_selected" and "test_selected" not in name:
            raise ParamsError(
                f"{key}.{name}: a run of protocol test_selected carries that word in its name, so that no figure of it "
                f"is ever read without: call it {name}-test_selected"
            )
        if entry.protocol != "test_selected" and "test_selected" in name:
            raise ParamsError(
                f"{key}.{name}: its name says test_selected, its protocol is {entry.protocol}; change one"
            )
    return runs


def load_run(name: str, params: dict[str, Any] | None = None) -> Run:
    """One run, checked against its task and its model.

    Raises
    ------
    ParamsError
        If the run is not listed, or in the list for the other kind of model, its task or settings are missing,
        a key is unknown, or the task does not give an input that the model needs.
    models.registry.UnknownModelError, models.registry.ModelOptionError
        If the model or one of its options does not exist.
    """
    params = read_params() if params is None else params
    runs, tasks = run_names(params), load_tasks(params)
    if name not in runs:
        raise ParamsError(f"params.yaml: no run {name!r}; runs: {', '.join(runs)}")
    entry = runs[name]
    where = _where(name, params)
    if entry.task not in tasks:
        raise ParamsError(f"{where}.task: no task {entry.task!r}; tasks: {', '.join(tasks)}")
    task = tasks[entry.task]
    try:
        model = model_info(entry.model)
    except UnknownModelError as error:
        raise UnknownModelError(f"params.yaml: {where}.model: {error}") from None
    missing = [needed for needed in (*model.inputs, *model.targets) if needed not in task.inputs]
    if missing:
        raise ParamsError(
            f"{where}: model {entry.model!r} needs {', '.join(missing)}, but task {entry.task!r} gives "
            f"{', '.join(task.inputs)}; choose another model or task{_cure(entry.task, task, missing, params)}"
        )
    _check_list(where, entry, model)
    _check_protocol(where, entry, model)
    return Run(name, entry.task, task, entry, model, _settings(where, entry, model, params), load_train(params))


def load_runs(params: dict[str, Any] | None = None) -> list[Run]:
    """All listed runs, each checked, and that their releases are named for DVC's stages."""
    params = read_params() if params is None else params
    for model in params["options"]:
        if model not in list_models():
            raise ParamsError(f"params.yaml: options.{model}: no such model; known models: {', '.join(list_models())}")
    if not params["releases"]:
        raise ParamsError(
            "params.yaml: releases: none is named, and DVC's stages need one with image frames; `synthetic`, the "
            "embedded one, needs no licence, and the stage `gallery` draws it"
        )
    runs = [load_run(name, params) for name in run_names(params)]
    listed = [*params["releases"], *params["flow_releases"]]
    for run in runs:
        for release in run.task_params.releases:
            if release in params["flow_releases"] and run.task_params.needs_frames:
                raise ParamsError(
                    f"{_where(run.name, params)}: its task {run.task!r} asks for frames or apex frames, but release "
                    f"{release!r} has flow images alone; leave sampling, rank_pooling and apex out of the task"
                )
            if release not in listed:
                raise ParamsError(
                    f"{_where(run.name, params)}: its task {run.task!r} needs release {release!r}; name it under "
                    "releases (image frames) or flow_releases (flow images) in params.yaml"
                )
    return runs


def _where(name: str, params: dict[str, Any]) -> str:
    """A run's place in params.yaml."""
    return f"{'feature_runs' if name in params['feature_runs'] else 'runs'}.{name}"


def _check_list(where: str, entry: RunEntry, model: ModelInfo) -> None:
    """DVC's lists cannot be filtered, so that runs whose features are a stage have a list of their own."""
    listed, name = where.split(".")
    wanted = "feature_runs" if model.hand_crafted else "runs"
    if listed != wanted:
        what = "is fitted to hand-crafted features, computed once" if model.hand_crafted else "has no such features"
        raise ParamsError(f"{where}: {entry.model} {what}: move the line {name} from {listed} to {wanted}")


def _cure(name: str, task: TaskParams, missing: list[str], params: dict[str, Any]) -> str:
    """What to set so that a task gives what a model misses, where its releases can give that."""
    keys = [f"tasks.{name}.{key}: true" for key in ("apex", "landmarks") if key in missing]
    if not keys:
        return ""
    if any(release in params["flow_releases"] for release in task.releases):
        return "; flow images have no apex frame and no landmarks"
    return f", or set {' and '.join(keys)}" + (" and align.track: true" if "landmarks" in missing else "")


def _check_protocol(where: str, entry: RunEntry, model: ModelInfo) -> None:
    if model.kind == "estimator" and (entry.protocol != "honest" or entry.faults.frozen_batch_norm):
        raise ParamsError(f"{where}: {entry.model} is fitted at once: it has no epoch to choose and no batch norm")
    if entry.faults.own_set_normalisation and (model.kind == "estimator" or model.scales_itself):
        how = "scales each frame by itself" if model.scales_itself else "reads its inputs as they are"
        raise ParamsError(f"{where}: {entry.model} {how}: own_set_normalisation would change nothing")


def _check_stack(where: str, entry: RunEntry, model: ModelInfo, objective: str) -> None:
    alone = f"set: {{stack: null}} in {where} trains each fold alone"
    if not model.stackable:
        raise ParamsError(f"{where}: {entry.model} cannot be stacked; take `stack` out of its options, or {alone}")
    if entry.protocol != "honest":
        raise ParamsError(f"{where}: protocol {entry.protocol} chooses an epoch for each fold; {alone}")
    if entry.faults.frozen_batch_norm:
        raise ParamsError(f"{where}: stacked folds cannot rebuild the fault frozen_batch_norm; {alone}")
    if objective != "erm":
        raise ParamsError(f"{where}: stacked folds are trained by the mean loss alone, not by {objective}; {alone}")


def _settings(where: str, entry: RunEntry, model: ModelInfo, params: dict[str, Any]) -> ModelSettings:
    options = params["options"]
    if entry.model not in options:
        raise ParamsError(f"params.yaml: options.{entry.model} is missing; {where} needs it")
    default = section(ModelSettings, options[entry.model], f"options.{entry.model}")
    override = section(ModelSettings, entry.set, f"{where}.set")
    merged = default.model_dump() | override.model_dump(exclude_unset=True)
    merged["model"] = default.model | override.model
    settings = section(ModelSettings, merged, where)
    if settings.stack:
        _check_stack(where, entry, model, settings.objective)
    if model.kind == "module":
        absent = [key for key in RECIPE if merged[key] is None]
        if absent:
            raise ParamsError(f"options.{entry.model}: missing {', '.join(absent)}; this model is trained in epochs")
        if (settings.dro_step is None) == (settings.objective == "group_dro"):
            wanted = (
                "needs dro_step, such as 0.01"
                if settings.dro_step is None
                else "takes no dro_step: leave it out, or set it to null here"
            )
            raise ParamsError(f"{where}: objective {settings.objective} {wanted}")
    else:
        unset = ModelSettings().model_dump()
        given = [key for key, value in merged.items() if key != "model" and value != unset[key]]
        if given:
            raise ParamsError(f"options.{entry.model}: {', '.join(given)} mean nothing to it; it is fitted at once")
    check_options(entry.model, settings.model)
    return settings


def load_train(params: dict[str, Any] | None = None) -> TrainParams:
    """Section ``train`` of params.yaml."""
    params = read_params() if params is None else params
    return section(TrainParams, params["train"], "train")
