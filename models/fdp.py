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

[choice] `tiny` and `small` are ours, for a CPU and for small data (docs/fdp.md has the figures):

* The transformer sees how each frame differs from the clip's mean frame, beside that mean frame. Of single frames,
  as the released code gives them, a hundred clips teach it faces, not motion.
* A token of the last stage draws its own patch of the maps, since the global average that the released code takes
  forgets where the face moved. It draws four maps of each frame; what it draws of the first is added to the frame's
  change and starts at zero, so that the dynamic representation starts out from the dynamic image itself.
* The dynamic image is constructed at the size of the frames: what the drawing network says is added to the frames
  pooled as the maps are. The squares of a small map cannot know the scale of an image that is min-max scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.drawing import Drawer, ResidualUNet
from fdpbench.models.common.local_global import Preset, Stage, Transformer
from fdpbench.models.common.registry import Augment, Count, ModelOptionError, Recipe, Weight, register_model
from fdpbench.prep.dynamic.rank_pooling import coefficients

__all__ = ["FDP", "PRESETS", "RankScorer", "Without", "changes"]

# What an ablation leaves out.
Without = Literal["nothing", "dynamic_image", "ranking", "global_blocks", "local_blocks"]


PRESETS = {
    # [choice]
    "tiny": Preset(
        input="change",
        reduce=2,
        stem=((16, 2), (32, 2)),
        stages=(Stage(1, 0, 16, 16, 1, 1), Stage(1, 1, 32, 48, 2, 1)),
        head_dim=16,
        divisor=16,
        drop_path=0.0,
        map_head="local",
        map_size=4,
        maps=4,
        map_drop=0.0,
        channels=8,
        pool="average",
        hidden=64,
        dropout=0.2,
        unet=(8, 16),
        withheld=0.5,
    ),
    # [choice]
    "small": Preset(
        input="change",
        reduce=1,
        stem=((32, 2), (32, 1), (48, 2)),
        stages=(Stage(2, 1, 48, 64, 1, 4), Stage(2, 1, 96, 128, 2, 2), Stage(3, 1, 192, 256, 2, 1)),
        head_dim=16,
        divisor=16,
        drop_path=0.1,
        map_head="local",
        map_size=8,
        maps=4,
        map_drop=0.0,
        channels=8,
        pool="average",
        hidden=128,
        dropout=0.2,
        unet=(32,),
        withheld=0.5,
    ),
    # [code]: the released dimensions, with the global blocks that the paper describes
    "paper": Preset(
        input="frames",
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
        maps=1,
        map_drop=0.0,
        channels=8,
        pool="max",
        hidden=256,
        dropout=0.0,
        segnet=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    ),
}


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


CHANGE_LIMIT = 3.0  # standard deviations of a clip's changes; what moves more, a blink, counts as that much


def changes(frames: Tensor) -> Tensor:
    """How each frame differs from its clip's mean frame, (B, T, C, H, W), scaled to unit variance over the clip.

    The changes of a clip sum to zero over its frames, and one image added to all frames changes nothing.
    """
    return F.layer_norm(frames - frames.mean(dim=1, keepdim=True), frames.shape[1:])


@register_model(
    inputs=("frames",),
    targets=("dynamic_image",),
    paper="Shao et al., ACM TOMM 2025, arXiv 2509.06015",
    recipe=Recipe(
        epochs=40,
        batch_size=32,
        lr=2e-3,
        weight_decay=1e-2,
        optimiser="adamw",
        schedule="one_cycle",
        augment=Augment(mirror=True, shift=4),
        mirrored_prediction=True,
        options={"preset": "tiny"},
    ),
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
    input, maps
        What the transformer sees, and how many maps it draws of a frame; ``None``: as the preset says. ``frames`` with
        one map is what the released code takes; see `Preset`.
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
        input: Literal["change", "frames"] | None = None,
        maps: Count | None = None,
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
        sizes = replace(sizes, input=input or sizes.input, maps=maps or sizes.maps)
        if without in ("global_blocks", "local_blocks"):
            sizes = replace(sizes, stages=tuple(replace(stage, **{without: 0}) for stage in sizes.stages))
        self.ranking_weight, self.dynamic_image_weight = ranking_weight, dynamic_image_weight
        self.sees_change = sizes.input == "change"
        self.transformer = Transformer(channels, length, sizes)
        self.scorer = None if without == "ranking" else RankScorer(sizes.maps * map_height * map_width)

        weights = np.ones(length) if without == "ranking" else coefficients(length)
        pooling_weights = torch.tensor(weights / np.linalg.norm(weights), dtype=torch.float32)
        self.pooling_weights: Tensor
        if pooling == "learned":
            self.pooling_weights = nn.Parameter(pooling_weights)
        else:
            self.register_buffer("pooling_weights", pooling_weights)

        self.expand = nn.Sequential(nn.BatchNorm2d(sizes.maps), nn.Conv2d(sizes.maps, sizes.channels, 3, padding=1))
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
        self.draw: Drawer | ResidualUNet | None = None
        if without != "dynamic_image":
            if sizes.unet:
                self.draw = ResidualUNet(sizes.channels, sizes.unet, sizes.withheld)
            else:
                self.draw = Drawer(sizes.channels, sizes.segnet)

    def seen(self, frames: Tensor) -> Tensor:
        """What the transformer sees of standardised frames (B, T, C, H, W): the same, or (B, T, 2 C, H, W).

        The latter are changes, and the standardised mean frame.
        """
        if not self.sees_change:
            return frames
        mean = frames.mean(dim=1, keepdim=True)
        mean = F.layer_norm(mean, mean.shape[2:]).expand_as(frames)
        return torch.cat([changes(frames).clamp(-CHANGE_LIMIT, CHANGE_LIMIT), mean], dim=2)

    def maps(self, seen: Tensor) -> Tensor:
        """Feature maps (B, T, M, h, w) of what is seen of the frames (B, T, C', H, W), all in one pass."""
        return self.transformer(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W), construct their dynamic images and score their frames."""
        frames = F.layer_norm(frames, frames.shape[2:])  # each by itself
        maps = self.maps(self.seen(frames))  # (B, T, M, h, w)
        # what frames have in common cancels here: of bfloat16 little would be left
        device = frames.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            maps = maps.float()
            pooled = torch.einsum("t,btmhw->bmhw", self.pooling_weights, maps)  # sum of the rank features
            scores = self.scorer(maps) if self.scorer else None  # (B, T)
            still = torch.einsum("t,bthw->bhw", self.pooling_weights, frames.mean(dim=2))  # frames pooled alike
        representation = self.expand(pooled)  # (B, channels, h, w)
        image: Tensor | None = None
        if isinstance(self.draw, ResidualUNet):
            image = self.draw(still, representation)  # (B, H, W)
        elif self.draw:
            image = self.draw(representation)  # (B, h, w)
        return ModelOutput(logits=self.recognise(representation), dynamic_image=image, scores=scores)

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy, ranking loss and squared error of the dynamic image, each with its weight.

        The true dynamic image (B, 1, H, W) is averaged down to the size of the constructed one, if that is smaller.
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
    multiple = stride * max(1, 2 ** len(sizes.segnet) // sizes.map_size)
    if height % multiple or width % multiple:
        raise ModelOptionError(
            f"input 'frames' has H x W = {height} x {width}, expected multiples of {multiple} "
            f"for fdp's preset {preset!r}"
        )
    return height // stride * sizes.map_size, width // stride * sizes.map_size
