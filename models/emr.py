"""EMR: a residual network on flow that pools the upper and the lower part of the face apart.

Liu, Du, Zheng, Gedeon, "A Neural Micro-Expression Recognizer", FG 2019.

Marks: [paper] its abstract says so; [code] so in its authors' code for MEGC2019; [choice] ours.

Only the part on flow is built. The paper adds two techniques of domain adaptation, which need a second data set, of
macro-expressions: adversarial training, and expression magnification and reduction. Neither is here. Nor are the
weights that its ResNet18 starts from, and its augmentation (rotation, crops, jitter of the colours) [code]. The paper's
figures are not to be expected. The authors' code keeps the epoch that does best on the test subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, conv_bn_relu, input_shape, residual_stages
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["EMR", "EMROutput"]

STRIDES = (1, 2, 2, 1)  # [choice] of the stages: 28 x 28 flow ends at 7 x 7, as 224 x 224 images did
UPPER_ROWS = 3  # [code] of the 7 rows of the last map; the lower part has the other 4


@dataclass
class EMROutput(ModelOutput):
    """What a forward pass gives.

    Attributes
    ----------
    upper, lower
        (B, num_classes), logits from one part of the face alone. Only the loss reads them.
    """

    per_class = ("logits", "upper", "lower")

    upper: Tensor | None = None
    lower: Tensor | None = None


def part_pooling(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the upper and of the lower rows: (B, C, 7, W) -> (B, C), (B, C). [paper] part-based average pooling."""
    return x[:, :, :UPPER_ROWS].mean(dim=(2, 3)), x[:, :, UPPER_ROWS:].mean(dim=(2, 3))


def _part(inputs: int, features: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, features), nn.Tanh(), nn.Dropout(dropout))  # [code]


@register_model(
    inputs=("flow",),
    paper="Liu et al., FG 2019, the part on flow alone",
    recipe=Recipe(epochs=20, batch_size=32, lr=3e-4, weight_decay=1e-6),
)
class EMR(Classifier):
    """ResNet18's stages on flow, features of two parts of the face, and a class from both.

    The loss is the cross-entropy of the class, and that of a class from each part alone [code].

    Parameters
    ----------
    num_classes
        Number of classes; with ``width`` 64, 11,235,273 parameters for 3.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    width
        Channels of the stem and the first stage, twice as many in each that follows; 64 [code].
    features
        Features of each part; 64 [code].
    dropout
        Share of a part's features dropped; 0.1 [code].

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
        features: Count = 64,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        stem = conv_bn_relu(3, width)  # [choice] for 7x7, stride 2, and pooling
        self.trunk = nn.Sequential(stem, *residual_stages(width, STRIDES))
        inputs = width * 2 ** (len(STRIDES) - 1)
        self.upper, self.lower = _part(inputs, features, dropout), _part(inputs, features, dropout)
        self.classify = nn.Linear(2 * features, num_classes)
        self.classify_upper, self.classify_lower = (nn.Linear(features, num_classes) for _ in range(2))
        channels_last(self)

    def forward(self, flow: Tensor) -> EMROutput:
        """Classify flow (B, 3, 28, 28)."""
        upper, lower = part_pooling(self.trunk(flow))  # (B, 8 width) each, of (B, 8 width, 7, 7)
        upper, lower = self.upper(upper), self.lower(lower)  # (B, features) each
        return EMROutput(
            logits=self.classify(torch.cat([upper, lower], dim=1)),
            upper=self.classify_upper(upper),
            lower=self.classify_lower(lower),
        )

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the class, of the class from the upper and from the lower part."""
        assert isinstance(output, EMROutput) and output.upper is not None and output.lower is not None
        terms = super().loss(output, labels, targets)
        return terms | {
            "upper": F.cross_entropy(output.upper, labels),
            "lower": F.cross_entropy(output.lower, labels),
        }
