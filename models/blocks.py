"""What the torch models share: the output, the base class with its loss, checks of shapes, a convolution.

Not a model itself: see `models.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from models.registry import ModelOptionError

__all__ = ["Classifier", "ModelOutput", "conv_bn_relu", "input_shape"]


@dataclass
class ModelOutput:
    """What a forward pass gives.

    Attributes
    ----------
    logits
        (B, num_classes).
    dynamic_image
        (B, H', W') in [0, 1], where the model draws one, at the model's own size.
    scores
        (B, T), rank scores of the frames, where the model ranks them.
    """

    logits: Tensor
    dynamic_image: Tensor | None = None
    scores: Tensor | None = None


class Classifier(nn.Module):
    """Base of the models that are trained by gradient descent.

    A subclass takes ``(num_classes, *, shapes, **options)`` and defines ``forward``, which takes the
    tensors of its declared inputs by name and returns a `ModelOutput`. Inputs have zero mean and unit
    variance over the training set.
    """

    kind: ClassVar[Literal["module"]] = "module"

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Terms of the training loss by name; their sum is minimised.

        Parameters
        ----------
        output
            Of a forward pass over B clips.
        labels
            (B,), int64 class indices.
        targets
            The tensors of the model's declared targets. None are needed here.
        """
        return {"cross_entropy": F.cross_entropy(output.logits, labels)}


def input_shape(
    shapes: Mapping[str, tuple[int, ...]], name: str, axes: str, **limits: tuple[int, int | None]
) -> tuple[int, ...]:
    """Shape of one clip's input, held against what the model can take.

    Parameters
    ----------
    shapes
        Shape of one clip for each input name.
    name
        The input.
    axes
        Names of its axes, separated by blanks, such as ``"T C H W"``.
    **limits
        Least and greatest length by axis name; None stands for no upper limit. Axes without an entry
        may have any length from 1.

    Raises
    ------
    ModelOptionError
        If the number of axes or a length does not suit; the message says what would.
    """
    shape, names = tuple(shapes[name]), axes.split()
    bounds = [limits.get(axis, (1, None)) for axis in names]
    suits = len(shape) == len(names) and all(
        low <= length and (high is None or length <= high)
        for length, (low, high) in zip(shape, bounds, strict=True)
    )
    if not suits:
        wanted = ", ".join(
            f"{axis} = {low}" if low == high else f"{axis} >= {low}" + (f" and <= {high}" if high else "")
            for axis, (low, high) in zip(names, bounds, strict=True)
        )
        raise ModelOptionError(f"input {name!r} has shape {shape} per clip, expected ({wanted})")
    return shape


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, batch normalisation, ReLU: (N, inputs, H, W) -> (N, outputs, ..)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
