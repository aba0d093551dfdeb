"""Checkpoints of other people's making: held against a model before anything is loaded.

Not a model itself: see `models.common.registry`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["CheckpointError", "read_tensors", "released_tensors", "tensor_shapes"]

WRAPPER = "module."  # what a DataParallel model saves before each name
MOST_NAMED = 5
MOST_HEADER = 1_000_000  # bytes; that of a vision transformer with 40 blocks has about 50,000
FLOATS = ("BF16", "F16", "F32", "F64")


class CheckpointError(ValueError):
    """A file of weights cannot be read; the message names it, what is wrong and what to do."""


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read which tensors a safetensors file holds, and of what shape; no tensor is read.

    A shape is one that the file's length bears: none is empty, so that no file is smaller than what it makes a
    model allocate.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Shapes by name.

    Raises
    ------
    CheckpointError
        If the file is no safetensors file, is cut short, or its header contradicts itself or the file's length.
    """
    header = _header(path)
    try:
        # The library holds types, shapes and places in the file against each other and against its length.
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
            types = {name: one.get_dtype() for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no safetensors file ({error})") from None
    if set(header) - {"__metadata__"} != set(shapes):
        raise CheckpointError(f"{path}: its header is damaged; copy it again")
    for name, shape in shapes.items():
        if 0 in shape:
            raise CheckpointError(f"{path}: tensor {name!r} of the shape {shape} holds nothing; copy the file again")
        if types[name] not in FLOATS:
            expected = ", ".join(FLOATS)
            raise CheckpointError(f"{path}: tensor {name!r} is of type {types[name]}, expected one of {expected}")
    return shapes


def read_tensors(path: Path, names: Mapping[str, object]) -> dict[str, Tensor]:
    """Read some tensors of a file that `tensor_shapes` found sound, as float32.

    Raises
    ------
    CheckpointError
        If a value is not finite.
    """
    tensors = {}
    with safe_open(path, "pt") as file:
        for name in names:
            tensors[name] = file.get_tensor(name).float()
            if not bool(tensors[name].isfinite().all()):
                raise CheckpointError(f"{path}: tensor {name!r} holds a value that is not finite; copy the file again")
    return tensors


def _header(path: Path) -> dict[str, Any]:
    """Parse the JSON at a file's head, which its first 8 bytes say the length of; no name may come twice."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, MOST_HEADER):
                raise CheckpointError(
                    f"{path} is no safetensors file (its header would have {length:,} bytes, of a file of {size:,}; "
                    f"expected at most {MOST_HEADER:,})"
                )
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no safetensors file (its header: {error})") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is no safetensors file (its header is no object)")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} comes twice")
    return found


def released_tensors(
    wanted: Mapping[str, Tensor],
    state_dict: Mapping[str, Tensor],
    hint: str,
    may_miss: Callable[[str], bool] = lambda key: False,
) -> dict[str, Tensor]:
    """Hold a released checkpoint against a model, name by name and shape by shape.

    Parameters
    ----------
    wanted
        Tensors of the model that is to take the weights, under the checkpoint's names.
    state_dict
        Tensors by name; all names may begin with ``module.``.
    hint
        How the model must be built to fit, for the message.
    may_miss
        Says of a name whether the checkpoint may lack it.

    Returns
    -------
    The tensors, under these names.

    Raises
    ------
    TypeError
        If a value is no tensor.
    ValueError
        If a tensor is missing, unexpected or of another shape. The message names it.
    """
    wrapped = all(key.startswith(WRAPPER) for key in state_dict)
    found = {key.removeprefix(WRAPPER) if wrapped else key: value for key, value in state_dict.items()}
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{key!r} is {type(value).__name__}, expected a tensor: pass the state_dict itself")
    faults = [f"{key!r} is missing" for key in wanted if key not in found and not may_miss(key)]
    faults += [f"{key!r} is unexpected" for key in found if key not in wanted]
    faults += [
        f"{key!r} has shape {tuple(found[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    if faults:
        more = f"; and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise ValueError(f"not a checkpoint of this model: {'; '.join(faults[:MOST_NAMED])}{more}. {hint}")
    return found
