"""Convolutions with their channels innermost: the same network, and a batch norm that is exact there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fdpbench.models.common.layout import (
    ChannelsLastBatchNorm2d,
    ChannelsLastBatchNorm3d,
    channels_last,
    is_channels_last,
)

FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
NORMS = {2: (nn.BatchNorm2d, ChannelsLastBatchNorm2d), 3: (nn.BatchNorm3d, ChannelsLastBatchNorm3d)}


def normalised(norm: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one step."""
    x = x.detach().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    assert x.grad is not None
    grads = {name: p.grad for name, p in norm.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "x": x.grad} | grads | dict(norm.named_buffers())


@given(
    axes=st.sampled_from([2, 3]),
    clips=st.integers(2, 5),
    channels=st.integers(2, 5),
    side=st.integers(2, 6),
    seed=st.integers(0, 2**16),
    shift=st.sampled_from([0.0, 30.0]),
)
def test_batch_norm_is_torchs(axes: int, clips: int, channels: int, side: int, seed: int, shift: float) -> None:
    torch.manual_seed(seed)
    plain, ours = (kind(channels).double() for kind in NORMS[axes])
    with torch.no_grad():
        plain.weight.uniform_(-1, 1), plain.bias.uniform_(-1, 1)
    ours.load_state_dict(plain.state_dict())
    shape = (clips, channels, *[side] * axes)
    x, gradient = torch.randn(shape, dtype=torch.float64) + shift, torch.randn(shape, dtype=torch.float64)
    found = normalised(ours, x.contiguous(memory_format=FORMATS[axes]), gradient)
    for name, wanted in normalised(plain, x, gradient).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-9, msg=name)
    plain.eval(), ours.eval()
    torch.testing.assert_close(ours(x), plain(x))


def test_in_float32_it_is_nearer_than_torchs_by_two_orders() -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(64, 16, 30, 30).relu(), torch.randn(64, 16, 30, 30)
    exact = normalised(nn.BatchNorm2d(16).double(), x.double(), gradient.double())
    x = x.contiguous(memory_format=torch.channels_last)
    off = {
        kind: max(float((normalised(kind(16), x, gradient)[name] - exact[name]).abs().max()) for name in ("y", "x"))
        for kind in NORMS[2]
    }
    assert off[ChannelsLastBatchNorm2d] < 2e-6 < 1e-5 < off[nn.BatchNorm2d]


def test_under_autocast_the_statistics_are_float32() -> None:
    torch.manual_seed(0)
    norm, x = ChannelsLastBatchNorm2d(8), torch.randn(16, 8, 12, 12).bfloat16()
    y = norm(x.contiguous(memory_format=torch.channels_last))
    wanted = nn.BatchNorm2d(8)(x.float())
    assert y.dtype == torch.bfloat16 and norm.running_mean is not None
    torch.testing.assert_close(y.float(), wanted, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.float().mean((0, 2, 3)))


@pytest.mark.parametrize("axes", [2, 3])
def test_a_network_says_the_same_in_either_layout(axes: int) -> None:
    torch.manual_seed(0)
    convolution = (nn.Conv2d, nn.Conv3d)[axes - 2]
    plain = nn.Sequential(convolution(2, 5, 3, padding=1), NORMS[axes][0](5), nn.ReLU(), convolution(5, 4, 3)).double()
    other = nn.Sequential(convolution(2, 5, 3, padding=1), NORMS[axes][0](5), nn.ReLU(), convolution(5, 4, 3)).double()
    other.load_state_dict(plain.state_dict())
    channels_last(other)
    assert type(other[1]) is NORMS[axes][1]
    assert all(p.is_contiguous(memory_format=FORMATS[axes]) for p in other[3].parameters() if p.ndim > 1)
    assert is_channels_last(other[0]) == (axes == 2) and not is_channels_last(plain[0])
    x = torch.randn(3, 2, *[7] * axes, dtype=torch.float64)
    for _ in range(2):
        torch.testing.assert_close(other(x), plain(x))
    assert other.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(("convolution", "axes"), [(nn.Conv2d, 2), (nn.Conv3d, 3)])
def test_a_kernel_of_one_channel_is_laid_too(convolution: type[nn.Conv2d] | type[nn.Conv3d], axes: int) -> None:
    """Of one channel every layout counts as contiguous; torch tells them by their strides."""
    layer = convolution(1, 5, 3)
    channels_last(layer)
    x = torch.rand(2, 1, *[9] * axes)
    assert layer.weight.stride() == torch.empty_like(layer.weight, memory_format=FORMATS[axes]).stride()
    assert layer(x).is_contiguous(memory_format=FORMATS[axes])
