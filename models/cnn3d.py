"""A small 3D convolutional network on raw frames.

After MicroExpSTCNN: Reddy et al., "Spontaneous Facial Micro-Expression Recognition using 3D
Spatiotemporal Convolutional Neural Networks", IJCNN 2019: 3D convolution, pooling, dropout, two dense
layers, on the whole face.

Ours: two convolutions in place of one wide one, batch normalisation, strides and widths for eight frames
of about 96 pixels on a CPU; and the clip's mean frame is taken from each frame, without which a hundred
clips teach it faces and no motion (its training loss stayed at chance).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["CNN3D"]

CUT = 3.0  # standard deviations of a clip's change
STATIC = 1e-3  # keeps a clip without change from being divided by 0
DOWN = 12  # height and width shrink by 2 (stride), 2 and 3 (pooling)


@register_model(
    inputs=("frames",),
    paper="Reddy et al., IJCNN 2019 (MicroExpSTCNN)",
    recipe=Recipe(epochs=20, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class CNN3D(Classifier):
    """Two 3D convolutions, each with pooling, and two dense layers.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``frames`` as (T, C, H, W), T at least 2, H and W at least 24.
    width
        Filters of the first convolution; the second has twice as many.
    hidden
        Units of the first dense layer.
    dropout
        Share of values dropped before each dense layer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        width: Count = 16,
        hidden: Count = 64,
        dropout: Share = 0.3,
    ) -> None:
        super().__init__()
        length, channels, height, width_in = input_shape(
            shapes, "frames", "T C H W", T=(2, None), H=(24, None), W=(24, None)
        )
        self.convolve = nn.Sequential(
            nn.Conv3d(channels, width, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((2, 2, 2)),  # (B, width, T / 2, H / 4, W / 4)
            nn.Conv3d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm3d(2 * width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3)),  # (B, 2 width, T / 2, H / 12, W / 12)
        )
        features = 2 * width * (length // 2) * (height // DOWN) * (width_in // DOWN)
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(features, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        channels_last(self)

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W)."""
        change = frames - frames.mean(dim=1, keepdim=True)
        spread = change.flatten(1).std(dim=1)[:, None, None, None, None]  # (B, 1, 1, 1, 1)
        # a blink moves more than the expression: cut what is far out, so that it does not set the scale
        change = (change / (spread + STATIC)).clamp(-CUT, CUT)
        x = self.convolve(change.transpose(1, 2))  # (B, 2 width, T / 2, H / 12, W / 12)
        return ModelOutput(logits=self.classify(x))
