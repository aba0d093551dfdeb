"""Search spaces: every network has one, and whatever is drawn of it is taken by the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.bench.plan.check import _refusal
from fdpbench.bench.plan.params import load_tasks, load_train
from fdpbench.bench.plan.recipes import errors_of_settings, merged_settings
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry
from fdpbench.bench.tune.results import pasted
from fdpbench.bench.tune.spaces import (
    OPTIONS,
    Choice,
    Dimension,
    Real,
    Space,
    Whole,
    own_values,
    settings_of,
    space_of,
)
from fdpbench.models.common.registry import list_models, model_info
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.params import check_params
from fdpbench.prep.settings.plain_yaml import parse_yaml
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.section import section
from fdpbench.prep.task.inputs import INPUTS, lengths_of
from tests.support.project import ROOT

MODELS = list_models()
TUNED = [name for name in MODELS if name != "majority"]
PROFILE = check_params(yaml.safe_load(overlay(ROOT / "params.tuning.yaml", ROOT / "params.yaml")))


def own_of(name: str) -> ModelSettings:
    return merged_settings(name, {})


def space_for(name: str) -> Space:
    return space_of(model_info(name), own_of(name))


def ends(dimension: Dimension) -> list[Any]:
    return list(dimension.values) if isinstance(dimension, Choice) else [dimension.low, dimension.high]


def draws(dimension: Dimension) -> st.SearchStrategy[Any]:
    if isinstance(dimension, Choice):
        return st.sampled_from(dimension.values)
    if isinstance(dimension, Whole):
        return st.integers(dimension.low, dimension.high)
    return st.floats(dimension.low, dimension.high).map(dimension.rounded)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_but_the_majority_has_a_space(name: str) -> None:
    model, space = model_info(name), space_for(name)
    assert bool(space) == (name in TUNED)
    assert {"lr", "weight_decay", "epochs", "batch_size"} <= space.keys() or model.kind == "estimator"
    for key in space:
        where, _, option = key.rpartition(".")
        known = {"": ModelSettings.model_fields, "augment": ("mirror", "shift"), "model": model.options}[where]
        assert option in known, f"{name} has no setting {key}"


def test_every_model_with_options_has_some_of_them_in_its_space() -> None:
    """A model that is added gives its ranges in bench/tune/spaces.py."""
    assert set(OPTIONS) == {name for name in MODELS if model_info(name).options}
    assert all("dropout" in OPTIONS[name] for name in OPTIONS if "dropout" in model_info(name).options)


@pytest.mark.parametrize("name", TUNED)
def test_a_models_own_values_are_in_its_space_and_change_nothing(name: str) -> None:
    space, own = space_for(name), own_values(model_info(name), own_of(name), space_for(name))
    for key, dimension in space.items():
        assert dimension.widened(own[key]) == dimension and dimension.rounded(own[key]) == own[key]
    built = model_info(name).options
    again = merged_settings(name, {"trial": settings_of(own)})
    assert again.model_copy(update={"model": {}}) == own_of(name).model_copy(update={"model": {}})
    assert {**built, **again.model} == {**built, **own_of(name).model}


@pytest.mark.parametrize("name", TUNED)
def test_all_ends_are_taken_and_can_be_built(name: str) -> None:
    """As `fdpbench check` builds a run's model: for inputs of the size that the tuning profile gives."""
    model, task = model_info(name), load_tasks(PROFILE)["tuning"]
    lengths = lengths_of(task, section(AlignParams, PROFILE["align"], "align"))
    shapes = {one: INPUTS[one].shape(lengths) for one in model.inputs}
    entry = RunEntry(task="tuning", model=name)
    for key, dimension in space_for(name).items():
        for value in ends(dimension):
            changed = settings_of({key: value})
            assert list(errors_of_settings("tune", name, {"tune": changed})) == [], (key, value)
            if key.startswith(("model.", "augment.")):
                settings = merged_settings(name, {"tune": changed})
                run = Run("tune", "tuning", task, entry, model, settings, load_train(PROFILE))
                assert _refusal(run, shapes) == "", (key, value)


@given(st.data())
def test_whatever_is_drawn_is_taken_and_reads_back_from_yaml(data: st.DataObject) -> None:
    """What is pasted into params.yaml is, to the bit, what was trained."""
    name = data.draw(st.sampled_from(TUNED))
    values = {key: data.draw(draws(one), label=key) for key, one in space_for(name).items()}
    layer = settings_of(values)
    assert list(errors_of_settings("tune", name, {"tune": layer})) == []
    assert own_values(model_info(name), merged_settings(name, {"tune": layer}), values) == values
    read = parse_yaml(pasted(values), Path("best.yaml"))
    assert read == {"set": layer} and all(type(a) is type(b) for a, b in zip(_flat(read), _flat(layer), strict=True))


def _flat(content: Any) -> list[Any]:
    content = content.get("set", content)
    return [one for value in content.values() for one in (_flat(value) if isinstance(value, dict) else [value])]


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.floats(0, 1))
def test_rounding_keeps_within_the_range_and_does_nothing_twice(a: float, b: float, share: float) -> None:
    real = Real(min(a, b), max(a, b))
    rounded = real.rounded(min(max(real.low + share * (real.high - real.low), real.low), real.high))
    assert real.low <= rounded <= real.high and real.rounded(rounded) == rounded


def test_a_range_is_widened_to_a_models_own_value() -> None:
    assert Real(0.1, 1.0, log=True).widened(0.01) == Real(0.01, 1.0, log=True)
    assert Whole(3, 8).widened(12) == Whole(3, 12) and Whole(3, 8).widened(4) == Whole(3, 8)
    assert Choice((8, 16)).widened(10) == Choice((8, 16, 10)) and Choice((8, 16)).widened(8) == Choice((8, 16))
    own = merged_settings("ststnet", {"options.ststnet": {"lr": 0.5, "weight_decay": 3e-7, "model": {"dropout": 0.9}}})
    space = space_of(model_info("ststnet"), own)
    assert space["lr"] == Real(3e-5, 0.5, log=True) and space["model.dropout"] == Real(0.0, 0.9)
    assert isinstance(space["weight_decay"], Choice) and space["weight_decay"].values[-1] == 3e-7


def test_what_a_model_reads_and_learns_decides_what_is_shared() -> None:
    assert not any(key.startswith(("augment", "mirrored")) for key in space_for("stgcn")), "landmarks have sides"
    assert space_for("ststnet")["augment.shift"] == Whole(0, 2) and space_for("fdp")["augment.shift"] == Whole(0, 6)
    dro = merged_settings("ststnet", {"options.ststnet": {"objective": "group_dro", "dro_step": 0.01}})
    assert "class_weight" not in space_of(model_info("ststnet"), dro)
    for epochs, expected in ((150, (75, 300)), (1, (1, 2))):
        space = space_of(model_info("ststnet"), merged_settings("ststnet", {"options.ststnet": {"epochs": epochs}}))
        assert space["epochs"] == Whole(*expected, log=True)
