"""Seconds of a leave-one-subject-out run: plain loops over a DataLoader, and our folds.

    python benchmarks/loso.py [--task data/task/megc2019 | --images DIR] [--model ststnet] [--folds 8] [--epochs 4]

`--task` is a task's folder, `--images` a folder of MEGC2019 flow images as `fdpbench link megc2019_flow` takes it;
without either the clips are noise in the same number and shape. The references are what code of this field does: a
Dataset that gives clip by clip, a shuffling DataLoader, and for each fold a model trained with torch's default threads,
one fold after the other; once with our network and, of ststnet, once with that of its public PyTorch port: three
streams of torch's layers in torch's default layout. Ours run as `fdpbench train` runs them, a worker process of one
thread for each processor; the start of the workers is not counted, loading is no part of any. All are measured in
turns, and the ratios are medians over the rounds.

The last line is one JSON object of the ratios.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from tabulate import tabulate  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from fdpbench.bench.train.data import ClipSet, load_clips  # noqa: E402
from fdpbench.bench.train.fit_module import fit_module  # noqa: E402
from fdpbench.bench.train.seeds import seed_of  # noqa: E402
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry, TrainParams  # noqa: E402
from fdpbench.bench.train.step import Standardiser  # noqa: E402
from fdpbench.models.common.blocks import ModelOutput  # noqa: E402
from fdpbench.models.common.registry import create_model, list_models, model_info  # noqa: E402
from fdpbench.prep.releases import read_release  # noqa: E402
from fdpbench.prep.runtime.workers import available_cpus  # noqa: E402
from fdpbench.prep.settings.task import TaskParams  # noqa: E402
from fdpbench.prep.store import images  # noqa: E402

CLASSES = ("negative", "positive", "surprise")
SUBJECTS, CLIPS = 40, 309  # of the composite's two larger releases


class Fold(NamedTuple):
    """A fold: the test subject, and the seed of its training."""

    subject: str
    seed: int


def clips_of(options: argparse.Namespace) -> ClipSet:
    """The clips that were asked for."""
    if options.task:
        return load_clips(options.task, ("flow",))
    if options.images:
        listed = sorted(read_release("megc2019_flow", options.images).clips, key=lambda clip: clip["clip_id"])
        flow = np.stack([images.read_image(options.images / clip["frames"][0]) for clip in listed])
        labels = np.array([CLASSES.index(clip["emotion"]) for clip in listed])
        names, subjects = (tuple(clip[key] for clip in listed) for key in ("clip_id", "subject"))
        return ClipSet(names, subjects, labels, {"flow": np.moveaxis(flow, 3, 1).astype(np.float32) / np.float32(255)})
    rng = np.random.default_rng(0)
    subjects = tuple(
        f"noise/s{k:02d}" for k in sorted([*range(SUBJECTS), *rng.integers(0, SUBJECTS, CLIPS - SUBJECTS)])
    )
    names = tuple(f"{subject}/c{k:03d}" for k, subject in enumerate(subjects))
    return ClipSet(
        names, subjects, rng.integers(0, len(CLASSES), CLIPS), {"flow": rng.random((CLIPS, 3, 28, 28), np.float32)}
    )


def run_of(options: argparse.Namespace) -> Run:
    """A run with the recipe that was asked for."""
    settings = ModelSettings(epochs=options.epochs, batch_size=options.batch, lr=options.lr, weight_decay=0.0)
    train = TrainParams(seed=1, repetitions=1, device="cpu", precision="float32", deterministic=True)
    flow = {"size": 28, "scaling": "per_image"}
    task = TaskParams.model_validate(
        {"releases": ["megc2019_flow"], "classes": {name: [name] for name in CLASSES}, "flow": flow}
    )
    entry = RunEntry(task="loso", model=options.model)
    return Run("loso", "loso", task, entry, model_info(options.model), settings, train)


class Port(nn.Module):
    """STSTNet as its public PyTorch port computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, filters, 3, padding=2),
                nn.ReLU(),
                nn.BatchNorm2d(filters),
                nn.MaxPool2d(3, 3, 1),
                nn.Dropout(),
            )
            for filters in (3, 5, 8)
        )
        self.average_pool, self.fc = nn.AvgPool2d(2), nn.Linear(16 * 5 * 5, len(CLASSES))

    def forward(self, flow: torch.Tensor) -> ModelOutput:
        """Classify flow (B, 3, 28, 28)."""
        x = self.average_pool(torch.cat([stream(flow) for stream in self.streams], dim=1))
        return ModelOutput(logits=self.fc(x.flatten(1)))


