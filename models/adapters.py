"""Adapters: a frozen image encoder, with small trained layers that let it see motion.

The line of FineCLIPER (Chen et al., "Multi-modal Fine-grained CLIP for Dynamic Facial Expression Recognition
with AdaptERs", ACM MM 2024), with the adapters of AIM (Yang et al., "Adapting Image Models for Efficient Video
Action Recognition", ICLR 2023).

Marks: [FineCLIPER] its abstract, which does not describe its adapters; [AIM] what public implementations of it
agree on; [choice] ours.

[FineCLIPER] A pre-trained image encoder is not trained further; few tunable parameters adapt it to clips.
[AIM] Each block of a vision transformer first attends over time, between tokens at the same place of all
frames, with the same frozen weights with which it then attends within a frame. An adapter is two dense layers
with a narrow one between, GELU, the second starting at zero. One follows the attention over time, one the
attention within frames, and one lies beside the MLP, times 0.5. A trained embedding tells the frames apart.
[choice] AIM's adapters are taken. The mean of the frames' class tokens and a linear layer classify, where
FineCLIPER compares with texts; its face masks, landmarks and descriptions are left out.

Weights of an encoder are never part of this project. The option ``weights`` names the user's own file; without
it the encoder is small, random and frozen, which is of use in tests alone.

A file of weights is a safetensors file of a plain vision transformer under timm's names, as timm's own
``vit_*`` files are: ``cls_token``, ``pos_embed``, ``patch_embed.proj``, ``norm_pre`` (of CLIP alone),
``blocks.<n>.norm1``, ``.attn.qkv``, ``.attn.proj``, ``.norm2``, ``.mlp.fc1``, ``.mlp.fc2``, and ``norm``. Its
``head`` is not read. All sizes come from it; a head of attention is 64 wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.checkpoints import CheckpointError, read_tensors, tensor_shapes
from fdpbench.models.common.registry import ModelOptionError, Positive, Recipe, Share, WeightsFile, register_model

__all__ = ["Adapters", "Encoder", "Sizes", "read_weights"]

HEAD_DIM = 64  # of all vision transformers of timm and CLIP up to the size L
EPSILON = 1e-6  # timm's; CLIP's own is 1e-5
BESIDE_MLP = 0.5  # [AIM]
NAMES = "expected a plain vision transformer under timm's names, as models/adapters.py lists them"
BLOCK_TENSORS = 12
FINETUNED = ("head.", "fc_norm.")  # what a classifier adds to an encoder


@dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder: side of the image and of a patch, widths, number of blocks, and two habits."""

    image: int = 64
    patch: int = 16
    width: int = 64
    hidden: int = 128
    depth: int = 2
    patch_bias: bool = True
    norm_pre: bool = False


class Attention(nn.Module):
    """Self-attention: (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend between the L tokens of each of the N sequences."""
        qkv = self.qkv(x).unflatten(2, (3, -1, HEAD_DIM))  # (N, L, 3, heads, 64)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, L, 64)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """The frozen layers of a block of a vision transformer, under timm's names."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=EPSILON)
        self.attn = Attention(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width, eps=EPSILON)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(sizes.width, sizes.hidden), "fc2": nn.Linear(sizes.hidden, sizes.width)}
        )


class Encoder(nn.Module):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) under timm's names; `Adapters` runs its blocks."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        tokens = 1 + (sizes.image // sizes.patch) ** 2
        projection = nn.Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch, bias=sizes.patch_bias)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(torch.randn(1, 1, sizes.width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, sizes.width) * 0.02)
        self.norm_pre: nn.Module = nn.LayerNorm(sizes.width, eps=EPSILON) if sizes.norm_pre else nn.Identity()
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=EPSILON)

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 3, image, image) -> tokens (N, 1 + patches, D), the class token first."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)  # (N, patches, D)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        return self.norm_pre(tokens + self.pos_embed)


class Adapter(nn.Module):
    """Dense layer to a narrow width, GELU, dense layer back: (..., D) -> (..., D). Zero at first [AIM]."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, narrow), nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added."""
        return self.up(F.gelu(self.down(x)))


