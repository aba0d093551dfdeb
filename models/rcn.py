"""RCN: a shallow network whose one 3x3 convolution is run several times, with modules that add no weights.

Xia, Peng, Khor, Feng, Zhao, "Revealing the Invisible With Model and Data Shrinking for Composite-Database
Micro-Expression Recognition", IEEE TIP 29, 2020, arXiv 2006.09674.

Marks: [paper] its abstract says so; [code] so in its authors' code; [choice] ours.

Three modules cost no learnable parameters [paper]: wide expansion, shortcut connection, attention unit. They make
the variants, as the code builds them:

=======  ====================================  ===================  ==============================================
variant  stem                                  shortcuts            attention
=======  ====================================  ===================  ==============================================
plain    5x5 convolution, max-pooled           -                    -
A        5x5 convolution, max-pooled           -                    of the stem's output, on the pooled features
S        5x5 convolution, max-pooled           yes                  -
W        three dilations side by side          -                    -
P        two dilations, max-pooled             yes                  of the stem's output, on the pooled features
C        three dilations side by side          yes                  of the flow itself, on the stem's output
F        three dilations side by side          yes                  of the stem's output, inside the recurrence
=======  ====================================  ===================  ==============================================

The paper also searches for a combination of the modules [paper]; the search is not here, P, C and F are what the code
has of its outcome. As published P and F cannot be built (they name a class that does not exist), F runs its second
dilation twice and its third never, and P, C, S hold layers that nothing uses. Here F runs all three and unused layers
are left out [choice].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, ModelOptionError, Recipe, Share, register_model

__all__ = ["RCN", "Shrink", "class_attention"]

FLAT = 1e-6  # keeps a map without maximum from being divided by 0 [choice]

# The streams of a stem [code]: dilation, n of its 1 / n of the filters, stride. After stride 1 pooling shrinks by 3.
THREE = ((1, 2, 3), (2, 4, 3), (3, 4, 3))
STREAMS = {"W": THREE, "C": THREE, "F": THREE, "P": ((1, 2, 1), (3, 2, 1))}


def _windows(length: int, wanted: int) -> Tensor:
    """Matrix (wanted, length) that averages windows as adaptive average pooling has them."""
    rows = torch.zeros(wanted, length)
    for row in range(wanted):
        start, stop = row * length // wanted, -(-(row + 1) * length // wanted)
        rows[row, start:stop] = 1 / (stop - start)
    return rows


class Shrink(nn.Module):
    """Adaptive average pooling as two matrix products: (B, C, *size) -> (B, C, side, side).

    On CUDA torch has no deterministic gradient for ``adaptive_avg_pool2d``.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], side: int) -> None:
        super().__init__()
        self.register_buffer("rows", _windows(size[0], side), persistent=False)
        self.register_buffer("columns", _windows(size[1], side).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Means of side x side windows, which overlap where the size is no multiple of them."""
        return self.rows @ x @ self.columns


def class_attention(x: Tensor, weights: Tensor) -> Tensor:
    """Where in the features the classifier finds its classes, without weights of its own [code].

    Parameters
    ----------
    x
        Features (B, C, p, p).
    weights
        The classifier's weights (K, C, p, p).

    Returns
    -------
    Tensor
        (B, 1, p, p) in [0, 1]: by class the map of weights times features, meaned over C and stretched from its
        minimum to its maximum; then the mean of the K maps.
    """
    maps = torch.einsum("bcij,kcij->bkij", x, weights) / x.shape[1]  # (B, K, p, p)
    maps = maps - maps.amin(dim=(2, 3), keepdim=True)
    maps = maps / (maps.amax(dim=(2, 3), keepdim=True) + FLAT)
    return maps.mean(dim=1, keepdim=True)


class Stem(nn.Module):
    """The first layer [code]: one 5x5 convolution, or 3x3 ones of several dilations side by side."""

    def __init__(self, streams: tuple[tuple[int, int, int], ...], width: int, dropout: float) -> None:
        super().__init__()
        self.streams = nn.ModuleList()
        for dilation, part, stride in streams:
            outputs = width // part
            conv = nn.Conv2d(3, outputs, 3, stride, padding=dilation, dilation=dilation)
            pool = nn.MaxPool2d(3, stride=3, padding=1) if stride == 1 else nn.Identity()
            self.streams.append(nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(outputs), pool, nn.Dropout(dropout)))
        if not streams:
            layers = [nn.Conv2d(3, width, 5), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout)]
            self.streams.append(nn.Sequential(*layers))

    def forward(self, flow: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, width, H, W), about half as high and wide for one convolution, a third for several."""
        return torch.cat([stream(flow) for stream in self.streams], dim=1)


class Recurrence(nn.Module):
    """A 1x1 convolution, then one 3x3 convolution whose output is its own input again, each with BN and ReLU [code].

    y = feed(x); twice y = recur(x + y). With shortcuts three times, each on the sum of x and all before it.
    """

    def __init__(self, width: int, shortcuts: bool, dropout: float) -> None:
        super().__init__()
        self.shortcuts = shortcuts
        self.feed = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.recur = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.shrink = nn.Sequential(nn.MaxPool2d(2), nn.Dropout(dropout))

    def forward(self, x: Tensor, attention: Tensor | None = None) -> Tensor:
        """(B, width, H, W), attention (B, 1, H, W) -> (B, width, H / 2, W / 2)."""
        y = self.feed(x)
        if attention is not None:
            y = y * attention
        if self.shortcuts:
            total = x + y
            for _ in range(2):
                total = total + self.recur(total)
            y = self.recur(total)
        else:
            for _ in range(2):
                y = self.recur(x + y)
        return self.shrink(y)


@register_model(
    inputs=("flow",),
    paper="Xia et al., IEEE TIP 29, 2020",
    recipe=Recipe(epochs=100, batch_size=64, lr=1e-3, weight_decay=0.0),
)
class RCN(Classifier):
    """A stem, a recurrent convolution, average pooling and one linear layer, first weights as in the code.

    Parameters
    ----------
    num_classes
        Number of classes; 15,331 parameters for 3 in ``plain``, ``A`` and ``S``.
    shapes
        Needs ``flow`` as (3, h, w): u, v, strain, h and w at least 16. The code's defaults are for about 60 x 60.
    variant
        A row of the table above.
    width
        Channels, a multiple of 4: 32 as in the command that the code's README gives; 64 by its default.
    pool
        Side of the pooled features: 5 as in that command; 7 by its default.
    dropout
        Share of values dropped after the stem and after the recurrence; 0.5 [code].

    Raises
    ------
    ModelOptionError
        If the flow has another shape, or the width is no multiple of 4.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        variant: Literal["plain", "A", "S", "W", "P", "C", "F"] = "A",
        width: Count = 32,
        pool: Count = 5,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        _, *size = input_shape(shapes, "flow", "C h w", C=(3, 3), h=(16, None), w=(16, None))
        if width % 4:
            raise ModelOptionError(f"model 'rcn': width={width}, expected a multiple of 4")
        self.variant, self.pool = variant, pool
        streams = STREAMS.get(variant, ())
        height, breadth = ((side - 1) // 3 + 1 if streams else (side - 4) // 2 for side in size)
        self.stem = Stem(streams, width, dropout)
        self.recurrence = Recurrence(width, variant in ("S", "P", "C", "F"), dropout)
        self.shrink = Shrink((height // 2, breadth // 2), pool)
        self.look = Shrink((size[0], size[1]) if variant == "C" else (height, breadth), pool)
        self.classify = nn.Linear(width * pool**2, num_classes)
        for module in self.modules():  # [code]
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        channels_last(self)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, h, w)."""
        weights = self.classify.weight.unflatten(1, (-1, self.pool, self.pool))  # (K, width, p, p)
        x = self.stem(flow)  # (B, width, H, W)
        inside = None
        if self.variant == "C":  # for the flow's three channels, the weights' mean over theirs
            attention = class_attention(self.look(flow), weights.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1))
            x = x * F.interpolate(attention, x.shape[2:])
        elif self.variant == "F":
            inside = F.interpolate(class_attention(self.look(x), weights), x.shape[2:])
        features = self.shrink(self.recurrence(x, inside))  # (B, width, p, p)
        if self.variant in ("A", "P"):
            features = features * class_attention(self.look(x), weights)
        return ModelOutput(logits=self.classify(features.flatten(1)))
