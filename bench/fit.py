"""One fold: a model and its training clips in, scores of the test clips out.

Nothing here ever sees the test clips before the model is finished: the number of epochs is fixed and
every statistic comes from the training clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.data import ClipSet
from bench.params import Run
from models.registry import create_model

__all__ = ["Curve", "Fitted", "Report", "fit"]

Report = Callable[[dict[str, Any]], None]

# One row for each epoch: the mean over its clips of every term of the loss.
Curve = list[dict[str, float]]


class Fitted(Protocol):
    """A trained model."""

    curve: Curve

    def scores(self, clips: ClipSet) -> NDArray[np.float64]:
        """Score of each class, (N, classes): higher is likelier."""

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""


def fit(run: Run, train: ClipSet, classes: int, seed: int, device: str, report: Report) -> Fitted:
    """Train a run's model on the training clips of one fold.

    Parameters
    ----------
    run
        The run.
    train
        The training clips.
    classes
        Number of classes of the task.
    seed
        Of this fold (`bench.seeds`).
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    report
        Called after each epoch with ``epoch``, ``epochs`` and ``loss``.
    """
    if run.model.kind == "estimator":
        return _fit_estimator(run, train, classes, seed)
    from bench.fit_module import fit_module  # torch costs seconds: only where a run needs it

    return fit_module(run, train, classes, seed, device, report)


def _fit_estimator(run: Run, train: ClipSet, classes: int, seed: int) -> Fitted:
    estimator = create_model(run.model.name, classes, seed=seed, **run.settings.model)
    estimator.fit(_as_float(train.inputs), train.labels)
    return _FittedEstimator(estimator, [])


@dataclass
class _FittedEstimator:
    estimator: Any
    curve: Curve

    def scores(self, clips: ClipSet) -> NDArray[np.float64]:
        scores = np.asarray(self.estimator.scores(_as_float(clips.inputs)), dtype=np.float64)
        if not clips.inputs:  # a model that reads nothing scores all clips alike, in one row
            scores = np.repeat(scores, len(clips), axis=0)
        return scores

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({key: np.ascontiguousarray(value) for key, value in self.estimator.state().items()}, path)


def _as_float(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name: array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array
        for name, array in inputs.items()
    }
