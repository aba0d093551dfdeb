"""STSTNet: a shallow network of three parallel streams on optical flow.

Liong et al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition",
FG 2019. The paper leaves the padding open; as in the public PyTorch port each convolution pads by 2,
which gives 5 x 5 x 16 = 400 features, and parts carry that port's names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.blocks import Classifier, ModelOutput, input_shape
from models.registry import Share, register_model

__all__ = ["STSTNet"]


@register_model(inputs=("flow",), paper="Liong et al., FG 2019")
class STSTNet(Classifier):
    """Three 3x3 convolutions of 3, 5 and 8 filters beside each other, pooled and classified linearly.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    dropout
        Share of values dropped after max-pooling.
    """

    def __init__(self, num_classes: int, *, shapes: Mapping[str, tuple[int, ...]], dropout: Share = 0.5) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        self.conv1 = nn.Conv2d(3, 3, kernel_size=3, padding=2)
        self.conv2 = nn.Conv2d(3, 5, kernel_size=3, padding=2)
        self.conv3 = nn.Conv2d(3, 8, kernel_size=3, padding=2)
        self.bn1 = nn.BatchNorm2d(3)
        self.bn2 = nn.BatchNorm2d(5)
        self.bn3 = nn.BatchNorm2d(8)
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.average_pool = nn.AvgPool2d(kernel_size=2)
        self.fc = nn.Linear(16 * 5 * 5, num_classes)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        streams = []
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            stream = norm(conv(flow).relu())  # (B, 3 | 5 | 8, 30, 30)
            streams.append(self.dropout(self.max_pool(stream)))  # (B, 3 | 5 | 8, 10, 10)
        pooled = self.average_pool(torch.cat(streams, dim=1))  # (B, 16, 5, 5)
        return ModelOutput(logits=self.fc(pooled.flatten(1)))
