"""FDP as its released code builds it, faults included, so that anyone can measure what they cost.

Shao et al., "Micro-Expression Recognition via Fine-Grained Dynamic Perception", ACM TOMM 2025, arXiv
2509.06015. `models.fdp` builds the method of the paper; this file computes what its authors' code
computes. The names of all parts are those of a released checkpoint: see `load_released_state_dict`.

Marks: [code] the released code does so; [run] seen by running it, or settled by the output it gave for
known weights, which this file reproduces; [choice] ours.

Where the released code departs from its paper, or is wrong:

=  ===========================================================================  =================
A  No attention is built: the global block of each stage is never reached       reproduced
B  The local block's "multi-head" convolution is one dense 3x3 convolution      reproduced
C  The maps' axes are mixed up by a reshape without a permutation               reproduced
D  After the first evaluation BN statistics stay frozen and drop path off       training protocol
E  The epoch is chosen by accuracy on the held-out subject                      training protocol
F  Training and test sets are each scaled by their own mean and maximum         training protocol
G  One subject of CASME II is in every training set and in no test set          training protocol
H  Frames are taken at i * (N // 8): the last at 84% of a clip on average       training protocol
I  In training, BN takes its statistics from one frame index at a time          reproduced
=  ===========================================================================  =================

By C, the convolution that is to weigh the eight frames weighs eight neighbouring features of one frame,
and the frames lie below each other as strips of eight rows (`as_released_volume`). There is no rank
scorer and no ranking loss [code].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.checkpoints import released_tensors
from fdpbench.models.common.local_global import LOCAL_MLP_RATIO, DropPath
from fdpbench.models.common.registry import Recipe, Share, Weight, register_model

__all__ = ["PRESETS", "FDPReleased", "Preset", "as_released_volume", "load_released_state_dict"]

FRAMES = 8  # [code]
SIZE = 64  # [code] side of the frames, of the maps and of the dynamic image
CHANNELS = 8  # [code] of the dynamic representation


@dataclass(frozen=True)
class Preset:
    """Sizes of a network.

    Attributes
    ----------
    stem
        Width and stride of each 3x3 convolution.
    stages
        Blocks, width and stride on entry of each stage.
    hidden
        Hidden width of the recognition head.
    decoder
        Widths of the convolutions before each pooling of the drawing network, which its decoder mirrors.
    """

    stem: tuple[tuple[int, int], ...]
    stages: tuple[tuple[int, int, int], ...]
    hidden: int
    decoder: tuple[tuple[int, ...], ...]


PRESETS = {
    # [code]
    "released": Preset(
        stem=((64, 2), (32, 1), (64, 1), (64, 2)),
        stages=((3, 96, 1), (4, 192, 2), (10, 384, 2), (3, 768, 2)),
        hidden=256,
        decoder=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    ),
    # [choice]: the same network for a CPU
    "tiny": Preset(
        stem=((8, 2), (16, 2)),
        stages=((1, 16, 1), (2, 24, 2), (1, 32, 2)),
        hidden=32,
        decoder=((8,), (16,)),
    ),
}


def _named(**parts: nn.Module) -> nn.Sequential:
    """Parts in a row, with the names that they have in a checkpoint."""
    return nn.Sequential(OrderedDict(parts))


class LocalBlock(nn.Module):
    """Local relational aggregator as released, B: x = embed(x); x = x + conv(x); x = x + MLP(BN(x)).

    Nothing normalises or rectifies the 3x3 convolution, and no 1x1 convolution follows it [run].
    """

    def __init__(self, inputs: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        embed: dict[str, nn.Module] = {}
        if stride > 1:
            embed["pool"] = nn.AvgPool2d(stride)
        if stride > 1 or inputs != width:
            embed["conv"] = nn.Conv2d(inputs, width, 1, bias=False)
            embed["norm"] = nn.BatchNorm2d(width)
        self.patch_embed = _named(**embed)
        self.mhca = _named(group_conv3x3=nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(width)
        hidden = LOCAL_MLP_RATIO * width
        self.mlp = _named(
            conv1=nn.Conv2d(width, hidden, 1), relu=nn.ReLU(inplace=True), conv2=nn.Conv2d(hidden, width, 1)
        )
        self.drop = DropPath(drop_path, frames=1)  # [code] each frame of a clip has its own draw

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H / stride, W / stride)."""
        x = self.patch_embed(x)
        x = x + self.drop(self.mhca(x))
        return x + self.drop(self.mlp(self.norm(x)))


