"""STSTNet: a shallow network of three parallel streams on optical flow.

Liong et al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition",
FG 2019. The paper leaves the padding open; as in the public PyTorch port each convolution pads by 2,
which gives 5 x 5 x 16 = 400 features. The three streams see the same flow, and no layer before the last one mixes
their channels: here they are one, whose first 3 channels are the first stream, the next 5 the second and the last 8
the third. That is the same network, and twice as quick.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.checkpoints import released_tensors
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Recipe, Share, register_model

__all__ = ["STSTNet", "load_released_state_dict"]

STREAMS = (3, 5, 8)  # filters of each stream
COUNTER = "num_batches_tracked"


@register_model(
    inputs=("flow",),
    paper="Liong et al., FG 2019",
    recipe=Recipe(epochs=150, batch_size=64, lr=1e-3, weight_decay=0.0),
)
class STSTNet(Classifier):
    """Three 3x3 convolutions of 3, 5 and 8 filters beside each other, pooled and classified linearly.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain.
    dropout
        Share of values dropped after max-pooling.
    """

    def __init__(self, num_classes: int, *, shapes: Mapping[str, tuple[int, ...]], dropout: Share = 0.5) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        filters = sum(STREAMS)
        self.conv = nn.Conv2d(3, filters, kernel_size=3, padding=2)
        self.bn = nn.BatchNorm2d(filters)
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.average_pool = nn.AvgPool2d(kernel_size=2)
        self.fc = nn.Linear(filters * 5 * 5, num_classes)
        channels_last(self)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        x = self.bn(self.conv(flow).relu())  # (B, 16, 30, 30)
        x = self.dropout(self.max_pool(x))  # (B, 16, 10, 10)
        x = self.average_pool(x)  # (B, 16, 5, 5)
        return ModelOutput(logits=self.fc(x.flatten(1)))


def load_released_state_dict(model: STSTNet, state_dict: Mapping[str, Tensor]) -> None:
    """Give a model the weights of a checkpoint of the public PyTorch port.

    The port reads flow images with OpenCV and leaves them as they are: its weights want the channels strain, v, u,
    from 0 to 255. From flow in [0, 1] in the order of this project that is ``255 * flow[:, [2, 1, 0]]``, not
    standardised. Each of its files was trained without one subject, and predicts that subject alone.

    Files are the caller's matter: this module reads none.

    Parameters
    ----------
    model
        Of the checkpoint's number of classes; 3 in the files that the port comes with.
    state_dict
        Tensors by name: ``weight`` and ``bias`` of ``conv1``, ``conv2``, ``conv3`` and ``fc``; these, ``running_mean``
        and ``running_var`` of ``bn1``, ``bn2`` and ``bn3``, whose ``num_batches_tracked`` may be there or not. All
        names may begin with ``module.``, as a ``DataParallel`` model saves them.

    Raises
    ------
    TypeError
        If a value is no tensor.
    ValueError
        If a tensor is missing, unexpected or of another shape. The message names it; nothing is loaded.
    """
    hint = "Build the model with the checkpoint's number of classes."
    own = model.state_dict()
    names = {key: _names_of_the_port(key) for key in own}
    wanted = {
        name: part for key in own for name, part in zip(names[key], _streams(own[key], len(names[key])), strict=True)
    }
    found = released_tensors(wanted, state_dict, hint, may_miss=lambda name: name.endswith(COUNTER))
    for key in own:
        parts = [found[name] for name in names[key] if name in found]
        if parts:
            own[key] = torch.cat(parts) if own[key].ndim else parts[0]
    model.load_state_dict(own)


def _names_of_the_port(key: str) -> list[str]:
    """What the port calls a tensor of this model: ``conv.weight`` is its conv1.weight, conv2.weight, conv3.weight."""
    layer, name = key.split(".")
    return [key] if layer == "fc" else [f"{layer}{stream}.{name}" for stream, _ in enumerate(STREAMS, start=1)]


def _streams(value: Tensor, count: int) -> list[Tensor]:
    """A tensor of all streams as one of each; a counter is the same in each."""
    return list(value.split(STREAMS)) if value.ndim and count > 1 else [value] * count
