"""One training step, and what it needs on a device: tensors, normalisation, mixed precision, layout.

Nothing in `TrainStep` waits for the device: no value is read back, no shape depends on data, and the
training set lies on the device. A test holds that on the CPU by refusing every operation that would wait.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fdpbench.bench.train.augment import Augmentation
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.objectives import ClassWeights, GroupDRO
from fdpbench.bench.train.optim import OneCycle, make_optimizer
from fdpbench.bench.train.settings import Run
from fdpbench.models.common.blocks import Classifier, ModelOutput
from fdpbench.prep.task.inputs import INPUTS

__all__ = [
    "Heads",
    "Standardiser",
    "TrainStep",
    "autocast",
    "batch_count",
    "resolve_device",
    "resolve_precision",
    "set_up_torch",
    "to_device",
]

# Deterministic matrix products on CUDA need this before the first one.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def resolve_device(wanted: str) -> str:
    """``cpu`` or ``cuda``, from ``train.device`` of params.yaml.

    Raises
    ------
    ValueError
        If cuda is asked for and there is none.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    return wanted


def resolve_precision(wanted: str, device: str) -> str:
    """``float32`` or ``bfloat16``, from ``train.precision`` of params.yaml.

    Autocast to bfloat16 needs no loss scaling. ``auto`` takes it on CUDA devices that have it, and not on
    the CPU, where benchmarks/train_step.py measures what it would do.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def autocast(run: Run, device: torch.device) -> torch.autocast:
    """Mixed precision as ``train.precision`` says."""
    precision = resolve_precision(run.train.precision, device.type)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def set_up_torch(device: torch.device, deterministic: bool) -> None:
    """Set torch's global state for a training process.

    One thread: one and two give different weights. Denormals flushed: they slow small networks several
    times. Freed memory kept: glibc gives it back to the system and fetches it anew in every step, which costs
    small networks up to a quarter of their time. On CUDA some operations have no deterministic form; torch then
    warns and goes on. Without determinism cuDNN tries its algorithms out and takes the quickest.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    torch.use_deterministic_algorithms(deterministic, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it
    torch.backends.cudnn.benchmark = not deterministic


def _keep_freed_memory() -> None:
    """Tell glibc's malloc to serve all sizes from its heap and to keep what is freed there; elsewhere do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, 2**30) or mallopt(option, 2**25)  # the second is the most that old versions take


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device; to CUDA from pinned memory, without waiting."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass
class Standardiser:
    """Zero mean and unit variance for each input, by channel, over a set of clips."""

    mean: dict[str, Tensor]
    scale: dict[str, Tensor]

    @classmethod
    def of(cls, clips: ClipSet, inputs: tuple[str, ...], device: torch.device) -> Standardiser:
        """Statistics of a set of clips.

        Parameters
        ----------
        clips
            In training, the training clips alone.
        inputs
            Names of the inputs to look at; which axis is that of their channels, `prep.task.inputs` says.
        device
            Where the statistics are to lie, each (C,) with an axis of length 1 for each that follows, such as
            (C, 1, 1), float32.
        """
        mean, scale = {}, {}
        for name in inputs:
            array = clips.inputs[name]
            channel = INPUTS[name].channel_axis
            shape = (-1,) + (1,) * (array.ndim - 1 - channel)
            others = tuple(axis for axis in range(array.ndim - 1) if axis != channel - 1)
            total, squares = 0.0, 0.0
            for clip in array:  # one clip at a time: the whole set in float64 would be eight times its size
                values = clip.astype(np.float64)
                total = total + values.mean(axis=others)
                squares = squares + np.square(values).mean(axis=others)
            centre = np.asarray(total / len(array))  # (C,)
            spread = np.sqrt(np.maximum(squares / len(array) - np.square(centre), 0))
            spread[spread == 0] = 1
            mean[name] = torch.from_numpy(centre).float().reshape(shape).to(device)
            scale[name] = torch.from_numpy(spread).float().reshape(shape).to(device)
        return cls(mean, scale)

    def __call__(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Standardise a batch; inputs that have no statistics here are left out."""
        return {name: (tensors[name].float() - mean) / self.scale[name] for name, mean in self.mean.items()}


def batch_count(run: Run, clips: int) -> int:
    """Batches of an epoch: nearly equal ones, none of one clip, since batch norm needs two.

    Raises
    ------
    ValueError
        If there are fewer than two clips.
    """
    assert run.settings.batch_size
    if clips < 2:
        raise ValueError(f"run {run.name}: {clips} training clips are left; batch norm needs at least two")
    return max(1, min(-(-clips // run.settings.batch_size), clips // 2))


@dataclass(frozen=True)
class Heads:
    """The outputs of a model that is pretrained: first one for each class, then one for each action unit.

    Attributes
    ----------
    classes
        Number of classes.
    tell_classes
        Whether they are learnt; else their outputs stay as they began.
    unit_weight
        Weight of the binary cross-entropy of the action units; 0: they are not learnt.
    """

    classes: int
    tell_classes: bool
    unit_weight: float

    def split(self, output: ModelOutput) -> tuple[ModelOutput, Tensor]:
        """The output as of a model of the classes alone, and the logits (B, U) of the action units."""
        of_classes = {name: getattr(output, name)[:, : self.classes] for name in output.per_class}
        return replace(output, **of_classes), output.logits[:, self.classes :]


class TrainStep:
    """Model, optimiser and training set on one device; calling it with a batch makes one step.

    Parameters
    ----------
    run
        The run: its recipe, precision and model.
    model
        Already on ``device``.
    train
        The training clips. Small and uint8, they live on the device, so that no step waits for a copy.
    device
        Where to train.
    seed
        Of the fold: of the random changes of its clips, where the run asks for any.
    standardiser
        Statistics of the inputs; by default those of the training clips.
    heads
        What a model of more outputs than classes learns; see `Heads`.
    """

    def __init__(
        self,
        run: Run,
        model: Classifier,
        train: ClipSet,
        device: torch.device,
        seed: int = 0,
        standardiser: Standardiser | None = None,
        heads: Heads | None = None,
    ) -> None:
        settings = run.settings
        assert settings.lr and settings.epochs
        self.run, self.model, self.device = run, model, device
        if device.type == "cuda":  # tensor cores read this layout; on the CPU models choose their own
            for parameter in model.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.standardiser = standardiser or Standardiser.of(train, run.model.inputs, device)
        self.heads = heads
        self.units = None if train.units is None else to_device(train.units, device)
        self.tensors = {name: to_device(array, device) for name, array in train.inputs.items()}
        self.labels = to_device(train.labels, device)
        self.group_dro: GroupDRO | None = None
        if settings.objective == "group_dro":
            assert settings.dro_step is not None
            self.group_dro = GroupDRO(train.subjects, settings.dro_step, device)
        self.class_weights: ClassWeights | None = None
        if settings.class_weight:
            self.class_weights = ClassWeights(train.labels.tolist(), settings.class_weight, device)
        self.augmentation: Augmentation | None = None
        if settings.augment.mirror or settings.augment.shift:
            self.augmentation = Augmentation(run, len(train), seed, device)
        self.optimizer = make_optimizer(settings, model.parameters())
        self.cycle: OneCycle | None = None
        if settings.schedule == "one_cycle":  # over the recipe's epochs, also where a training ends before the last
            self.cycle = OneCycle(settings.lr, settings.epochs * batch_count(run, len(train)))
        self.steps = 0  # made so far

    def begin(self, epoch: int) -> None:
        """Draw what is random in an epoch, counted from 1; the first has been drawn."""
        if self.augmentation and epoch > 1:
            self.augmentation.begin(epoch)

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        """Train on the clips with the indices ``batch`` (B,), on the device; the terms of their loss."""
        chosen = {name: tensor[batch] for name, tensor in self.tensors.items()}
        if self.augmentation:
            chosen = self.augmentation(chosen, batch)
        targets = {name: chosen[name].float() / 255 for name in self.run.model.targets}
        with autocast(self.run, self.device):
            output: ModelOutput = self.model(**self.standardiser(chosen))
            units = output.logits
            if self.heads:
                output, units = self.heads.split(output)
            terms = self.model.loss(output, self.labels[batch], targets)
            if self.heads and not self.heads.tell_classes:
                del terms[self.model.classification]
            elif self.group_dro or self.class_weights:
                losses = self.model.classification_losses(output, self.labels[batch])  # (B,)
                if self.group_dro:
                    del terms[self.model.classification]
                    terms["group_dro"] = self.group_dro(losses, batch)
                if self.class_weights:
                    terms[self.model.classification] = self.class_weights(losses, batch)
            if self.heads and self.heads.unit_weight:
                assert self.units is not None
                found = F.binary_cross_entropy_with_logits(units.float(), self.units[batch])
                terms["action_units"] = self.heads.unit_weight * found
        total = torch.stack(list(terms.values())).sum()
        if self.cycle:
            self.cycle.set(self.optimizer, self.steps)
        self.steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}
