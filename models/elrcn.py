"""ELRCN: a convolutional encoder of single frames, a recurrent layer over their features.

Khor et al., "Enriched Long-term Recurrent Convolutional Network for Facial Micro-Expression Recognition",
FG 2018: the variant with spatial enrichment.

Marks: [paper] its abstract; [code] the scripts that its authors released
(github.com/IcedDoggie/Micro-Expression-with-Deep-Learning); [choice] ours.

[paper] A CNN encodes each frame, an LSTM reads the features. Spatial enrichment stacks several images of a
frame as the channels of one input.
[code] VGG-16 at 224 x 224 on 10 frames; the channels are optical flow and strain, in one variant the grey frame
too. Its first dense layer of 4096 units feeds an LSTM of 3000, whose last state goes through a dense layer of
128 units, ReLU, to the classes. The encoder is trained first, on single frames with their clip's label; the
LSTM then reads its fixed features.
[choice] The channels are made of the frames alone: the change since the clip's first frame and since the frame
before, in place of flow and strain, and the grey frame. Four of VGG's five stages, two convolutions each, with
few filters and with BN, for frames of about 96 pixels halved on entry; one dense layer; a narrow LSTM; all
trained at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, conv_bn_relu, input_shape
from fdpbench.models.common.layout import channels_last
from fdpbench.models.common.registry import Count, Recipe, Share, register_model

__all__ = ["ELRCN", "enrich"]

STAGES = 4
HIDDEN = 128  # [code] of the dense layer behind the LSTM


def enrich(frames: Tensor, grey: bool) -> Tensor:
    """Stack what changed as further channels: (B, T, C, H, W) -> (B, T, 2 C or 3 C, H, W).

    The first frame has no change. With ``grey`` the frames themselves are the last C channels.
    """
    since_first = frames - frames[:, :1]
    since_last = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, 1:] - frames[:, :-1]], dim=1)
    parts = [since_first, since_last, frames] if grey else [since_first, since_last]
    return torch.cat(parts, dim=2)


@register_model(
    inputs=("frames",),
    paper="Khor et al., FG 2018 (ELRCN, spatial enrichment)",
    recipe=Recipe(epochs=20, batch_size=16, lr=1e-3, weight_decay=1e-4),
)
class ELRCN(Classifier):
    """A small VGG on each enriched frame, an LSTM, and two dense layers.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``frames`` as (T, C, H, W), T at least 2, H and W at least 32.
    width
        Filters of the first stage; each further one has twice as many.
    features
        Numbers that a frame is encoded by.
    memory
        Width of the LSTM.
    grey
        Whether the encoder also sees the grey frame, and with it the face.
    dropout
        Share of the features of a frame dropped.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        width: Count = 12,
        features: Count = 128,
        memory: Count = 128,
        grey: bool = True,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        _, channels, height, width_in = input_shape(
            shapes, "frames", "T C H W", T=(2, None), H=(32, None), W=(32, None)
        )
        self.grey = grey
        inputs = channels * (3 if grey else 2)
        stages: list[nn.Module] = []
        for stage in range(STAGES):
            outputs = width * 2**stage
            stages += [conv_bn_relu(inputs, outputs), conv_bn_relu(outputs, outputs), nn.MaxPool2d(2)]
            inputs = outputs
        rows, columns = (side // 2 ** (STAGES + 1) for side in (height, width_in))
        self.encode = nn.Sequential(
            *stages, nn.Flatten(), nn.Linear(inputs * rows * columns, features), nn.ReLU(), nn.Dropout(dropout)
        )
        self.recall = nn.LSTMCell(features, memory)  # nn.LSTM's layer differs between processors: `fdpbench.arithmetic`
        self.classify = nn.Sequential(nn.Linear(memory, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes))
        channels_last(self)

    def forward(self, frames: Tensor) -> ModelOutput:
        """Classify clips (B, T, C, H, W)."""
        x = enrich(frames, self.grey)  # (B, T, 3 C, H, W)
        x = F.avg_pool2d(x.flatten(0, 1), 2)  # (B T, 3 C, H / 2, W / 2)
        x = self.encode(x).unflatten(0, frames.shape[:2])  # (B, T, features)
        return ModelOutput(logits=self.classify(self.read(x)))

    def read(self, features: Tensor) -> Tensor:
        """Last state (B, memory) of the LSTM, which reads the features of frames (B, T, features) in their order."""
        state: tuple[Tensor, Tensor] | None = None
        for step in features.unbind(dim=1):  # (B, features)
            state = self.recall(step, state)  # twice (B, memory): what it gives, what it keeps
        assert state is not None
        return state[0]
