"""Stage `evaluate`: every metric, interval and test of every listed run, from predictions alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from fdpbench.bench.evaluate.audit import audit_effects, mean_fold_means
from fdpbench.bench.evaluate.compare import compared, members_of
from fdpbench.bench.evaluate.ensembles import ensemble_rows, predictions_of
from fdpbench.bench.evaluate.evaluation import FOLDER, ClipResult, Evaluation, write_evaluation
from fdpbench.bench.evaluate.listed import listed
from fdpbench.bench.evaluate.metrics import METRICS, MetricError, chance_levels
from fdpbench.bench.evaluate.moments import frames_up_to_apex
from fdpbench.bench.evaluate.perception import TrueImages, measure_clip
from fdpbench.bench.evaluate.prediction_set import PredictionSet, evaluate_part, prediction_set
from fdpbench.bench.evaluate.predictions import (
    check_predictions,
    expected_clips,
    predictions_schema,
    read_predictions,
)
from fdpbench.bench.evaluate.ranks import rank_models
from fdpbench.bench.evaluate.records import PERCEPTION, POOLED
from fdpbench.bench.evaluate.scores import Score, SubjectScore, largest
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import TaskInfo, load_index, load_task_info
from fdpbench.bench.train.folds import clips_of, fold_by_clip, folds_of
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import hash_file, open_scratch
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.store import paths, shards

__all__ = ["evaluate_runs", "run"]


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    all_of = listed(planned)
    with open_scratch("evaluate", "whole") as scratch:
        releases = {name: task.releases for name, task in all_of.tasks.items() if task.sampling is not None}
        evaluate = partial(evaluate_runs, all_of.runs, all_of.repetitions, releases=releases, seed=all_of.seed)
        scratch.publish({FOLDER: evaluate})
    console.print(f"evaluate: {len(all_of.runs)} runs in {FOLDER}")


def evaluate_runs(
    runs: Mapping[str, RunEntry],
    repetitions: int,
    out: Path = FOLDER,
    *,
    releases: Mapping[str, Sequence[str]] = MappingProxyType({}),
    seed: int = 0,
) -> None:
    """Read, check and evaluate the predictions of every listed run.

    Parameters
    ----------
    runs
        Names and entries, in any order; those of ensembles name their members, which are listed too.
    repetitions
        ``train.repetitions``.
    out
        Folder to write (`bench.evaluate.evaluation`), with the predictions of ensembles in ``ensembles``.
    releases
        Releases of each task whose frames were sampled: their sheets say where the apex is. The order of frames up to
        it is not measured in other tasks.
    seed
        ``train.seed``, of which folds of several subjects are drawn.

    Raises
    ------
    bench.evaluate.predictions.PredictionError
        If a run's predictions are incomplete, doubled or not numbers.
    MetricError
        If a class of a task has no clip.
    prep.store.shards.ShardError
        If a run has no predictions yet.
    """
    tasks: dict[str, _Task] = {}
    scores: list[Score] = []
    predictions: dict[str, PredictionSet] = {}
    clips: list[ClipResult] = []
    for run, entry in sorted(runs.items()):  # not as listed: DVC does not see the order of a list
        if entry.task not in tasks:
            tasks[entry.task] = _Task(entry.task, releases.get(entry.task, ()), seed)
        task = tasks[entry.task]
        if entry.members:
            rows = _write_ensemble(run, entry, runs, task, repetitions, out)
        else:
            rows = _checked_rows(run, entry, task, repetitions)
        predictions[run] = prediction_set(rows, task.info.classes)
        mine = [_clip_result(row, task) for row in rows]
        path = predictions_of(run, entry, out)
        folds = [row["fold"] for row in rows if row["repetition"] == rows[0]["repetition"]]
        scores.append(_score(run, entry, task.info, predictions[run], folds, mine, path))
        clips += mine
    groups = {name: [score for score in scores if score.entry.task == name] for name in tasks}
    evaluation = Evaluation(
        metrics=tuple(METRICS),
        scores=tuple(scores),
        tables=tuple(
            compared(task, name, members, predictions)
            for task, group in groups.items()
            for name, members in members_of(group).items()
        ),
        chance={
            name: chance_levels(predictions[largest(group).run].y_true, tasks[name].info.classes)
            for name, group in groups.items()
        },
        effects=tuple(audit_effects(scores, predictions)),
        ranks=rank_models(scores),
    )
    write_evaluation(evaluation, clips, out, [predictions_of(run, entry, out) for run, entry in sorted(runs.items())])


class _Task:
    """What is read of a task once for all of its runs."""

    def __init__(self, name: str, releases: Sequence[str], seed: int) -> None:
        self.name, self.releases, self.seed = name, releases, seed
        self.folder = paths.task(name)
        self.info: TaskInfo = load_task_info(self.folder)
        self.clips = load_index(self.folder)

    def check(self, run: str, entry: RunEntry, rows: list[dict[str, Any]], repetitions: int) -> None:
        """Refuse predictions that are not those of a run's folds, each clip once in each repetition."""
        untested = entry.faults.untested_subjects
        clips = expected_clips(run, untested, self.clips)
        folds = fold_by_clip(folds_of(entry.split, clips_of(self.clips), self.seed, untested))
        check_predictions(run, rows, clips, len(self.info.classes), repetitions, folds)

    @cached_property
    def truth(self) -> TrueImages:
        """Its dynamic images."""
        return TrueImages.of(self.folder)

    @cached_property
    def up_to_apex(self) -> dict[str, int]:
        """How many of a clip's sampled frames are not after the apex, where that is known."""
        return frames_up_to_apex(self.name, self.releases) if self.releases else {}


