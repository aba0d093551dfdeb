"""Weights that a run starts from: a file of a network, and putting it into a network for other classes.

Checkpoints of folds, pretrained networks and the weights that come with the package are files of one form: tensors by
name, the statistics of the inputs, and in the metadata what the outputs stand for. Where the outputs are those of the
task, all is taken as it is. Else a tensor whose shape depends on the number of outputs is a head: of it those rows are
taken whose output, by name, is a class of the task, or the mean of those whose emotions a class gathers
(`bench.train.outputs`); the others, and heads that have no row for each output, stay as the network began.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fdpbench.bench.train.outputs import told_by
from fdpbench.bench.train.step import Standardiser
from fdpbench.models.common.blocks import Classifier
from fdpbench.models.common.checkpoints import CheckpointError, read_tensors, tensor_shapes
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["Weights", "head_axes", "read_about", "read_weights", "write_weights"]

KEY = "fdpbench"  # of the metadata
STATISTICS = "standardise."
COUNTER = "num_batches_tracked"  # of batch norm: counted and never read, since the momentum is fixed; not kept
ABOUT = {"model": str, "outputs": list, "settings": dict}


@dataclass(frozen=True)
class Weights:
    """A file of weights, read.

    Attributes
    ----------
    path
        The file, for messages.
    outputs
        What each output of the network stands for, in order: classes, then action units.
    tensors
        Parameters and buffers by name, float32.
    standardiser
        Statistics of the inputs that the network was trained on.
    """

    path: Path
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    standardiser: Standardiser

    def check_inputs(self, inputs: Sequence[str]) -> None:
        """Hold the statistics against the inputs of a network, which are given by name.

        Raises
        ------
        CheckpointError
            If those of an input are missing, or are of another number of channels.
        """
        for name in inputs:
            channels = INPUTS[name].channels
            found = [part[name].numel() for part in (self.standardiser.mean, self.standardiser.scale) if name in part]
            if found != [channels, channels]:
                raise CheckpointError(
                    f"{self.path}: expected mean and scale of {name} in {channels} channels, found them "
                    f"{f'in {found[0]}' if found else 'of other inputs alone'}: it holds a network for other inputs; "
                    "start from one for these"
                )

    def put_into(self, model: Classifier, classes: Sequence[str], build: Callable[[int], Classifier]) -> None:
        """Load the weights into a network for the same or other classes.

        Parameters
        ----------
        model
            The network; heads of classes that the weights do not know are left as they are.
        classes
            Names of its outputs, in order.
        build
            Builds such a network for a number of outputs; called without memory for weights.

        Raises
        ------
        CheckpointError
            If a tensor is missing, is not the network's, or has another shape.
        """
        self._check_tensors(build)
        heads = {} if tuple(classes) == self.outputs else head_axes(build, len(classes))
        known = [(mine, its) for mine, its in enumerate(told_by(classes, self.outputs)) if its]
        with torch.no_grad():
            for name, value in _kept(model).items():
                if name not in heads:
                    value.copy_(self.tensors[name])
                    continue
                axis = heads[name]
                if axis is None:
                    continue
                for mine, its in known:
                    rows = self.tensors[name].index_select(axis, torch.tensor(its, device=value.device))
                    value.select(axis, mine).copy_(rows.mean(axis))

    def _check_tensors(self, build: Callable[[int], Classifier]) -> None:
        """Hold the tensors against those of the network that they were taken from."""
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in _kept(build(len(self.outputs))).items()}
        strange = sorted(expected.keys() ^ self.tensors.keys())
        if strange:
            where = "the file" if strange[0] in expected else "the network"
            raise CheckpointError(
                f"{self.path}: {strange[0]!r} is not in {where}: it holds a network of other options; start from one "
                "with the same, or leave the option out"
            )
        for name, shape in expected.items():
            found = tuple(self.tensors[name].shape)
            if found != shape:
                raise CheckpointError(
                    f"{self.path}: {name!r} has the shape {found}, expected {shape}: it holds a network of other "
                    "options or for inputs of another size; start from one with the same"
                )


def _kept(model: Classifier) -> dict[str, Tensor]:
    """The tensors of a network that its file holds."""
    return {name: value for name, value in model.state_dict().items() if not name.endswith(COUNTER)}


def head_axes(build: Callable[[int], Classifier], outputs: int) -> dict[str, int | None]:
    """Which tensors of a network depend on its number of outputs, and along which axis each has a row for each.

    None stands for those that depend on it otherwise, such as a layer that reads a part for each output, or are of such
    a part.

    Parameters
    ----------
    build
        Builds the network for a number of outputs; called without memory for weights.
    outputs
        A number of outputs, at least 2.
    """
    with torch.device("meta"):
        one, other = (build(count).state_dict() for count in (outputs, outputs + 1))
    parts = {name[: name.index(f".{outputs}.") + 1] for name in other.keys() - one.keys() if f".{outputs}." in name}
    axes: dict[str, int | None] = {}
    for name, value in one.items():
        shape, larger = tuple(value.shape), tuple(other[name].shape) if name in other else ()
        if name.startswith(tuple(parts)) or len(shape) != len(larger):
            axes[name] = None
        elif shape != larger:
            differing = [axis for axis, (a, b) in enumerate(zip(shape, larger, strict=True)) if a != b]
            alone = len(differing) == 1 and (shape[differing[0]], larger[differing[0]]) == (outputs, outputs + 1)
            axes[name] = differing[0] if alone else None
    return axes


def write_weights(
    path: Path,
    model: Classifier,
    standardiser: Standardiser,
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network as safetensors.

    Parameters
    ----------
    path
        File to write.
    model, standardiser
        The network and the statistics of its inputs.
    about
        Metadata, with at least ``model``, ``outputs`` and ``settings``.
    dtype
        Of the network's tensors on disk; statistics stay float32.
    """
    tensors = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for key, value in _kept(model).items()
    }
    for name in standardiser.mean:
        tensors[f"{STATISTICS}{name}.mean"] = standardiser.mean[name].contiguous().cpu()
        tensors[f"{STATISTICS}{name}.scale"] = standardiser.scale[name].contiguous().cpu()
    save_file(tensors, path, metadata={KEY: json.dumps(about, sort_keys=True)})


