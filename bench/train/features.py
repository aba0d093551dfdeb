"""Hand-crafted features of a run's clips, computed once; its folds read them.

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

from fdpbench.bench.train.data import FEATURES, check_finite, load_clips, load_task_info
from fdpbench.bench.train.settings import Run
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.runtime.scratch import hash_file, key_of, open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.store import shards

__all__ = ["KEPT", "features_of_run", "features_of_subject"]

KEPT = Path(".scratch/features")


def features_of_run(run: Run, task: Path, jobs: int, made_by: Mapping[str, Any] | None = None) -> Path:
    """Compute the features of all clips of a run's task, subject by subject over worker processes.

    Features that were computed of the same clips, by the same code with the same options, are taken as they are.

    Parameters
    ----------
    run
        A run of a model of hand-crafted features.
    task
        Folder of its task's data.
    jobs
        Worker processes; it does not change a byte.
    made_by
        Code, versions and files that the run depends on.

    Returns
    -------
    Parquet file, in row groups by subject (`bench.train.data.FEATURES`).

    Raises
    ------
    prep.runtime.workers.UnitError
        If features cannot be computed, hold NaN or infinite values, or are not float64.
    """
    clips = task / "clips.parquet"
    options = {name: run.model_options[name] for name in sorted(run.model_options)}
    key = key_of(model=run.model.name, options=options, clips=hash_file(clips), made_by=made_by)
    out = KEPT / f"{run.name}-{key}.parquet"
    if out.is_file():
        return out
    subjects = shards.subjects_of(clips)
    with open_scratch(f"features-{run.name}", key) as scratch:
        missing = scratch.missing(subjects)
        units = (Unit(subject, (run, task, subject)) for subject in missing)
        finished = run_units(units, _write_subject, scratch, jobs)
        done = len(subjects) - len(missing)
        for _ in track(finished, f"features {run.name}", len(subjects), done, "subjects", jobs):
            pass
        tables = (shards.read_table(scratch.unit(subject) / "features.parquet", FEATURES) for subject in subjects)
        schema = shards.marked(FEATURES, clips)
        scratch.publish({out: lambda path: _publish(path, schema, tables)})
        for other in KEPT.glob(f"{run.name}-{'?' * len(key)}.parquet"):
            if other != out:
                other.unlink()
    return out


def features_of_subject(run: Run, task: Path, subject: str) -> pa.Table:
    """Features of one subject's clips, in order of clip id: rows of `bench.train.data.FEATURES`.

    Raises
    ------
    ValueError
        If the model does not take the task's inputs, or gives values that are not finite or not float64.
    """
    model = create_model(run.entry.model, len(load_task_info(task).classes), **run.settings.model)
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
