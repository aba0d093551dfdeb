"""A plain CNN on flow images: what a network of no special form does, beside those of the papers.

All of it is ours [choice]. It has a sixth of OFF-ApexNet's parameters and reads all three channels at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, conv_bn_relu, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["FlowCNN"]


@register_model(
    inputs=("flow",),
    paper="ours: four convolutions and two dense layers",
    recipe=Recipe(epochs=40, batch_size=64, lr=1e-3, weight_decay=1e-4),
)
class FlowCNN(Classifier):
    """A 5x5 and three 3x3 convolutions with batch norm, pooled twice, then two dense layers.

    Parameters
    ----------
    num_classes
        Number of classes; 435,667 parameters for 3 and flow of 28 x 28 pixels.
    shapes
        Needs ``flow`` as (3, h, w): u, v, strain, at least 8 pixels a side.
    width
        Filters of the first convolution; twice as many in the next two, four times in the last.
    hidden
        Units of the dense layer before the classes.
    dropout
        Share of the last map's values that are dropped; of the dense layer's, six tenths of it.

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
        width: Count = 16,
        hidden: Count = 128,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape(shapes, "flow", "C h w", C=(3, 3), h=(8, None), w=(8, None))
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_bn_relu(width, 2 * width),
            conv_bn_relu(2 * width, 2 * width),
            nn.MaxPool2d(2),
            conv_bn_relu(2 * width, 4 * width),
            nn.Flatten(),
        )
        self.classify = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(4 * width * (height // 4) * (breadth // 4), hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.6 * dropout),
            nn.Linear(hidden, num_classes),
        )
        channels_last(self)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, h, w)."""
        return ModelOutput(logits=self.classify(self.features(flow)))
