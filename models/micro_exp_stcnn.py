"""MicroExpSTCNN: one wide 3D convolution over the whole face, and two dense layers.

Reddy et al., "Spontaneous Facial Micro-Expression Recognition using 3D Spatiotemporal Convolutional Neural
Networks", IJCNN 2019. `models.cnn3d` is our own network after it.

Marks: [paper] its abstract; [code] the scripts that its authors released
(github.com/bogireddytejareddy/micro-expression-recognition); [choice] ours.

[paper] The whole face, not parts of it.
[code] Grey frames of 64 x 64, 96 of them for CAS(ME)^2 and 18 for SMIC. A 3D convolution with 32 filters of 15
frames by 3 x 3 pixels without padding, ReLU, max-pooling of 3 x 3 x 3, dropout 0.5, a dense layer with 128
units, ReLU, dropout 0.5, and the classes. Dense weights start from a normal distribution, std 0.05, and biases
of 0. For 3 classes it has 1,643,267 parameters with 18 frames, 44,241,667 with 96.
[choice] A clip of fewer than 17 frames gets filters of as many frames as leave 3 to the pooling: 6 of 8.
Frames of another size are averaged to 64 x 64. The released scripts train with SGD.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["MicroExpSTCNN"]

SIDE = 3  # of filters and pooling, in the image
POOL = 3
DEPTH = 15  # frames that a filter spans
SIZE = 64  # of the frames
STD = 0.05  # of the dense layers' first weights


@register_model(
    inputs=("frames",),
    paper="Reddy et al., IJCNN 2019 (MicroExpSTCNN)",
    recipe=Recipe(epochs=20, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class MicroExpSTCNN(Classifier):
    """One 3D convolution, max-pooling, and two dense layers.

    Nothing in it takes the face away from its motion: see `models.cnn3d` for what that costs.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``frames`` as (T, C, H, W), T at least 3, H and W at least 16.
    filters
        Filters of the convolution.
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
        filters: Count = 32,
        hidden: Count = 128,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        length, channels, _, _ = input_shape(shapes, "frames", "T C H W", T=(POOL, None), H=(16, None), W=(16, None))
        depth = min(DEPTH, length - POOL + 1)
        self.convolve = nn.Sequential(
            nn.Conv3d(channels, filters, (depth, SIDE, SIDE)),  # (B, filters, T - depth + 1, 62, 62)
            nn.ReLU(inplace=True),
            nn.MaxPool3d(POOL),
        )
        frames, side = (length - depth + 1) // POOL, (SIZE - SIDE + 1) // POOL
        self.classify = nn.Sequential(
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(filters * frames * side**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for layer in self.classify:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=STD)
                nn.init.zeros_(layer.bias)
        channels_last(self)

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W)."""
        if frames.shape[3:] != (SIZE, SIZE):
            frames = F.adaptive_avg_pool2d(frames.flatten(0, 1), SIZE).unflatten(0, frames.shape[:2])
        x = self.convolve(frames.transpose(1, 2))  # (B, filters, (T - depth + 1) / 3, 20, 20)
        return ModelOutput(logits=self.classify(x))
