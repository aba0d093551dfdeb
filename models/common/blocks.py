"""What the torch models share: output, base class, checks of shapes, and building blocks.

Not a model itself: see `models.common.registry`. The local and global blocks are those of FDP (Shao et al., ACM
TOMM 2025): [paper] marks what its paper says, [code] what its released code does, [choice] what is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.registry import ModelOptionError

__all__ = [
    "INCEPTION_FEATURES",
    "BasicBlock",
    "Classifier",
    "Drawer",
    "DropPath",
    "GlobalBlock",
    "LocalBlock",
    "ModelOutput",
    "conv_bn_relu",
    "inception_stream",
    "input_shape",
    "residual_stages",
    "round_width",
]

LOCAL_MLP_RATIO = 3  # [code]
GLOBAL_MLP_RATIO = 2  # [code]
# The inception stream on flow, [code] of Dual-Inception, on which FeatRef (2022) goes on: filters of each path in
# its two blocks, and the features that it gives of 28 x 28 pixels.
INCEPTION_WIDTHS = (6, 16)
INCEPTION_PATHS = 4
INCEPTION_FEATURES = INCEPTION_PATHS * INCEPTION_WIDTHS[1] * (28 // 2 // 2) ** 2
ATTENTION_SHARE = 0.75  # [code] share of a global block's width that attends; the rest is convolved


@dataclass
class ModelOutput:
    """What a forward pass gives.

    Attributes
    ----------
    logits
        (B, num_classes).
    dynamic_image
        (B, H', W') in [0, 1], where the model draws one, at the model's own size.
    scores
        (B, T), rank scores of the frames, where the model ranks them.
    """

    logits: Tensor
    dynamic_image: Tensor | None = None
    scores: Tensor | None = None


class Classifier(nn.Module):
    """Base of the models that are trained by gradient descent.

    A subclass takes ``(num_classes, *, shapes, **options)`` and defines ``forward``, which takes the
    tensors of its declared inputs by name and returns a `ModelOutput`. Inputs have zero mean and unit
    variance over the training set.
    """

    kind: ClassVar[Literal["module"]] = "module"
    classification: ClassVar[str] = "cross_entropy"  # which term of `loss` is the mean of `classification_losses`

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Terms of the training loss by name; their sum is minimised.

        Parameters
        ----------
        output
            Of a forward pass over B clips.
        labels
            (B,), int64 class indices.
        targets
            The tensors of the model's declared targets. None are needed here.
        """
        return {"cross_entropy": F.cross_entropy(output.logits, labels)}

    def classification_losses(self, output: ModelOutput, labels: Tensor) -> Tensor:
        """The classification loss of each clip, (B,): what objectives that weigh clips work on.

        Parameters
        ----------
        output, labels
            As for `loss`.
        """
        return F.cross_entropy(output.logits, labels, reduction="none")


def input_shape(
    shapes: Mapping[str, tuple[int, ...]], name: str, axes: str, **limits: tuple[int, int | None]
) -> tuple[int, ...]:
    """Shape of one clip's input, held against what the model can take.

    Parameters
    ----------
    shapes
        Shape of one clip for each input name.
    name
        The input.
    axes
        Names of its axes, separated by blanks, such as ``"T C H W"``.
    **limits
        Least and greatest length by axis name; None stands for no upper limit. Axes without an entry
        may have any length from 1.

    Raises
    ------
    ModelOptionError
        If the number of axes or a length does not suit; the message says what would.
    """
    shape, names = tuple(shapes[name]), axes.split()
    bounds = [limits.get(axis, (1, None)) for axis in names]
    suits = len(shape) == len(names) and all(
        low <= length and (high is None or length <= high) for length, (low, high) in zip(shape, bounds, strict=True)
    )
    if not suits:
        wanted = ", ".join(
            f"{axis} = {low}" if low == high else f"{axis} >= {low}" + (f" and <= {high}" if high else "")
            for axis, (low, high) in zip(names, bounds, strict=True)
        )
        raise ModelOptionError(f"input {name!r} has shape {shape} per clip, expected ({wanted})")
    return shape


def conv_bn_relu(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """3x3 convolution, BN, ReLU: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """ResNet's (He et al., CVPR 2016): (B, C, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Residual sum, then ReLU."""
        return (self.second(self.first(x)) + self.shortcut(x)).relu()


def residual_stages(width: int, strides: Sequence[int]) -> list[nn.Module]:
    """Stages of ResNet18 (He et al., CVPR 2016), two blocks each: (B, width, H, W) to (B, width 2^(n - 1), ...).

    Parameters
    ----------
    width
        Channels that come in, and of the first stage; each that follows has twice as many.
    strides
        Of the first block of each of the n stages.
    """
    blocks: list[nn.Module] = []
    inputs = width
    for stage, stride in enumerate(strides):
        outputs = width * 2**stage
        blocks += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
        inputs = outputs
    return blocks


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


class Drawer(nn.Module):
    """SegNet (Badrinarayanan et al. 2017) [code]: its decoder puts values back where the maxima were."""

    def __init__(self, channels: int, widths: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = [channels, *(stage[-1] for stage in widths)]  # width before each stage
        for inputs, stage in zip(below, widths, strict=False):
            sizes = [inputs, *stage]
            self.encoder.append(nn.Sequential(*(conv_bn_relu(a, b) for a, b in zip(sizes, sizes[1:], strict=False))))
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


def _convolutions(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """1x1 convolution, then kernel x kernel where that is more, each with a ReLU; the size is kept [code]."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    if kernel > 1:
        layers += [nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Inception(nn.Module):
    """Block of Dual-Inception (Zhou et al., FG 2019): four paths beside each other, then 2x2 max-pooling [code].

    They see 1x1, 3x3, 5x5 pixels, and the maxima of 3x3.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(_convolutions(inputs, width, kernel) for kernel in (1, 3, 5))
        self.maxima = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolutions(inputs, width, 1))
        self.shrink = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / 2, W / 2)."""
        paths = [path(x) for path in (*self.paths, self.maxima)]  # (B, width, H, W) each
        return self.shrink(torch.cat(paths, dim=1))


def inception_stream() -> nn.Sequential:
    """Two inception blocks on one component of flow: (B, 1, 28, 28) -> (B, INCEPTION_FEATURES)."""
    first, second = INCEPTION_WIDTHS
    return nn.Sequential(Inception(1, first), Inception(INCEPTION_PATHS * first, second), nn.Flatten())
