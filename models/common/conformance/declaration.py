"""Checks of every model: its declaration, and options that it does not take."""

from __future__ import annotations

from fdpbench.models.common.conformance.expectations import ConformanceError, expect, expect_refusal
from fdpbench.models.common.registry import ModelOptionError, check_options, create_model, model_info
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["CHECKS", "declaration_is_sound", "unknown_option_is_refused", "wrong_type_is_refused"]


def declaration_is_sound(name: str) -> None:
    """The declaration names a paper and known inputs; defaults and recipe pass the model's own checks."""
    info = model_info(name)
    if ":" not in name:  # a file and its class otherwise
        expect(info.name == name, f"the name {name!r}", repr(info.name), "Name the model's file like the model.")
    expect(bool(info.paper), "the paper that the model follows", "none", "Say it in register_model(paper=...).")
    strange = sorted((set(info.inputs) | set(info.targets)) - set(INPUTS))
    expect(not strange, f"inputs and targets among {', '.join(INPUTS)}", strange, "Correct them in register_model.")
    given = "none" if info.recipe is None else "a recipe"
    expect(
        (info.recipe is None) == (info.kind == "estimator"),
        "a recipe of a module, and none of an estimator",
        f"{given} of a model of the kind {info.kind}",
        "Correct register_model(recipe=...).",
    )
    for source, options in (("defaults", info.options), ("recipe", info.recipe.options if info.recipe else {})):
        try:
            check_options(name, dict(options))
        except ModelOptionError as error:
            raise ConformanceError(
                f"expected {source} that the options' annotations accept; found {error}. Correct the value or the "
                f"annotation."
            ) from error


def unknown_option_is_refused(name: str) -> None:
    """An option that does not exist is refused with those that do, and so is a single class."""
    options, cure = model_info(name).options, "Declare the class with register_model, and do not change its info."
    unknown = next(option for option in ("widht", "widhtt") if option not in options)
    with expect_refusal("an unknown option", ModelOptionError, [repr(unknown), *sorted(options)], cure):
        check_options(name, {unknown: 3})
    with expect_refusal("a model of one class", ModelOptionError, ["num_classes=1"], cure):
        create_model(name, 1)


def wrong_type_is_refused(name: str) -> None:
    """A list of text is refused as the value of any option, by name."""
    cure = "Annotate the option with the type of its values, such as int, Share or Literal."
    for option in model_info(name).options:
        with expect_refusal(f"a list as option {option!r}", ModelOptionError, [name, option], cure):
            check_options(name, {option: ["no", "list"]})


CHECKS = (declaration_is_sound, unknown_option_is_refused, wrong_type_is_refused)
