"""How a training is set: a model's recipe, what params.yaml puts in its place, and what is wrong with that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fdpbench.bench.train.settings import ModelSettings
from fdpbench.models.common.registry import (
    ModelInfo,
    ModelOptionError,
    Recipe,
    UnknownModelError,
    check_options,
    file_options,
    list_models,
    model_info,
)
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.settings.section import section
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["WEIGHTS", "caught", "check_model_options", "errors_of_settings", "known_model", "merged_settings"]

WEIGHTS = Path("weights")  # where files lie that options of models name: DVC looks there for changes


def known_model(where: str, reference: str) -> ModelInfo:
    """What a model is, by the reference that params.yaml has at a place.

    Raises
    ------
    models.common.registry.UnknownModelError
        If there is no such model; the message names the place, and the name that may have been meant.
    """
    try:
        return model_info(reference)
    except UnknownModelError as error:
        raise UnknownModelError(f"params.yaml: {where}: {error}{near(reference, list_models())}") from None


def caught(check: Callable[..., None], *arguments: Any) -> Iterator[ValueError]:
    """The error that a check raises, if it does."""
    try:
        check(*arguments)
    except ValueError as error:
        yield error


def merged_settings(model: str, layers: Mapping[str, Any]) -> ModelSettings:
    """A model's recipe with single keys, and single options of the model, replaced by each layer in turn."""
    recipe = model_info(model).recipe
    merged = recipe.model_dump(exclude={"options"}) if recipe else {}
    options = dict(recipe.options) if recipe else {}
    for where, content in layers.items():
        layer = section(ModelSettings, content, where)
        merged |= layer.model_dump(exclude={"model"}, exclude_unset=True)  # ``augment`` as a whole
        options |= layer.model
    return ModelSettings(**merged, model=options)


def errors_of_settings(where: str, reference: str, layers: Mapping[str, Any]) -> Iterator[ValueError]:
    """What is wrong with the settings of a training, each error by itself.

    Parameters
    ----------
    where
        Place of the training in params.yaml.
    reference
        Its model, which exists.
    layers
        What stands in place of the model's recipe, by its place in params.yaml.
    """
    model = model_info(reference)
    try:
        settings = merged_settings(reference, layers)
    except ParamsError as error:
        yield error
        return
    if model.kind == "module":
        yield from caught(_check_recipe, where, settings)
        yield from caught(_check_mirrored, where, reference, model, settings)
    for place, content in layers.items():
        if model.kind == "estimator":
            yield from caught(_check_no_recipe, place, reference, section(ModelSettings, content, place))
        yield from check_model_options(f"{place}.model", reference, content.get("model", {}))


def _check_recipe(where: str, settings: ModelSettings) -> None:
    """A network has all that training needs, and a step for the one objective that takes one."""
    absent = [key for key in Recipe.model_fields if key != "options" and getattr(settings, key) is None]
    if absent:
        raise ParamsError(f"{where}: {', '.join(absent)} is null; this model is trained in epochs")
    if (settings.dro_step is None) == (settings.objective == "group_dro"):
        wanted = (
            "needs dro_step, such as 0.01"
            if settings.dro_step is None
            else "takes no dro_step: leave it out, or set it to null here"
        )
        raise ParamsError(f"{where}: objective {settings.objective} {wanted}")
    if settings.class_weight and settings.objective != "erm":
        raise ParamsError(
            f"{where}: class_weight {settings.class_weight} goes with objective erm alone: {settings.objective} weighs "
            "subjects; set one of the two"
        )


def _check_mirrored(where: str, reference: str, model: ModelInfo, settings: ModelSettings) -> None:
    """What is to be mirrored or shifted are images."""
    asked = [key for key in settings.model_dump(exclude_defaults=True) if key in ("augment", "mirrored_prediction")]
    strange = [name for name in (*model.inputs, *model.targets) if INPUTS[name].mirrored is None]
    if asked and strange:
        raise ParamsError(
            f"{where}: {', '.join(asked)}: model {reference!r} reads {', '.join(strange)}, which cannot be mirrored or "
            "shifted as images are; leave out"
        )


def _check_no_recipe(where: str, model: str, settings: ModelSettings) -> None:
    without = settings.model_dump(exclude={"model"}, exclude_defaults=True)
    if without:
        raise ParamsError(f"{where}: {', '.join(without)} mean nothing to {model}; it is fitted at once")


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
