"""A fold of a trial, in a worker: the model trained on some tuning subjects, and what it says of those held out.

Time is that of training and prediction, of features where a model computes any, on the processor; on a CUDA device,
for which the processor waits, it is the time that passes. Starting a process and reading data do not count.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.bench.evaluate.metrics import metric_of
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.features import features_of_subject
from fdpbench.bench.train.fit import fit
from fdpbench.bench.train.settings import Run
from fdpbench.models.common.registry import model_info
from fdpbench.prep.runtime.workers import Context
from fdpbench.prep.store.documents import read_json

__all__ = ["FoldWork", "Outcome", "pooled_uf1", "read_outcomes", "train_folds"]

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class FoldWork:
    """Folds that a worker trains one after the other: one of a network, all of a model of hand-crafted features.

    Attributes
    ----------
    run
        The model, with the settings of the trial.
    task
        Folder of the task's data.
    folds
        Of each fold: its name, the subjects that it trains on, those that it holds out, and its seed.
    classes
        Names of the classes.
    device, devices
        ``cpu`` or ``cuda``, and how many there are.
    """

    run: Run
    task: Path
    folds: tuple[tuple[str, tuple[str, ...], tuple[str, ...], int], ...]
    classes: tuple[str, ...]
    device: str
    devices: int


@dataclass(frozen=True)
class Outcome:
    """What came of a fold.

    Attributes
    ----------
    fold
        Its name.
    confusion
        Clips held out, by true and predicted class (C, C); None where the settings cannot be trained.
    seconds
        Core-seconds.
    refused
        Why they cannot be trained: what the model, or its training, has against them; else empty.
    """

    fold: str
    confusion: NDArray[np.int64] | None
    seconds: float
    refused: str = ""


def train_folds(work: FoldWork, context: Context) -> None:
    """Train folds and write what came of them."""
    run = work.run
    features: dict[str, pa.Table] = {}
    outcomes: list[dict[str, Any]] = []
    for name, train, held_out, seed in work.folds:
        device = work.device if work.device == "cpu" else f"cuda:{context.worker % work.devices}"
        wanted = tuple(dict.fromkeys((*run.model.inputs, *run.model.targets)))
        clips = _read(work, wanted, train)
        test = _read(work, run.model.inputs, held_out)
        _warm_up(run, clips, len(work.classes), device)
        watch = _Watch(device)
        try:
            _check(run, clips)
            if run.model.hand_crafted:
                clips, test = (_described(work, side, features) for side in (clips, test))
            fitted = fit(run, clips, len(work.classes), seed, device, context.report)
            scores = fitted.predict(test).scores
            if not np.isfinite(scores).all():
                raise ValueError("its scores are not finite")
        except ValueError as error:
            refused = " ".join(f"fold {name}: {error}".split())
            outcomes.append({"fold": name, "confusion": None, "seconds": watch.seconds(), "refused": refused})
            break
        labels = test.labels.tolist()
        confusion = np.zeros((len(work.classes), len(work.classes)), np.int64)
        np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
        outcomes.append({"fold": name, "confusion": confusion.tolist(), "seconds": watch.seconds(), "refused": ""})
    (context.folder / OUTCOME).write_text(json.dumps(outcomes), encoding="utf-8")


def read_outcomes(folder: Path) -> list[Outcome]:
    """What a worker wrote of its folds."""
    found = read_json(folder / OUTCOME, f"delete {folder.parent.parent} and run the same command")
    return [
        Outcome(
            one["fold"],
            None if one["confusion"] is None else np.array(one["confusion"], np.int64),
            one["seconds"],
            one["refused"],
        )
        for one in found
    ]


def pooled_uf1(confusions: list[NDArray[np.int64]]) -> float | None:
    """UF1 over the clips of some folds together; None where a class has no clip among them."""
    value = float(metric_of(np.sum(confusions, axis=0), "uf1"))
    return value if np.isfinite(value) else None


class _Watch:
    """Time since it was made: of the processor, or, with CUDA, that which passes."""

    def __init__(self, device: str) -> None:
        self._clock = time.process_time if device == "cpu" else time.perf_counter
        self._start = self._clock()

    def seconds(self) -> float:
        return round(self._clock() - self._start, 3)


_warm: set[str] = set()  # devices on which this process has trained a network


def _warm_up(run: Run, clips: ClipSet, classes: int, device: str) -> None:
    """Train for an epoch on a few clips: torch imports a second's worth at its first step, which is no trial's cost."""
    model_info(run.entry.model)  # imports its file
    if run.model.kind != "module" or device in _warm:
        return
    _warm.add(device)
    short = replace(run, settings=run.settings.model_copy(update={"epochs": 1}))
    first = clips.of(sorted(set(clips.subjects))[:2])
    with suppress(ValueError):  # the training itself will say so
        fit(short, first, classes, 0, device, lambda message: None).predict(first)


def _read(work: FoldWork, inputs: tuple[str, ...], subjects: tuple[str, ...]) -> ClipSet:
    """Clips of some subjects; the bytes of the others are not touched."""
    return load_clips(work.task, () if work.run.model.hand_crafted else inputs, set(subjects).__contains__)


def _check(run: Run, clips: ClipSet) -> None:
    if run.model.kind == "module":
        from fdpbench.bench.train.augment import check_shift

        check_shift(run, clips.shapes)


def _described(work: FoldWork, clips: ClipSet, known: dict[str, pa.Table]) -> ClipSet:
    """Clips with their hand-crafted features, each subject's computed once."""
    for subject in dict.fromkeys(clips.subjects):
        if subject not in known:
            known[subject] = features_of_subject(work.run, work.task, subject)
    rows: dict[str, Any] = {
        clip: values
        for subject in dict.fromkeys(clips.subjects)
        for clip, values in zip(
            known[subject].column("clip_id").to_pylist(), known[subject].column("features").to_pylist(), strict=True
        )
    }
    features = np.array([rows[clip] for clip in clips.clip_ids])
    return ClipSet(clips.clip_ids, clips.subjects, clips.labels, {"features": features})
