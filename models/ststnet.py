"""STSTNet: a shallow network of three parallel streams on optical flow.

Liong et al., "Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition",
FG 2019. The paper leaves the padding open; as in the public PyTorch port each convolution pads by 2,
which gives 5 x 5 x 16 = 400 features, and parts carry that port's names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models._checkpoints import released_tensors
from models.blocks import Classifier, ModelOutput, input_shape
from models.registry import Share, register_model

__all__ = ["STSTNet", "load_released_state_dict"]

COUNTER = "num_batches_tracked"


@register_model(inputs=("flow",), paper="Liong et al., FG 2019", stackable=True)
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
        self.conv1 = nn.Conv2d(3, 3, kernel_size=3, padding=2)
        self.conv2 = nn.Conv2d(3, 5, kernel_size=3, padding=2)
        self.conv3 = nn.Conv2d(3, 8, kernel_size=3, padding=2)
        self.bn1 = nn.BatchNorm2d(3)
        self.bn2 = nn.BatchNorm2d(5)
        self.bn3 = nn.BatchNorm2d(8)
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.average_pool = nn.AvgPool2d(kernel_size=2)
        self.fc = nn.Linear(16 * 5 * 5, num_classes)

    def forward(self, flow: Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        streams = []
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            stream = norm(conv(flow).relu())  # (B, 3 | 5 | 8, 30, 30)
            streams.append(self.dropout(self.max_pool(stream)))  # (B, 3 | 5 | 8, 10, 10)
        pooled = self.average_pool(torch.cat(streams, dim=1))  # (B, 16, 5, 5)
        return ModelOutput(logits=self.fc(pooled.flatten(1)))


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
    found = released_tensors(model, state_dict, hint, may_miss=lambda key: key.endswith(COUNTER))
    model.load_state_dict(model.state_dict() | found)
