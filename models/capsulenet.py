"""CapsuleNet: a residual network on the apex frame, and capsules that agree on the emotion.

Van Quang, Chun, Tokuyama, "CapsuleNet for Micro-Expression Recognition", FG 2019. Capsules and routing are those
of Sabour, Frosst, Hinton, "Dynamic Routing Between Capsules", NIPS 2017.

Marks: [paper] its abstract and what others report of it; [code] its authors' code
(github.com/davidnvq/me_recognition); [choice] ours.

[code] ResNet18 without its last stage, and without the pooling behind its stem: 224 x 224 pixels become a map of
28 x 28. A convolution of 9 x 9 with ReLU and one of 9 x 9 with stride 2, both unpadded, lead to 6 x 6 places with 32
capsules of 8 numbers each, and routing in 3 rounds to one capsule of 16 numbers for each class, whose length says how
likely the class is. With 3 colours and 3 classes that is 13,842,496 parameters.
[choice] The code starts from weights trained on ImageNet, then on faces, adds frames beside the apex for the rarer
classes, rotates, crops and recolours, shortens the learning rate by a tenth after each epoch, and keeps the epoch that
does best on the test subject. Nothing of that is here, and frames are grey. The preset ``tiny`` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape, residual_stages
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, register_model

__all__ = ["PRESETS", "CapsuleNet", "CapsuleOutput", "Preset", "route", "squash"]

STRIDES = (1, 2, 2)  # of the stages, three of ResNet18's four
STRIDE = 2 * math.prod(STRIDES)  # of the trunk, the stem's included
PRESENT, ABSENT = 0.99, 0.01  # [code] lengths beyond which a capsule costs nothing; 0.9 and 0.1 of Sabour et al.
ABSENT_WEIGHT = 0.5
WEIGHT_STD = 0.01  # [code] of the first weights between capsules
EPSILON = 1e-8


@dataclass(frozen=True)
class Preset:
    """Sizes of the network.

    Attributes
    ----------
    width
        Channels of the stem and the first stage, twice as many in each that follows.
    kernel
        Side of the two convolutions behind the trunk.
    types
        Capsules at each place of the last map.
    primary, final
        Numbers that a capsule of the map, and that of a class, consists of.
    """

    width: int
    kernel: int
    types: int
    primary: int
    final: int


PRESETS = {
    "released": Preset(width=64, kernel=9, types=32, primary=8, final=16),  # [code]
    "tiny": Preset(width=16, kernel=3, types=8, primary=8, final=16),  # [choice], for a CPU and small frames
}


@dataclass
class CapsuleOutput(ModelOutput):
    """What a forward pass gives.

    Attributes
    ----------
    lengths
        (B, num_classes), lengths of the classes' capsules, from 0 to 1. Only the loss reads them.
    """

    per_class = ("logits", "lengths")

    lengths: Tensor | None = None


def squash(vectors: Tensor) -> Tensor:
    """Keep the direction of vectors (..., D) and bring their length s to s^2 / (1 + s^2), below 1."""
    squares = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * (squares / (1 + squares) * (squares + EPSILON).rsqrt())  # not sqrt: see `fdpbench.arithmetic`


def route(votes: Tensor, rounds: int) -> Tensor:
    """Routing by agreement (Sabour et al. 2017, procedure 1).

    Each capsule below splits its vote over those above, at first equally; after each round more of it goes where
    the result points the same way. No gradient flows through the shares [code].

    Parameters
    ----------
    votes
        (B, I, J, D): what each of I capsules says of each of J capsules above.
    rounds
        At least 1.

    Returns
    -------
    Capsules (B, J, D).
    """
    fixed = votes.detach()
    agreement = fixed.new_zeros(fixed.shape[:3])  # (B, I, J)
    for _ in range(rounds - 1):
        found = squash((agreement.softmax(dim=2).unsqueeze(3) * fixed).sum(dim=1))  # (B, J, D)
        agreement = agreement + (fixed * found.unsqueeze(1)).sum(dim=3)
    return squash((agreement.softmax(dim=2).unsqueeze(3) * votes).sum(dim=1))


@register_model(
    inputs=("apex",),
    paper="Van Quang et al., FG 2019 (CapsuleNet)",
    recipe=Recipe(epochs=30, batch_size=16, lr=1e-3, weight_decay=1e-4, options={"preset": "tiny"}),
)
class CapsuleNet(Classifier):
    """Trunk, primary capsules, and a capsule for each class.

    [choice] The scores are the capsules' lengths, scaled to sum 1; the class is that of the longest, as in [code].

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``apex`` as (C, H, W), H and W at least 129 for the preset ``released``, 33 for ``tiny``.
    preset
        Sizes: a row of `PRESETS`.
    routings
        Rounds of routing; 3 [code].

    Raises
    ------
    ModelOptionError
        If the frame is too small for the preset.
    """

    classification = "margin"

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        preset: Literal["released", "tiny"] = "released",
        routings: Count = 3,
    ) -> None:
        super().__init__()
        sizes = PRESETS[preset]
        least = STRIDE * (2 * sizes.kernel - 2) + 1  # leaves one place
        channels, height, breadth = input_shape(shapes, "apex", "C H W", H=(least, None), W=(least, None))
        layers: list[nn.Module] = [
            nn.Conv2d(channels, sizes.width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(sizes.width),
            nn.ReLU(inplace=True),
        ]
        self.trunk = nn.Sequential(*layers, *residual_stages(sizes.width, STRIDES))
        inputs = sizes.width * 2 ** (len(STRIDES) - 1)
        self.convolve = nn.Sequential(nn.Conv2d(inputs, inputs, sizes.kernel), nn.ReLU(inplace=True))
        self.primary = nn.Conv2d(inputs, sizes.types * sizes.primary, sizes.kernel, stride=2)
        places = _places(height, sizes.kernel) * _places(breadth, sizes.kernel)
        self.sizes, self.routings = sizes, routings
        self.weight = nn.Parameter(
            WEIGHT_STD * torch.randn(places * sizes.types, num_classes, sizes.final, sizes.primary)
        )
        channels_last(self)

    def forward(self, apex: Tensor) -> CapsuleOutput:
        """Classify apex frames (B, C, H, W)."""
        x = self.primary(self.convolve(self.trunk(apex)))  # (B, types * primary, h, w)
        capsules = squash(x.permute(0, 2, 3, 1).reshape(len(x), -1, self.sizes.primary))  # (B, I, primary)
        votes = torch.einsum("ijde,bie->bijd", self.weight, capsules)  # (B, I, num_classes, final)
        squares = route(votes, self.routings).square().sum(dim=2)  # (B, num_classes)
        lengths = (squares + EPSILON) * (squares + EPSILON).rsqrt()
        return CapsuleOutput(logits=lengths.log(), lengths=lengths)

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Margin loss, mean over the clips."""
        return {self.classification: self.classification_losses(output, labels).mean()}

    def classification_losses(self, output: ModelOutput, labels: Tensor) -> Tensor:
        """Margin loss of each clip, (B,): max(0, 0.99 - l)^2 of its class, 0.5 max(0, l - 0.01)^2 of each other."""
        assert isinstance(output, CapsuleOutput) and output.lengths is not None
        lengths = output.lengths
        classes = torch.arange(lengths.shape[1], device=labels.device)
        shown = (labels[:, None] == classes).to(lengths.dtype)  # (B, num_classes)
        short, long = (PRESENT - lengths).relu().square(), (lengths - ABSENT).relu().square()
        return (shown * short + ABSENT_WEIGHT * (1 - shown) * long).sum(dim=1)


def _places(side: int, kernel: int) -> int:
    """Places along a side of the capsules' map."""
    behind = -(-side // STRIDE) - (kernel - 1)
    return (behind - kernel) // 2 + 1
