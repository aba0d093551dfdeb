"""ST-GCN on facial landmarks: graph convolutions over the points of the face, convolutions over time at each.

Yan, Xiong, Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018,
brought from the skeleton to the face.

Marks: [paper] it says so; [code] its authors' code (github.com/yysijie/st-gcn); [choice] ours.

[paper] Nine units, 3 with 64 channels, 3 with 128, 3 with 256, the fourth and the seventh with stride 2 in time;
a temporal kernel of 9; a residual connection around each unit; dropout 0.5; neighbours parted by whether they are
nearer to the centre than the point itself (spatial configuration); a learned weight for each edge of each unit;
mean over points and frames. [code] Batch normalisation of each coordinate of each point comes first, and the first unit
has no residual connection; the code has one more unit of 64 channels.

[choice] The points: 51 of the mesh, those that dlib's 68 have too without the outline of the face, so that both give
one graph. The edges: along the contours, and `BRIDGES` between them. The centre: the tip of the nose. The values
of a point: its place, and how far it is from where it was in the first frame, which is what a micro-expression is; both
come standardised, and the first batch normalisation brings the second, which is small, to the scale of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.registry import ModelOptionError, Recipe, Share, register_model

__all__ = ["CENTRE", "CONTOURS", "MESH_POINTS", "PRESETS", "STGCN", "Preset", "edges", "partitions"]

# Points of the mesh of 468 that lie where dlib's points 17..67 do, in their order.
MESH_POINTS = (
    *(70, 63, 105, 66, 107),  # 0..4 brow on the left of the image, from outside
    *(336, 296, 334, 293, 300),  # 5..9 brow on the right, from inside
    *(168, 197, 195, 4),  # 10..13 bridge of the nose, down to its tip
    *(98, 97, 2, 326, 327),  # 14..18 below the nose, from left to right
    *(33, 160, 158, 133, 153, 144),  # 19..24 eye on the left, clockwise from its outer corner
    *(362, 385, 387, 263, 373, 380),  # 25..30 eye on the right, clockwise from its inner corner
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # 31..42 outer edge of the lips, clockwise from the left
    *(78, 82, 13, 312, 308, 317, 14, 87),  # 43..50 inner edge
)
POINTS = len(MESH_POINTS)  # 51
MESH, DLIB = 468, 68
CENTRE = 13

# Points that follow each other, and whether the last is joined to the first.
CONTOURS = (
    (range(5), False),
    (range(5, 10), False),
    (range(10, 14), False),
    (range(14, 19), False),
    (range(19, 25), True),
    (range(25, 31), True),
    (range(31, 43), True),
    (range(43, 51), True),
)
# Between contours: brows to eyes and to each other, eyes and nose, nose and mouth, both edges of the lips.
BRIDGES = (
    *((0, 19), (2, 20), (4, 22), (5, 25), (7, 27), (9, 28), (4, 5), (4, 10), (5, 10)),
    *((10, 22), (10, 25), (13, 14), (13, 16), (13, 18), (14, 24), (18, 29)),
    *((14, 31), (16, 34), (18, 37)),
    *((31, 43), (33, 44), (34, 45), (35, 46), (37, 47), (39, 48), (40, 49), (41, 50)),
)


@dataclass(frozen=True)
class Preset:
    """Sizes of the network.

    Attributes
    ----------
    units
        Channels and stride in time of each unit.
    kernel
        Frames that a temporal convolution spans, an odd number.
    """

    units: tuple[tuple[int, int], ...]
    kernel: int


PRESETS = {
    "paper": Preset(((64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1)), 9),
    "tiny": Preset(((16, 1), (16, 1), (32, 2), (32, 1)), 3),  # [choice], for a CPU, few clips and few frames
}


def edges() -> list[tuple[int, int]]:
    """Pairs of neighbouring points, each once."""
    pairs = [(a, b) for points, _ in CONTOURS for a, b in zip(points, points[1:], strict=False)]
    pairs += [(points[0], points[-1]) for points, closed in CONTOURS if closed]
    return pairs + list(BRIDGES)


def partitions() -> NDArray[np.float64]:
    """Weights from neighbours to points, by partition: (3, POINTS, POINTS), [from, to].

    The first joins each point with itself and with neighbours as far from the centre as it is, the second with
    those nearer to the centre, the third with those farther away [paper]; how far is counted in edges. What a point
    receives in all three together sums to 1 [code].
    """
    near = np.eye(POINTS, dtype=bool)
    for a, b in edges():
        near[a, b] = near[b, a] = True
    far = np.full(POINTS, POINTS)  # edges from the centre
    for distance in range(POINTS):
        reached = np.linalg.matrix_power(near.astype(np.int64), distance)[CENTRE] > 0
        far[reached & (far > distance)] = distance
        if reached.all():
            break
    weights = near / near.sum(axis=0)
    source, target = far[:, None], far[None, :]
    return np.stack([weights * (source == target), weights * (source < target), weights * (source > target)])


class Unit(nn.Module):
    """Graph convolution, then convolution in time, around them a residual connection [code].

    Parameters
    ----------
    inputs, outputs, stride, kernel, dropout
        Channels, stride in time, frames of the temporal kernel, share of values dropped.
    weights
        `partitions`, (P, V, V).
    residual
        Whether there is a residual connection.
    """

    weights: Tensor

    def __init__(
        self, inputs: int, outputs: int, stride: int, kernel: int, dropout: float, weights: Tensor, residual: bool
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(weights))
        self.mix = nn.Conv2d(inputs, outputs * len(weights), 1)
        self.temporal = nn.Sequential(
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, (kernel, 1), (stride, 1), padding=(kernel // 2, 0)),
            nn.BatchNorm2d(outputs),
            nn.Dropout(dropout),
        )
        self.shortcut: nn.Module | None = None
        if residual:
            self.shortcut = nn.Identity()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, V) -> (B, outputs, T / stride, V)."""
        mixed = self.mix(x).unflatten(1, (len(self.weights), -1))  # (B, P, outputs, T, V)
        y = torch.einsum("bpctv,pvw->bctw", mixed, self.weights * self.importance)
        y = self.temporal(y)
        return (y if self.shortcut is None else y + self.shortcut(x)).relu()


