"""HTNet: a hierarchical transformer on the flow of four areas of the face, two eyes and two halves of the mouth.

Wang, Zhang, Luo, Sankaranarayana, "HTNet for micro-expression recognition", Neurocomputing 602, 2024, arXiv
2307.14637. The transformer is NesT's (Zhang et al., AAAI 2022).

Marks: [paper] its abstract says so; [code] so in its authors' code; [choice] ours.

Where this file departs from the code:

- The code cuts the areas around landmarks of each apex frame; flow images have none. Here they are cut at the
  positions that the code takes where it finds no face [choice].
- The code takes a landmark's x for the row of its area, and y for the column. Here x is x [choice].
- In the code every block of tokens is one token: 28 x 28 in patches of 7 x 7 are 4 x 4 tokens, which three levels
  split into 4 x 4 blocks. Attention over one token is that token's value whatever queries and keys are, so that
  areas meet in the aggregations alone. Preset ``released`` keeps that. Preset ``tiny`` has two levels [choice], with
  blocks of 2 x 2 tokens: at the first tokens attend to each other within an area, as the paper describes it, and at
  the second area to area.
- The code keeps the epoch that does best on the test subject, and its figures are those of such epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.registry import Recipe, Share, register_model

__all__ = ["AREAS", "PRESETS", "HTNet", "Preset", "four_areas"]

SIDE = 28
AREA = 14  # [code] side of an area
PATCH = 7  # [code]
MLP_RATIO = 4  # [code]

# Row and column of each area's middle [code], where no face is found: each at least 7 and at most 21.
AREAS = {"left eye": (11, 9), "right eye": (10, 21), "left lip": (21, 10), "right lip": (21, 20)}


@dataclass(frozen=True)
class Preset:
    """Sizes of a network.

    Attributes
    ----------
    width
        Features of a token at the lowest level, twice as many at each that follows.
    heads
        Attention heads at the lowest level, twice as many at each that follows.
    layers
        Transformer layers of each level, from the lowest; the tokens lie in 2^(levels - 1) blocks a side there.
    """

    width: int
    heads: int
    layers: tuple[int, ...]


PRESETS = {
    "released": Preset(width=256, heads=3, layers=(2, 2, 10)),  # [code]
    "tiny": Preset(width=32, heads=2, layers=(2, 2)),  # [choice], for a CPU
}


def four_areas(flow: Tensor) -> Tensor:
    """Flow (B, C, 28, 28) -> its four areas as one image (B, C, 28, 28), eyes above, lips below."""
    cut = [flow[:, :, y - AREA // 2 : y + AREA // 2, x - AREA // 2 : x + AREA // 2] for y, x in AREAS.values()]
    return torch.cat([torch.cat(cut[:2], dim=3), torch.cat(cut[2:], dim=3)], dim=2)


class Layer(nn.Module):
    """Transformer layer [code]: x = x + attention(LN(x)); x = x + MLP(LN(x)).

    Heads have ``width // heads`` features, rounded down. Queries, keys and values have no bias.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, inner = heads, width // heads * heads
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * inner, bias=False)
        self.project = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, MLP_RATIO * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(MLP_RATIO * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) -> (N, tokens, width)."""
        parts = self.attend(self.norm(x)).unflatten(2, (3, self.heads, -1))  # (N, tokens, 3, heads, width / heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, tokens, width / heads) each
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class Level(nn.Module):
    """Transformer layers in each block of tokens by itself, weights and positions shared by all blocks [code].

    Parameters
    ----------
    width, heads, layers, dropout
        Of the layers.
    blocks
        Blocks along each side of the image.
    tokens
        Tokens of a block.
    """

    def __init__(self, width: int, heads: int, layers: int, blocks: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.blocks = blocks
        self.position = nn.Parameter(torch.randn(tokens, 1))  # [code] one number a token, added to all features
        self.layers = nn.Sequential(*(Layer(width, heads, dropout) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) -> (B, H, W, width)."""
        b, (batch, height, breadth, width) = self.blocks, x.shape
        x = x.unflatten(1, (b, -1)).unflatten(3, (b, -1))  # (B, b, h, b, w, width)
        x = x.transpose(2, 3).reshape(batch * b * b, -1, width)  # (B b b, h w, width)
        x = self.layers(x + self.position)
        x = x.reshape(batch, b, b, height // b, breadth // b, width).transpose(2, 3)
        return x.reshape(batch, height, breadth, width)


class Aggregation(nn.Module):
    """What lets blocks see each other [code]: 3x3 convolution, LN over channels, max-pooling to half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) -> (B, H / 2, W / 2, outputs)."""
        x = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return F.max_pool2d(x.permute(0, 3, 1, 2), 3, stride=2, padding=1).permute(0, 2, 3, 1)


@register_model(
    inputs=("flow",),
    paper="Wang et al., Neurocomputing 602, 2024",
    recipe=Recipe(epochs=60, batch_size=64, lr=1e-3, weight_decay=0.0, options={"preset": "tiny"}),
)
class HTNet(Classifier):
    """Four areas in patches of 7 x 7, levels of transformers with aggregations between them, and a linear layer.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    preset
        Sizes: a row of `PRESETS`. ``released`` has 139,582,982 parameters for 3 classes.
    dropout
        Share of values dropped in each layer; none [code].

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
        preset: Literal["released", "tiny"] = "released",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(SIDE, SIDE), w=(SIDE, SIDE))
        sizes = PRESETS[preset]
        top = len(sizes.layers) - 1
        tokens = (SIDE // PATCH // 2**top) ** 2  # of a block, the same at every level
        widths = [sizes.width * 2**level for level in range(top + 1)]
        self.embed = nn.Conv2d(3, widths[0], PATCH, stride=PATCH)
        stages: list[nn.Module] = []
        for level, layers in enumerate(sizes.layers):
            if level:
                stages.append(Aggregation(widths[level - 1], widths[level]))
            stages.append(Level(widths[level], sizes.heads * 2**level, layers, 2 ** (top - level), tokens, dropout))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(widths[-1])
        self.classify = nn.Linear(widths[-1], num_classes)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        x = self.embed(four_areas(flow)).permute(0, 2, 3, 1)  # (B, 4, 4, width)
        x = self.norm(self.stages(x))  # (B, H, W, width at the top)
        return ModelOutput(logits=self.classify(x.mean(dim=(1, 2))))
