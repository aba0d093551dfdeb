"""What the torch models share: output, base class, checks of shapes, and building blocks.

Not a model itself: see `models.common.registry`. [code] marks what the released code of a paper does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.registry import ModelOptionError

__all__ = [
    "INCEPTION_FEATURES",
    "BasicBlock",
    "Classifier",
    "ModelOutput",
    "conv_bn_relu",
    "inception_stream",
    "input_shape",
    "residual_stages",
]

# The inception stream on flow, [code] of Dual-Inception, on which FeatRef (2022) goes on: filters of each path in
# its two blocks, and the features that it gives of 28 x 28 pixels.
INCEPTION_WIDTHS = (6, 16)
INCEPTION_PATHS = 4
INCEPTION_FEATURES = INCEPTION_PATHS * INCEPTION_WIDTHS[1] * (28 // 2 // 2) ** 2


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
    per_class
        Names of the attributes that have a column for each class: where a model has more outputs than classes, its
        loss is given the columns of the classes alone.
    """

    per_class: ClassVar[tuple[str, ...]] = ("logits",)

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
    classification: ClassVar[str] = "cross_entropy"  # which term of `loss` is the mean of `classification_losses`

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

    def classification_losses(self, output: ModelOutput, labels: Tensor) -> Tensor:
        """The classification loss of each clip, (B,): what objectives that weigh clips work on.

        Parameters
        ----------
        output, labels
            As for `loss`.
        """
        return F.cross_entropy(output.logits, labels, reduction="none")


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
        low <= length and (high is None or length <= high) for length, (low, high) in zip(shape, bounds, strict=True)
    )
    if not suits:
        wanted = ", ".join(
            f"{axis} = {low}" if low == high else f"{axis} >= {low}" + (f" and <= {high}" if high else "")
            for axis, (low, high) in zip(names, bounds, strict=True)
        )
        raise ModelOptionError(f"input {name!r} has shape {shape} per clip, expected ({wanted})")
    return shape


def conv_bn_relu(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """3x3 convolution, BN, ReLU: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """ResNet's (He et al., CVPR 2016): (B, C, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Residual sum, then ReLU."""
        return (self.second(self.first(x)) + self.shortcut(x)).relu()


def residual_stages(width: int, strides: Sequence[int]) -> list[nn.Module]:
    """Stages of ResNet18 (He et al., CVPR 2016), two blocks each: (B, width, H, W) to (B, width 2^(n - 1), ...).

    Parameters
    ----------
    width
        Channels that come in, and of the first stage; each that follows has twice as many.
    strides
        Of the first block of each of the n stages.
    """
    blocks: list[nn.Module] = []
    inputs = width
    for stage, stride in enumerate(strides):
        outputs = width * 2**stage
        blocks += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
        inputs = outputs
    return blocks


def _convolutions(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """1x1 convolution, then kernel x kernel where that is more, each with a ReLU; the size is kept [code]."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    if kernel > 1:
        layers += [nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Inception(nn.Module):
    """Block of Dual-Inception (Zhou et al., FG 2019): four paths beside each other, then 2x2 max-pooling [code].

    They see 1x1, 3x3, 5x5 pixels, and the maxima of 3x3.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(_convolutions(inputs, width, kernel) for kernel in (1, 3, 5))
        self.maxima = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolutions(inputs, width, 1))
        self.shrink = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / 2, W / 2)."""
        paths = [path(x) for path in (*self.paths, self.maxima)]  # (B, width, H, W) each
        return self.shrink(torch.cat(paths, dim=1))


def inception_stream() -> nn.Sequential:
    """Two inception blocks on one component of flow: (B, 1, 28, 28) -> (B, INCEPTION_FEATURES)."""
    first, second = INCEPTION_WIDTHS
    return nn.Sequential(Inception(1, first), Inception(INCEPTION_PATHS * first, second), nn.Flatten())