class BlockAdapters(nn.Module):
    """The three adapters of a block [AIM]."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.time, self.space, self.mlp = (Adapter(width, narrow) for _ in range(3))


@register_model(
    inputs=("frames",),
    paper="Chen et al., ACM MM 2024 (FineCLIPER), adapters of Yang et al., ICLR 2023",
    recipe=Recipe(epochs=30, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class Adapters(Classifier):
    """A frozen vision transformer, adapters in each of its blocks, and a linear layer.

    Frames are repeated to three channels where they are grey, and brought to the encoder's size. They arrive
    with zero mean and unit variance, much as encoders are trained. The encoder's parameters take no gradient;
    they are part of the model's state, and so of each checkpoint.

    With a ViT-S/16 at 224 pixels a frame costs 6.5 thousand million multiply-adds: such encoders want a GPU.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``frames`` as (T, C, H, W), T at least 2, C 1 or 3, H and W at least 16.
    weights
        Path of a safetensors file with the encoder's weights, from the folder that the program runs in; empty:
        a small random encoder. A run's file lies in ``weights/``, where DVC sees that it is replaced.
    activation
        Of the encoder's MLPs: ``gelu``, or ``quick_gelu`` for OpenAI's CLIP.
    ratio
        Width of an adapter's narrow layer as a share of the encoder's; a quarter in [AIM].
    dropout
        Share of the pooled features dropped in training.

    Raises
    ------
    ModelOptionError
        If the file of weights is missing, is no safetensors file, or holds no such encoder.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        weights: WeightsFile = "",
        activation: Literal["gelu", "quick_gelu"] = "gelu",
        ratio: Positive = 0.25,
        dropout: Share = 0.2,
    ) -> None:
        super().__init__()
        length, channels, _, _ = input_shape(
            shapes, "frames", "T C H W", T=(2, None), C=(1, 3), H=(16, None), W=(16, None)
        )
        if channels == 2:
            raise ModelOptionError("input 'frames' has 2 channels, expected C = 1 or C = 3")
        self.activation = activation
        self.encoder = read_weights(Path(weights)) if weights else Encoder(Sizes())
        self.encoder.requires_grad_(False)
        sizes = self.encoder.sizes
        narrow = max(1, round(ratio * sizes.width))
        self.frame_embed = nn.Parameter(torch.zeros(1, length, 1, sizes.width))
        self.adapters = nn.ModuleList(BlockAdapters(sizes.width, narrow) for _ in range(sizes.depth))
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(sizes.width, num_classes))

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W)."""
        side = self.encoder.sizes.image
        images = frames.flatten(0, 1).expand(-1, 3, -1, -1)  # (B T, 3, H, W)
        images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        x = self.encoder.embed(images).unflatten(0, frames.shape[:2])  # (B, T, L, D)
        x = x + self.frame_embed
        for block, adapters in zip(self.encoder.blocks, self.adapters, strict=True):
            x = self._block(block, adapters, x)
        pooled = self.encoder.norm(x[:, :, 0]).mean(dim=1)  # (B, D)
        return ModelOutput(logits=self.classify(pooled))

    def _block(self, block: nn.Module, adapters: nn.Module, x: Tensor) -> Tensor:
        """One block on (B, T, L, D): over time, within frames, MLP."""
        assert isinstance(block, Block) and isinstance(adapters, BlockAdapters)
        batch, length = x.shape[:2]
        in_time = block.norm1(x).transpose(1, 2).flatten(0, 1)  # (B L, T, D)
        attended = block.attn(in_time).unflatten(0, (batch, -1)).transpose(1, 2)  # (B, T, L, D)
        x = x + adapters.time(attended)
        attended = block.attn(block.norm1(x).flatten(0, 1)).unflatten(0, (batch, length))
        x = x + attended + adapters.space(attended)
        normal = block.norm2(x)
        hidden = block.mlp["fc1"](normal)
        hidden = F.gelu(hidden) if self.activation == "gelu" else hidden * torch.sigmoid(1.702 * hidden)
        return x + block.mlp["fc2"](hidden) + BESIDE_MLP * adapters.mlp(normal)


def read_weights(path: Path) -> Encoder:
    """Read an encoder from a safetensors file; no pickle is ever read.

    Parameters
    ----------
    path
        See the head of this file for the names that it must hold.

    Returns
    -------
    The encoder, in float32.

    Raises
    ------
    ModelOptionError
        If the file is missing, is no safetensors file, is damaged, lacks a tensor, has one that no such encoder
        has, or one of another shape.
    """
    if not path.is_file():
        raise ModelOptionError(f"adapters: weights={str(path)!r}: no such file; name a safetensors file, or none")
    try:
        shapes = {name: shape for name, shape in tensor_shapes(path).items() if not name.startswith(FINETUNED)}
    except CheckpointError as error:
        raise ModelOptionError(f"adapters: {error}; convert the weights to one, no pickle is read") from None
    sizes = _sizes_of(shapes, path)
    with torch.device("meta"):  # the sizes are the file's word: nothing is allocated before all shapes bear it out
        expected = {name: tuple(value.shape) for name, value in Encoder(sizes).state_dict().items()}
    for verb, found in (("lacks", expected.keys() - shapes.keys()), ("also holds", shapes.keys() - expected.keys())):
        if found:
            some = ", ".join(sorted(found)[:3])
            raise ModelOptionError(f"adapters: {path} {verb} {len(found)} tensors, such as {some}; {NAMES}")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ModelOptionError(f"adapters: {path}: tensor {name} has the shape {shapes[name]}, expected {shape}")
    encoder = Encoder(sizes)
    try:
        encoder.load_state_dict(read_tensors(path, expected))
    except CheckpointError as error:
        raise ModelOptionError(f"adapters: {error}") from None
    return encoder


def _sizes_of(shapes: Mapping[str, tuple[int, ...]], path: Path) -> Sizes:
    """Sizes that the tensors of a file speak of; whether all others agree is for the caller to see."""
    needed = {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    for name, axes in needed.items():
        if name not in shapes or len(shapes[name]) != axes:
            some = ", ".join(sorted(shapes)[:3])
            raise ModelOptionError(f"adapters: {path} has no tensor {name} of {axes} axes, but {some}, ...; {NAMES}")
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    patches = max(1, math.isqrt(shapes["pos_embed"][1]))  # of n^2 patches and the class token
    if width % HEAD_DIM:
        raise ModelOptionError(f"adapters: {path}: the encoder is {width} wide, expected a multiple of {HEAD_DIM}")
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    if BLOCK_TENSORS * len(blocks) > len(shapes) + BLOCK_TENSORS:
        raise ModelOptionError(f"adapters: {path} names {len(blocks)} blocks, but has {len(shapes)} tensors; {NAMES}")
    return Sizes(
        image=patches * patch,
        patch=patch,
        width=width,
        hidden=shapes["blocks.0.mlp.fc1.weight"][0],
        depth=len(blocks),
        patch_bias="patch_embed.proj.bias" in shapes,
        norm_pre="norm_pre.weight" in shapes,
    )
