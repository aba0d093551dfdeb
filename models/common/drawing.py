"""Networks that construct a clip's dynamic image: FDP's, as released, and one at the size of the frames.

[code] marks what the released code of FDP (Shao et al., ACM TOMM 2025) does, [choice] what is ours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import conv_bn_relu

__all__ = ["Drawer", "ResidualUNet", "scaled_to_unit"]

SQUARE = 2  # px
FLAT = 1e-5  # pooled frames that differ by less show no motion: what rounding leaves of a clip that stands still


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


def scaled_to_unit(images: Tensor) -> Tensor:
    """Images (B, h, w), each shifted and scaled so that its pixels fill [0, 1]; one without contrast becomes 0.5."""
    contrast = _contrast(images)
    flat = contrast <= FLAT
    low = images.amin(dim=(1, 2), keepdim=True)
    return ((images - low) / contrast.masked_fill(flat, 1)).masked_fill(flat, 0.5)


class ResidualUNet(nn.Module):
    """What is to be added to the pooled frames, so that they become the dynamic image [choice].

    A U-Net (Ronneberger et al., MICCAI 2015) reads the pooled frames, each clip's scaled to [0, 1], their squares of
    2 x 2 pixels as channels: half the size, a quarter of the time. At its smallest size, that of the maps, the dynamic
    representation joins it. Its last convolution starts at zero: the image starts out as the scaled pooled frames.

    These are all but the true image already, and with them alone there is nothing to learn. So they are withheld from
    a share of the clips in training, as if they had stood still: of those the image is to be constructed from the
    representation alone, by weights of the last convolution that are their own.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], withheld: float) -> None:
        super().__init__()
        self.withheld = withheld
        *larger, smallest = widths
        inputs = [SQUARE**2, *larger]
        self.encoder = nn.ModuleList(conv_bn_relu(a, b) for a, b in pairwise(inputs))
        self.bottom = conv_bn_relu(inputs[-1] + channels, smallest)
        self.decoder = nn.ModuleList(conv_bn_relu(below + own, own) for own, below in pairwise(widths))
        self.last = nn.Conv2d(widths[0], 2 * SQUARE**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, pooled: Tensor, representation: Tensor) -> Tensor:
        """Pooled frames (B, H, W) and representation (B, channels, h, w) -> image (B, H, W) in [0, 1]."""
        if self.training and self.withheld:
            pooled = pooled * (torch.rand(len(pooled), 1, 1, device=pooled.device) >= self.withheld)
        start = scaled_to_unit(pooled)[:, None]
        x = F.pixel_unshuffle(start, SQUARE)  # (B, 4, H / 2, W / 2)
        above: list[Tensor] = []
        for encode in self.encoder:
            above.append(encode(x))
            x = F.max_pool2d(above[-1], 2)
        x = self.bottom(torch.cat([x, representation], dim=1))  # (B, smallest, h, w)
        for decode in reversed(self.decoder):
            x = decode(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), above.pop()], dim=1))
        beside, alone = F.pixel_shuffle(self.last(x), SQUARE).unbind(dim=1)  # (B, H, W) each
        return (start[:, 0] + torch.where(_contrast(pooled) > FLAT, beside, alone)).clamp(0, 1)


def _contrast(images: Tensor) -> Tensor:
    """Largest less smallest pixel of images (B, h, w): (B, 1, 1)."""
    return images.amax(dim=(1, 2), keepdim=True) - images.amin(dim=(1, 2), keepdim=True)
