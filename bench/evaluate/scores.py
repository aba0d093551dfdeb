"""Figures of every listed run, from predictions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.confusions import subject_confusions
from fdpbench.bench.evaluate.metrics import Figures, MetricError, figures
from fdpbench.bench.evaluate.perception import Drawing, area_mean, mean_images, measure_drawing, order_accuracy
from fdpbench.bench.evaluate.predictions import check_predictions, expected_clips, read_predictions
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import TaskInfo, load_clips, load_index, load_task_info
from fdpbench.bench.train.protocols import protocol_text
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.store import images, paths, shards

__all__ = ["Score", "changes_of", "clear_unlisted", "score_runs", "with_spread"]


@dataclass(frozen=True)
class Score:
    """A run's figures: one `Figures` for each repetition, over all clips and for each data set.

    ``by_dataset`` is empty for a task of one data set; a data set that lacks a class is left out of it.
    ``perception`` holds a row for each clip and repetition, with ``order_accuracy``, ``psnr`` and ``ssim``
    as far as the model ranks frames and draws; it is empty for a model that does neither. ``native``: made with
    arithmetic that was not pinned (`fdpbench.arithmetic`), so that another machine gives other bytes.
    """

    run: str
    entry: RunEntry
    task: TaskInfo
    clips: int
    subjects: int
    repetitions: list[Figures]
    by_dataset: dict[str, list[Figures]]
    rows: list[dict[str, Any]]
    perception: list[dict[str, Any]] = field(default_factory=list)
    native: bool = False

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.entry.model

    @property
    def model_text(self) -> str:
        """Name of the model, and what the run sets otherwise: ``ststnet (objective group_dro, dro_step 0.01)``."""
        return f"{self.model} ({self.changes})" if self.changes else self.model

    @property
    def changes(self) -> str:
        """What the run sets that its model's options do not; see `changes_of`."""
        return changes_of(self.entry)

    @property
    def protocol(self) -> str:
        """Name of the protocol, and every fault that is rebuilt."""
        return protocol_text(self.entry.protocol, self.entry.faults, self.task.sampling)

    @property
    def competes(self) -> bool:
        """Whether the run may be marked as the best: it never looks at the test subject and has no fault."""
        return self.protocol in ("honest", "inner")

    def mean(self, attribute: str, dataset: str | None = None) -> float:
        """Mean of a figure over repetitions."""
        chosen = self.by_dataset[dataset] if dataset else self.repetitions
        return fmean(getattr(one, attribute) for one in chosen)

    def text(self, attribute: str, dataset: str | None = None) -> str:
        """A figure with three decimals, and its standard deviation over repetitions if there are several."""
        if dataset and dataset not in self.by_dataset:
            return "not defined"
        chosen = self.by_dataset[dataset] if dataset else self.repetitions
        return with_spread([getattr(one, attribute) for one in chosen], 3)

    def predicted(self, dataset: str | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
        """Labels (N,), predictions (R, N) and subjects of the clips, in order of clip id.

        Parameters
        ----------
        dataset
            Its clips alone; None: all.
        """
        chosen = [row for row in self.rows if dataset in (None, row["dataset"])]  # by repetition, then clip
        said = np.array([row["y_pred"] for row in chosen], dtype=np.int64).reshape(len(self.repetitions), -1)
        once = chosen[: said.shape[1]]
        return np.array([row["y_true"] for row in once], dtype=np.int64), said, [row["subject"] for row in once]

    def confusions(self, dataset: str | None = None) -> NDArray[np.int64]:
        """Confusion matrix of each repetition and subject, (R, S, C, C); see `subject_confusions`."""
        truth, said, subjects = self.predicted(dataset)
        return subject_confusions(truth, said, subjects, len(self.task.classes))

    def perceived(self, column: str) -> list[float]:
        """Mean of a column of ``perception`` over clips, one for each repetition; empty where there is none."""
        values = []
        for k in range(len(self.repetitions)):
            column_values = [row[column] for row in self.perception if row["repetition"] == k and column in row]
            if column_values:
                values.append(fmean(column_values))
        return values


def with_spread(values: Sequence[float], decimals: int) -> str:
    """Mean, and standard deviation if there are several values."""
    spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{decimals}f}{spread}"


