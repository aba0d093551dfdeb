"""A run: its folds over worker processes, each kept when finished, published together at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa

from fdpbench.bench.evaluate.predictions import (
    PREDICTIONS,
    check_predictions,
    expected_clips,
    prediction_rows,
    predictions_schema,
    read_predictions,
)
from fdpbench.bench.train.arrays import StoredClips, store_clips
from fdpbench.bench.train.artifacts import Artifacts, is_shipped
from fdpbench.bench.train.data import (
    ClipSet,
    load_features,
    load_index,
    load_task_info,
)
from fdpbench.bench.train.features import features_of_run
from fdpbench.bench.train.fit import Fitted, fit
from fdpbench.bench.train.folds import Fold, SplitError, clips_of, drawn_subjects, fold_by_clip, folds_of
from fdpbench.bench.train.init import started_from
from fdpbench.bench.train.kept import KeptRun, kept_run
from fdpbench.bench.train.provenance import write_machine, write_provenance
from fdpbench.bench.train.seeds import seed_of
from fdpbench.bench.train.settings import Run, run_of
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import LONGEST, folder_name, hash_file, key_of, open_scratch
from fdpbench.prep.runtime.training import TrainingProgress
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.documents import read_json

__all__ = ["made_of", "run", "train_run", "training_subjects"]


@dataclass(frozen=True)
class _Training:
    """One fold of one repetition: what a worker needs."""

    run: Run
    task: Path
    features: Path | None  # where the model reads these in place of the task's inputs
    fold: str
    train: tuple[str, ...]  # its subjects
    test: tuple[str, ...]
    repetition: int
    device: str
    devices: int
    classes: int

    @property
    def name(self) -> str:
        return f"{self.repetition}/{self.fold}"

    @property
    def folder(self) -> str:
        name = f"{self.repetition}-{self.fold.replace('/', '-')}"
        return name if len(name.encode()) <= LONGEST else folder_name(name)

    @property
    def seed(self) -> int:
        return seed_of(self.run.train.seed, self.run.task, self.run.model.name, self.fold, self.repetition)


def run(planned: Planned, jobs: int, folds_per_device: int = 1) -> None:
    """Run the stage as it is planned; hand-crafted features are computed first, once for all folds."""
    whole = run_of(planned)
    measured_by = planned.settings.get("measured_by", {})
    train_run(
        whole, paths.task(whole.task), Artifacts(whole.name), jobs, folds_per_device, planned.made_by, measured_by
    )


def train_run(
    run: Run,
    task: Path,
    artifacts: Artifacts,
    jobs: int,
    folds_per_device: int,
    made_by: Mapping[str, Mapping[str, str]] | None = None,
    measured_by: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Train every fold of a run and publish predictions, checkpoints, loss curves and provenance.

    The unit of work, and of going on after a kill, is a fold.

    Parameters
    ----------
    run
        The run, checked (`bench.plan.params.load_run`).
    task
        Folder of its task's data.
    artifacts
        Where to publish.
    jobs
        Worker processes on the CPU; it does not change a byte.
    folds_per_device
        Folds trained at a time on each CUDA device, where there are any.
    made_by
        Code, versions and files that the run depends on; kept folds of others are not used.
    measured_by
        Code and versions that measure generated images: a finished run measured by others is not taken up.
    """
    info = load_task_info(task)
    clips = load_index(task)
    subject_of = {clip["clip_id"]: clip["subject"] for clip in clips}
    tested = expected_clips(run.name, run.entry.faults.untested_subjects, clips)
    try:
        folds = folds_of(run.entry.split, clips_of(clips), run.train.seed, run.entry.faults.untested_subjects)
    except SplitError as error:
        raise SplitError(f"runs.{run.name}.split: {error}") from None
    device, devices, _ = _hardware(run)
    provenance = made_of(run, task, made_by)
    kept = kept_run(run.name, provenance, measured_by)
    if kept:
        rows = kept[0].to_pylist()
        check_predictions(run.name, rows, tested, len(info.classes), run.train.repetitions, fold_by_clip(folds))
        _take_up(*kept, artifacts, provenance)
        return
    features = features_of_run(run, task, jobs, made_by) if run.model.hand_crafted else None
    trainings = {
        training.name: training
        for repetition in range(run.train.repetitions)
        for fold in folds
        for training in [
            _Training(
                run,
                task,
                features,
                fold.name,
                training_subjects(run, fold, subject_of, repetition),
                tuple(sorted({subject_of[clip] for clip in fold.test})),
                repetition,
                device,
                devices,
                len(info.classes),
            )
        ]
    }
    workers = jobs if device == "cpu" else folds_per_device * devices
    with open_scratch(f"train-{run.name}", key_of(**provenance)) as scratch:
        missing = scratch.missing(trainings)
        stored = store_clips(task, _wanted(run) if missing and not features else (), scratch)
        work = (
            Unit(name, (trainings[name], stored.of(trainings[name].train), stored.of(trainings[name].test)))
            for name in missing
        )
        with TrainingProgress(run.name, len(trainings), len(trainings) - len(missing), workers) as progress:
            for name in run_units(work, _train_fold, scratch, workers, progress.report):
                progress.finished(name)
        places = {name: scratch.unit(name) for name in trainings}
        rows = _predictions(places)
        check_predictions(run.name, rows, tested, len(info.classes), run.train.repetitions, fold_by_clip(folds))
        made_from = [task / "clips.parquet", *([features] if features else [])]
        schema = shards.marked(predictions_schema(run.entry.folds_text), *made_from)
        table = pa.Table.from_pylist(rows, schema=schema)
        write_machine(artifacts.machine, device)  # not published: scratch is kept until DVC has recorded what was
        scratch.publish(
            {
                artifacts.predictions: lambda path: shards.write_table(table, path),
                artifacts.curves: lambda path: _write_curves(places, trainings, path),
                artifacts.provenance: lambda path: write_provenance(path, run.name, provenance),
                artifacts.checkpoints: lambda path: _copy_checkpoints(places, trainings, path),
            }
        )


