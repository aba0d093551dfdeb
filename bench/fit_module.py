"""Training by gradient descent: the loop that every torch model shares."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.data import ClipSet
from bench.fit import Curve, Fitted, Report
from bench.params import Run
from models.registry import create_model

__all__ = ["fit_module", "resolve_device", "resolve_precision"]

# Deterministic matrix products on CUDA need this before the first one.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


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

    Autocast to bfloat16 needs no loss scaling. It pays on CUDA devices that have it.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def fit_module(run: Run, train: ClipSet, classes: int, seed: int, device: str, report: Report) -> Fitted:
    """Train a module for a fixed number of epochs with Adam; see `bench.fit.fit`.

    Raises
    ------
    ValueError
        If the loss is no longer finite.
    """
    settings = run.settings
    assert settings.epochs and settings.batch_size and settings.lr and settings.weight_decay is not None
    torch.set_num_threads(1)  # one and two threads give different weights
    torch.set_flush_denormal(True)  # denormals slow small networks several times
    torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    torch.manual_seed(seed)

    place = torch.device(device)
    shapes = {name: train.shapes[name] for name in run.model.inputs}
    model = create_model(run.model.name, classes, shapes=shapes, **settings.model).to(place)
    fitted = _FittedModule(model, _Standardiser.of(train, run.model.inputs, place), place, run, [])
    optimizer = torch.optim.Adam(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=place.type == "cuda"
    )
    order = torch.Generator().manual_seed(seed)
    # nearly equal batches, none of one clip: batch norm needs two
    batches = max(1, min(-(-len(train) // settings.batch_size), len(train) // 2))
    # the training set is small (uint8): it lives on the device, so that no step waits for a copy
    labels = torch.from_numpy(train.labels).to(place)
    tensors = {name: torch.from_numpy(array).to(place) for name, array in train.inputs.items()}

    model.train()
    for epoch in range(1, settings.epochs + 1):
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=place))
        for batch in torch.randperm(len(train), generator=order).to(place).tensor_split(batches):
            chosen = {name: tensor[batch] for name, tensor in tensors.items()}
            targets = {name: chosen[name].float() / 255 for name in run.model.targets}
            with fitted.autocast():
                output = model(**fitted.standardiser(chosen))
                terms = model.loss(output, labels[batch], targets)
            total = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
            for name, term in terms.items():
                sums[name] += term.detach() * len(batch)
        means = {name: float(value) / len(train) for name, value in sums.items()}
        loss = sum(means.values())
        if not np.isfinite(loss):
            raise ValueError(f"loss is {loss} in epoch {epoch}; lower options.{run.model.name}.lr")
        fitted.curve.append({"epoch": epoch, "loss": loss, **means})
        report({"epoch": epoch, "epochs": settings.epochs, "loss": loss})
    return fitted


@dataclass
class _Standardiser:
    """Zero mean and unit variance for each input, by channel, over the training clips."""

    mean: dict[str, Tensor]
    scale: dict[str, Tensor]

    @classmethod
    def of(cls, train: ClipSet, inputs: tuple[str, ...], place: torch.device) -> _Standardiser:
        mean, scale = {}, {}
        for name in inputs:
            array = train.inputs[name]
            channel = array.ndim - 3  # (N, ..., C, H, W)
            others = tuple(axis for axis in range(array.ndim - 1) if axis != channel - 1)
            total, squares = 0.0, 0.0
            for clip in array:  # one clip at a time: the whole set in float64 would be eight times its size
                values = clip.astype(np.float64)
                total = total + values.mean(axis=others)
                squares = squares + np.square(values).mean(axis=others)
            centre = np.asarray(total / len(array))  # (C,)
            spread = np.sqrt(np.maximum(squares / len(array) - np.square(centre), 0))
            spread[spread == 0] = 1
            mean[name] = torch.from_numpy(centre).float().reshape(-1, 1, 1).to(place)
            scale[name] = torch.from_numpy(spread).float().reshape(-1, 1, 1).to(place)
        return cls(mean, scale)

    def __call__(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: (tensors[name].float() - mean) / self.scale[name] for name, mean in self.mean.items()}


@dataclass
class _FittedModule:
    model: nn.Module
    standardiser: _Standardiser
    device: torch.device
    run: Run
    curve: Curve

    def autocast(self) -> torch.autocast:
        """Mixed precision as ``train.precision`` says."""
        precision = resolve_precision(self.run.train.precision, self.device.type)
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")

    @torch.no_grad()
    def scores(self, clips: ClipSet) -> NDArray[np.float64]:
        """Softmax probabilities, (N, classes)."""
        assert self.run.settings.batch_size
        before = self.model.training
        self.model.eval()
        parts = []
        for start in range(0, len(clips), self.run.settings.batch_size):
            window = slice(start, start + self.run.settings.batch_size)
            batch = {
                name: torch.from_numpy(clips.inputs[name][window]).to(self.device) for name in self.run.model.inputs
            }
            with self.autocast():
                logits = self.model(**self.standardiser(batch)).logits
            parts.append(torch.softmax(logits.double(), dim=1).cpu())
        self.model.train(before)
        scores: NDArray[np.float64] = torch.cat(parts).numpy()
        return scores

    def save(self, path: Path) -> None:
        """Weights and the statistics of the inputs; how the model was built is in the metadata."""
        tensors: dict[str, Tensor] = {key: value.contiguous().cpu() for key, value in self.model.state_dict().items()}
        for name in self.standardiser.mean:
            tensors[f"standardise.{name}.mean"] = self.standardiser.mean[name].contiguous().cpu()
            tensors[f"standardise.{name}.scale"] = self.standardiser.scale[name].contiguous().cpu()
        about: dict[str, Any] = {
            "model": self.run.model.name,
            "task": self.run.task,
            "settings": self.run.settings.model_dump(),
        }
        save_file(tensors, path, metadata={"fdpbench": json.dumps(about, sort_keys=True)})
