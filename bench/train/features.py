"""Stage `features`: a run's hand-crafted features, computed once; its folds read them.

Features look at one clip at a time and learn nothing (`models.common.estimators.FeatureEstimator`): whoever is
tested, a clip's are the same. What depends on the training clips, such as standardising, is left to the folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.bench.train.data import FEATURES, check_finite, features_source, load_clips, load_task_info
from fdpbench.bench.train.settings import Run
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.runtime.scratch import hash_code, key_of, open_scratch, versions
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.store import shards

__all__ = ["CODE", "PACKAGES", "features_of_run", "features_of_subject"]

# What features depend on, beside models/<model>.py. dvc.yaml lists the same files.
CODE = (
    "fdpbench/__main__.py",
    "bench/train/artifacts.py",
    "bench/train/data.py",
    "bench/train/features.py",
    "bench/plan/params.py",
    "bench/train/protocols.py",
    "models/common/estimators.py",
    "models/common/registry.py",
    "fdpbench/arithmetic.py",
    "prep/store/documents.py",
    "prep/store/image_checks.py",
    "prep/store/images.py",
    "prep/settings/params.py",
    "prep/store/paths.py",
    "prep/settings/plain_yaml.py",
    "prep/dynamic/rank_pooling.py",
    "prep/store/schema.py",
    "prep/runtime/scratch.py",
    "prep/store/shards.py",
    "prep/runtime/workers.py",
)

PACKAGES = ("numpy", "opencv-python", "pyarrow")


def features_of_run(run: Run, task: Path, out: Path, jobs: int) -> None:
    """Compute the features of all clips of a run's task, subject by subject over worker processes.

    Parameters
    ----------
    run
        A run of a model of hand-crafted features, checked (`bench.plan.params.load_run`).
    task
        Folder of its task's data.
    out
        The Parquet file to write, in row groups by subject (`bench.train.data.FEATURES`).
    jobs
        Worker processes; it does not change a byte.

    Raises
    ------
    ParamsError
        If the run's model computes no features.
    prep.runtime.workers.UnitError
        If features cannot be computed, hold NaN or infinite values, or are not float64.
    """
    if not run.model.hand_crafted:
        raise ParamsError(f"run {run.name}: {run.model.name} computes no features; fdpbench train {run.name}")
    clips = task / "clips.parquet"
    subjects = shards.subjects_of(clips)
    source = features_source(run.model.name, run.model_options, task)
    key = key_of(
        source=source,
        code=hash_code(*CODE, f"models/{run.model.name}.py"),
        versions=versions(*PACKAGES),
    )
    with open_scratch(f"features-{run.name}", key) as scratch:
        missing = scratch.missing(subjects)
        units = (Unit(subject, (run, task, subject)) for subject in missing)
        finished = run_units(units, _write_subject, scratch, jobs)
        done = len(subjects) - len(missing)
        for _ in track(finished, f"features {run.name}", len(subjects), done, "subjects", jobs):
            pass
        tables = (shards.read_table(scratch.unit(subject) / "features.parquet", FEATURES) for subject in subjects)
        schema = shards.marked(FEATURES.with_metadata(source), clips)
        scratch.publish({out: lambda path: _publish(path, schema, tables)})


def features_of_subject(run: Run, task: Path, subject: str) -> pa.Table:
    """Features of one subject's clips, in order of clip id: rows of `bench.train.data.FEATURES`.

    Raises
    ------
    ValueError
        If the model does not take the task's inputs, or gives values that are not finite or not float64.
    """
    model = create_model(run.model.name, len(load_task_info(task).classes), **run.settings.model)
    clips = load_clips(task, run.model.inputs, keep=lambda name: name == subject)
    inputs = _as_float(clips.inputs)
    alone = ({name: array[k : k + 1] for name, array in inputs.items()} for k in range(len(clips)))
    features = np.concatenate([model.features(one) for one in alone])  # (N, D)
    if features.dtype != np.float64:  # a narrower type would be widened here, and folds fitted to other sums
        raise ValueError(f"{run.model.name}: features are {features.dtype}, expected float64")
    check_finite(clips.clip_ids, f"what {run.model.name} computes as features", features)
    columns = {"clip_id": clips.clip_ids, "subject": clips.subjects, "features": list(features)}
    return pa.table({name: pa.array(values, FEATURES.field(name).type) for name, values in columns.items()}, FEATURES)


def _write_subject(payload: tuple[Run, Path, str], context: Context) -> None:
    shards.write_table(features_of_subject(*payload), context.folder / "features.parquet")


def _publish(path: Path, schema: pa.Schema, tables: Any) -> None:
    shards.write_subjects(path, schema, tables)


def _as_float(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name: array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array
        for name, array in inputs.items()
    }
