"""The local-global feature-aware transformer of FDP (Shao et al., ACM TOMM 2025), and the sizes of its presets.

[paper] marks what the paper says, [code] what its released code does, [choice] what is ours. Not a model itself: see
`models.fdp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import conv_bn_relu

__all__ = [
    "Attention",
    "DropPath",
    "GlobalBlock",
    "LOCAL_MLP_RATIO",
    "LocalBlock",
    "Preset",
    "Stage",
    "Transformer",
    "round_width",
]

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
    input
        ``frames`` [code]: the transformer sees each frame by itself. ``change`` [choice]: it sees how each frame
        differs from the clip's mean frame, beside that mean frame.
    reduce
        Frames are averaged over squares of this side before the stem.
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
    map_head
        ``global`` [code]: one linear layer draws a frame's map from the average over its tokens.
        ``local`` [choice]: each token draws its own patch, and the first map is the frame, or its change, plus what is
        drawn.
    maps
        How many maps are drawn of each frame: one [code], or several [choice].
    map_size
        Side of a map for ``global``, of a token's patch for ``local``.
    map_drop
        Share of clips for which a ``local`` head draws nothing in training. On the others what is drawn is scaled by
        1 / (1 - share), as `DropPath` does.
    channels
        Channels of the dynamic representation.
    pool
        How the recognition head pools the representation, over 3x3 with stride 3: ``max`` [code], or
        ``average`` [choice] with batch normalisation of each feature after it.
    hidden, dropout
        Hidden width of the recognition head, and the share of values dropped on both its sides.
    segnet, unet
        What constructs the dynamic image (`models.common.drawing`), one of both, by its widths. `Drawer` [code] does so
        from the representation alone, at its size: widths of the convolutions before each pooling. `ResidualUNet`
        [choice] adds to the pooled frames, at their size: widths from half that size to the size of the maps.
    withheld
        Share of clips in training whose pooled frames `ResidualUNet` is not given.
    """

    input: Literal["change", "frames"]
    reduce: int
    stem: tuple[tuple[int, int], ...]
    stages: tuple[Stage, ...]
    head_dim: int
    divisor: int
    drop_path: float
    map_head: Literal["global", "local"]
    map_size: int
    maps: int
    map_drop: float
    channels: int
    pool: Literal["max", "average"]
    hidden: int
    dropout: float
    segnet: tuple[tuple[int, ...], ...] = ()
    unet: tuple[int, ...] = ()
    withheld: float = 0.0


def round_width(width: float, divisor: int) -> int:
    """Nearest multiple of ``divisor``, at least one."""
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
    hidden = round_width(width * ratio, divisor)
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

    def __init__(self, inputs: int, width: int, *, stride: int, head_dim: int, divisor: int, drop: DropPath) -> None:
        super().__init__()
        self.embed = _patch_embedding(inputs, width, stride)
        self.heads = _multi_head_convolution(width, head_dim)
        self.mlp = _mlp(width, LOCAL_MLP_RATIO, divisor)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        x = self.embed(x)
        x = x + self.drop(self.heads(x))
        return x + self.drop(self.mlp(x))


class Attention(nn.Module):
    """Multi-head self-attention [paper] whose keys and values are averaged over squares of tokens.

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
        self, inputs: int, width: int, *, stride: int, pool: int, head_dim: int, divisor: int, drop: DropPath
    ) -> None:
        super().__init__()
        attending = round_width(width * ATTENTION_SHARE, divisor)
        convolved = width - attending
        self.embed = _patch_embedding(inputs, attending, stride)
        self.norm = nn.BatchNorm2d(attending)
        self.attention = Attention(attending, head_dim, pool)
        self.reduce = _patch_embedding(attending, convolved, stride=1)
        self.heads = _multi_head_convolution(convolved, head_dim)
        self.mlp = _mlp(width, GLOBAL_MLP_RATIO, divisor)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        x = self.embed(x)
        x = x + self.drop(self.attention(self.norm(x)))
        y = self.reduce(x)
        y = y + self.drop(self.heads(y))
        x = torch.cat([x, y], dim=1)
        return x + self.drop(self.mlp(x))


class Transformer(nn.Module):
    """Local-global feature-aware transformer: plain convolutions, stages, a head that draws maps [paper]."""

    # in which the narrow convolutions of a CPU and the tokens of attention are quickest
    layout = torch.channels_last

    def __init__(self, channels: int, frames: int, preset: Preset) -> None:
        super().__init__()
        self.channels = channels  # of a frame, or of its change: those that come first
        width = 2 * channels if preset.input == "change" else channels
        stem = []
        for outputs, stride in preset.stem:
            stem.append(conv_bn_relu(width, outputs, stride=stride))
            width = outputs
        self.stem = nn.Sequential(*stem)

        depth = sum(stage.local_blocks + stage.global_blocks for stage in preset.stages)
        rates = iter(np.linspace(0, preset.drop_path, depth).tolist())
        shared = {"head_dim": preset.head_dim, "divisor": preset.divisor}
        blocks: list[nn.Module] = []
        stride = 1
        for stage in preset.stages:
            stride *= stage.stride  # of a stage that an ablation emptied, the next one takes over
            for _ in range(stage.local_blocks):
                drop = DropPath(next(rates), frames)
                blocks.append(LocalBlock(width, stage.local_width, stride=stride, drop=drop, **shared))
                width, stride = stage.local_width, 1
            for _ in range(stage.global_blocks):
                drop, pool = DropPath(next(rates), frames), stage.pool
                blocks.append(GlobalBlock(width, stage.global_width, stride=stride, pool=pool, drop=drop, **shared))
                width, stride = stage.global_width, 1
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)

        self.reduce, self.is_local, self.size = preset.reduce, preset.map_head == "local", preset.map_size
        self.map_drop = DropPath(preset.map_drop, frames)
        self.maps, drawn = preset.maps, preset.maps * preset.map_size**2
        self.head = nn.Conv2d(width, drawn, 1) if self.is_local else nn.Linear(width, drawn)
        for module in self.modules():  # [code]
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.is_local:  # maps beyond the first start as what random features say
            nn.init.zeros_(self.head.weight[: preset.map_size**2])

    def forward(self, frames: Tensor) -> Tensor:
        """What is seen of frames, (N, C, H, W), or (N, 2 C, H, W) with the mean frame -> maps (N, M, h, w)."""
        x = F.avg_pool2d(frames, self.reduce) if self.reduce > 1 else frames
        x = self.stem[0](x).contiguous(memory_format=self.layout)
        x = self.norm(self.blocks(self.stem[1:](x)))  # (N, width, H / stride, W / stride)
        if not self.is_local:
            return self.head(x.mean(dim=(2, 3))).unflatten(1, (self.maps, self.size, self.size))
        drawn = F.pixel_shuffle(self.map_drop(self.head(x)), self.size)  # (N, M, h, w)
        own = frames[:, : self.channels].mean(dim=1, keepdim=True)  # (N, 1, H, W)
        own = F.adaptive_avg_pool2d(own, drawn.shape[2:])  # type: ignore[arg-type]  # (N, 1, h, w)
        return torch.cat([drawn[:, :1] + own, drawn[:, 1:]], dim=1)
