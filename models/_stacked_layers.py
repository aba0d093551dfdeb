"""The layers of stacked models (`models._stacked`), each computing all folds at once.

On the CPU the clips of a batch lie innermost, (F, C, H, W, B): a convolution copies long runs and is one matrix
product for each fold, pooling takes the clips as vector lanes, and batch norm reads one run for each channel,
whatever the number of channels. On other devices torch's own layouts are kept, and a convolution of F models is
one of F groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._layout import ChannelsLastBatchNorm2d

__all__ = [
    "STACKED",
    "Batch",
    "StackedBatchNorm2d",
    "StackedConv2d",
    "StackedDropout",
    "convolution_in_groups",
]

# On the CPU, how many numbers a convolution unfolds at a time, and batch norm works on: few enough for the cache.
PATCHES, ROWS = 2**18, 2**17


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


def _rows(x: Tensor) -> Tensor:
    """(F, B, C, H, W) -> (F, C, H, W, B), contiguous: a view where the memory has this order already."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def _clips(x: Tensor) -> Tensor:
    """(F, C, H, W, B) -> (F, B, C, H, W), a view."""
    return x.permute(0, 4, 1, 2, 3)


class _Convolution(torch.autograd.Function):
    """Convolution of padded rows (F, C, H, W, B): some output rows of one fold at a time, patches in the cache."""

    @staticmethod
    def _pieces(x: Tensor, layer: nn.Conv2d, size: tuple[int, int]) -> Iterator[tuple[int, slice, Tensor]]:
        """For each fold and run of output rows: fold, their place in (h w B), and patches (C kh kw, place).

        The patches' memory is used again for the next ones.
        """
        (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
        folds, channels, _, _, clips = x.shape
        per_row = channels * kh * kw * size[1] * clips
        step = min(size[0], max(1, PATCHES // per_row))
        memory = x.new_empty(step * per_row)
        fold_, channel, row, column, clip = x.stride()
        strides = (channel, dh * row, dw * column, sh * row, sw * column, clip)
        for fold in range(folds):
            for start in range(0, size[0], step):
                rows = min(step, size[0] - start)
                shape = (channels, kh, kw, rows, size[1], clips)
                view = x.as_strided(shape, strides, x.storage_offset() + fold * fold_ + start * sh * row)
                patches = memory[: rows * per_row].view(shape).copy_(view).view(channels * kh * kw, -1)
                place = slice(start * size[1] * clips, (start + rows) * size[1] * clips)
                yield fold, place, patches

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
        folds, outputs, *_ = weight.shape
        size = [
            (x.shape[2 + k] - layer.dilation[k] * (layer.kernel_size[k] - 1) - 1) // layer.stride[k] + 1 for k in (0, 1)
        ]
        y = x.new_empty(folds, outputs, *size, x.shape[4])
        flat, matrices = y.flatten(2), weight.flatten(2)
        for fold, place, patches in _Convolution._pieces(x, layer, (size[0], size[1])):
            if bias is None:
                torch.mm(matrices[fold], patches, out=flat[fold, :, place])
            else:
                torch.addmm(bias[fold, :, None], matrices[fold], patches, out=flat[fold, :, place])
        ctx.save_for_backward(x, weight)
        ctx.layer, ctx.biased = layer, bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        layer, size = ctx.layer, gradient.shape[2:4]
        (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
        gradient = gradient.contiguous()
        flat, matrices = gradient.flatten(2), weight.flatten(2)
        to_weight = torch.zeros_like(matrices)
        for fold, place, patches in _Convolution._pieces(x, layer, (size[0], size[1])):
            to_weight[fold].addmm_(flat[fold, :, place], patches.T)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.zeros_like(x)
            for fold in range(len(weight)):
                spread = (matrices[fold].T @ flat[fold]).view(x.shape[1], kh, kw, *size, x.shape[4])
                for i in range(kh):
                    for j in range(kw):
                        rows = slice(i * dh, i * dh + sh * (size[0] - 1) + 1, sh)
                        columns = slice(j * dw, j * dw + sw * (size[1] - 1) + 1, sw)
                        to_x[fold, :, rows, columns] += spread[:, i, j]
        return to_x, to_weight.view_as(weight), flat.sum(2) if ctx.biased else None, None


def convolution_in_groups(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """Convolution of (F, B, C, H, W) as one of F groups, for devices that have kernels for it."""
    folds = len(weight)
    joined = x.transpose(0, 1).flatten(1, 2)  # (B, F C, H, W)
    biases = None if bias is None else bias.flatten()
    y = F.conv2d(joined, weight.flatten(0, 1), biases, layer.stride, layer.padding, layer.dilation, groups=folds)
    return y.unflatten(1, (folds, -1)).transpose(0, 1)


class StackedConv2d(nn.Conv2d):
    """A convolution's stacked form."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of each fold."""
        return _Layer.apply(self, x, self.weight, self.bias)

    def stacked(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(F, B, C, H, W) -> (F, B, outputs, h, w)."""
        if x.device.type != "cpu":
            return convolution_in_groups(x, weight, bias, self)
        if torch.is_autocast_enabled("cpu"):  # torch does this for its own layers
            kind = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        above, beside = (int(side) for side in self.padding)
        rows = _rows(x)
        if above or beside:
            rows = F.pad(rows, (0, 0, beside, beside, above, above))
        return _clips(_Convolution.apply(rows, weight, bias, self))


def _runs(x: Tensor) -> list[tuple[int, slice]]:
    """Folds and channels of (F, C, H, W, B) in runs; on the CPU of a length that stays in the cache."""
    folds, channels = x.shape[:2]
    step = max(1, ROWS // x[0, 0].numel()) if x.device.type == "cpu" else channels
    return [(fold, slice(start, start + step)) for fold in range(folds) for start in range(0, channels, step)]


class _Normalisation(torch.autograd.Function):
    """Batch norm of rows (F, C, H, W, B) over the clips that are no padding; also gives mean and variance (F, C).

    Nothing that comes back from the loss reaches padding: only what batch norm's own statistics would send there is
    cleared.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        centred, y = torch.empty_like(x), torch.empty_like(x)
        mean, variance = torch.empty_like(weight), torch.empty_like(weight)
        for fold, run in _runs(x):
            size, at = sizes[fold], (fold, run)
            count = size * x.shape[2] * x.shape[3]
            torch.div(x[at][..., :size].sum((1, 2, 3)), count, out=mean[at])
            torch.sub(x[at], _spread(mean[at]), out=centred[at])
            if size < x.shape[4]:
                centred[at][..., size:] = 0
            flat = centred[at].flatten(1)
            torch.div(torch.linalg.vecdot(flat, flat), count, out=variance[at])
            scale = weight[at] * (variance[at] + eps).rsqrt()
            torch.mul(centred[at], _spread(scale), out=y[at]).add_(_spread(bias[at]))
        ctx.save_for_backward(centred, weight, (variance + eps).rsqrt())
        ctx.sizes = sizes
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, weight, scale = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_x, to_weight, to_bias = torch.empty_like(gradient), torch.empty_like(weight), torch.empty_like(weight)
        for fold, run in _runs(gradient):
            size, at = ctx.sizes[fold], (fold, run)
            count = size * gradient.shape[2] * gradient.shape[3]
            torch.sum(gradient[at], (1, 2, 3), out=to_bias[at])
            along = torch.linalg.vecdot(gradient[at].flatten(1), centred[at].flatten(1))
            torch.mul(along, scale[at], out=to_weight[at])
            torch.mul(centred[at], _spread(along * scale[at].square() / -count), out=to_x[at])
            to_x[at].add_(gradient[at]).sub_(_spread(to_bias[at] / count)).mul_(_spread(weight[at] * scale[at]))
            if size < gradient.shape[4]:
                to_x[at][..., size:] = 0
        return to_x, to_weight, to_bias, None, None


def _spread(values: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1, 1)."""
    return values[:, None, None, None]


class StackedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm's stacked form, in training: padding enters neither the batch's statistics nor the running ones."""

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
        size, momentum = x.shape[3] * x.shape[4], self.momentum
        assert momentum is not None
        rows = _rows(x)
        wide = rows if rows.dtype == torch.float64 else rows.float()
        y, mean, variance = _Normalisation.apply(wide, weight, bias, self.batch.sizes, self.eps)
        count = self.batch.counts[:, None].to(wide.dtype) * size  # (F, 1), values in a channel
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (count / (count - 1)), momentum)
            batches.add_(1)
        return _clips(y.to(x.dtype))


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


def _pooled(layer: nn.MaxPool2d | nn.AvgPool2d, kind: Any, x: Tensor) -> Tensor:
    """Pool (F, B, C, H, W): on the CPU the clips are the channels of torch's channels-last kernels."""
    if x.device.type != "cpu":
        return kind.forward(layer, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    rows = _rows(x)
    y = kind.forward(layer, rows.flatten(0, 1).permute(0, 3, 1, 2))  # (F C, B, h, w)
    return _clips(y.permute(0, 2, 3, 1).unflatten(0, rows.shape[:2]))


class StackedMaxPool2d(nn.MaxPool2d):
    """Max-pooling's stacked form."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of each fold."""
        return _Layer.apply(self, x)

    def stacked(self, x: Tensor) -> Tensor:
        """(F, B, C, H, W) -> (F, B, C, h, w)."""
        return _pooled(self, nn.MaxPool2d, x)


class StackedAvgPool2d(nn.AvgPool2d):
    """Average pooling's stacked form."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of each fold."""
        return _Layer.apply(self, x)

    def stacked(self, x: Tensor) -> Tensor:
        """(F, B, C, H, W) -> (F, B, C, h, w)."""
        return _pooled(self, nn.AvgPool2d, x)


# Layers whose stacked form is here, and those that vmap computes as they are.
STACKED: Mapping[type[nn.Module], type[nn.Module] | None] = {
    nn.Conv2d: StackedConv2d,
    nn.BatchNorm2d: StackedBatchNorm2d,
    ChannelsLastBatchNorm2d: StackedBatchNorm2d,
    nn.Dropout: StackedDropout,
    nn.MaxPool2d: StackedMaxPool2d,
    nn.AvgPool2d: StackedAvgPool2d,
    nn.Linear: None,
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
