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
from torch import Tensor, nn

from fdpbench.models.common.blocks import INCEPTION_FEATURES, Classifier, ModelOutput, inception_stream, input_shape
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["DualInception"]


@register_model(
    inputs=("flow",),
    paper="Zhou et al., FG 2019",
    recipe=Recipe(epochs=40, batch_size=64, lr=3e-4, weight_decay=0.0),
)
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
        self.horizontal, self.vertical = inception_stream(), inception_stream()
        self.classify = nn.Sequential(
            nn.Linear(2 * INCEPTION_FEATURES, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        u, v = self.horizontal(flow[:, 0:1]), self.vertical(flow[:, 1:2])  # (B, 3136) each
        return ModelOutput(logits=self.classify(torch.cat([u, v], dim=1)))
