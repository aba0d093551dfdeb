"""Training the folds of a run together: one model for each fold, stacked (`models._stacked`), in common steps.

Each fold has the seed, first weights, shuffles, batches and dropout masks that it has when it is trained alone
(`bench.fit_module`), and its own statistics, loss and optimiser state; only sums are rounded in another order, on the
CPU those of torch's fused Adam alone.
On CUDA dropout draws its masks by another kernel than torch's own layer, so that they are other masks there.

The training clips of one fold are the test clips of another, so that a stack holds all clips of the task. A fold's
training reads those at its own indices alone, which hold no clip of its subject: a test replaces that subject's
clips and finds each of the fold's weights unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.data import ClipSet
from bench.fit import Report
from bench.fit_module import FittedModule, batch_count
from bench.params import Run
from bench.step import Standardiser, autocast, set_up_torch, to_device
from models._stacked import Stack
from models.blocks import Classifier
from models.registry import create_model

__all__ = ["FoldTraining", "StackStep", "fit_stack"]


@dataclass(frozen=True)
class FoldTraining:
    """One fold of a stack: the subject that is held out, and the fold's seed."""

    subject: str
    seed: int


class StackStep:
    """Stacked models, their optimiser and all clips on one device; calling it makes a step of each fold.

    Parameters
    ----------
    run
        The run: its recipe, precision and model.
    stack
        The models, on ``device``.
    clips
        All clips of the task.
    standardisers
        Of each fold, from its own training clips.
    device
        Where to train.
    """

    def __init__(
        self, run: Run, stack: Stack, clips: ClipSet, standardisers: Sequence[Standardiser], device: torch.device
    ) -> None:
        settings = run.settings
        assert settings.lr and settings.weight_decay is not None
        self.run, self.stack, self.device = run, stack, device
        self.tensors = {name: to_device(clips.inputs[name], device) for name in run.model.inputs}
        self.labels = to_device(clips.labels, device)
        self.dtype = next(stack.models[0].parameters()).dtype
        self.mean, self.scale = (
            {name: torch.stack([of[name] for of in statistics]).to(self.dtype)[:, None] for name in run.model.inputs}
            for statistics in ([one.mean for one in standardisers], [one.scale for one in standardisers])
        )  # (F, 1, C, 1, 1) each
        parameters = [parameter for model in stack.models for parameter in model.parameters()]
        # every tensor counts its own steps, and one without a gradient is left alone, decay and all
        self.optimizer = torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)

    def __call__(self, batch: Tensor, sizes: Sequence[int], valid: Tensor, counts: Tensor) -> Tensor:
        """Train the first folds, one for each entry of ``sizes``; the others stay as they are.

        Parameters
        ----------
        batch
            (F, B), indices of clips on the device, padding last; padding names any clip of the fold's training set.
        sizes
            Clips of each fold that are no padding.
        valid
            (F, B), 1 for a clip and 0 for padding.
        counts
            (F,), ``sizes`` on the device.

        Returns
        -------
        Tensor
            (F,), the mean cross-entropy of each fold's clips.
        """
        folds = len(sizes)
        inputs = {
            name: (tensor[batch].to(self.dtype) - self.mean[name][:folds]) / self.scale[name][:folds]
            for name, tensor in self.tensors.items()
        }
        with autocast(self.run, self.device):
            logits = self.stack.logits(inputs, sizes, counts)  # (F, B, classes)
            each = F.cross_entropy(logits.flatten(0, 1), self.labels[batch].flatten(), reduction="none")
        losses = each.view_as(valid).where(valid > 0, 0).sum(dim=1) / counts
        self.stack.clear_gradients()
        losses.sum().backward()
        self.stack.gradients_to_models(folds)
        self.optimizer.step()
        return losses.detach()


