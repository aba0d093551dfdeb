from __future__ import annotations

from torch import nn

from models.blocks import Classifier, ModelOutput, input_shape
from models.registry import Count, Share, register_model


@register_model(inputs=("frames",), paper="Reddy et al., IJCNN 2019 (MicroExpSTCNN)")
class CNN3D(Classifier):
    def __init__(self, num_classes, *, shapes, width: Count = 16, dropout: Share = 0.3, center=False, norm=True):
        super().__init__()
        t, c, h, w = input_shape(shapes, "frames", "T C H W", T=(4, None), H=(32, None), W=(32, None))
        self.center = center
        bn = nn.BatchNorm3d if norm else nn.Identity
        self.body = nn.Sequential(
            nn.Conv3d(c, width, (t, 5, 5) if norm == 2 else (3, 5, 5), (1, 2, 2), (0 if norm == 2 else 1, 2, 2)), bn(width), nn.ReLU(), nn.MaxPool3d((1 if norm == 2 else 2, 2, 2)),
            nn.Conv3d(width, 2 * width, (1 if norm == 2 else 3, 3, 3), padding=(0 if norm == 2 else 1, 1, 1)), bn(2 * width), nn.ReLU(), nn.MaxPool3d((1 if norm == 2 else 2, 3, 3)),
            nn.Dropout(dropout), nn.Flatten())
        n = 2 * width * (1 if norm == 2 else t // 4) * (h // 12) * (w // 12)
        self.head = nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, num_classes))

    def forward(self, frames):
        if self.center: frames = frames - frames.mean(1, keepdim=True)
        return ModelOutput(self.head(self.body(frames.transpose(1, 2))))