class FrameTransformer(nn.Module):
    """The "transformer" as released, A: a stem, local blocks, BN, global average, one linear layer."""

    def __init__(self, preset: Preset, drop_path: float) -> None:
        super().__init__()
        width, stem, features = 1, [], []
        for outputs, stride in preset.stem:
            convolution = nn.Conv2d(width, outputs, 3, stride, padding=1, bias=False)
            stem.append(_named(conv=convolution, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU(inplace=True)))
            width = outputs
        rates = iter(np.linspace(0, drop_path, sum(blocks for blocks, _, _ in preset.stages)).tolist())
        for blocks, outputs, stride in preset.stages:
            for index in range(blocks):
                features.append(LocalBlock(width, outputs, 1 if index else stride, next(rates)))
                width = outputs
        self.stem = nn.Sequential(*stem)
        self.features = nn.Sequential(*features)
        self.norm = nn.BatchNorm2d(width)
        self.proj_head = nn.Sequential(nn.Linear(width, SIZE**2))
        for module in self.modules():  # [code]
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 1, 64, 64) -> maps (N, 4096)."""
        x = self.norm(self.features(self.stem(frames)))  # (N, width, H / stride, W / stride)
        return self.proj_head(x.mean(dim=(2, 3)))


def as_released_volume(maps: Tensor) -> Tensor:
    """Reshape maps (B, 8, 4096) to the volume (B, 1, 64, 64, 8) without a permutation, finding C.

    Element (h, w, d) is feature 512 (h mod 8) + 8 w + d of frame floor(h / 8). The volume that was
    meant has pixel (h, w) of frame d there: ``maps.reshape(B, 8, 64, 64).permute(0, 2, 3, 1)``.
    """
    return maps.reshape(len(maps), 1, SIZE, SIZE, FRAMES)


class Recognition(nn.Module):
    """The convolution that makes the dynamic representation, and the recognition head [code]."""

    def __init__(self, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1, CHANNELS, (3, 3, FRAMES), padding=(1, 1, 0))
        self.fc1 = nn.Linear(CHANNELS * (SIZE // 3) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def represent(self, volume: Tensor) -> Tensor:
        """(B, 1, 64, 64, 8) -> dynamic representation (B, 8, 64, 64)."""
        return self.conv3d(volume)[..., 0]

    def forward(self, representation: Tensor) -> Tensor:
        """(B, 8, 64, 64) -> logits (B, num_classes)."""
        x = F.max_pool2d(representation, 3).flatten(1)  # (B, 3528)
        return self.fc2(F.relu(self.fc1(x)))


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """What ``max_unpool2d`` does for squares of 2x2, which torch refuses when asked for determinism.

    Values (B, C, h, w) go to their indices ``places`` (B, C, h, w) in planes (2 h, 2 w) of zeros.
    """
    height, width = 2 * x.shape[2], 2 * x.shape[3]
    empty = x.new_zeros(*x.shape[:2], height * width)
    return empty.scatter(2, places.flatten(2), x.flatten(2)).unflatten(2, (height, width))


class SegNet(nn.Module):
    """SegNet (Badrinarayanan et al. 2017) [code]: its decoder puts values back where the maxima were.

    Layer ``conv21`` is the first of the second stage, ``conv21d`` its mirror image in the decoder. Each is
    followed by BN and ReLU, but for the last.
    """

    def __init__(self, channels: int, widths: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.encoder: list[list[str]] = []  # names by stage
        layers = []  # name, channels in and out
        for stage, outputs in enumerate(widths, start=1):
            pairs = list(pairwise([channels, *outputs]))
            self.encoder.append([f"{stage}{index}" for index in range(1, len(outputs) + 1)])
            layers += [(name, *pair) for name, pair in zip(self.encoder[-1], pairs, strict=True)]
            channels = outputs[-1]
        self.decoder = [[f"{name}d" for name in reversed(stage)] for stage in reversed(self.encoder)]
        layers += [(f"{name}d", b, a) for name, a, b in reversed(layers)]
        self.last = "11d"
        for name, a, b in layers:
            self.add_module(f"conv{name}", nn.Conv2d(a, 1 if name == self.last else b, 3, padding=1))
            if name != self.last:
                self.add_module(f"bn{name}", nn.BatchNorm2d(b))

    def _run(self, stage: list[str], x: Tensor) -> Tensor:
        for name in stage:
            x = self.get_submodule(f"conv{name}")(x)
            if name != self.last:
                x = F.relu(self.get_submodule(f"bn{name}")(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> image (B, H, W) in [0, 1]."""
        places = []
        for stage in self.encoder:
            x, place = F.max_pool2d(self._run(stage, x), 2, return_indices=True)
            places.append(place)
        for stage in self.decoder:
            x = self._run(stage, unpool(x, places.pop()))
        return x[:, 0].sigmoid()


