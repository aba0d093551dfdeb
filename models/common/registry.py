"""The registry: how a class is declared to be a model, what is known of a model, and how it is built.

A model is one file, ``models/<name>.py``, that holds exactly one class decorated with `register_model`. Adding a model
adds that file and edits none that other models depend on; it may lie outside this repository too, see
`models.common.lookup`, which finds a class by the model's reference.

Two kinds exist. A *module* is a `models.common.blocks.Classifier`, trained by gradient descent; an *estimator* is a
`models.common.estimators.Estimator`, which fits itself, to hand-crafted features of the clips where it is a
`models.common.estimators.FeatureEstimator`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fdpbench.models.common.lookup import UnknownModelError, find_class, list_models, name_of
from fdpbench.prep.task.inputs import INPUTS

__all__ = [
    "Augment",
    "BatchSize",
    "Count",
    "ModelInfo",
    "ModelOptionError",
    "Optimiser",
    "Positive",
    "Power",
    "Recipe",
    "Schedule",
    "Share",
    "UnknownModelError",
    "Weight",
    "WeightsFile",
    "check_options",
    "create_model",
    "file_options",
    "list_models",
    "model_info",
    "register_model",
]

# Types for options and recipes. `check_options` holds a value against its option's annotation.
Count = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Power = Annotated[float, Field(ge=0, le=1)]
Optimiser = Literal["adam", "adamw"]
Schedule = Literal["constant", "one_cycle"]
WeightsFile = Annotated[str, "a file that the model reads; empty: none"]

# Keyword arguments of a constructor that the caller supplies: not options of the model.
_SUPPLIED = {"module": "shapes", "estimator": "seed"}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)

T = TypeVar("T", bound=type)


class ModelOptionError(ValueError):
    """A model was given an option, a value or an input shape that it does not take."""


class Augment(BaseModel):
    """How training clips are changed at random, anew in each epoch; see `bench.train.augment`.

    Attributes
    ----------
    mirror
        Each clip is mirrored with probability one half, left for right.
    shift
        Each clip is moved by up to so many pixels of the input along either axis.
    """

    model_config = _STRICT | ConfigDict(frozen=True, extra="forbid")

    mirror: bool = False
    shift: Annotated[int, Field(ge=0)] = 0


class Recipe(BaseModel):
    """How a network is trained where params.yaml says nothing else.

    Attributes
    ----------
    epochs
        Passes over the training set.
    batch_size
        Clips in a batch.
    lr, weight_decay
        Learning rate, of a schedule its peak, and weight decay.
    options
        Options of the model that differ from its constructor's defaults, such as a preset that a laptop bears.
    optimiser
        ``adam``: weight decay as an L2 penalty; ``adamw``: decoupled from the gradient.
    schedule
        ``constant``, or ``one_cycle``: up to ``lr`` and down to almost nothing (`bench.train.optim`).
    class_weight
        Each clip's loss is weighed by its class's inverse frequency to this power: 0 not at all, 1 all classes alike.
    augment
        Random changes of the training clips.
    mirrored_prediction
        Whether a clip is predicted together with its mirror image, and the probabilities averaged.
    """

    model_config = _STRICT | ConfigDict(frozen=True, extra="forbid")

    epochs: Count
    batch_size: BatchSize
    lr: Positive
    weight_decay: Weight
    options: dict[str, Any] = Field(default_factory=dict)
    optimiser: Optimiser = "adam"
    schedule: Schedule = "constant"
    class_weight: Power = 0.0
    augment: Augment = Augment()
    mirrored_prediction: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """What a model is and needs.

    Attributes
    ----------
    name
        Name of the model; of one that is named by its file, ``file:Class``.
    kind
        ``module`` or ``estimator``.
    inputs
        Names of the arrays it reads (`prep.task.inputs`).
    targets
        Names of the further arrays that its training loss compares with.
    paper
        The paper it follows.
    options
        Option names with their defaults; not to be written to.
    recipe
        How it is trained; None for an estimator, which is fitted at once.
    scales_itself
        Whether its output is the same whatever the scale and offset of its inputs, so that normalising
        them over a set of clips changes nothing.
    hand_crafted
        Whether it computes features of each clip by itself (its method ``features``), which it is then fitted
        to: they are computed once for all folds.
    needs_eyes
        What it does that takes aligned crops, whose eyes are where `align` puts them, for messages; empty of others.
    """

    name: str
    kind: Literal["module", "estimator"]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    paper: str
    options: Mapping[str, Any]
    recipe: Recipe | None = None
    scales_itself: bool = False
    hand_crafted: bool = False
    needs_eyes: str = ""


def register_model(
    *,
    inputs: tuple[str, ...],
    targets: tuple[str, ...] = (),
    paper: str,
    recipe: Recipe | None = None,
    scales_itself: bool = False,
    needs_eyes: str = "",
) -> Callable[[T], T]:
    """Declare the decorated class to be the model of its file.

    The options are the keyword-only parameters of its constructor, apart from ``shapes`` (modules) and
    ``seed`` (estimators). Each has an annotation, against which values are checked, and a default.

    Parameters
    ----------
    inputs, targets, paper, recipe, scales_itself, needs_eyes
        See `ModelInfo`; a module has a recipe, an estimator none.

    Raises
    ------
    TypeError
        If a name is no input's, the class has no ``kind``, an option has no annotation or no default, or the recipe
        is missing, is an estimator's, or sets an option that the class does not have.
    """

    def declare(cls: T) -> T:
        where = f"{cls.__module__}.{cls.__name__}"
        unknown = [name for name in inputs + targets if name not in INPUTS]
        if unknown:
            raise TypeError(f"{where}: unknown inputs or targets {unknown}: expected {list(INPUTS)}")
        kind = getattr(cls, "kind", None)
        if kind not in _SUPPLIED:
            raise TypeError(f"{where}: derive it from blocks.Classifier or _estimators.Estimator")
        options = {}
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name == _SUPPLIED[kind]:
                continue
            if parameter.empty in (parameter.default, parameter.annotation):
                raise TypeError(f"{where}: option {parameter.name!r} needs an annotation and a default")
            options[parameter.name] = parameter.default
        if (recipe is None) == (kind == "module"):
            wanted = "give a module's recipe=Recipe(...)" if recipe is None else "an estimator takes no recipe"
            raise TypeError(f"{where}: {wanted}")
        strange = sorted(set(recipe.options if recipe else ()) - set(options))
        if strange:
            raise TypeError(f"{where}: its recipe sets {', '.join(strange)}; its options: {', '.join(options)}")
        name = cls.__module__.rpartition(".")[2]
        hand_crafted = kind == "estimator" and cls.hand_crafted  # type: ignore[attr-defined]
        info = ModelInfo(name, kind, inputs, targets, paper, options, recipe, scales_itself, hand_crafted, needs_eyes)
        cls.info = info  # type: ignore[attr-defined]
        return cls

    return declare


def model_info(name: str) -> ModelInfo:
    """Tell what a model is and needs; imports its file.

    Parameters
    ----------
    name
        The model's reference (`models.common.lookup`), such as ``fdp`` or ``path/to/file.py:Class``.

    Raises
    ------
    UnknownModelError
        If there is no such model; the message lists those there are.
    """
    info: ModelInfo = find_class(name).info
    return replace(info, name=name_of(name))


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Hold options against a model's declaration, without building it.

    Values are checked strictly, by the annotations of the model's constructor: text is no number, and
    a truth value is no count.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    ModelOptionError
        If the model has no such option, or the option does not take the value.
    """
    cls = find_class(name)
    allowed = sorted(cls.info.options)
    hints = get_type_hints(cls.__init__, include_extras=True)
    for option, value in options.items():
        if option not in cls.info.options:
            raise ModelOptionError(
                f"model {name!r} has no option {option!r}; its options: {', '.join(allowed) or 'none'}"
            )
        try:
            TypeAdapter(hints[option], config=_STRICT).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ModelOptionError(f"model {name!r}, option {option!r}: {value!r} is not valid: {reason}") from None


