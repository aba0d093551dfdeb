"""The sections of params.yaml that training and evaluation read, and how a run's settings come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry, TrainParams
from fdpbench.models.common.registry import (
    ModelInfo,
    ModelOptionError,
    UnknownModelError,
    check_options,
    file_options,
    list_models,
    model_info,
)
from fdpbench.prep.settings.params import load_task, read_params
from fdpbench.prep.settings.problems import ParamsError, Problems, near
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams

__all__ = [
    "WEIGHTS",
    "check_model_options",
    "errors_of_run",
    "load_run",
    "load_tasks",
    "load_train",
    "make_run",
    "parse_task",
    "run_names",
]

WEIGHTS = Path("weights")  # where files lie that options of models name: DVC looks there for changes


# Names of tables beside those of the tasks in results/tables.
RESERVED = {"against_best", "chance", "confusion", "per_class", "per_subject", "perception", "published"}

RECIPE = ("epochs", "batch_size", "lr", "weight_decay")  # what every module needs


def parse_task(name: str, content: Any) -> TaskParams:
    """A task by itself.

    Raises
    ------
    ParamsError
        If its entry is wrong, or a table of results has its name.
    """
    if name in RESERVED:
        raise ParamsError(f"params.yaml: tasks.{name}: a table of results has this name; name the task otherwise")
    return section(TaskParams, content, f"tasks.{name}")


def load_tasks(params: dict[str, Any] | None = None) -> dict[str, TaskParams]:
    """All tasks of params.yaml; what is wrong with any of them is said at once."""
    params = read_params() if params is None else params
    problems, tasks = Problems(), {}
    for name, content in params["tasks"].items():
        with problems.gather():
            parse_task(name, content)
            tasks[name] = load_task(name, params)
    problems.refuse()
    return tasks


def run_names(params: dict[str, Any] | None = None) -> dict[str, RunEntry]:
    """Names of the listed runs with their entries, those of hand-crafted features last; no look at tasks or models."""
    params = read_params() if params is None else params
    problems, runs = Problems(), {}
    if not params["runs"] and not params["feature_runs"]:
        raise ParamsError("params.yaml: runs is empty, and so is feature_runs; list at least one run")
    for key in ("runs", "feature_runs"):
        for name, content in params[key].items():
            with problems.gather():
                if name in runs:
                    raise ParamsError(f"params.yaml: {name} stands under runs and under feature_runs; names differ")
                entry = section(RunEntry, content, f"{key}.{name}")
                _check_name(f"{key}.{name}", name, entry)
                runs[name] = entry
    problems.refuse()
    return runs


def load_run(name: str, params: dict[str, Any] | None = None) -> Run:
    """One run, checked against its task and its model.

    Raises
    ------
    ParamsError
        If the run is not listed, or in the list for the other kind of model, its task or settings are missing,
        a key is unknown, or the task does not give an input that the model needs.
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
    settings = _merged(_where(name, params), entry, params)
    return Run(name, entry.task, task, entry, model_info(entry.model), settings, load_train(params))


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
    where = _where(name, params)
    task = tasks.get(entry.task)
    if entry.task not in params["tasks"]:
        known = params["tasks"]
        yield ParamsError(
            f"params.yaml: {where}.task: no task {entry.task!r}{near(entry.task, known)}; tasks: {', '.join(known)}"
        )
    try:
        model = model_info(entry.model)
    except UnknownModelError as error:
        hint = near(entry.model, list_models())
        yield UnknownModelError(f"params.yaml: {where}.model: {error}{hint}")
        return
    if task is not None:
        yield from _caught(_check_inputs, where, entry, task, model, params)
    yield from _caught(_check_list, where, entry, model)
    yield from _caught(_check_protocol, where, entry, model)
    yield from _errors_of_settings(where, entry, model, params)


def _caught(check: Callable[..., None], *arguments: Any) -> Iterator[ValueError]:
    try:
        check(*arguments)
    except ValueError as error:
        yield error


def _where(name: str, params: dict[str, Any]) -> str:
    """A run's place in params.yaml."""
    return f"{'feature_runs' if name in params['feature_runs'] else 'runs'}.{name}"


