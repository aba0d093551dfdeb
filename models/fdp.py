"""FDP: fine-grained dynamic perception.

Shao et al., "Micro-Expression Recognition via Fine-Grained Dynamic Perception", ACM TOMM 2025, arXiv
2509.06015. Every frame goes through a local-global transformer that gives one feature map for the
frame. A rank scorer puts the frames into their order in time; the maps are pooled over time into one
dynamic representation; two heads share it: one names the emotion, the other draws the clip's dynamic
image, for which the frames alone are the label.

What stands where is marked: [paper] the paper says so, [code] its released code does so, [choice] both
are silent, or the released code departs from the paper, and this is ours.

[choice] All frames of a batch go through the transformer in one pass, folded into the batch axis. In
training, batch normalisation then takes its statistics over all clips and all frames together; the
released code passes one frame index at a time, with statistics for each. In evaluation both are equal.

[choice] `tiny` and `small` are ours, for a CPU and for small data: a token of the last stage draws its
own patch of the map, since the global average that the released code takes forgets where the face
moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import Classifier, ModelOutput, conv_bn_relu, input_shape
from models.registry import ModelOptionError, Weight, register_model
from prep.rank_pooling import coefficients

__all__ = ["FDP", "PRESETS", "Preset", "RankScorer", "Stage"]

LOCAL_MLP_RATIO = 3  # [code]
GLOBAL_MLP_RATIO = 2  # [code]
ATTENTION_SHARE = 0.75  # [code] share of a global block's width that attends; the rest is convolved


@dataclass(frozen=True)
class Stage:
    """One stage of the transformer.

    Attributes
    ----------
    local_blocks, global_blocks
        How many of each; the local ones come first.
    local_width, global_width
        Their channels.
    stride
        Downsampling on entry.
    pool
        Side of the squares over which keys and values are averaged.
    """

    local_blocks: int
    global_blocks: int
    local_width: int
    global_width: int
    stride: int
    pool: int


@dataclass(frozen=True)
class Preset:
    """Sizes of a network.

    Attributes
    ----------
    stem
        Width and stride of each 3x3 convolution.
    stages
        The stages of the transformer.
    head_dim
        Channels of a head, both of attention and of the multi-head convolution. Widths are multiples.
    divisor
        Derived widths are rounded to multiples of it.
    drop_path
        Rate of the last block; it rises linearly from 0 at the first.
    maps
        Feature maps for each frame.
    map_head
        ``global``: one linear layer draws a frame's maps from the average over its tokens.
        ``local``: each token draws its own patch of them.
    map_size
        Side of a map for ``global``, of a token's patch for ``local``.
    channels
        Channels of the dynamic representation.
    hidden, dropout
        Hidden width of the recognition head, and the share of values dropped on both its sides.
    decoder
        Widths of the convolutions before each pooling of the drawing network, which the decoder mirrors.
    """

    stem: tuple[tuple[int, int], ...]
    stages: tuple[Stage, ...]
    head_dim: int
    divisor: int
    drop_path: float
    maps: int
    map_head: Literal["global", "local"]
    map_size: int
    channels: int
    hidden: int
    dropout: float
    decoder: tuple[tuple[int, ...], ...]


PRESETS = {
    # [choice]
    "tiny": Preset(
        stem=((16, 2), (32, 2)),
        stages=(Stage(1, 0, 32, 32, 1, 1), Stage(1, 1, 48, 64, 2, 2)),
        head_dim=16,
        divisor=16,
        drop_path=0.0,
        maps=1,
        map_head="local",
        map_size=2,
        channels=8,
        hidden=64,
        dropout=0.2,
        decoder=((16,), (32,)),
    ),
    # [choice]
    "small": Preset(
        stem=((32, 2), (32, 1), (48, 2)),
        stages=(Stage(2, 1, 48, 64, 1, 4), Stage(2, 1, 96, 128, 2, 2), Stage(3, 1, 192, 256, 2, 1)),
        head_dim=16,
        divisor=16,
        drop_path=0.1,
        maps=1,
        map_head="local",
        map_size=8,
        channels=8,
        hidden=128,
        dropout=0.2,
        decoder=((32, 32), (64, 64), (128, 128)),
    ),
    # [code]: the released dimensions, with the global blocks that the paper describes
    "paper": Preset(
        stem=((64, 2), (32, 1), (64, 1), (64, 2)),
        stages=(
            Stage(3, 1, 96, 128, 1, 8),
            Stage(4, 1, 192, 256, 2, 4),
            Stage(10, 1, 384, 512, 2, 2),
            Stage(3, 1, 768, 1024, 2, 1),
        ),
        head_dim=8,
        divisor=32,
        drop_path=0.1,
        maps=1,
        map_head="global",
        map_size=64,
        channels=8,
        hidden=256,
        dropout=0.0,
        decoder=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    ),
}


def _round_width(width: float, divisor: int) -> int:
    return max(divisor, int(width + divisor / 2) // divisor * divisor)


def _patch_embedding(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """[code] Average pool where the stride is 2, then 1x1 convolution and BN where anything changes."""
    layers: list[nn.Module] = []
    if stride > 1:
        layers.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
    if stride > 1 or inputs != outputs:
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers)


def _multi_head_convolution(width: int, head_dim: int) -> nn.Sequential:
    """[paper] Heads of convolution, BN and ReLU, joined by a 1x1 convolution; [choice] heads as groups."""
    heads = conv_bn_relu(width, width, groups=width // head_dim)
    return nn.Sequential(heads, nn.Conv2d(width, width, 1, bias=False))


def _mlp(width: int, ratio: int, divisor: int) -> nn.Sequential:
    hidden = _round_width(width * ratio, divisor)
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.Conv2d(width, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, width, 1)
    )


class DropPath(nn.Module):
    """Drops a residual branch at random in training, and scales it up where it is kept.

    [choice] All frames of a clip share the draw: frames treated apart would differ from each other by
    more than a micro-expression does.
    """

    def __init__(self, rate: float, frames: int) -> None:
        super().__init__()
        self.rate, self.frames = rate, frames

    def forward(self, x: Tensor) -> Tensor:
        """Branch (B T, C, H, W), with whole clips at zero."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x) // self.frames, device=x.device) >= self.rate  # (B,)
        scale = kept.repeat_interleave(self.frames).to(x.dtype) / (1 - self.rate)  # (B T,)
        return x * scale[:, None, None, None]


