"""One fold: a model and its training clips in, what it says of the test clips out.

In the protocols ``honest`` and ``inner`` nothing here ever sees the test clips before the model is
finished: every statistic and every choice comes from the training clips. ``test_selected`` is named for
what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fdpbench.bench.evaluate.predictions import Prediction
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.protocols import inner_subjects
from fdpbench.bench.train.settings import Run
from fdpbench.models.common.registry import create_model

__all__ = ["Curve", "Fitted", "Report", "fit"]

Report = Callable[[dict[str, Any]], None]

# One row for each epoch: the mean over its clips of every term of the loss, and what watched clips gave.
Curve = list[dict[str, Any]]


class Fitted(Protocol):
    """A trained model. ``epoch`` is the one whose weights it holds, None for models without epochs."""

    curve: Curve
    epoch: int | None

    def predict(self, clips: ClipSet) -> Prediction:
        """What it says of clips, in their order."""

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""


def fit(
    run: Run,
    train: ClipSet,
    classes: int,
    seed: int,
    device: str,
    report: Report,
    test: ClipSet | None = None,
    start: Path | None = None,
) -> Fitted:
    """Train a run's model on the training clips of one fold, by the run's protocol.

    Parameters
    ----------
    run
        The run.
    train
        The training clips.
    classes
        Number of classes of the task.
    seed
        Of this fold (`bench.train.seeds`).
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    report
        Called after each epoch with ``epoch``, ``epochs`` and ``loss``.
    test
        The test clips, for the protocol ``test_selected`` alone.
    start
        The weights that the run starts from, where it names any.

    Raises
    ------
    ValueError
        If test clips are given to another protocol, or not to this one.
    """
    protocol = run.entry.protocol
    if (test is not None) != (protocol == "test_selected"):
        raise ValueError(f"run {run.name}: protocol {protocol} must{' not' * (test is not None)} be given test clips")
    if run.model.kind == "estimator":
        return _fit_estimator(run, train, classes, seed)
    from fdpbench.bench.train.fit_module import fit_module, started_module  # torch costs seconds: only where needed

    if protocol == "zero_shot":
        assert start is not None
        return started_module(run, train, device, start)
    if protocol != "inner":
        return fit_module(run, train, classes, seed, device, report, watch=test, start=start)

    held_out = inner_subjects(train.subjects, seed)
    watch, rest = train.of(held_out), train.of(frozenset(train.subjects) - held_out)
    # two trainings, one bar
    choice = fit_module(run, rest, classes, seed, device, _part(report, 0), watch=watch, start=start)
    final = fit_module(run, train, classes, seed, device, _part(report, 1), epochs=choice.epoch, start=start)
    final.curve = [{"training": "choice", **row} for row in choice.curve] + [
        {"training": "final", **row} for row in final.curve
    ]
    return final


def _part(report: Report, part: int) -> Report:
    """Report one of two trainings as a half of the whole."""

    def halved(message: dict[str, Any]) -> None:
        epochs = message["epochs"]
        report(message | {"epoch": part * epochs + message["epoch"], "epochs": 2 * epochs})

    return halved


def _fit_estimator(run: Run, train: ClipSet, classes: int, seed: int) -> Fitted:
    estimator = create_model(run.entry.model, classes, seed=seed, **run.settings.model)
    estimator.fit(train.inputs, train.labels)
    return _FittedEstimator(estimator, [])


@dataclass
class _FittedEstimator:
    estimator: Any
    curve: Curve
    epoch: int | None = None

    def predict(self, clips: ClipSet) -> Prediction:
        scores = np.asarray(self.estimator.scores(clips.inputs), dtype=np.float64)
        if not clips.inputs:  # a model that reads nothing scores all clips alike, in one row
            scores = np.repeat(scores, len(clips), axis=0)
        return Prediction(scores)

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({key: np.ascontiguousarray(value) for key, value in self.estimator.state().items()}, path)
