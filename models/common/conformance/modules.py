"""Checks of modules, the models that are trained by gradient descent: on noise, as small as learning allows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from fdpbench.models.common.blocks import ModelOutput
from fdpbench.models.common.conformance.expectations import (
    SHAPES,
    ConformanceError,
    expect,
    expect_refusal,
    smallest_options,
)
from fdpbench.models.common.registry import ModelOptionError, create_model, model_info

__all__ = ["CHECKS", "Batch", "as_in_training", "batch", "build"]

# Inputs, labels, targets.
Batch = tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]


@contextmanager
def as_in_training() -> Iterator[None]:
    """Compute as in training, in one thread and with denormals flushed; set torch back afterwards."""
    threads = torch.get_num_threads()
    flushed = sys.float_info.min / 2 == 0  # torch does not tell
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def build(name: str, num_classes: int = 3, seed: int = 0) -> Any:
    """A new module for the suite's clips.

    Parameters
    ----------
    name
        The model's reference.
    num_classes
        Number of classes.
    seed
        Seeds torch's global generator, and so the first weights.
    """
    torch.manual_seed(seed)
    shapes = {key: SHAPES[key] for key in model_info(name).inputs}
    return create_model(name, num_classes, shapes=shapes, **smallest_options(name))


def batch(name: str, clips: int, num_classes: int = 3) -> Batch:
    """Standardised inputs, labels that go round the classes, and targets in [0, 1]; the same in every call.

    Parameters
    ----------
    name
        The model's reference.
    clips
        Their number.
    num_classes
        Number of classes.
    """
    generator = torch.Generator().manual_seed(7)
    info = model_info(name)
    inputs = {key: torch.randn(clips, *SHAPES[key], generator=generator) for key in info.inputs}
    targets = {key: torch.rand(clips, *SHAPES[key], generator=generator) for key in info.targets}
    return inputs, torch.arange(clips) % num_classes, targets


def _train(model: Any, data: Batch, steps: int) -> None:
    inputs, labels, targets = data
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        sum(model.loss(model(**inputs), labels, targets).values()).backward()
        optimiser.step()


@torch.no_grad()
def _logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    model.eval()
    logits: Tensor = model(**inputs).logits
    return logits


def _first(output: ModelOutput) -> ModelOutput:
    """What a forward pass gave of the first clip."""
    cut: dict[str, Any] = {key: None if value is None else value[:1] for key, value in vars(output).items()}
    return replace(output, **cut)


def _expect_close(found: Tensor, wanted: Tensor, expected: str, cure: str, tolerance: float | None = None) -> None:
    try:
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
    except AssertionError as error:
        raise ConformanceError(f"expected {expected}; found: {' '.join(str(error).split())} {cure}") from None


@as_in_training()
def output_and_loss(name: str) -> None:
    """Output, loss and gradients are finite and have the promised shapes, for 2, 3 and 5 classes."""
    for num_classes in (2, 3, 5):
        model, (inputs, labels, targets) = build(name, num_classes), batch(name, 4, num_classes)
        output = model(**inputs)
        _output(output, num_classes)
        terms = model.loss(output, labels, targets)
        _loss(model, output, labels, terms)

        sum(terms.values()).backward()
        # what a model freezes is not trained, and needs no gradient
        unreached = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
        cure = "Use them in forward, or freeze them with requires_grad_(False)."
        expect(not unreached, "a gradient for every parameter", f"none for {', '.join(unreached)}", cure)


def _output(output: ModelOutput, num_classes: int) -> None:
    shape, cure = (4, num_classes), "Let the last layer give num_classes values for each clip."
    expect(output.logits.shape == shape, f"logits of shape {shape}", tuple(output.logits.shape), cure)
    cure = "Look for a division by zero, or a logarithm or square root without a small constant."
    expect(bool(torch.isfinite(output.logits).all()), "finite logits", "infinity or NaN", cure)
    if output.dynamic_image is not None:
        image, cure = output.dynamic_image, "Give ModelOutput one image (h, w) of each clip, through a sigmoid."
        expect(image.ndim == 3 and len(image) == 4, "dynamic images (4, h, w)", tuple(image.shape), cure)
        low, high = image.min().item(), image.max().item()
        expect(0 <= low <= high <= 1, "dynamic images in 0..1", f"values in {low:.3g}..{high:.3g}", cure)
    if output.scores is not None:
        shape, cure = (4, SHAPES["frames"][0]), "Give ModelOutput one score of each frame."
        expect(output.scores.shape == shape, f"scores of shape {shape}", tuple(output.scores.shape), cure)


def _loss(model: Any, output: ModelOutput, labels: Tensor, terms: dict[str, Tensor]) -> None:
    cure = "Give one loss of each clip in classification_losses."
    losses = model.classification_losses(output, labels)
    expect(losses.shape == (4,), "classification losses of shape (4,)", tuple(losses.shape), cure)
    term, cure = model.classification, "Name the term in the attribute classification, and override both methods alike."
    expect(term in terms, f"the term {term!r} in loss", f"the terms {', '.join(terms)}", cure)
    _expect_close(losses.mean(), terms[term], f"term {term!r} to be the mean of classification_losses", cure)
    alone, cure = model.classification_losses(_first(output), labels[:1]), "Compute each clip's loss by itself."
    _expect_close(alone, losses[:1], "the classification loss of a clip not to depend on the others", cure)
    for key, value in terms.items():
        found = f"shape {tuple(value.shape)} and value {value.tolist()}"
        cure = "Take the mean over clips, and keep it finite."
        expect(value.ndim == 0 and bool(torch.isfinite(value)), f"a finite scalar as loss term {key!r}", found, cure)


@as_in_training()
def scales_itself_as_declared(name: str) -> None:
    """Scale and offset of the inputs change the output unless the declaration says scales_itself, and only then."""
    model, data = build(name), batch(name, 8)
    _train(model, data, steps=10)  # before that some let next to nothing of their inputs through
    before = _logits(model, data[0])
    after = _logits(model, {key: 1.3 * value + 0.4 for key, value in data[0].items()})
    same, said = torch.allclose(before, after, atol=1e-5), model_info(name).scales_itself
    expect(
        same == said,
        f"scale and offset of the inputs {'not ' if said else ''}to change the output, as scales_itself={said} says",
        f"that they change it by up to {(after - before).abs().max().item():.3g}",
        f"Declare scales_itself={same}, or look whether the output depends on the inputs as it should.",
    )


@as_in_training()
def overfits_eight_clips(name: str) -> None:
    """It learns the labels of eight clips by heart in at most 120 steps of Adam with learning rate 2e-3."""
    model, data = build(name), batch(name, 8)
    right = 0
    for _ in range(12):
        _train(model, data, steps=10)
        right = int((_logits(model, data[0]).argmax(1) == data[1]).sum())
        if right == 8:
            return
    cure = "Look for a part that gradients do not reach, for saturated or vanishing activations, and for much dropout."
    expect(False, "8 of 8 labels learned in 120 steps", f"{right} of 8", cure)


@as_in_training()
def same_seed_same_weights(name: str) -> None:
    """The seed of torch's generator settles the weights after three steps of training, and another gives others."""
    states = []
    for seed in (1, 1, 2):
        model = build(name, seed=seed)
        _train(model, batch(name, 4), steps=3)
        states.append(model.state_dict())
    first, again, other = states
    differing = [key for key, value in first.items() if not torch.equal(value, again[key])]
    cure = "Draw from torch's global generator alone, without seeding it."
    expect(not differing, "the same weights from the same seed", f"others in {', '.join(differing)}", cure)
    same = all(torch.equal(value, other[key]) for key, value in first.items())
    expect(not same, "other weights from another seed", "the same", cure)