def clear_unlisted(runs: Sequence[str]) -> list[str]:
    """Remove the outputs of runs that are no longer listed, and name them.

    DVC leaves the output of a removed stage behind; as part of a folder that the tables depend on it
    would make this checkout differ from a fresh one. DVC's cache keeps the files.
    """
    removed = []
    suffixes = {"predictions": "parquet", "curves": "csv", "provenance": "json"}
    found = [path for kind, suffix in suffixes.items() for path in Path("artifacts", kind).glob(f"*.{suffix}")]
    for run in sorted({path.stem for path in found} - set(runs)):
        for path in (Artifacts(run).predictions, Artifacts(run).curves, Artifacts(run).provenance):
            path.unlink(missing_ok=True)
        removed.append(run)
        console.print(f"{run} is not in the run list any more; its predictions are removed")
    return removed


def changes_of(entry: RunEntry) -> str:
    """What a run sets that its model's options do not, as a table prints it: ``pooling learned, lr 0.001``."""
    recipe = {key: value for key, value in entry.set.items() if key != "model"}
    changed = entry.set.get("model", {}) | recipe
    return ", ".join(f"{key} {changed[key]}" for key in sorted(changed))


def score_runs(runs: dict[str, RunEntry], repetitions: int) -> list[Score]:
    """Read, check and score the predictions of every listed run.

    Raises
    ------
    bench.evaluate.predictions.PredictionError
        If a run's predictions are incomplete, doubled or not numbers.
    prep.store.shards.ShardError
        If a run has no predictions yet.
    """
    scores = []
    truths: dict[str, _Truth] = {}
    for name, entry in sorted(runs.items()):  # not as listed: DVC does not see the order of a list
        folder = paths.task(entry.task)
        info = load_task_info(folder)
        clips = expected_clips(name, entry.faults.untested_subjects, load_index(folder))
        rows = sorted(
            read_predictions(Artifacts(name).predictions), key=lambda row: (row["repetition"], row["clip_id"])
        )
        check_predictions(name, rows, clips, len(info.classes), repetitions)
        datasets = sorted({clip["dataset"] for clip in clips})
        if entry.task not in truths and any(row["drawn"] for row in rows):
            truths[entry.task] = _Truth.of(folder)
        scores.append(
            Score(
                run=name,
                entry=entry,
                task=info,
                clips=len(clips),
                subjects=len({clip["subject"] for clip in clips}),
                repetitions=[_figures(rows, k, info) for k in range(repetitions)],
                by_dataset=_by_dataset(rows, datasets, repetitions, info) if len(datasets) > 1 else {},
                rows=rows,
                perception=_perception(rows, truths.get(entry.task)),
                native=shards.is_native(Artifacts(name).predictions),
            )
        )
    return scores


def _figures(rows: list[dict[str, Any]], repetition: int, info: TaskInfo, dataset: str | None = None) -> Figures:
    chosen = [row for row in rows if row["repetition"] == repetition and dataset in (None, row["dataset"])]
    return figures([row["y_true"] for row in chosen], [row["y_pred"] for row in chosen], info.classes)


def _by_dataset(
    rows: list[dict[str, Any]], datasets: list[str], repetitions: int, info: TaskInfo
) -> dict[str, list[Figures]]:
    result = {}
    for dataset in datasets:
        try:
            result[dataset] = [_figures(rows, k, info, dataset) for k in range(repetitions)]
        except MetricError as error:
            console.print(f"tables: {info.task}, {dataset} alone: {error}")
    return result


@dataclass(frozen=True)
class _Truth:
    """A task's true dynamic images by clip, and for each subject the mean of all others', in [0, 1]."""

    images: dict[str, NDArray[np.float64]]
    means: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, folder: Path) -> _Truth:
        clips = load_clips(folder, ("dynamic_image",))
        unit = clips.inputs["dynamic_image"][:, 0] / 255.0  # (N, H, W)
        return cls(dict(zip(clips.clip_ids, unit, strict=True)), mean_images(unit, list(clips.subjects)))


def _perception(rows: list[dict[str, Any]], truth: _Truth | None) -> list[dict[str, Any]]:
    result = []
    for row in rows:
        measured: dict[str, Any] = {}
        if row["rank_scores"]:
            measured["order_accuracy"] = order_accuracy(np.array(row["rank_scores"]))
        if row["drawn"]:
            assert truth is not None
            drawn = images.decode_png(row["drawn"]) / 255.0  # (h, w)
            true = area_mean(truth.images[row["clip_id"]], drawn.shape)
            measured |= _named(measure_drawing(drawn, true), "")
            measured |= _named(measure_drawing(area_mean(truth.means[row["subject"]], drawn.shape), true), "_of_mean")
        if measured:
            result.append({key: row[key] for key in ("repetition", "clip_id", "subject")} | measured)
    return result


def _named(drawing: Drawing, suffix: str) -> dict[str, float]:
    return {f"psnr{suffix}": drawing.psnr, f"ssim{suffix}": drawing.ssim}
