"""The order in memory in which a model's convolutions compute.

Not a model itself: see `models.registry`.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["channels_last"]


def channels_last(module: nn.Module) -> None:
    """Lay the weights of all convolutions of a module with their channels innermost; values stay as they are.

    Torch's convolutions, pooling and batch norm then do the same with what passes through them, which makes most
    networks quicker on a CPU; a model asks for it where that was measured.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)
        elif isinstance(part, nn.Conv3d):
            part.to(memory_format=torch.channels_last_3d)