def file_options(name: str) -> list[str]:
    """Names of a model's options that name files: what it is trained from depends on their content.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    """
    hints = get_type_hints(find_class(name).__init__, include_extras=True)
    return [option for option in model_info(name).options if hints[option] == WeightsFile]


def create_model(
    name: str,
    num_classes: int,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Any:
    """Build a model.

    Parameters
    ----------
    name
        The model's reference: a name from `list_models`, or ``path/to/file.py:Class``.
    num_classes
        Number of classes, at least 2.
    shapes
        For modules, which need it: the shape of one clip for each input, without the batch axis,
        for instance ``{"frames": (8, 1, 96, 96)}``. A module draws its first weights from torch's
        global generator: seed that.
    seed
        For estimators: seeds whatever is random in fitting. Default 0.
    **options
        The model's options; see `ModelInfo.options`.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    ModelOptionError
        If an option, a value, a shape or the number of classes does not suit the model.
    """
    check_options(name, options)
    cls = find_class(name)
    if num_classes < 2:
        raise ModelOptionError(f"model {name!r}: num_classes={num_classes}, expected at least 2")
    if cls.info.kind == "estimator":
        if shapes is not None:
            raise ModelOptionError(f"model {name!r} is an estimator: it takes no shapes")
        return cls(num_classes, seed=0 if seed is None else seed, **options)
    if seed is not None:
        raise ModelOptionError(f"model {name!r} is a module: seed torch's generator instead of passing seed")
    missing = [key for key in cls.info.inputs if key not in (shapes or {})]
    if shapes is None or missing:
        wanted = ", ".join(missing)
        raise ModelOptionError(f"model {name!r} needs the shape of one clip's {wanted}: pass shapes=")
    return cls(num_classes, shapes=dict(shapes), **options)
