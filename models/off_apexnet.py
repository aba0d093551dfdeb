"""OFF-ApexNet: one small CNN on horizontal flow, one on vertical flow, joined by two dense layers.

Gan, Liong, Yau, Huang, Tan, "OFF-ApexNet on Micro-expression Recognition System", Signal Processing: Image
Communication 74, 2019, arXiv 1805.08699.

Marks: [paper] the paper says so; [port] so in the public PyTorch port beside Off-TANet (Zhang et al., PRICAI
2021), which gives 2.66 million parameters; [choice] ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["OFFApexNet"]

WIDTHS = (6, 16)  # [paper] filters of the two convolutions
SIDE = 28 // 2 // 2  # of a stream's output


def _stream() -> nn.Sequential:
    """[paper] Two 5x5 convolutions, each pooled; [port] "same" padding, 2x2 pooling; [choice] ReLU after each."""
    first, second = WIDTHS
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )


@register_model(
    inputs=("flow",),
    paper="Gan et al., Signal Processing: Image Communication 74, 2019",
    recipe=Recipe(epochs=40, batch_size=64, lr=3e-4, weight_decay=0.0),
)
class OFFApexNet(Classifier):
    """Two streams of the same form with weights of their own, on u and v; the strain is not read [paper].

    Parameters
    ----------
    num_classes
        Number of classes; 2,664,475 parameters for 3.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    hidden
        Units of each of the two dense layers; 1024 [paper].
    dropout
        Share of values dropped after each dense layer; 0.5 [port].

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
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        self.horizontal, self.vertical = _stream(), _stream()
        self.classify = nn.Sequential(
            nn.Linear(2 * WIDTHS[1] * SIDE**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        channels_last(self)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        u, v = self.horizontal(flow[:, 0:1]), self.vertical(flow[:, 1:2])  # (B, 784) each
        return ModelOutput(logits=self.classify(torch.cat([u, v], dim=1)))
