"""What runs cost: parameters, multiply-adds of a clip, and the time of a training step, measured in turns.

Times are a measurement of the machine at hand and differ from one call to the next, so no DVC stage
depends on them; ratios between runs hold better than seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.escape import markdown_text, write_csv
from fdpbench.bench.report.layout import github, perception_cells
from fdpbench.bench.train.data import ClipSet, load_clips, load_index, load_task_info
from fdpbench.bench.train.folds import clips_of, folds_of
from fdpbench.bench.train.settings import Run
from fdpbench.bench.train.stage import training_subjects
from fdpbench.bench.train.step import Standardiser, TrainStep, resolve_device, set_up_torch, to_device
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.store import paths

__all__ = ["Cost", "costs_table", "measure_costs", "multiply_adds", "write_costs"]

ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Costs of a run whose model is trained by gradient descent.

    Attributes
    ----------
    run
        Name of the run.
    parameters
        Number of trained parameters.
    multiply_adds
        Of one clip in evaluation: matrix products (those of attention among them) and convolutions, as
        torch counts them.
    step_ms
        Milliseconds of a training step for each clip of the batch: median over rounds, one thread on a CPU.
    fold_s
        Seconds of training a fold, estimated: that, times the clips of a fold's training set (mean over folds), times
        the epochs. Reading, evaluating and starting a worker are not in it.
    """

    run: str
    parameters: int
    multiply_adds: int
    step_ms: float
    fold_s: float


def measure_costs(runs: list[Run], rounds: int = ROUNDS) -> list[Cost]:
    """Measure the runs in turns, so that a machine that slows down slows all of them.

    Parameters
    ----------
    runs
        Runs of modules; their tasks' data must be there.
    rounds
        Steps of each run that are timed, after one that is not.
    """
    prepared = [_Prepared(run) for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for number in track(range(rounds + 1), "costs", total=rounds + 1, what="rounds"):
        for one, times in zip(prepared, seconds, strict=True):
            elapsed = one.step()
            if number:  # the first one allocates
                times.append(elapsed)
    costs = []
    for run, one, times in zip(runs, prepared, seconds, strict=True):
        each = median(times) / one.clips
        costs.append(Cost(run.name, one.parameters, one.multiply_adds, 1000 * each, each * one.clips_of_training))
    return costs


def multiply_adds(model: Any, inputs: Mapping[str, Tensor]) -> int:
    """Count the multiply-adds of matrix products and convolutions in evaluation.

    Parameters
    ----------
    model
        A module of `models`; left in evaluation mode.
    inputs
        Its inputs by name, with a batch axis.
    """
    # the counter knows no fused attention of a CPU: let attention be its two matrix products
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(**inputs)
    return int(counter.get_total_flops()) // 2


class _Prepared:
    """A model with one batch of its task's clips."""

    def __init__(self, run: Run) -> None:
        self.device = torch.device(resolve_device(run.train.device))
        set_up_torch(self.device, run.train.deterministic)
        torch.manual_seed(0)
        folder = paths.task(run.task)
        clips = _first_clips(folder, run)
        classes = len(load_task_info(folder).classes)
        shapes = {name: clips.shapes[name] for name in run.model.inputs}
        model = create_model(run.entry.model, classes, shapes=shapes, **run.settings.model).to(self.device)
        self.parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        standardiser = Standardiser.of(clips, run.model.inputs, self.device)
        first = {name: to_device(clips.inputs[name][:1], self.device) for name in run.model.inputs}
        self.multiply_adds = multiply_adds(model, standardiser(first))
        self.clips = len(clips)
        self.clips_of_training = _training_clips(run, folder) * (run.settings.epochs or 0)
        self._step = TrainStep(run, model.train(), clips, self.device)
        self._batch = torch.arange(len(clips), device=self.device)

    def step(self) -> float:
        """Seconds of one training step."""
        self._wait()
        start = time.perf_counter()
        self._step(self._batch)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _training_clips(run: Run, folder: Path) -> float:
    """Clips of a fold's training set, mean over the folds."""
    index = load_index(folder)
    subject_of = {clip["clip_id"]: clip["subject"] for clip in index}
    clips = Counter(subject_of.values())
    folds = folds_of(run.entry.split, clips_of(index), run.train.seed, run.entry.faults.untested_subjects)
    return fmean(sum(clips[name] for name in training_subjects(run, fold, subject_of, 0)) for fold in folds)


def _first_clips(folder: Path, run: Run) -> ClipSet:
    """As many clips as a batch holds, of as few subjects as give them."""
    assert run.settings.batch_size
    wanted: list[str] = []
    index = sorted(load_index(folder), key=lambda clip: clip["clip_id"])
    for clip in index[: run.settings.batch_size]:
        if clip["subject"] not in wanted:
            wanted.append(clip["subject"])
    names = tuple(dict.fromkeys((*run.model.inputs, *run.model.targets)))
    clips = load_clips(folder, names, keep=lambda subject: subject in wanted)
    first = slice(0, run.settings.batch_size)
    return ClipSet(
        clips.clip_ids[first],
        clips.subjects[first],
        clips.labels[first],
        {name: array[first] for name, array in clips.inputs.items()},
    )


def costs_table(scores: list[Score], costs: dict[str, Cost]) -> str:
    """Metrics of runs beside their costs, as Markdown.

    Parameters
    ----------
    scores
        The runs, in the order in which they are to stand; the first one measured of each task has time 1.
    costs
        By run; a run without is one whose model is fitted at once.
    """
    first: dict[str, Cost] = {}  # of each task
    rows = []
    for score in scores:
        if score.run in costs:
            first.setdefault(score.task.task, costs[score.run])
        names = {"run": score.run, "task": score.task.task, "sets": score.changes or "-", "protocol": score.protocol}
        row = {key: markdown_text(name) for key, name in names.items()}
        row |= {metric.label: score.text(name) for name, metric in METRICS.items() if metric.main}
        row |= perception_cells(score, ("order_accuracy", "psnr", "ssim"))
        cost = costs.get(score.run)
        row["parameters"] = f"{cost.parameters:,}" if cost else "-"
        row["multiply-adds of a clip"] = f"{cost.multiply_adds / 1e6:,.1f} M" if cost else "-"
        row["step, ms a clip"] = f"{cost.step_ms:.2f}" if cost else "-"
        row["fold, s"] = f"{cost.fold_s:.1f}" if cost else "-"
        row["step, ratio"] = f"{cost.step_ms / first[score.task.task].step_ms:.2f}" if cost else "-"
        rows.append(row)
    note = (
        "Figures are those of `tables.md`. Parameters are trained ones; multiply-adds are those of matrix products "
        "and convolutions\nin evaluation; the time of a training step is a median, measured in turns on this machine, "
        "one thread on a CPU; its ratio is to the first run of the same task. Seconds of a fold: the step's time, "
        "times the clips of a\nfold's training set, times epochs. Written by `fdpbench costs`."
    )
    return f"# Costs\n\n{note}\n\n{github(rows)}\n"


def write_costs(costs: list[Cost], models: Mapping[str, str], path: Path) -> None:
    """Write costs as CSV, one run a line.

    Parameters
    ----------
    costs
        From `measure_costs`.
    models
        Name of each run's model.
    path
        The file.
    """
    rows = [{"run": cost.run, "model": models[cost.run]} | asdict(cost) for cost in costs]
    columns = ["run", "model", *(field.name for field in fields(Cost) if field.name != "run")]
    write_csv(pd.DataFrame(rows, columns=columns), path, "%.4f")  # of no rows, too, a header