@register_model(
    inputs=("frames",),
    targets=("dynamic_image",),
    paper="Shao et al., ACM TOMM 2025, arXiv 2509.06015: released code",
    recipe=Recipe(epochs=12, batch_size=16, lr=1e-4, weight_decay=1e-3, options={"preset": "tiny"}),
)
class FDPReleased(Classifier):
    """Local blocks over single frames, a convolution over a mixed-up volume, and two heads.

    The loss is CE(logits, label) + lambda MSE(drawn image, true dynamic image), lambda = 100 [code]. The
    transformer starts from a truncated normal, std 0.02, and biases of 0 [code]; the recognition head and
    the drawing network from torch's defaults [choice].

    [choice] Frames of another size than 64 x 64 are averaged to it on entry, and so is the true dynamic
    image, whose frames in the released code are the network's own.

    [run] In training each frame index goes through the transformer by itself, finding I. In evaluation BN
    treats all frames alike, and they go through together.

    Parameters
    ----------
    num_classes
        Number of classes; 85,304,206 parameters for 5 in the preset ``released`` [run].
    shapes
        Needs ``frames`` as (T, C, H, W), T = 8, C = 1, H and W at least 32.
    preset
        Sizes: a row of `PRESETS`. ``tiny`` has the same faults.
    drop_path
        Rate of the last local block; it rises linearly from 0 at the first [code]. With 0 a training step
        is a function of weights and batch alone.
    dynamic_image_weight
        The weight lambda of the squared error of the dynamic image.

    Raises
    ------
    ModelOptionError
        If the frames have another number or other channels.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        preset: Literal["released", "tiny"] = "released",
        drop_path: Share = 0.1,
        dynamic_image_weight: Weight = 100.0,
    ) -> None:
        super().__init__()
        input_shape(shapes, "frames", "T C H W", T=(FRAMES, FRAMES), C=(1, 1), H=(32, None), W=(32, None))
        sizes = PRESETS[preset]
        self.dynamic_image_weight = dynamic_image_weight
        self.frame_rep = FrameTransformer(sizes, drop_path)
        self.mer = Recognition(sizes.hidden, num_classes)
        self.dyimg_net = SegNet(CHANNELS, sizes.decoder)

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W) and draw their dynamic images."""
        if frames.shape[3:] != (SIZE, SIZE):
            frames = F.adaptive_avg_pool2d(frames.flatten(0, 1), SIZE).unflatten(0, frames.shape[:2])
        if self.training:  # I
            maps = torch.stack([self.frame_rep(frame) for frame in frames.unbind(1)], dim=1)  # (B, 8, 4096)
        else:
            maps = self.frame_rep(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        representation = self.mer.represent(as_released_volume(maps))  # (B, 8, 64, 64)
        return ModelOutput(logits=self.mer(representation), dynamic_image=self.dyimg_net(representation))

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy, and squared error of the dynamic image times its weight."""
        assert output.dynamic_image is not None
        truth = F.adaptive_avg_pool2d(targets["dynamic_image"], SIZE)[:, 0]  # (B, 64, 64)
        error = F.mse_loss(output.dynamic_image, truth)
        return {**super().loss(output, labels, targets), "dynamic_image": self.dynamic_image_weight * error}


def load_released_state_dict(model: FDPReleased, state_dict: Mapping[str, Tensor]) -> None:
    """Give a model the weights of a released checkpoint.

    Files are the caller's matter: read one with ``torch.load(path, weights_only=True)``.

    Parameters
    ----------
    model
        Of the preset and number of classes that the checkpoint was made with.
    state_dict
        Tensors by name, all of the model's and no others. All names may begin with ``module.``, as a
        ``DataParallel`` model saves them.

    Raises
    ------
    TypeError
        If a value is no tensor.
    ValueError
        If a tensor is missing, unexpected or of another shape. The message names it; nothing is loaded.
    """
    hint = "Build the model with preset='released' and the checkpoint's number of classes."
    model.load_state_dict(released_tensors(model.state_dict(), state_dict, hint))