@register_model(
    inputs=("landmarks",),
    paper="Yan et al., AAAI 2018 (ST-GCN), brought to facial landmarks",
    recipe=Recipe(epochs=40, batch_size=16, lr=1e-3, weight_decay=1e-4, options={"preset": "tiny"}),
)
class STGCN(Classifier):
    """Units of graph and temporal convolutions over 51 points of the face.

    Parameters
    ----------
    num_classes
        Number of classes; with the preset ``paper`` 3,086,446 parameters for 3.
    shapes
        Needs ``landmarks`` as (T, K, 2), T at least 2, K 468 (mesh) or 68 (dlib).
    preset
        Sizes: a row of `PRESETS`.
    dropout
        Share of values dropped in each unit but the first [code]; 0.5 [paper].

    Raises
    ------
    ModelOptionError
        If the landmarks are of another kind.
    """

    points: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        preset: Literal["paper", "tiny"] = "paper",
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        _, count, _ = input_shape(shapes, "landmarks", "T K xy", T=(2, None), K=(DLIB, MESH), xy=(2, 2))
        if count not in (DLIB, MESH):
            raise ModelOptionError(f"input 'landmarks' has {count} points, expected {MESH} (mesh) or {DLIB} (dlib)")
        chosen = MESH_POINTS if count == MESH else range(DLIB - POINTS, DLIB)
        self.register_buffer("points", torch.tensor(tuple(chosen)), persistent=False)
        weights = torch.tensor(partitions(), dtype=torch.float32)
        self.norm = nn.BatchNorm1d(4 * POINTS)
        units: list[nn.Module] = []
        inputs = 4
        for number, (outputs, stride) in enumerate(PRESETS[preset].units):
            first = number == 0
            kernel, rate = PRESETS[preset].kernel, 0.0 if first else dropout
            units.append(Unit(inputs, outputs, stride, kernel, rate, weights, residual=not first))
            inputs = outputs
        self.units = nn.Sequential(*units)
        self.classify = nn.Linear(inputs, num_classes)

    def forward(self, landmarks: Tensor) -> ModelOutput:
        """Classify landmarks (B, T, K, 2)."""
        place = landmarks[:, :, self.points]  # (B, T, V, 2)
        x = torch.cat([place, place - place[:, :1]], dim=3)  # (B, T, V, 4)
        x = self.norm(x.permute(0, 3, 2, 1).flatten(1, 2)).unflatten(1, (4, -1))  # (B, 4, V, T)
        x = self.units(x.transpose(2, 3))  # (B, C, T / 4, V)
        return ModelOutput(logits=self.classify(x.mean(dim=(2, 3))))
