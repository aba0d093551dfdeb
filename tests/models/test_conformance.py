"""One suite for every model: what `models.common.registry` promises of both kinds.

Models are told apart by their declared information alone. A new file in ``models/`` is tested without
a line added here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

import fdpbench.models
from fdpbench.models import create_model, list_models, model_info
from fdpbench.models.common.blocks import ModelOutput
from fdpbench.models.common.registry import (
    ModelOptionError,
    Recipe,
    UnknownModelError,
    check_options,
    register_model,
)
from fdpbench.prep.task.inputs import INPUTS, LANDMARKS
from tests.support.builders import smallest_preset

LENGTHS = {"T": 8, "H": 48, "W": 48, "h": 28, "w": 28, "K": LANDMARKS["dlib"]}
SHAPES = {name: entry.shape(LENGTHS) for name, entry in INPUTS.items()}
ALL = list_models()
MODULES = [name for name in ALL if model_info(name).kind == "module"]
ESTIMATORS = [name for name in ALL if model_info(name).kind == "estimator"]
HAND_CRAFTED = [name for name in ESTIMATORS if model_info(name).hand_crafted]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in training: one thread, denormals flushed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def build(name: str, num_classes: int = 3, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    info = model_info(name)
    return create_model(name, num_classes, shapes={key: SHAPES[key] for key in info.inputs}, **smallest_preset(name))


def batch(name: str, clips: int, num_classes: int = 3) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Standardised inputs, labels that go round the classes, and targets in [0, 1]."""
    generator = torch.Generator().manual_seed(7)
    info = model_info(name)
    inputs = {key: torch.randn(clips, *SHAPES[key], generator=generator) for key in info.inputs}
    targets = {key: torch.rand(clips, *SHAPES[key], generator=generator) for key in info.targets}
    return inputs, torch.arange(clips) % num_classes, targets


def train(model: Any, data: tuple, steps: int) -> None:
    inputs, labels, targets = data
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        sum(model.loss(model(**inputs), labels, targets).values()).backward()
        optimiser.step()


@torch.no_grad()
def predict(model: Any, inputs: dict[str, Tensor]) -> ModelOutput:
    model.eval()
    return model(**inputs)


