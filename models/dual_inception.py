"""Dual-Inception: two inception blocks on horizontal flow, two on vertical flow, and a dense layer.

Zhou, Mao, Xue, "Dual-Inception Network for Cross-Database Micro-Expression Recognition", FG 2019.

Marks: [paper] the paper says so; [code] so in its authors' code; [choice] ours.

The authors' flow runs from the onset to the middle frame [paper], and reaches the network as two colour images
with three equal channels each [code]. Here it is the task's flow, with one channel each [choice], which can
represent the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import Classifier, ModelOutput, input_shape
from models.registry import Count, Share, register_model

__all__ = ["DualInception"]

WIDTHS = (6, 16)  # [code] filters of each path, in the first and the second block
PATHS = 4
SIDE = 28 // 2 // 2  # of a stream's output


def _convolutions(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """1x1 convolution, then kernel x kernel where that is more, each with a ReLU; the size is kept [code]."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    if kernel > 1:
        layers += [nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Inception(nn.Module):
    """Four paths beside each other, then 2x2 max-pooling [code].

    They see 1x1, 3x3, 5x5 pixels, and the maxima of 3x3.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(_convolutions(inputs, width, kernel) for kernel in (1, 3, 5))
        self.maxima = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolutions(inputs, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / 2, W / 2)."""
        paths = [path(x) for path in (*self.paths, self.maxima)]  # (B, width, H, W) each
        return F.max_pool2d(torch.cat(paths, dim=1), 2)


def _stream() -> nn.Sequential:
    first, second = WIDTHS
    return nn.Sequential(Inception(1, first), Inception(PATHS * first, second), nn.Flatten())


@register_model(inputs=("flow",), paper="Zhou et al., FG 2019")
class DualInception(Classifier):
    """Two streams of the same form with weights of their own, on u and v; the strain is not read [paper].

    Parameters
    ----------
    num_classes
        Number of classes; 6,449,867 parameters for 3.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    hidden
        Units of the dense layer; 1024 [code].
    dropout
        Share of values dropped after the dense layer; none [code].

    Raises
    ------
    ModelOptionError
        If the flow has another shape.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        hidden: Count = 1024,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        self.horizontal, self.vertical = _stream(), _stream()
        self.classify = nn.Sequential(
            nn.Linear(2 * PATHS * WIDTHS[1] * SIDE**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        u, v = self.horizontal(flow[:, 0:1]), self.vertical(flow[:, 1:2])  # (B, 3136) each
        return ModelOutput(logits=self.classify(torch.cat([u, v], dim=1)))