def plain(run: Run, clips: ClipSet, folds: list[Fold], port: bool = False) -> None:
    """A reference: fold after fold, clip by clip from a Dataset."""
    settings = run.settings
    assert settings.epochs and settings.lr
    for fold in folds:
        train = clips.of(frozenset(clips.subjects) - {fold.subject})
        standardiser = Standardiser.of(train, ("flow",), torch.device("cpu"))
        flow = standardiser({"flow": torch.from_numpy(train.inputs["flow"])})["flow"]
        torch.manual_seed(fold.seed)
        model = Port() if port else create_model(run.model.name, len(CLASSES), shapes=train.shapes)
        adam = torch.optim.Adam(model.parameters(), lr=settings.lr)
        loader = DataLoader(
            TensorDataset(flow, torch.from_numpy(train.labels)), batch_size=settings.batch_size, shuffle=True
        )
        for _ in range(settings.epochs):
            model.train()
            for batch, labels in loader:
                loss = F.cross_entropy(model(flow=batch).logits, labels)
                adam.zero_grad()
                loss.backward()
                adam.step()


def ours(run: Run, clips: ClipSet, folds: list[Fold]) -> None:
    """Our folds in a worker, one after the other."""
    for fold in folds:
        train = clips.of(frozenset(clips.subjects) - {fold.subject})
        fitted = fit_module(run, train, len(CLASSES), fold.seed, "cpu", lambda message: None)
        fitted.predict(clips.of({fold.subject}))


def in_workers(pool: ProcessPoolExecutor, run: Run, clips: ClipSet, units: list[list[Fold]]) -> None:
    """Train units in worker processes, as they become free."""
    for _ in pool.map(ours, [run] * len(units), [clips] * len(units), units):
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds of a leave-one-subject-out run: plain loops, and our folds.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--task", type=Path, help="folder of a task with flow and these classes: " + ", ".join(CLASSES))
    where.add_argument("--images", type=Path, help="folder of MEGC2019 flow images")
    readers = [name for name in list_models() if model_info(name).inputs == ("flow",)]
    networks = [name for name in readers if model_info(name).kind == "module"]
    parser.add_argument("--model", default="ststnet", choices=networks)
    parser.add_argument("--folds", type=int, default=8, help="folds that are trained, the first ones")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64, help="clips in a batch")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds; the medians count")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    threads, workers = torch.get_num_threads(), available_cpus()

    clips, run = clips_of(options), run_of(options)
    subjects = sorted(set(clips.subjects))[: options.folds]
    folds = [Fold(subject, seed_of(1, "loso", options.model, subject, 0)) for subject in subjects]
    single = [[fold] for fold in folds]
    print(f"{len(clips)} clips, {len(folds)} folds, {options.epochs} epochs; {threads} threads, {workers} workers")

    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        brief = run_of(argparse.Namespace(**vars(options) | {"epochs": 1}))
        in_workers(pool, brief, clips, [folds[:2]] * workers)  # imports, first allocations
        ways: dict[str, Callable[[], Any]] = {
            "plain": lambda: plain(run, clips, folds),
            "ours": lambda: in_workers(pool, run, clips, single),
        }
        if options.model == "ststnet":
            ways = {"the port's network, plain": lambda: plain(run, clips, folds, port=True)} | ways
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, measured in ways.items():
                start = time.perf_counter()
                measured()
                seconds[name].append(time.perf_counter() - start)

    references = [name for name in seconds if name.endswith("plain")]
    ratio = {
        reference: {
            name: round(statistics.median(a / b for a, b in zip(seconds[reference], times, strict=True)), 3)
            for name, times in seconds.items()
        }
        for reference in references
    }
    rows = [
        (name, f"{statistics.median(times):.2f}", *(f"{ratio[reference][name]:.2f}" for reference in references))
        for name, times in seconds.items()
    ]
    headers = ["folds", "seconds", *(f"times as fast as {reference}" for reference in references)]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(json.dumps({"times_as_fast_as": ratio}))


if __name__ == "__main__":
    main()
