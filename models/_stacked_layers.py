"""The layers of stacked models (`models._stacked`) that vmap alone would get wrong, each computing all folds at once.

Batch norm, whose sums must leave padding out; dropout, whose masks each fold draws from its own generator; and layers
with a bias, which vmap would add by an operation of its own, in float32 under autocast. A convolution of F models is
one of F groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._layout import ChannelsLastBatchNorm2d

__all__ = ["STACKED", "Batch", "StackedBatchNorm2d", "StackedConv2d", "StackedDropout", "StackedLinear"]


class _Layer(torch.autograd.Function):
    """Calls a layer's stacked form with the tensors of all folds, the folds' axis first."""

    @staticmethod
    def forward(layer: Any, *tensors: Tensor | None) -> Tensor:
        raise AssertionError("a stacked layer is called under vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], layer: Any, *tensors: Tensor | None) -> tuple[Tensor, int]:
        """All folds at once; a tensor without an axis of folds is the same in each."""
        whole = [
            None
            if tensor is None
            else tensor.expand(info.batch_size, *tensor.shape)
            if dim is None
            else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        return layer.stacked(*whole), 0


class StackedConv2d(nn.Conv2d):
    """A convolution's stacked form."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of each fold."""
        return _Layer.apply(self, x, self.weight, self.bias)

    def stacked(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(F, B, C, H, W) -> (F, B, outputs, h, w)."""
        joined = x.transpose(0, 1).flatten(1, 2)  # (B, F C, H, W)
        biases = None if bias is None else bias.flatten()
        how = (self.stride, self.padding, self.dilation)
        y = F.conv2d(joined, weight.flatten(0, 1), biases, *how, groups=len(weight))  # type: ignore[arg-type]
        return y.unflatten(1, (len(weight), -1)).transpose(0, 1)


class StackedLinear(nn.Linear):
    """A linear layer's stacked form."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., inputs) of each fold."""
        return _Layer.apply(self, x, self.weight, self.bias)

    def stacked(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(F, B, ..., inputs) -> (F, B, ..., outputs)."""
        rows = x.flatten(1, -2)
        y = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
        return y.view(*x.shape[:-1], -1)


class StackedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm's stacked form, in training: padding enters neither the batch's statistics nor the running ones.

    Nothing that comes back from the loss reaches padding, and what the statistics would send there is cleared.
    """

    batch: Batch

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of each fold."""
        return _Layer.apply(
            self, x, self.weight, self.bias, self.running_mean, self.running_var, self.num_batches_tracked
        )

    def stacked(
        self, x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, batches: Tensor
    ) -> Tensor:
        """(F, B, C, H, W) -> the same; the running statistics are updated in place."""
        momentum = self.momentum
        assert momentum is not None
        wide = x if x.dtype == torch.float64 else x.float()
        counts = self.batch.counts.to(wide.dtype)[:, None]  # (F, 1)
        clips = torch.arange(x.shape[1], device=x.device)
        valid = (clips < counts)[:, :, None, None, None]  # (F, B, 1, 1, 1)
        values = counts * (x.shape[3] * x.shape[4])  # in a channel
        mean = wide.where(valid, 0).sum((1, 3, 4)) / values  # (F, C)
        centred = (wide - _spread(mean)).where(valid, 0)
        variance = centred.square().sum((1, 3, 4)) / values
        y = centred * _spread(weight * (variance + self.eps).rsqrt()) + _spread(bias)
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (values / (values - 1)), momentum)
            batches.add_(1)
        return y.to(x.dtype)


def _spread(values: Tensor) -> Tensor:
    """(F, C) -> (F, 1, C, 1, 1)."""
    return values[:, None, :, None, None]


class StackedDropout(nn.Dropout):
    """Dropout's stacked form, in training: each fold's mask from its own generator."""

    batch: Batch

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (B, ...) of each fold."""
        return x if self.p == 0 else _Layer.apply(self, x)

    def stacked(self, x: Tensor) -> Tensor:
        """(F, B, ...) -> the same. As torch on the CPU does it for each fold alone, draw for draw."""
        folds, clips, *inner = x.shape
        if self.batch.channels_last and len(inner) == 3:  # a mask is drawn in the order of memory
            channels, height, width = inner
            kept = torch.ones(folds, clips, height, width, channels, dtype=x.dtype, device=x.device)
            kept = kept.permute(0, 1, 4, 2, 3)
        else:
            kept = torch.ones(x.shape, dtype=x.dtype, device=x.device)
        for mask, size, generator in zip(kept, self.batch.sizes, self.batch.generators, strict=False):
            mask[:size].bernoulli_(1 - self.p, generator=generator)
        return x * torch.empty_like(x).copy_(kept.div_(1 - self.p))  # in the layout of x, which it meets twice


# Layers whose stacked form is here, and those that vmap computes as they are.
STACKED: Mapping[type[nn.Module], type[nn.Module] | None] = {
    nn.BatchNorm2d: StackedBatchNorm2d,
    ChannelsLastBatchNorm2d: StackedBatchNorm2d,
    nn.Dropout: StackedDropout,
    nn.Conv2d: StackedConv2d,
    nn.Linear: StackedLinear,
    nn.MaxPool2d: None,
    nn.AvgPool2d: None,
    nn.ReLU: None,
    nn.Flatten: None,
    nn.Identity: None,
    nn.Sequential: None,
    nn.ModuleList: None,
}


class Batch:
    """The batch at work, as the layers see it: which clips are no padding, and who draws the masks."""

    counts: Tensor  # (F,), clips of each fold that are no padding
    sizes: Sequence[int]  # the same numbers, known without asking the device
    generators: Sequence[torch.Generator]
    channels_last: bool  # whether the models alone lay the channels of an image innermost (`models._layout`)
