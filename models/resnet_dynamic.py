"""A residual network on dynamic images: the plainest way to learn from a clip's one-image summary.

Dynamic images: Bilen et al., CVPR 2016. Network: ResNet18, He et al., "Deep Residual Learning for Image
Recognition", CVPR 2016, table 1: four stages of two basic blocks each.

Ours: narrow widths, a 3x3 stem for images of about 96 pixels, dropout before the classifier; trained
from random weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, conv_bn_relu, input_shape, residual_stages
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["ResNetDynamic"]

STRIDES = (1, 2, 2, 2)  # of the stages


@register_model(
    inputs=("dynamic_image",),
    paper="He et al., CVPR 2016, on Bilen et al., CVPR 2016",
    recipe=Recipe(epochs=30, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class ResNetDynamic(Classifier):
    """ResNet18 with ``width`` channels in the first stage, twice as many in each that follows.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``dynamic_image`` as (C, H, W), H and W at least 32.
    width
        Channels of the stem and the first stage; 64 in the paper.
    dropout
        Share of the pooled features dropped in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        width: Count = 16,
        dropout: Share = 0.2,
    ) -> None:
        super().__init__()
        channels, _, _ = input_shape(shapes, "dynamic_image", "C H W", H=(32, None), W=(32, None))
        self.stem = nn.Sequential(conv_bn_relu(channels, width, stride=2), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*residual_stages(width, STRIDES))
        features = width * 2 ** (len(STRIDES) - 1)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))
        channels_last(self)

    def forward(self, dynamic_image: Tensor) -> ModelOutput:
        """Classify dynamic images (B, C, H, W)."""
        x = self.stem(dynamic_image)  # (B, width, H / 4, W / 4)
        x = self.blocks(x)  # (B, 8 width, H / 32, W / 32)
        return ModelOutput(logits=self.classify(x.mean(dim=(2, 3))))
