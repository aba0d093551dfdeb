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

[choice] `tiny` and `small` are ours, for a CPU and for small data. A token of the last stage draws its
own patch of the map, since the global average that the released code takes forgets where the face
moved; and it draws what is added to the frame. What is drawn starts at zero, so that the dynamic
representation starts out as the dynamic image itself, and is left out for half of the clips of a batch:
with about a hundred clips the transformer otherwise learns their faces (docs/fdp.md has the figures).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import (
    Classifier,
    Drawer,
    DropPath,
    GlobalBlock,
    LocalBlock,
    ModelOutput,
    conv_bn_relu,
    input_shape,
)
from fdpbench.models.common.registry import ModelOptionError, Recipe, Weight, register_model
from fdpbench.prep.dynamic.rank_pooling import coefficients

__all__ = ["FDP", "PRESETS", "Preset", "RankScorer", "Stage", "Without"]

# What an ablation leaves out.
Without = Literal["nothing", "dynamic_image", "ranking", "global_blocks", "local_blocks"]


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
        ``local`` [choice]: each token draws its own patch, and the map is the frame plus what is drawn.
    map_size
        Side of a map for ``global``, of a token's patch for ``local``.
    map_drop
        Share of clips for which a ``local`` head draws nothing in training: their maps are their frames. On
        the others what is drawn is scaled by 1 / (1 - share), as `DropPath` does.
    channels
        Channels of the dynamic representation.
    pool
        How the recognition head pools the representation, over 3x3 with stride 3: ``max`` [code], or
        ``average`` [choice] with batch normalisation of each feature after it.
    hidden, dropout
        Hidden width of the recognition head, and the share of values dropped on both its sides.
    decoder
        Widths of the convolutions before each pooling of the drawing network, which the decoder mirrors.
    """

    reduce: int
    stem: tuple[tuple[int, int], ...]
    stages: tuple[Stage, ...]
    head_dim: int
    divisor: int
    drop_path: float
    map_head: Literal["global", "local"]
    map_size: int
    map_drop: float
    channels: int
    pool: Literal["max", "average"]
    hidden: int
    dropout: float
    decoder: tuple[tuple[int, ...], ...]


PRESETS = {
    # [choice]
    "tiny": Preset(
        reduce=2,
        stem=((16, 2), (32, 2)),
        stages=(Stage(1, 0, 16, 16, 1, 1), Stage(1, 1, 32, 48, 2, 1)),
        head_dim=16,
        divisor=16,
        drop_path=0.0,
        map_head="local",
        map_size=4,
        map_drop=0.5,
        channels=8,
        pool="average",
        hidden=64,
        dropout=0.2,
        decoder=((16,), (32,)),
    ),
    # [choice]
    "small": Preset(
        reduce=1,
        stem=((32, 2), (32, 1), (48, 2)),
        stages=(Stage(2, 1, 48, 64, 1, 4), Stage(2, 1, 96, 128, 2, 2), Stage(3, 1, 192, 256, 2, 1)),
        head_dim=16,
        divisor=16,
        drop_path=0.1,
        map_head="local",
        map_size=8,
        map_drop=0.5,
        channels=8,
        pool="average",
        hidden=128,
        dropout=0.2,
        decoder=((32, 32), (64, 64), (128, 128)),
    ),
    # [code]: the released dimensions, with the global blocks that the paper describes
    "paper": Preset(
        reduce=1,
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
        map_head="global",
        map_size=64,
        map_drop=0.0,
        channels=8,
        pool="max",
        hidden=256,
        dropout=0.0,
        decoder=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    ),
}


class Transformer(nn.Module):
    """Local-global feature-aware transformer: plain convolutions, stages, a head that draws maps [paper]."""

    # in which the narrow convolutions of a CPU and the tokens of attention are quickest
    layout = torch.channels_last

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
        drawn = preset.map_size**2
        self.head = nn.Conv2d(width, drawn, 1) if self.is_local else nn.Linear(width, drawn)
        for module in self.modules():  # [code]
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.is_local:
            nn.init.zeros_(self.head.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, C, H, W) -> maps (N, h, w)."""
        x = F.avg_pool2d(frames, self.reduce) if self.reduce > 1 else frames
        x = self.stem[0](x).contiguous(memory_format=self.layout)
        x = self.norm(self.blocks(self.stem[1:](x)))  # (N, width, H / stride, W / stride)
        if not self.is_local:
            return self.head(x.mean(dim=(2, 3))).unflatten(1, (self.size, self.size))
        drawn = F.pixel_shuffle(self.map_drop(self.head(x)), self.size)[:, 0]  # (N, h, w)
        height, width = drawn.shape[1:]
        return drawn + F.adaptive_avg_pool2d(frames.mean(dim=1), (height, width))


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