def read_about(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself: ``model``, ``outputs``, ``settings`` and more; no tensor is read.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or is not one that this project wrote.
    """
    tensor_shapes(path)  # refuses what is no such file
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(KEY, "{}")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = {}
    if not isinstance(about, dict) or any(not isinstance(about.get(key), kind) for key, kind in ABOUT.items()):
        raise CheckpointError(
            f"{path}: its metadata do not say model, outputs and settings: not weights that `fdpbench pretrain` or "
            "`fdpbench train` wrote"
        )
    return about


def read_weights(path: Path, device: torch.device) -> Weights:
    """Read a file of weights.

    Raises
    ------
    CheckpointError
        If it cannot be read, is not one that this project wrote, or holds a value that is not finite.
    """
    outputs = tuple(map(str, read_about(path)["outputs"]))
    tensors = {name: value.to(device) for name, value in read_tensors(path, tensor_shapes(path)).items()}
    mean: dict[str, Tensor] = {}
    scale: dict[str, Tensor] = {}
    for name in [name for name in tensors if name.startswith(STATISTICS)]:
        which, _, what = name.removeprefix(STATISTICS).rpartition(".")
        (mean if what == "mean" else scale)[which] = tensors.pop(name)
    for which in mean.keys() ^ scale.keys():
        raise CheckpointError(f"{path}: of the statistics of {which}, mean or scale is missing; copy the file again")
    for which, value in scale.items():
        if bool((value <= 0).any()):
            raise CheckpointError(f"{path}: the scale of {which} is not above 0; copy the file again")
    return Weights(path, outputs, tensors, Standardiser(mean, scale))
