"""Models that a test adds to the listed ones: a network and an estimator that keep every promise, to take apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fdpbench.models

NETWORK = '''
"""A small network with every kind of output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.registry import Count, Recipe, register_model


@register_model(
    inputs=("frames",),
    targets=("dynamic_image",),
    paper="none",
    recipe=Recipe(epochs=1, batch_size=4, lr=1e-3, weight_decay=0.0, options={"width": 16}),
)
class Network(Classifier):
    classification = "cross_entropy"

    def __init__(self, num_classes: int, *, shapes: Mapping[str, tuple[int, ...]], width: Count = 16) -> None:
        super().__init__()
        frames, _, _, _ = input_shape(shapes, "frames", "T C H W", C=(1, 1), H=(48, 48), W=(48, 48))
        self.hidden = nn.Linear(frames * 64, width)
        self.classify = nn.Linear(width, num_classes)
        self.rank, self.draw = nn.Linear(width, frames), nn.Linear(width, 36)
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, frames: Tensor) -> ModelOutput:
        x = frames[..., ::6, ::6].flatten(1)  # (B, 64 T)
        if self.training:
            self.seen += 1
        x = self.hidden(x).relu() * self.scale
        image = self.draw(x).sigmoid().unflatten(1, (6, 6))
        return ModelOutput(logits=self.classify(x), dynamic_image=image, scores=self.rank(x))

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = super().loss(output, labels, targets)
        wanted = F.adaptive_avg_pool2d(targets["dynamic_image"], 6)[:, 0]
        terms["image"] = (output.dynamic_image - wanted).square().mean()
        terms["rank"] = output.scores.square().mean()
        return terms

    def classification_losses(self, output: ModelOutput, labels: Tensor) -> Tensor:
        losses = super().classification_losses(output, labels)
        return losses
'''

ESTIMATOR = '''
"""Nearest centroid of the rows' means."""

from __future__ import annotations

import numpy as np

from fdpbench.models.common.estimators import FeatureEstimator, check_flow, checked_state, lowest_for_missing
from fdpbench.models.common.registry import register_model


@register_model(inputs=("flow",), paper="none")
class Centroids(FeatureEstimator):
    def __init__(self, num_classes: int, *, seed: int = 0) -> None:
        super().__init__(num_classes, seed=seed)
        self.scale, self._state = 1.0, {}

    def features(self, inputs):
        flow = check_flow("centroids", inputs["flow"], 8)  # (B, 3, h, w)
        rows = flow.mean(axis=3).reshape(len(flow), -1)  # (B, 3 h)
        return rows

    def fit(self, inputs, labels):
        features, labels = inputs["features"], self.check_labels(labels)
        centres = np.full((self.num_classes, features.shape[1]), 0.5)
        present = np.unique(labels)
        for label in present:
            centres[label] = features[labels == label].mean(axis=0)
        self._state = {"centres": centres, "missing": np.setdiff1d(np.arange(self.num_classes), present)}

    def scores(self, inputs):
        if not self._state:
            raise RuntimeError("the centroids are not fitted: call fit or load_state first")
        distances = ((inputs["features"][:, None] - self._state["centres"]) ** 2).sum(axis=2) * self.scale
        return lowest_for_missing(-distances, self._state["missing"])

    def state(self):
        return dict(self._state)

    def load_state(self, state):
        self._state = checked_state(state, {"centres", "missing"}, "centres", self.num_classes)
'''


@contextmanager
def added_model(folder: Path, name: str, content: str) -> Iterator[Path]:
    """List a file as a model, as if it lay in ``models/``; gone after the block.

    ``folder`` is one that no earlier content of the same name lay in: Python would take the compiled file for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(content, encoding="utf-8")
    before = list(fdpbench.models.__path__)
    fdpbench.models.__path__.append(str(folder))
    try:
        yield path
    finally:
        fdpbench.models.__path__[:] = before
        sys.modules.pop(f"fdpbench.models.{name}", None)
        vars(fdpbench.models).pop(name, None)