@as_in_training()
def save_and_load(name: str) -> None:
    """Its state_dict passes through safetensors and gives a new model the same output, to the last bit."""
    model, data = build(name), batch(name, 4)
    _train(model, data, steps=1)
    saved = safetensors.torch.save({key: value.contiguous() for key, value in model.state_dict().items()})
    other = build(name, seed=9)
    other.load_state_dict(safetensors.torch.load(saved))
    before, after = _logits(model, data[0]), _logits(other, data[0])
    expect(
        torch.equal(before, after),
        "the same output after saving and loading",
        f"logits that differ by up to {(after - before).abs().max().item():.3g}",
        "Keep all that forward uses in parameters or buffers (register_buffer).",
    )


@as_in_training()
def evaluation_repeats_clip_by_clip(name: str) -> None:
    """In evaluation the output repeats, is the same for each clip by itself, and changes no state."""
    model, data = build(name), batch(name, 4)
    inputs = data[0]
    _train(model, data, steps=2)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    together = _logits(model, inputs)
    cure = "Leave out what is random where self.training is false."
    expect(torch.equal(together, _logits(model, inputs)), "the same output twice", "another the second time", cure)
    alone = [_logits(model, {key: value[i : i + 1] for key, value in inputs.items()}) for i in range(4)]
    cure = "Take no statistics over the batch where self.training is false."
    _expect_close(torch.cat(alone), together, "each clip's output by itself", cure, tolerance=1e-4)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, state[key])]
    cure = "Update buffers only where self.training is true."
    expect(not changed, "a state that evaluation leaves as it is", f"changes of {', '.join(changed)}", cure)


@as_in_training()
def wrong_shapes_are_refused(name: str) -> None:
    """Inputs of a wrong number of axes or length are refused before training, and so are missing shapes and a seed."""
    shapes = {key: SHAPES[key] for key in model_info(name).inputs}
    for key, shape in shapes.items():
        for wrong in (shape[1:], (*shape[:-1], 1)):
            cure = f"Let the constructor call blocks.input_shape(shapes, {key!r}, ...) with the limits of its axes."
            with expect_refusal(f"{key} of shape {wrong}", ModelOptionError, [repr(key), "expected"], cure):
                create_model(name, 3, shapes={**shapes, key: wrong})
    cure = "Declare the class with register_model and derive it from blocks.Classifier."
    with expect_refusal("a module without shapes", ModelOptionError, ["shapes="], cure):
        create_model(name, 3)
    with expect_refusal("a module with a seed", ModelOptionError, ["seed"], cure):
        create_model(name, 3, shapes=shapes, seed=1)


CHECKS = (
    output_and_loss,
    scales_itself_as_declared,
    overfits_eight_clips,
    same_seed_same_weights,
    save_and_load,
    evaluation_repeats_clip_by_clip,
    wrong_shapes_are_refused,
)
