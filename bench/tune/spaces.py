"""Search spaces: the ranges within which `fdpbench tune` looks for settings of each model.

They stand here, and not beside each model's recipe: what a trained run depends on is found by hashing its model's file,
so that an edit of a range there would make every trained result of the model out of date, which it does not change. A
test holds that every network of the registry has a space, and that every name and value in it is taken by the model.

All networks share the ranges of `shared_space`. `OPTIONS` adds options of single models: sizes, dropout, weights of
terms of a loss. Left out are options that make another model of it (presets, variants of a paper, ablations). A range
that does not hold a model's own value is widened to it, so that a model's recipe is in its own space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fdpbench.bench.train.settings import ModelSettings
from fdpbench.models.common.registry import ModelInfo
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["OPTIONS", "Choice", "Dimension", "Real", "Space", "Whole", "own_values", "settings_of", "space_of"]

DIGITS = 3  # significant ones of a number that is tried: what is pasted into params.yaml is what was trained


@dataclass(frozen=True)
class Real:
    """Numbers from `low` to `high`; with `log`, uniformly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def widened(self, value: float) -> Real:
        """The range that holds a value too."""
        return Real(min(self.low, value), max(self.high, value), self.log)

    def rounded(self, value: float) -> float:
        """A value as it is tried, to `DIGITS` significant digits and within the range."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def described(self) -> dict[str, Any]:
        """The range as JSON holds it."""
        return {"real": [self.low, self.high], "log": self.log}


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included; with `log`, uniformly in their logarithm."""

    low: int
    high: int
    log: bool = False

    def widened(self, value: int) -> Whole:
        """The range that holds a value too."""
        return Whole(min(self.low, value), max(self.high, value), self.log)

    def rounded(self, value: int) -> int:
        """A value as it is tried."""
        return int(value)

    def described(self) -> dict[str, Any]:
        """The range as JSON holds it."""
        return {"whole": [self.low, self.high], "log": self.log}


@dataclass(frozen=True)
class Choice:
    """One of some values, in no order."""

    values: tuple[Any, ...]

    def widened(self, value: Any) -> Choice:
        """The choice that holds a value too."""
        return self if value in self.values else Choice((*self.values, value))

    def rounded(self, value: Any) -> Any:
        """A value as it is tried."""
        return value

    def described(self) -> dict[str, Any]:
        """The choice as JSON holds it."""
        return {"choice": list(self.values)}


Dimension = Real | Whole | Choice

# By name: a setting such as ``lr``, ``augment.shift``, or an option of the model, ``model.dropout``.
Space = dict[str, Dimension]

BOOL = Choice((False, True))
DROPOUT = Real(0.0, 0.7)
COST = Real(0.1, 1000.0, log=True)  # of a support vector machine

# Options by model. A model that is not here has none to tune: with `majority` nothing at all.
OPTIONS: dict[str, dict[str, Dimension]] = {
    "adapters": {"ratio": Choice((0.0625, 0.125, 0.25, 0.5)), "dropout": DROPOUT},
    "bi_woof": {"grid": Whole(3, 8), "bins": Whole(4, 12), "rest": Choice(("median", "zero")), "cost": COST},
    "capsulenet": {"routings": Whole(1, 4)},
    "cnn3d": {"width": Choice((8, 16, 32)), "hidden": Choice((32, 64, 128)), "dropout": DROPOUT},
    "dual_inception": {"hidden": Choice((256, 512, 1024)), "dropout": DROPOUT},
    "elrcn": {
        "width": Choice((8, 12, 16)),
        "features": Choice((64, 128, 256)),
        "memory": Choice((64, 128, 256)),
        "grey": BOOL,
        "dropout": DROPOUT,
    },
    "emr": {"width": Choice((8, 16, 32)), "features": Choice((32, 64, 128)), "dropout": DROPOUT},
    "fdp": {"ranking_weight": Real(0.01, 1.0, log=True), "dynamic_image_weight": Real(0.1, 100.0, log=True)},
    "fdp_released": {"drop_path": Real(0.0, 0.3), "dynamic_image_weight": Real(1.0, 1000.0, log=True)},
    "featref": {
        "shared": Choice((128, 256, 512)),
        "specific": Choice((32, 64, 128)),
        "dropout": DROPOUT,
        "proposal_weight": Real(0.1, 10.0, log=True),
    },
    "flow_cnn": {"width": Choice((8, 16, 32)), "hidden": Choice((64, 128, 256)), "dropout": DROPOUT},
    "flow_histogram": {"grid": Whole(3, 8), "bins": Whole(4, 12), "cost": COST},
    "htnet": {"dropout": DROPOUT},
    "lbp_top": {"grid": Whole(3, 8), "radius_xy": Whole(1, 3), "radius_t": Whole(1, 3), "cost": COST},
    "learnet": {"dropout": DROPOUT},
    "mdmo": {
        "bins": Whole(4, 12),
        "angle_weight": Real(0.1, 10.0, log=True),
        "kernel": Choice(("rbf", "linear")),
        "cost": COST,
    },
    "micro_exp_stcnn": {"filters": Choice((16, 32, 64)), "hidden": Choice((64, 128, 256)), "dropout": DROPOUT},
    "off_apexnet": {"hidden": Choice((256, 512, 1024)), "dropout": DROPOUT},
    "rcn": {"width": Choice((16, 32, 64)), "pool": Choice((3, 5, 7)), "dropout": DROPOUT},
    "resnet_dynamic": {"width": Choice((8, 16, 32)), "dropout": DROPOUT},
    "stgcn": {"dropout": DROPOUT},
    "ststnet": {"dropout": DROPOUT},
}

