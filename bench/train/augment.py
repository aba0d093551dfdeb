"""Mirror images and shifts of clips: random in training, both mirror images together in prediction.

`prep.task.inputs` says what the mirror image of an input is: of frames, apex frames and dynamic images the pixels in
the opposite order; of flow moreover the horizontal component u with the opposite sign. Scaled to 0..1 that is 1 - u:
where all clips share the limits, 0.5 is no motion; where each image is scaled by its own extremes, these change places
when u changes its sign, and 1 - u is what the flow of the mirrored clip would have been scaled to.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fdpbench.bench.train.settings import Run
from fdpbench.models.common.registry import Augment
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["Augmentation", "check_shift", "mirrored", "moved"]

# Tells these random numbers from others that are drawn from a fold's seed.
TAG = 0x417567


class Augmentation:
    """Random mirror images and shifts of the training clips of a fold, drawn for a whole epoch.

    They depend on seed, epoch and place of the clip alone. Inputs and targets of a clip are changed alike. Only `begin`
    waits for the device.

    Parameters
    ----------
    run
        The run: its setting ``augment``, and how its task scales flow.
    clips
        Number of training clips.
    seed
        Of the fold.
    device
        Where the clips lie.
    """

    def __init__(self, run: Run, clips: int, seed: int, device: torch.device) -> None:
        self.run, self.clips, self.seed, self.device = run, clips, seed, device
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Draw the changes of an epoch, counted from 1."""
        augment: Augment = self.run.settings.augment
        random = np.random.default_rng([self.seed, epoch, TAG])
        flips = random.integers(0, 2, self.clips) == 1
        shifts = random.integers(-augment.shift, augment.shift, (self.clips, 2), endpoint=True)
        self.flips = torch.from_numpy(flips & augment.mirror).to(self.device)  # (N,)
        self.shifts = torch.from_numpy(shifts).to(self.device)  # (N, 2), down and to the right

    def __call__(self, tensors: Mapping[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        """Change a batch.

        Parameters
        ----------
        tensors
            Inputs and targets by name, (B, ...), as they are stored.
        batch
            (B,), indices of its clips among the training clips.
        """
        flips, shifts = self.flips[batch], self.shifts[batch]
        return {name: moved(name, tensor, flips, shifts, self.run) for name, tensor in tensors.items()}


def mirrored(tensors: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    """Mirror images of inputs (B, ...) by name, before they are standardised."""
    result = {}
    for name, tensor in tensors.items():
        every = torch.ones(len(tensor), dtype=torch.bool, device=tensor.device)
        result[name] = moved(name, tensor, every, every.new_zeros((len(tensor), 2), dtype=torch.int64), run)
    return result


def moved(name: str, tensor: Tensor, flips: Tensor, shifts: Tensor, run: Run) -> Tensor:
    """Mirror some clips of an input, then move each; where nothing is known beyond the border, the border is repeated.

    Parameters
    ----------
    name
        The input.
    tensor
        (B, ..., H, W), as it is stored.
    flips
        (B,), whether to mirror.
    shifts
        (B, 2), pixels down and to the right.
    run
        Whose task scales flow.
    """
    height, width = tensor.shape[-2:]
    rows = (torch.arange(height, device=tensor.device) - shifts[:, :1]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=tensor.device) - shifts[:, 1:]).clamp(0, width - 1)  # (B, W)
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    maps = tensor.flatten(1, -3)  # (B, M, H, W)
    clip, one = torch.arange(len(maps), device=tensor.device), torch.arange(maps.shape[1], device=tensor.device)
    result = maps[clip[:, None, None, None], one[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    if INPUTS[name].mirrored == "flow":
        u = result[:, 0]  # (B, h, w)
        result[:, 0] = torch.where(flips[:, None, None], _opposite(u, run), u)
    return result.reshape(tensor.shape)


def _opposite(u: Tensor, run: Run) -> Tensor:
    """Horizontal flow with the opposite sign, scaled as the task scales it."""
    assert run.task_params.flow is not None
    return -u if run.task_params.flow.scaling == "pixels" else 1 - u


def check_shift(run: Run, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse shifts by which a face would leave the image.

    Parameters
    ----------
    run
        The run.
    shapes
        Shape of one clip for each input of its model.

    Raises
    ------
    ValueError
        If the shift is a quarter of a side or more.
    """
    shift = run.settings.augment.shift
    for name, shape in shapes.items():
        side = min(shape[-2:])
        if 4 * shift >= side and shift:
            raise ValueError(
                f"augment.shift {shift}: {name} has {side} pixels a side; expected less than a quarter of it"
            )