@register_model(
    inputs=("frames",),
    targets=("dynamic_image",),
    paper="Shao et al., ACM TOMM 2025, arXiv 2509.06015",
    recipe=Recipe(epochs=12, batch_size=16, lr=1e-3, weight_decay=1e-3, options={"preset": "tiny"}),
    scales_itself=True,
)
class FDP(Classifier):
    """Transformer, rank scorer, temporal pooling, recognition head and drawing head.

    Each frame is scaled to zero mean and unit variance first [choice]: light that flickers multiplies
    the whole face, and rank pooling would draw that instead of the motion.

    With f_t the feature map of frame t and a_t the coefficients of approximate rank pooling, scaled to
    unit length, the rank features are a_t f_t, and the dynamic representation comes from
    sum_t a_t f_t by batch normalisation and a 3x3 convolution. [code] has a convolution over space and
    time in that place, with weights from random; normalisation is [choice]: what the weights, which sum
    to 0, leave of a subtle motion is small.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``frames`` as (T, C, H, W), T at least 2, H and W at least 32.
    preset
        Sizes: a row of `PRESETS`.
    pooling
        ``fixed``: the coefficients of approximate rank pooling (Bilen et al. 2016). ``learned``: one
        weight for each frame, trained from there.
    ranking_weight, dynamic_image_weight
        Weights of the ranking loss and of the squared error of the dynamic image, beside a
        cross-entropy of weight 1. [code] has 100 for the image and no ranking loss.
    without
        An ablation: ``dynamic_image`` leaves out the drawing head, ``ranking`` the rank scorer, with the
        plain mean over time in place of rank pooling, ``global_blocks`` and ``local_blocks`` the
        transformer's blocks of that kind. The ranking loss alone is left out by ``ranking_weight: 0``.

    Raises
    ------
    ModelOptionError
        If the frames do not suit the preset, or pooling is to be learned without ranking.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        preset: Literal["tiny", "small", "paper"] = "tiny",
        pooling: Literal["fixed", "learned"] = "fixed",
        ranking_weight: Weight = 0.1,
        dynamic_image_weight: Weight = 10.0,
        without: Without = "nothing",
    ) -> None:
        super().__init__()
        if without == "ranking" and pooling == "learned":
            raise ModelOptionError("model 'fdp': without ranking there is nothing to learn pooling from; use fixed")
        length, channels, height, width = input_shape(
            shapes, "frames", "T C H W", T=(2, None), H=(32, None), W=(32, None)
        )
        sizes = PRESETS[preset]
        map_height, map_width = _map_shape(preset, height, width)
        if without in ("global_blocks", "local_blocks"):
            sizes = replace(sizes, stages=tuple(replace(stage, **{without: 0}) for stage in sizes.stages))
        self.ranking_weight, self.dynamic_image_weight = ranking_weight, dynamic_image_weight
        self.transformer = Transformer(channels, length, sizes)
        self.scorer = None if without == "ranking" else RankScorer(map_height * map_width)

        weights = np.ones(length) if without == "ranking" else coefficients(length)
        pooling_weights = torch.tensor(weights / np.linalg.norm(weights), dtype=torch.float32)
        self.pooling_weights: Tensor
        if pooling == "learned":
            self.pooling_weights = nn.Parameter(pooling_weights)
        else:
            self.register_buffer("pooling_weights", pooling_weights)

        self.expand = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, sizes.channels, 3, padding=1))
        pooled = sizes.channels * (map_height // 3) * (map_width // 3)
        average = sizes.pool == "average"
        self.recognise = nn.Sequential(
            nn.AvgPool2d(3) if average else nn.MaxPool2d(3),
            nn.Flatten(),
            nn.BatchNorm1d(pooled) if average else nn.Identity(),
            nn.Dropout(sizes.dropout),
            nn.Linear(pooled, sizes.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(sizes.dropout),
            nn.Linear(sizes.hidden, num_classes),
        )
        self.draw = None if without == "dynamic_image" else Drawer(sizes.channels, sizes.decoder)

    def maps(self, frames: Tensor) -> Tensor:
        """Feature maps (B, T, h, w) of frames (B, T, C, H, W), all in one pass."""
        return self.transformer(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W), draw their dynamic images and score their frames."""
        maps = self.maps(F.layer_norm(frames, frames.shape[2:]))  # each frame by itself: (B, T, h, w)
        # what frames have in common cancels here: of bfloat16 little would be left
        device = frames.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            maps = maps.float()
            pooled = torch.einsum("t,bthw->bhw", self.pooling_weights, maps)  # sum of the rank features
            scores = self.scorer(maps) if self.scorer else None  # (B, T)
        representation = self.expand(pooled[:, None])  # (B, channels, h, w)
        return ModelOutput(
            logits=self.recognise(representation),
            dynamic_image=self.draw(representation) if self.draw else None,  # (B, h, w)
            scores=scores,
        )

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy, ranking loss and squared error of the dynamic image, each with its weight.

        The true dynamic image (B, 1, H, W) is averaged down to the size of the drawn one.
        """
        terms = super().loss(output, labels, targets)
        if output.scores is not None:
            terms["ranking"] = self.ranking_weight * RankScorer.loss(output.scores)
        if output.dynamic_image is not None:
            height, width = output.dynamic_image.shape[1:]
            truth = F.adaptive_avg_pool2d(targets["dynamic_image"], (height, width))[:, 0]  # (B, h, w)
            terms["dynamic_image"] = self.dynamic_image_weight * F.mse_loss(output.dynamic_image, truth)
        return terms


def _map_shape(preset: str, height: int, width: int) -> tuple[int, int]:
    """Height and width of the feature maps, which the drawing network must be able to halve repeatedly."""
    sizes = PRESETS[preset]
    if sizes.map_head == "global":
        return sizes.map_size, sizes.map_size
    strides = [sizes.reduce, *(stride for _, stride in sizes.stem), *(stage.stride for stage in sizes.stages)]
    stride = int(np.prod(strides))
    multiple = stride * max(1, 2 ** len(sizes.decoder) // sizes.map_size)
    if height % multiple or width % multiple:
        raise ModelOptionError(
            f"input 'frames' has H x W = {height} x {width}, expected multiples of {multiple} "
            f"for fdp's preset {preset!r}"
        )
    return height // stride * sizes.map_size, width // stride * sizes.map_size