def _checked_rows(run: str, entry: RunEntry, task: _Task, repetitions: int) -> list[dict[str, Any]]:
    """Predictions of a run by repetition and clip."""
    rows = sorted(read_predictions(Artifacts(run).predictions), key=lambda row: (row["repetition"], row["clip_id"]))
    task.check(run, entry, rows, repetitions)
    return rows


def _write_ensemble(
    name: str, entry: RunEntry, runs: Mapping[str, RunEntry], task: _Task, repetitions: int, out: Path
) -> list[dict[str, Any]]:
    """Predictions of an ensemble by clip; they are written beside the evaluation."""
    members = [_checked_rows(member, runs[member], task, repetitions) for member in entry.members]
    rows = ensemble_rows(name, members)
    task.check(name, entry, rows, 1)
    schema = shards.marked(
        predictions_schema(entry.folds_text), *(Artifacts(member).predictions for member in entry.members)
    )
    shards.write_table(pa.Table.from_pylist(rows, schema=schema), predictions_of(name, entry, out))
    return rows


def _clip_result(row: dict[str, Any], task: _Task) -> ClipResult:
    up_to_apex = task.up_to_apex.get(row["clip_id"]) if row["rank_scores"] else None
    if row.get("measured"):  # the image itself is not kept
        return ClipResult.of(row, measure_clip(row | {"drawn": None}, None, up_to_apex) | json.loads(row["measured"]))
    return ClipResult.of(row, measure_clip(row, task.truth if row["drawn"] else None, up_to_apex))


def _score(
    run: str,
    entry: RunEntry,
    info: TaskInfo,
    predictions: PredictionSet,
    folds: Sequence[str],
    clips: Sequence[ClipResult],
    path: Path,
) -> Score:
    parts = {part: evaluate_part(predictions, part) for part in predictions.parts}
    for name, part in parts.items():
        if name == POOLED and not part.repetitions:
            raise MetricError(f"{run}: {part.why_not}")
        if not part.repetitions:
            console.print(f"evaluate: {run}, {name} alone: {part.why_not}")
    return Score(
        run=run,
        entry=entry,
        task=info,
        predictions_sha256=hash_file(path),
        native=shards.is_native(path),
        parts=parts,
        by_subject=_by_subject(predictions),
        perception=_perception(clips, len(predictions.y_pred)),
        fold_means=mean_fold_means(predictions, folds),
    )


def _by_subject(predictions: PredictionSet) -> tuple[SubjectScore, ...]:
    datasets = dict(zip(predictions.subjects, predictions.datasets, strict=True))
    confusions = predictions.confusions()  # (R, S, C, C)
    true = confusions[0].sum(axis=2)  # (S, C)
    right = np.diagonal(confusions, axis1=2, axis2=3).sum(axis=2)  # (R, S)
    return tuple(
        SubjectScore(name, datasets[name], int(true[k].sum()), int((true[k] > 0).sum()), tuple(right[:, k].tolist()))
        for k, name in enumerate(sorted(datasets))
    )


def _perception(clips: Sequence[ClipResult], repetitions: int) -> dict[str, tuple[float, ...]]:
    """Means over clips, of each repetition that has any."""
    found = {}
    for name in PERCEPTION:
        each = [
            [clip.perception[name] for clip in clips if clip.repetition == k and name in clip.perception]
            for k in range(repetitions)
        ]
        if any(each):
            found[name] = tuple(fmean(values) for values in each if values)
    return found
