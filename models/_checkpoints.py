"""Checkpoints of released code: held against a model before anything is loaded.

Not a model itself: see `models.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

__all__ = ["released_tensors"]

WRAPPER = "module."  # what a DataParallel model saves before each name
MOST_NAMED = 5


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