def made_of(run: Run, task: Path, made_by: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """All that a run's outputs depend on: what its provenance says.

    Parameters
    ----------
    run, task, made_by
        As of `train_run`.

    Raises
    ------
    ValueError
        If weights that it starts from are missing, or not those that stage `init` saw.
    """
    pretrained = [file for file in run.start if not is_shipped(file)]
    device, _, precision = _hardware(run)
    return {
        "run": {
            "task": run.task,
            "model": run.model.name,
            "inputs": list(run.model.inputs),
            "paper": run.model.paper,
            "entry": run.entry.model_dump(exclude={"table"}),
        },
        "settings": run.settings.model_dump(),
        "train": run.train.model_dump(),
        "data": {path.as_posix(): hash_file(path) for path in (task / "clips.parquet", task / "task.json")}
        | started_from(run.name, pretrained),
        **(made_by or {"code": {}, "versions": {}, "files": {}}),
        "hardware": [device, precision],
    }


def _take_up(table: pa.Table, kept: KeptRun, artifacts: Artifacts, provenance: Mapping[str, Any]) -> None:
    """Publish a finished run's outputs; in place of weights a line that says why there are none."""

    def note(path: Path) -> None:
        path.mkdir()
        write(path / "none.txt", "This run was taken up from committed predictions: it was not trained here.\n")

    def write(path: Path, text: str) -> None:
        path.write_bytes(text.encode())

    with open_scratch(f"train-{artifacts.run}", key_of(**provenance)) as scratch:
        scratch.publish(
            {
                artifacts.predictions: lambda path: shards.write_table(table, path),
                artifacts.curves: lambda path: write(path, kept.curves),
                artifacts.provenance: lambda path: write(path, json.dumps(kept.provenance, indent=2) + "\n"),
                artifacts.checkpoints: note,
            }
        )
    console.print(f"train {artifacts.run}: taken up from committed predictions of the same code, settings and data")


def training_subjects(run: Run, fold: Fold, subject_of: Mapping[str, str], repetition: int) -> tuple[str, ...]:
    """Subjects that a fold trains on in a repetition, in order of name.

    Raises
    ------
    ValueError
        If the run asks for more than there are.
    """
    subjects = {subject_of[clip] for clip in fold.train}
    if run.entry.training_subjects is None:
        return tuple(sorted(subjects))
    try:
        return drawn_subjects(subjects, run.entry.training_subjects, run.train.seed, run.task, fold.name, repetition)
    except SplitError as error:
        raise SplitError(f"runs.{run.name}: {error}; set it to {len(subjects)} or less") from None


def _hardware(run: Run) -> tuple[str, int, str]:
    """Device, number of devices and precision of a run. Estimators are fitted on the CPU."""
    if run.model.kind == "estimator":
        return "cpu", 1, "float64"
    import torch

    from fdpbench.bench.train.step import resolve_device, resolve_precision

    device = resolve_device(run.train.device)
    return device, torch.cuda.device_count() if device == "cuda" else 1, resolve_precision(run.train.precision, device)


def _device(training: _Training, context: Context) -> str:
    return training.device if training.device == "cpu" else f"cuda:{context.worker % training.devices}"


def _wanted(run: Run) -> tuple[str, ...]:
    """Names of the inputs that a run's training reads: without a training none to compare with."""
    targets = run.model.targets if run.entry.protocol != "zero_shot" else ()
    return tuple(dict.fromkeys((*run.model.inputs, *targets)))


def _train_fold(work: tuple[_Training, StoredClips, StoredClips], context: Context) -> None:
    """Train one fold in a worker; write predictions.parquet, curve.json and model.safetensors."""
    training, train, test = work
    run = training.run

    def load(stored: StoredClips, inputs: tuple[str, ...]) -> ClipSet:
        if training.features is not None:
            return load_features(training.features, training.task, stored.folders.__contains__)
        return stored.load(inputs)

    # where nothing is trained the shapes of inputs alone are looked at: one training subject has them
    read = train if run.entry.protocol != "zero_shot" else train.of(training.train[:1])
    clips = load(read, _wanted(run))
    # the one protocol that looks at the test subject; for all others its files are opened when training is over
    watched = load(test, run.model.inputs) if run.entry.protocol == "test_selected" else None
    device = _device(training, context)
    start = run.start_of(training.repetition)
    fitted = fit(run, clips, training.classes, training.seed, device, context.report, watched, start)
    _write_fold(training, fitted, load(test, run.model.inputs), context.folder)


def _write_fold(training: _Training, fitted: Fitted, test: ClipSet, folder: Path) -> None:
    """Write what a trained fold says of its test clips, its curve and its weights."""
    index = sorted(load_index(training.task), key=lambda clip: clip["clip_id"])
    held_out = [clip for clip in index if clip["subject"] in training.test]
    said, run = fitted.predict(test), training.run
    rows = prediction_rows(run.name, training.repetition, training.seed, training.fold, held_out, said, fitted.epoch)
    shards.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), folder / "predictions.parquet")
    (folder / "curve.json").write_text(json.dumps(fitted.curve), encoding="utf-8")
    fitted.save(folder / "model.safetensors")


def _predictions(places: dict[str, Path]) -> list[dict[str, Any]]:
    rows = [row for place in places.values() for row in read_predictions(place / "predictions.parquet")]
    return sorted(rows, key=lambda row: (row["repetition"], row["clip_id"]))


def _write_curves(places: dict[str, Path], trainings: dict[str, _Training], path: Path) -> None:
    def epochs() -> Iterator[dict[str, Any]]:
        for name, training in trainings.items():
            for epoch in read_json(places[name] / "curve.json", f"delete {places[name]} and run `dvc repro`"):
                yield {"repetition": training.repetition, "fold": training.fold, **epoch}

    columns = ["repetition", "fold", "epoch", "loss"]
    rows = list(epochs())
    terms = list(dict.fromkeys(key for row in rows for key in row if key not in columns))
    pd.DataFrame(rows, columns=columns + terms).to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def _copy_checkpoints(places: dict[str, Path], trainings: dict[str, _Training], path: Path) -> None:
    path.mkdir()
    for name, training in trainings.items():
        shutil.copyfile(places[name] / "model.safetensors", path / f"{training.folder}.safetensors")