# Largest shift of a training clip, by input: about a fifteenth of an image's side. Of several, the smallest counts.
SHIFT = {"flow": 2}
SHIFT_OF_CROPS = 6


def shared_space(model: ModelInfo, settings: ModelSettings) -> Space:
    """The ranges that all networks share.

    Parameters
    ----------
    model
        The network.
    settings
        Its own settings, around whose number of epochs the range of epochs lies.
    """
    assert settings.epochs is not None
    space: Space = {
        "lr": Real(3e-5, 1e-2, log=True),
        "weight_decay": Choice((0.0, 1e-5, 1e-4, 1e-3, 1e-2)),
        "epochs": Whole(max(1, settings.epochs // 2), 2 * settings.epochs, log=True),
        "batch_size": Choice((8, 16, 32, 64)),
        "optimiser": Choice(("adam", "adamw")),
        "schedule": Choice(("constant", "one_cycle")),
    }
    if settings.objective == "erm":  # the other objective weighs subjects, and takes no weights of classes
        space["class_weight"] = Choice((0.0, 0.5, 1.0))
    read = (*model.inputs, *model.targets)
    if read and all(INPUTS[name].mirrored is not None for name in read):  # images, which can be mirrored and moved
        space["augment.mirror"] = BOOL
        space["augment.shift"] = Whole(0, min(SHIFT.get(name, SHIFT_OF_CROPS) for name in read))
        space["mirrored_prediction"] = BOOL
    return space


def space_of(model: ModelInfo, settings: ModelSettings) -> Space:
    """The search space of a model, which holds the model's own settings.

    Parameters
    ----------
    model
        The model.
    settings
        Its own settings: its recipe, and what params.yaml puts in its place.

    Returns
    -------
    Dimensions by name; none where the model has nothing to tune.
    """
    space = shared_space(model, settings) if model.kind == "module" else {}
    space |= {f"model.{option}": dimension for option, dimension in OPTIONS.get(model.name, {}).items()}
    own = own_values(model, settings, space)
    return {name: dimension.widened(own[name]) for name, dimension in space.items()}


def own_values(model: ModelInfo, settings: ModelSettings, names: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's own settings say for each name of a space.

    Parameters
    ----------
    model, settings
        As of `space_of`.
    names
        The space, or anything else that has its names.
    """
    options = {**model.options, **settings.model}
    said = settings.model_dump(exclude={"model"})
    return {name: _at({**said, "model": options}, name) for name in names}


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as a run's ``set`` holds them: ``{"lr": 0.001, "model": {"dropout": 0.5}}``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        (found.setdefault(section, {}) if section else found)[key] = value
    return found


def _at(content: Mapping[str, Any], name: str) -> Any:
    section, _, key = name.rpartition(".")
    return (content[section] if section else content)[key]