def arrays(name: str, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Raw inputs in [0, 1] whose mean rises from left to right or top to bottom by class."""
    random = np.random.default_rng(11)
    made = {}
    for key in model_info(name).inputs:
        values = random.random((len(labels), *SHAPES[key])).astype(np.float32)
        for clip, label in zip(values, labels, strict=True):
            clip[..., label * 8 : label * 8 + 8, :] *= 0.2
        made[key] = values
    return made


def fitted(name: str, labels: np.ndarray, num_classes: int) -> tuple:
    """A fitted estimator and what it was fitted to: its features of the inputs, where it has any."""
    model = create_model(name, num_classes, seed=5)
    inputs = arrays(name, labels)
    if name in HAND_CRAFTED:
        inputs = {"features": model.features(inputs)}
    model.fit(inputs, labels)
    return model, inputs


# Registry


def test_the_names_are_the_public_files() -> None:
    files = {path.stem for path in Path(fdpbench.models.__file__).parent.glob("[!_]*.py")}
    assert ALL == sorted(files - {"registry", "blocks"})


@pytest.mark.parametrize("name", ALL)
def test_declaration(name: str) -> None:
    info = model_info(name)
    assert info.name == name
    assert info.paper
    assert set(info.inputs) | set(info.targets) <= set(INPUTS)
    check_options(name, dict(info.options))  # the defaults pass the model's own checks
    assert (info.recipe is None) == (info.kind == "estimator")
    check_options(name, info.recipe.options if info.recipe else {})


@pytest.mark.parametrize("name", ALL)
def test_unknown_option_is_refused_with_those_allowed(name: str) -> None:
    with pytest.raises(ModelOptionError, match="'widht'") as error:
        check_options(name, {"widht": 3})
    assert all(option in str(error.value) for option in model_info(name).options)
    with pytest.raises(ModelOptionError, match="num_classes=1"):
        create_model(name, 1)


@pytest.mark.parametrize(("name", "option"), [(n, o) for n in ALL for o in model_info(n).options])
def test_option_of_a_wrong_type_is_refused(name: str, option: str) -> None:
    with pytest.raises(ModelOptionError, match=f"{name}.*{option}"):
        check_options(name, {option: ["no", "list"]})


def test_unknown_model_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownModelError, match="majority"):
        model_info("no_such_model")


def test_the_majority_needs_no_torch() -> None:
    code = "import sys, fdpbench.models; fdpbench.models.create_model('majority', 3); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(fdpbench.models.__file__).parents[1])


def test_a_broken_file_breaks_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_model.py").write_text("import a_module_that_does_not_exist\n")
    (tmp_path / "empty_model.py").write_text("")
    monkeypatch.setattr(fdpbench.models, "__path__", [*fdpbench.models.__path__, str(tmp_path)])
    assert {"broken_model", "empty_model"} <= set(list_models())
    with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
        model_info("broken_model")
    with pytest.raises(UnknownModelError, match="0 classes"):
        model_info("empty_model")
    assert model_info("majority").kind == "estimator"


def test_a_wrong_declaration_is_refused() -> None:
    with pytest.raises(TypeError, match="sound"):
        register_model(inputs=("sound",), paper="-")(object)
    with pytest.raises(TypeError, match="derive it"):
        register_model(inputs=(), paper="-")(object)


def test_a_network_has_a_recipe_and_an_estimator_none() -> None:
    class Net:
        kind = "module"

        def __init__(self, num_classes: int, *, width: int = 3) -> None: ...

    class Fitted(Net):
        kind = "estimator"
        hand_crafted = False

    recipe: dict[str, Any] = {"epochs": 3, "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0}
    with pytest.raises(TypeError, match="Net: give a module's recipe"):
        register_model(inputs=(), paper="-")(Net)
    with pytest.raises(TypeError, match="Fitted: an estimator takes no recipe"):
        register_model(inputs=(), paper="-", recipe=Recipe(**recipe))(Fitted)
    with pytest.raises(TypeError, match="Net: its recipe sets widht; its options: width"):
        register_model(inputs=(), paper="-", recipe=Recipe(**recipe, options={"widht": 3}))(Net)
    register_model(inputs=(), paper="-", recipe=Recipe(**recipe, options={"width": 4}))(Net)
    for wrong in ({"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": "1e-3"}, {"weight_decay": -1.0}, {"epoch": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Recipe(**recipe | wrong)


# Modules


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("name", MODULES)
def test_output_and_loss(name: str, num_classes: int) -> None:
    model = build(name, num_classes)
    inputs, labels, targets = batch(name, 4, num_classes)
    output = model(**inputs)
    assert output.logits.shape == (4, num_classes)
    assert torch.isfinite(output.logits).all()
    if output.dynamic_image is not None:
        assert output.dynamic_image.ndim == 3
        assert len(output.dynamic_image) == 4
        assert 0 <= output.dynamic_image.min() <= output.dynamic_image.max() <= 1
    if output.scores is not None:
        assert output.scores.shape == (4, SHAPES["frames"][0])
    terms = model.loss(output, labels, targets)
    losses = model.classification_losses(output, labels)
    assert losses.shape == (4,)
    torch.testing.assert_close(losses.mean(), terms[model.classification])
    torch.testing.assert_close(model.classification_losses(_first(output), labels[:1]), losses[:1])
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())

    sum(terms.values()).backward()
    # what a model freezes is not trained, and needs no gradient
    unreached = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert unreached == []


def _first(output: ModelOutput) -> ModelOutput:
    """What was said of the first clip."""
    cut: dict[str, Any] = {key: None if value is None else value[:1] for key, value in vars(output).items()}
    return replace(output, **cut)


@pytest.mark.parametrize("name", MODULES)
def test_scales_itself_only_if_it_says_so(name: str) -> None:
    """Whether scale and offset of the inputs change the output is what its declaration says."""
    model, data = build(name), batch(name, 8)
    train(model, data, steps=10)  # before that some let next to nothing of their inputs through
    inputs = data[0]
    before = predict(model, inputs).logits
    after = predict(model, {key: 1.3 * value + 0.4 for key, value in inputs.items()}).logits
    assert torch.allclose(before, after, atol=1e-5) == model_info(name).scales_itself


@pytest.mark.parametrize("name", MODULES)
def test_overfits_eight_clips(name: str) -> None:
    model, data = build(name), batch(name, 8)
    for _ in range(12):
        train(model, data, steps=10)
        if (predict(model, data[0]).logits.argmax(1) == data[1]).all():
            return
    pytest.fail("120 steps on 8 clips did not learn their labels")


@pytest.mark.parametrize("name", MODULES)
def test_same_seed_same_weights(name: str) -> None:
    states = []
    for seed in (1, 1, 2):
        model = build(name, seed=seed)
        train(model, batch(name, 4), steps=3)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not all(torch.equal(value, states[2][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", MODULES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    model, (inputs, labels, targets) = build(name), batch(name, 4)
    train(model, (inputs, labels, targets), steps=1)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}  # as FittedModule.save does
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    other = build(name, seed=9)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    assert torch.equal(predict(model, inputs).logits, predict(other, inputs).logits)


@pytest.mark.parametrize("name", MODULES)
def test_evaluation_repeats_and_takes_each_clip_by_itself(name: str) -> None:
    model, (inputs, labels, targets) = build(name), batch(name, 4)
    train(model, (inputs, labels, targets), steps=2)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    together = predict(model, inputs).logits
    assert torch.equal(together, predict(model, inputs).logits)
    one_by_one = [predict(model, {k: v[i : i + 1] for k, v in inputs.items()}).logits for i in range(4)]
    torch.testing.assert_close(torch.cat(one_by_one), together, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", MODULES)
def test_wrong_shapes_are_refused(name: str) -> None:
    shapes = {key: SHAPES[key] for key in model_info(name).inputs}
    for key in shapes:
        for wrong in (shapes[key][1:], (*shapes[key][:-1], 1)):
            with pytest.raises(ModelOptionError, match=f"'{key}'.*expected"):
                create_model(name, 3, shapes={**shapes, key: wrong})
    with pytest.raises(ModelOptionError, match="shapes="):
        create_model(name, 3)
    with pytest.raises(ModelOptionError, match="seed"):
        create_model(name, 3, shapes=shapes, seed=1)


# Estimators


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_fits_and_repeats(name: str, num_classes: int) -> None:
    labels = np.r_[np.arange(4 * num_classes) % num_classes, 0]
    model, inputs = fitted(name, labels, num_classes)
    scores = model.scores(inputs)
    assert scores.dtype == np.float64
    assert scores.shape == (len(labels) if inputs else 1, num_classes)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(fitted(name, labels, num_classes)[0].scores(inputs), scores)
    if inputs:  # whatever looks at the clips can tell these classes apart
        assert (scores.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("name", HAND_CRAFTED)
def test_features_depend_on_one_clip_alone(name: str) -> None:
    """To the last bit, whatever stands before, behind or in place of the others; and fitting changes nothing."""
    labels = np.arange(11) % 3
    model, inputs = create_model(name, 3), arrays(name, labels)
    together = model.features(inputs)
    assert together.dtype == np.float64 and together.ndim == 2 and len(together) == len(labels)
    assert len(np.unique(together, axis=0)) == len(labels), "else the comparisons below would show little"
    model.fit({"features": together}, labels)
    for k in range(len(labels)):
        alone = model.features({key: value[k : k + 1] for key, value in inputs.items()})
        np.testing.assert_array_equal(alone, together[k : k + 1])
    backwards = model.features({key: value[::-1] for key, value in inputs.items()})
    np.testing.assert_array_equal(backwards[::-1], together)
    others = {key: np.concatenate([value[:1], 0.3 * value[1:4]]) for key, value in inputs.items()}
    np.testing.assert_array_equal(create_model(name, 5, seed=9).features(others)[0], together[0])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_state_round_trip(name: str, tmp_path: Path) -> None:
    model, inputs = fitted(name, np.arange(12) % 3, 3)
    safetensors.numpy.save_file(model.state(), tmp_path / "state.safetensors")
    other = create_model(name, 3)
    with pytest.raises(RuntimeError, match="not fitted"):
        other.scores(inputs)
    with pytest.raises(ValueError, match="expected"):
        other.load_state({})
    other.load_state(safetensors.numpy.load_file(tmp_path / "state.safetensors"))
    np.testing.assert_array_equal(other.scores(inputs), model.scores(inputs))


@pytest.mark.parametrize("present", [(0, 2), (1,), (3, 1, 0)])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_never_prefers_a_class_it_has_not_seen(name: str, present: tuple[int, ...]) -> None:
    model, inputs = fitted(name, np.resize(present, 12), 4)
    scores = model.scores(inputs)
    missing = [label for label in range(4) if label not in present]
    assert np.isfinite(scores).all()
    assert (scores[:, missing].max(axis=1) < scores[:, list(present)].min(axis=1)).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_follows_a_renaming_of_the_classes(name: str) -> None:
    labels, renamed = np.resize([0, 1, 2, 0], 16), np.array([2, 0, 1])
    model, inputs = fitted(name, labels, 3)
    other = create_model(name, 3, seed=5)
    other.fit(inputs, renamed[labels])
    np.testing.assert_allclose(other.scores(inputs)[:, renamed], model.scores(inputs), atol=1e-2)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_refuses_bad_labels(name: str) -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        fitted(name, np.array([0, 1, 2, 3]), 3)
    with pytest.raises(ModelOptionError, match="shapes"):
        create_model(name, 3, shapes={})
