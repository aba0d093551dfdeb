"""LEARNet: columns of convolutions that lend each other their responses, on the dynamic image.

Verma et al., "LEARNet: Dynamic Imaging Network for Micro Expression Recognition", IEEE Transactions on Image
Processing 29, 2020: the "lateral accretive hybrid network".

Marks: [paper] its abstract; [code] the model file that its authors released (github.com/MonuVermaCV/LearNet);
[choice] ours.

[paper] The input is the clip's dynamic image. Accretion layers join the responses of convolutions that lie
beside each other.
[code] One convolution feeds four columns of three convolutions: 1x1 with 16 filters, 3x3 with 32, 5x5 with 64,
each with stride 2 and ReLU. The first and third column are plain. The second and fourth are hybrid: to the
responses of their first two convolutions those of the plain column before them are added, and BN follows.
The four columns' last responses in a row, BN, a 3x3 convolution with 256 filters, a dense layer with 256 units,
dropout 0.5, and the classes. For colour images of 112 x 112 and 8 classes it has 1,866,824 trained parameters.
[choice] One channel for grey dynamic images, their own size, torch's first weights, and padding on both sides
of an image where the code pads on one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Recipe, Share, register_model

__all__ = ["LEARNet"]

STEM = 16
COLUMN = ((1, 16), (3, 32), (5, 64))  # side of the kernel, filters
PAIRS = 2  # of a plain and a hybrid column
JOINED = 256  # filters of the last convolution
HIDDEN = 256
HALVINGS = 2 + len(COLUMN)


def _halve(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution with stride 2, ReLU: (B, inputs, H, W) -> (B, outputs, ceil(H / 2), ceil(W / 2))."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2), nn.ReLU())


def _column() -> nn.ModuleList:
    inputs, layers = STEM, nn.ModuleList()
    for kernel, outputs in COLUMN:
        layers.append(_halve(inputs, outputs, kernel))
        inputs = outputs
    return layers


class ColumnPair(nn.Module):
    """A plain column and the hybrid one beside it: (B, 16, H, W) -> (B, 128, H / 8, W / 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.hybrid = _column(), _column()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _, width in COLUMN[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Responses of both columns' last convolutions, the plain one first."""
        plain, hybrid = x, x
        for index, (own, lateral) in enumerate(zip(self.plain, self.hybrid, strict=True)):
            plain, hybrid = own(plain), lateral(hybrid)  # (B, 16 | 32 | 64, ...)
            if index < len(self.norms):  # the accretion layer
                hybrid = self.norms[index](plain + hybrid)
        return torch.cat([plain, hybrid], dim=1)


@register_model(
    inputs=("dynamic_image",),
    paper="Verma et al., IEEE TIP 29, 2020 (LEARNet)",
    recipe=Recipe(epochs=30, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class LEARNet(Classifier):
    """Two pairs of a plain and a hybrid column on one stem, a joining convolution, and two dense layers.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``dynamic_image`` as (C, H, W), H and W at least 32; (3, 112, 112) in the paper's code.
    dropout
        Share of values dropped before the last layer.
    """

    def __init__(self, num_classes: int, *, shapes: Mapping[str, tuple[int, ...]], dropout: Share = 0.5) -> None:
        super().__init__()
        channels, height, width = input_shape(shapes, "dynamic_image", "C H W", H=(32, None), W=(32, None))
        self.stem = _halve(channels, STEM, 3)
        self.pairs = nn.ModuleList(ColumnPair() for _ in range(PAIRS))
        joined = 2 * PAIRS * COLUMN[-1][1]
        self.join = nn.Sequential(nn.BatchNorm2d(joined), _halve(joined, JOINED, 3))
        rows, columns = (-(-side // 2**HALVINGS) for side in (height, width))  # rounded up
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Linear(JOINED * rows * columns, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, num_classes),
        )
        channels_last(self)

    def forward(self, dynamic_image: Tensor) -> ModelOutput:
        """Classify dynamic images (B, C, H, W)."""
        x = self.stem(dynamic_image)  # (B, 16, H / 2, W / 2)
        x = torch.cat([pair(x) for pair in self.pairs], dim=1)  # (B, 256, H / 16, W / 16)
        x = self.join(x)  # (B, 256, H / 32, W / 32)
        return ModelOutput(logits=self.classify(x))