def fit_stack(
    run: Run, clips: ClipSet, folds: Sequence[FoldTraining], classes: int, device: str, report: Report
) -> list[FittedModule]:
    """Train some folds of a run together, each on the clips of all subjects but its own.

    Parameters
    ----------
    run
        The run; its protocol is ``honest`` (`bench.params` sees to that).
    clips
        All clips of the task.
    folds
        The folds.
    classes
        Number of classes of the task.
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    report
        Called after each epoch with ``epoch``, ``epochs`` and ``loss``, the mean over the folds.

    Returns
    -------
    list
        A trained model for each fold, in order.

    Raises
    ------
    ValueError
        If there are fewer than two training clips, or a loss is no longer finite.
    """
    settings, place = run.settings, torch.device(device)
    assert settings.epochs and settings.batch_size
    set_up_torch(place, run.train.deterministic)
    learners = [_Learner.of(run, clips, fold, classes, place) for fold in folds]
    # those with most batches first, so that the folds at work are always the first ones
    at_work = sorted(learners, key=lambda learner: -learner.batches)
    stack = Stack([learner.fitted.model for learner in at_work], [learner.dropout for learner in at_work])
    step = StackStep(run, stack, clips, [learner.fitted.standardiser for learner in at_work], place)
    lengths = torch.tensor([len(learner.own) for learner in at_work], device=place)

    for epoch in range(1, settings.epochs + 1):
        sums = torch.zeros(len(at_work), device=place)
        for batch, sizes, valid in _batches([learner.shuffled() for learner in at_work]):
            count = to_device(np.array(sizes, dtype=np.float32), place)
            losses = step(to_device(batch, place), sizes, to_device(valid, place), count)
            sums[: len(sizes)] += losses * count
        means = (sums / lengths).tolist()
        for learner, loss in zip(at_work, means, strict=True):
            if not np.isfinite(loss):
                raise ValueError(
                    f"fold {learner.subject}: loss is {loss} in epoch {epoch}; lower options.{run.model.name}.lr"
                )
            learner.fitted.curve.append({"epoch": epoch, "loss": loss, "cross_entropy": loss})
        report({"epoch": epoch, "epochs": settings.epochs, "loss": sum(means) / len(means)})
    return [learner.fitted for learner in learners]


@dataclass
class _Learner:
    """One fold at work: its model, its training clips as indices, its batches and its generators."""

    subject: str
    own: NDArray[np.int64]
    fitted: FittedModule
    batches: int
    order: torch.Generator
    dropout: torch.Generator

    @classmethod
    def of(cls, run: Run, clips: ClipSet, fold: FoldTraining, classes: int, place: torch.device) -> _Learner:
        """As `bench.fit_module.fit_module` begins, draw for draw."""
        own = np.array([k for k, subject in enumerate(clips.subjects) if subject != fold.subject], dtype=np.int64)
        train = clips.of(frozenset(clips.subjects) - {fold.subject})
        batches = batch_count(run, len(train))
        torch.manual_seed(fold.seed)
        shapes = {name: train.shapes[name] for name in run.model.inputs}
        model: Classifier = create_model(run.model.name, classes, shapes=shapes, **run.settings.model)
        dropout = torch.Generator(place)
        if place.type == "cpu":
            dropout.set_state(torch.get_rng_state())  # where the first weights left it
        else:
            dropout.manual_seed(fold.seed)
        standardiser = Standardiser.of(train, run.model.inputs, place)
        fitted = FittedModule(model.to(place), standardiser, place, run, [], run.settings.epochs)
        return cls(fold.subject, own, fitted, batches, torch.Generator().manual_seed(fold.seed), dropout)

    def shuffled(self) -> list[NDArray[np.int64]]:
        """Batches of the next epoch, as indices of clips."""
        drawn = torch.randperm(len(self.own), generator=self.order)
        return [self.own[part.numpy()] for part in drawn.tensor_split(self.batches)]


def _batches(epoch: list[list[NDArray[np.int64]]]) -> list[tuple[NDArray[np.int64], list[int], NDArray[np.float32]]]:
    """Join the batches of the folds, those with most batches first, step by step.

    Returns
    -------
    list
        For each step the indices (F, B) of the folds that have a batch left, filled up with the first one of each
        fold; the sizes of the batches; and (F, B) float32, 1 for a clip and 0 for padding.
    """
    steps = []
    for number in range(len(epoch[0])):
        parts = [fold[number] for fold in epoch if number < len(fold)]
        sizes = [len(part) for part in parts]
        filled = np.stack([np.pad(part, (0, max(sizes) - len(part)), constant_values=part[0]) for part in parts])
        valid = (np.arange(max(sizes)) < np.array(sizes)[:, None]).astype(np.float32)
        steps.append((filled, sizes, valid))
    return steps