def _check_name(where: str, name: str, entry: RunEntry) -> None:
    if entry.protocol == "test_selected" and "test_selected" not in name:
        raise ParamsError(
            f"{where}: a run of protocol test_selected carries that word in its name, so that no figure of it "
            f"is ever read without: call it {name}-test_selected"
        )
    if entry.protocol != "test_selected" and "test_selected" in name:
        raise ParamsError(f"{where}: its name says test_selected, its protocol is {entry.protocol}; change one")


def _check_inputs(where: str, entry: RunEntry, task: TaskParams, model: ModelInfo, params: dict[str, Any]) -> None:
    missing = [needed for needed in (*model.inputs, *model.targets) if needed not in task.inputs]
    if missing:
        raise ParamsError(
            f"{where}: model {entry.model!r} needs {', '.join(missing)}, but task {entry.task!r} gives "
            f"{', '.join(task.inputs)}; choose another model or task{_cure(entry.task, task, missing, params)}"
        )


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


def _merged(where: str, entry: RunEntry, params: dict[str, Any]) -> ModelSettings:
    """Settings of a run: its model's, and its own in their place."""
    default = section(ModelSettings, params["options"][entry.model], f"options.{entry.model}")
    override = section(ModelSettings, entry.set, f"{where}.set")
    merged = default.model_dump() | override.model_dump(exclude_unset=True)
    merged["model"] = default.model | override.model
    return section(ModelSettings, merged, where)


def _errors_of_settings(where: str, entry: RunEntry, model: ModelInfo, params: dict[str, Any]) -> Iterator[ValueError]:
    if entry.model not in params["options"]:
        yield ParamsError(f"params.yaml: options.{entry.model} is missing; {where} needs it")
        return
    try:
        settings = _merged(where, entry, params)
    except ParamsError as error:
        yield error
        return
    yield from _caught(_check_recipe, where, entry.model, model, settings)
    default = params["options"][entry.model].get("model", {})
    yield from check_model_options(f"options.{entry.model}.model", entry.model, default)
    yield from check_model_options(f"{where}.set.model", entry.model, entry.set.get("model", {}))


def _check_recipe(where: str, name: str, model: ModelInfo, settings: ModelSettings) -> None:
    given = settings.model_dump()
    if model.kind == "module":
        absent = [key for key in RECIPE if given[key] is None]
        if absent:
            raise ParamsError(f"options.{name}: missing {', '.join(absent)}; this model is trained in epochs")
        if (settings.dro_step is None) == (settings.objective == "group_dro"):
            wanted = (
                "needs dro_step, such as 0.01"
                if settings.dro_step is None
                else "takes no dro_step: leave it out, or set it to null here"
            )
            raise ParamsError(f"{where}: objective {settings.objective} {wanted}")
    else:
        unset = ModelSettings().model_dump()
        without = [key for key, value in given.items() if key != "model" and value != unset[key]]
        if without:
            raise ParamsError(f"options.{name}: {', '.join(without)} mean nothing to it; it is fitted at once")


def check_model_options(where: str, model: str, options: Mapping[str, Any]) -> Iterator[ValueError]:
    """What is wrong with a model's own options, each error by itself.

    Parameters
    ----------
    where
        Their place in params.yaml.
    model
        Name of a model that exists.
    options
        The options.
    """
    for option, value in options.items():
        try:
            check_options(model, {option: value})
        except ModelOptionError as error:
            known = model_info(model).options
            hint = "" if option in known else near(option, known)
            yield ModelOptionError(f"params.yaml: {where}.{option}: {error}{hint}")
            continue
        if option in file_options(model) and value and not (_is_below(Path(value)) and Path(value).is_file()):
            yield ParamsError(
                f"params.yaml: {where}.{option}: expected a file below {WEIGHTS}/, put or linked there, such as "
                f"{WEIGHTS}/{Path(value).name} (found {value!r}): only there is it seen when it is replaced"
            )


def _is_below(path: Path) -> bool:
    return len(path.parts) > 1 and path.parts[0] == WEIGHTS.name and ".." not in path.parts


def load_train(params: dict[str, Any] | None = None) -> TrainParams:
    """Section ``train`` of params.yaml."""
    params = read_params() if params is None else params
    return section(TrainParams, params["train"], "train")