class LocalBlock(nn.Module):
    """Local relational aggregator [paper], built as Next-ViT's convolution block (Li et al. 2022) [choice].

    x = embed(x); x = x + heads(x); x = x + MLP(x).
    """

    def __init__(
        self, inputs: int, width: int, stride: int, preset: Preset, rate: float, frames: int
    ) -> None:
        super().__init__()
        self.embed = _patch_embedding(inputs, width, stride)
        self.heads = _multi_head_convolution(width, preset.head_dim)
        self.mlp = _mlp(width, LOCAL_MLP_RATIO, preset.divisor)
        self.drop = DropPath(rate, frames)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        x = self.embed(x)
        x = x + self.drop(self.heads(x))
        return x + self.drop(self.mlp(x))


class Attention(nn.Module):
    """Multi-head self-attention whose keys and values are averaged over squares of tokens.

    [code] averages runs of ``pool``^2 tokens in reading order; [choice] squares of the same size.
    """

    def __init__(self, width: int, head_dim: int, pool: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.reduce: nn.Module = nn.Identity()
        if pool > 1:
            average = nn.AvgPool2d(pool, ceil_mode=True, count_include_pad=False)
            self.reduce = nn.Sequential(average, nn.BatchNorm2d(width))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (-1, self.head_dim)).transpose(1, 2)  # (N, heads, tokens, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        tokens = x.flatten(2).transpose(1, 2)  # (N, H W, C)
        pooled = self.reduce(x).flatten(2).transpose(1, 2)  # (N, H W / pool^2, C)
        query, key, value = self._split(self.query(tokens)), self._split(self.key(pooled)), self.value(pooled)
        mixed = F.scaled_dot_product_attention(query, key, self._split(value))  # (N, heads, H W, head_dim)
        mixed = self.project(mixed.transpose(1, 2).flatten(2))  # (N, H W, C)
        return mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class GlobalBlock(nn.Module):
    """Global relational aggregator [paper], built as Next-ViT's transformer block (Li et al. 2022) [choice].

    x = embed(x); x = x + attention(BN(x)); y = reduce(x); y = y + heads(y); x = [x, y]; x = x + MLP(x).
    """

    def __init__(
        self, inputs: int, stage: Stage, stride: int, preset: Preset, rate: float, frames: int
    ) -> None:
        super().__init__()
        attending = _round_width(stage.global_width * ATTENTION_SHARE, preset.divisor)
        convolved = stage.global_width - attending
        self.embed = _patch_embedding(inputs, attending, stride)
        self.norm = nn.BatchNorm2d(attending)
        self.attention = Attention(attending, preset.head_dim, stage.pool)
        self.reduce = _patch_embedding(attending, convolved, stride=1)
        self.heads = _multi_head_convolution(convolved, preset.head_dim)
        self.mlp = _mlp(stage.global_width, GLOBAL_MLP_RATIO, preset.divisor)
        self.drop = DropPath(rate, frames)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, global_width, H / stride, W / stride)."""
        x = self.embed(x)
        x = x + self.drop(self.attention(self.norm(x)))
        y = self.reduce(x)
        y = y + self.drop(self.heads(y))
        x = torch.cat([x, y], dim=1)
        return x + self.drop(self.mlp(x))


class Transformer(nn.Module):
    """Local-global feature-aware transformer: plain convolutions, stages, a head that draws maps [paper]."""

    def __init__(self, channels: int, frames: int, preset: Preset) -> None:
        super().__init__()
        width = channels
        stem = []
        for outputs, stride in preset.stem:
            stem.append(conv_bn_relu(width, outputs, stride=stride))
            width = outputs
        self.stem = nn.Sequential(*stem)

        depth = sum(stage.local_blocks + stage.global_blocks for stage in preset.stages)
        rates = iter(np.linspace(0, preset.drop_path, depth).tolist())
        blocks: list[nn.Module] = []
        for stage in preset.stages:
            stride = stage.stride
            for _ in range(stage.local_blocks):
                blocks.append(LocalBlock(width, stage.local_width, stride, preset, next(rates), frames))
                width, stride = stage.local_width, 1
            for _ in range(stage.global_blocks):
                blocks.append(GlobalBlock(width, stage, stride, preset, next(rates), frames))
                width, stride = stage.global_width, 1
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)

        self.is_local, self.maps, self.size = preset.map_head == "local", preset.maps, preset.map_size
        drawn = preset.maps * preset.map_size**2
        self.head = nn.Conv2d(width, drawn, 1) if self.is_local else nn.Linear(width, drawn)
        for module in self.modules():  # [code]
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (N, C, H, W) -> maps (N, maps, h, w)."""
        # the layout in which the narrow convolutions of a CPU and the tokens of attention are quickest
        x = self.stem[0](x).contiguous(memory_format=torch.channels_last)
        x = self.norm(self.blocks(self.stem[1:](x)))  # (N, width, H / stride, W / stride)
        if self.is_local:
            return F.pixel_shuffle(self.head(x), self.size)
        return self.head(x.mean(dim=(2, 3))).unflatten(1, (self.maps, self.size, self.size))


