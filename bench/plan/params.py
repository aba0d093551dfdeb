"""The sections of params.yaml that training and evaluation read, and how a run's settings come together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import field_validator

from fdpbench.bench.plan.pretraining import check_init, fine_tuning_of, options_of, start_of
from fdpbench.bench.plan.recipes import caught, errors_of_settings, known_model, merged_settings
from fdpbench.bench.train.settings import Run, RunEntry, TrainParams
from fdpbench.models.common.registry import ModelInfo, UnknownModelError, model_info
from fdpbench.prep.index.class_maps import classes_named
from fdpbench.prep.releases import RELEASES
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.params import check_task, read_params
from fdpbench.prep.settings.problems import ParamsError, Problems, near
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.settings.yaml_edit import inline
from fdpbench.prep.task.inputs import INPUTS

__all__ = [
    "check_run_name",
    "errors_of_run",
    "load_run",
    "load_tasks",
    "load_train",
    "make_run",
    "parse_task",
    "run_names",
]

# Names of tables beside those of the tasks in results/tables.
RESERVED = {"against_best", "chance", "confusion", "per_class", "per_subject", "perception", "published"}


class _TaskEntry(TaskParams):
    """A task as params.yaml has it, whose classes may be the name of a class map."""

    @field_validator("classes", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return classes_named(value) if isinstance(value, str) else value


def parse_task(name: str, content: Any) -> TaskParams:
    """A task by itself, its classes written out.

    Raises
    ------
    ParamsError
        If its entry is wrong, or a table of results has its name.
    """
    if name in RESERVED:
        raise ParamsError(f"params.yaml: tasks.{name}: a table of results has this name; name the task otherwise")
    return TaskParams.model_validate(section(_TaskEntry, content, f"tasks.{name}").model_dump())


def load_tasks(params: dict[str, Any] | None = None) -> dict[str, TaskParams]:
    """All tasks of params.yaml; what is wrong with any of them is said at once."""
    params = read_params() if params is None else params
    problems, tasks = Problems(), {}
    for name, content in params["tasks"].items():
        with problems.gather():
            tasks[name] = parse_task(name, content)
            if tasks[name].landmarks:
                check_task(name, tasks[name], section(AlignParams, params["align"], "align"))
    problems.refuse()
    return tasks


def run_names(params: dict[str, Any] | None = None) -> dict[str, RunEntry]:
    """Names of the listed runs with their entries; no look at tasks or models."""
    params = read_params() if params is None else params
    problems, runs = Problems(), {}
    if not params["runs"]:
        raise ParamsError("params.yaml: runs is empty; list at least one run")
    for name, content in params["runs"].items():
        with problems.gather():
            entry = section(RunEntry, content, f"runs.{name}")
            if entry.members:
                raise ParamsError(
                    f"params.yaml: runs.{name}.members: an ensemble is no run; list it under ensembles: "
                    f"{inline({name: entry.members})}"
                )
            check_run_name(f"runs.{name}", name, entry)
            runs[name] = entry
    problems.refuse()
    return runs


def load_run(name: str, params: dict[str, Any] | None = None) -> Run:
    """One run, checked against its task and its model.

    Raises
    ------
    ParamsError
        If the run is not listed, its task is missing, a key is unknown, or the task does not give an input that the
        model needs.
    models.common.registry.UnknownModelError, models.common.registry.ModelOptionError
        If the model or one of its options does not exist.
    """
    params = read_params() if params is None else params
    runs, tasks = run_names(params), load_tasks(params)
    if name not in runs:
        raise ParamsError(f"params.yaml: no run {name!r}{near(name, runs)}; runs: {', '.join(runs)}")
    for error in errors_of_run(name, runs[name], tasks, params):
        raise error
    return make_run(name, runs[name], tasks[runs[name].task], params)


def make_run(name: str, entry: RunEntry, task: TaskParams, params: dict[str, Any]) -> Run:
    """A run in which `errors_of_run` finds none."""
    settings = merged_settings(entry.model, _layers(name, entry, params))
    start = start_of(entry, params)
    return Run(name, entry.task, task, entry, model_info(entry.model), settings, load_train(params), start)


def errors_of_run(
    name: str, entry: RunEntry, tasks: Mapping[str, TaskParams], params: dict[str, Any]
) -> Iterator[ValueError]:
    """What is wrong with a run, each error by itself.

    Parameters
    ----------
    name, entry
        The run, as `run_names` gives it.
    tasks
        The tasks; of one that params.yaml has, but not these, nothing is said: its own error tells.
    params
        What `read_params` gave.
    """
    where = f"runs.{name}"
    task = tasks.get(entry.task)
    if entry.task not in params["tasks"]:
        known = params["tasks"]
        yield ParamsError(
            f"params.yaml: {where}.task: no task {entry.task!r}{near(entry.task, known)}; tasks: {', '.join(known)}"
        )
    try:
        model = known_model(f"{where}.model", entry.model)
    except UnknownModelError as error:
        yield error
        return
    if task is not None:
        yield from caught(_check_inputs, where, entry, task, model)
        yield from caught(_check_places, where, entry, task, model, params)
    yield from caught(_check_protocol, where, entry, model)
    before = list(caught(check_init, name, entry, model, task, params))
    yield from before
    if before:
        return
    yield from errors_of_settings(where, entry.model, _layers(name, entry, params))


def check_run_name(where: str, name: str, entry: RunEntry) -> None:
    """Refuse a name that does not say what its protocol is.

    Parameters
    ----------
    where
        Its place in params.yaml.
    name, entry
        A run, or an ensemble.
    """
    if entry.protocol == "test_selected" and "test_selected" not in name:
        raise ParamsError(
            f"{where}: a run of protocol test_selected carries that word in its name, so that no figure of it "
            f"is ever read without: call it {name}-test_selected"
        )
    if entry.protocol != "test_selected" and "test_selected" in name:
        raise ParamsError(f"{where}: its name says test_selected, its protocol is {entry.protocol}; change one")


def _check_inputs(where: str, entry: RunEntry, task: TaskParams, model: ModelInfo) -> None:
    missing = [needed for needed in (*model.inputs, *model.targets) if needed not in task.inputs]
    if missing:
        raise ParamsError(
            f"{where}: model {entry.model!r} needs {', '.join(missing)}, but task {entry.task!r} gives "
            f"{', '.join(task.inputs)}; choose another model or task{_cure(entry.task, task, missing)}"
        )


def _check_places(where: str, entry: RunEntry, task: TaskParams, model: ModelInfo, params: dict[str, Any]) -> None:
    """Refuse models that look at places of the face which only aligned crops have where they are."""
    of_frames = [name for name in task.releases if name in RELEASES and RELEASES[name].kind == "frames"]
    if model.needs_eyes and of_frames and params["align"].get("mode") == "given":
        raise ParamsError(
            f"{where}: model {entry.model!r} {model.needs_eyes}, and nobody knows where the eyes are in the "
            f"crops that {', '.join(of_frames)} came with (align.mode: given); choose another mode or model"
        )


def _cure(name: str, task: TaskParams, missing: list[str]) -> str:
    """What to set so that a task gives what a model misses, where its releases can give that."""
    of_frames = [needed for needed in missing if INPUTS[needed].needs_frames]
    if of_frames and any(release in RELEASES and RELEASES[release].kind == "flow" for release in task.releases):
        return f"; releases of flow images have no {' and no '.join(of_frames)}"
    return f", or set {' and '.join(dict.fromkeys(INPUTS[needed].cure(name) for needed in missing))}"


def _check_protocol(where: str, entry: RunEntry, model: ModelInfo) -> None:
    if model.kind == "estimator" and (entry.protocol != "honest" or entry.faults.frozen_batch_norm):
        raise ParamsError(f"{where}: {entry.model} is fitted at once: it has no epoch to choose and no batch norm")
    if entry.training_subjects is not None:
        _check_training_subjects(f"params.yaml: {where}.training_subjects", entry)
    if entry.faults.own_set_normalisation and (model.kind == "estimator" or model.scales_itself):
        how = "scales each frame by itself" if model.scales_itself else "reads its inputs as they are"
        raise ParamsError(f"{where}: {entry.model} {how}: own_set_normalisation would change nothing")


def _check_training_subjects(where: str, entry: RunEntry) -> None:
    if entry.protocol == "zero_shot":
        raise ParamsError(f"{where}: protocol zero_shot trains on no subject at all; leave it out")
    if entry.protocol == "inner" and entry.training_subjects == 1:
        raise ParamsError(f"{where}: protocol inner chooses the epoch on some of them and needs at least 2")
    if entry.faults.untested_subjects:
        raise ParamsError(
            f"{where}: every fold trains on faults.untested_subjects, which need not be drawn; leave one of both out"
        )


def _layers(name: str, entry: RunEntry, params: dict[str, Any]) -> dict[str, Any]:
    """What stands in place of the recipe of a run's model, by its place in params.yaml; the last word counts."""
    started: dict[str, Any] = {}
    if entry.init:
        layer = fine_tuning_of(model_info(entry.model)) | {"model": options_of(entry, params)}
        started = {f"runs.{name}.init": layer}
    return started | {f"options.{entry.model}": params["options"].get(entry.model, {}), f"runs.{name}.set": entry.set}


def load_train(params: dict[str, Any] | None = None) -> TrainParams:
    """Section ``train`` of params.yaml."""
    params = read_params() if params is None else params
    return section(TrainParams, params["train"], "train")
