"""The order in memory in which a model's convolutions compute, and a batch norm that is exact in it.

Not a model itself: see `models.common.registry`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ChannelsLastBatchNorm2d", "ChannelsLastBatchNorm3d", "channels_last", "is_channels_last"]


def channels_last(module: nn.Module) -> None:
    """Lay the weights of all convolutions of a module with their channels innermost; values stay as they are.

    Torch's convolutions and pooling then do the same with what passes through them, which makes most networks quicker
    on a CPU; a model asks for it where that was measured. Its batch norms become those of this file. Files want
    ``contiguous()`` weights, as `bench.train.fit_module` writes them.
    """
    for part in module.modules():  # clone, not contiguous: of one channel that would keep the strides as they are
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.clone(memory_format=torch.channels_last)
        elif isinstance(part, nn.Conv3d):
            part.weight.data = part.weight.data.clone(memory_format=torch.channels_last_3d)
        elif type(part) is nn.BatchNorm2d:
            part.__class__ = ChannelsLastBatchNorm2d
        elif type(part) is nn.BatchNorm3d:
            part.__class__ = ChannelsLastBatchNorm3d


def is_channels_last(layer: nn.Module) -> bool:
    """Whether a layer is a 2D convolution whose channels are innermost."""
    return isinstance(layer, nn.Conv2d) and not layer.weight.is_contiguous()


class _Normalisation(torch.autograd.Function):
    """Batch norm of (N, C, ...) over all axes but the channels'; also gives their mean and variance (C,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        axes, count = _others(x), x.numel() // x.shape[1]
        mean = x.sum(axes) / count
        centred = x - _spread(mean, x)
        variance = centred.square().sum(axes) / count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, weight, scale)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(_spread(bias, x), centred, _spread(weight * scale, x)), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, weight, scale = ctx.saved_tensors
        axes, count = _others(gradient), gradient.numel() // gradient.shape[1]
        to_bias = gradient.sum(axes)
        to_weight = (gradient * centred).sum(axes) * scale
        factor = weight * scale
        to_x = torch.addcmul(_spread(-factor * to_bias / count, gradient), gradient, _spread(factor, gradient))
        to_x.addcmul_(centred, _spread(-factor * scale * to_weight / count, gradient))
        return to_x, to_weight, to_bias, None


def _others(x: Tensor) -> tuple[int, ...]:
    """All axes but the channels'."""
    return (0, *range(2, x.ndim))


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, ...)."""
    return values.view(1, -1, *[1] * (like.ndim - 2))


class _ExactInTraining(nn.modules.batchnorm._BatchNorm):
    """In training on the CPU, sums of pairs of sums.

    Where the channels are innermost torch's own kernel adds the values of a channel up one by one, which leaves 1e-4 of
    the result wrong in float32 (64 images of 30 x 30); this one is as quick and wrong by 1e-7.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...), any layout; torch's own where this one has no advantage."""
        if not self.training or x.device.type != "cpu" or x.is_contiguous() or self.momentum is None:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        y, mean, variance = _Normalisation.apply(wide, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            count = x.numel() // x.shape[1]
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
                self.num_batches_tracked.add_(1)
        return y.to(x.dtype)


class ChannelsLastBatchNorm2d(_ExactInTraining, nn.BatchNorm2d):
    """Of images (N, C, H, W)."""


class ChannelsLastBatchNorm3d(_ExactInTraining, nn.BatchNorm3d):
    """Of volumes (N, C, T, H, W)."""