class RankScorer(nn.Module):
    """Scores s_t = <w, v_t>, v_t the mean of the frame features up to frame t, as in rank pooling [choice].

    A clip's scores are to rise with time. Adding the same feature to all frames shifts all its scores
    alike, so that a face's looks do not matter, only its changes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size).uniform_(-1, 1) / size**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Frame features (B, T, ...) -> scores (B, T)."""
        steps = torch.arange(1, features.shape[1] + 1, device=features.device, dtype=features.dtype)
        means = features.flatten(2).cumsum(dim=1) / steps[:, None]  # (B, T, D)
        return means @ self.weight

    @staticmethod
    def loss(scores: Tensor) -> Tensor:
        """Mean over clips and pairs q > t of max(0, 1 - (s_q - s_t)) [choice]."""
        t, q = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
        return F.relu(1 - (scores[:, q] - scores[:, t])).mean()


class Drawer(nn.Module):
    """SegNet (Badrinarayanan et al. 2017) [code]: its decoder puts values back where the maxima were."""

    def __init__(self, channels: int, widths: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = [channels, *(stage[-1] for stage in widths)]  # width before each stage
        for inputs, stage in zip(below, widths, strict=False):
            sizes = [inputs, *stage]
            self.encoder.append(
                nn.Sequential(*(conv_bn_relu(a, b) for a, b in zip(sizes, sizes[1:], strict=False)))
            )
        for level in reversed(range(len(widths))):
            sizes = [*widths[level][::-1], below[level]]
            pairs = list(zip(sizes, sizes[1:], strict=False))
            convolutions: list[nn.Module] = [conv_bn_relu(a, b) for a, b in pairs]
            if level == 0:
                convolutions[-1] = nn.Conv2d(pairs[-1][0], 1, 3, padding=1)
            self.decoder.append(nn.Sequential(*convolutions))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> image (B, h, w) in [0, 1]."""
        places = []
        for encode in self.encoder:
            x, place = F.max_pool2d(encode(x), 2, return_indices=True)
            places.append((place, 2 * x.shape[2], 2 * x.shape[3]))
        for decode in self.decoder:
            place, height, width = places.pop()
            # what max_unpool2d does, which torch refuses when asked for determinism
            empty = x.new_zeros(*x.shape[:2], height * width)
            x = empty.scatter(2, place.flatten(2), x.flatten(2)).unflatten(2, (height, width))
            x = decode(x)
        return x[:, 0].sigmoid()
