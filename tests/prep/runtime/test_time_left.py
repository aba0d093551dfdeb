"""Time left: whatever is shown is within a factor of two of the truth, on recorded and on constructed durations."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import fdpbench.prep.runtime.progress
import fdpbench.prep.runtime.training
from fdpbench.prep.runtime.time_left import TimeLeft
from fdpbench.prep.runtime.workers import Unit

# Reports of real stages of this project on two cores that other programs used as well, with seconds since the start:
# rendering (resumed), alignment, flow, features, training. Of long trainings every few reports.
RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_durations.json").read_text())

Reports = list[tuple[float, float, list[float]]]


def shown(total: int, workers: int, share: float, reports: Reports) -> list[tuple[float, float, float]]:
    """Of every report that has a time left, and of the moment before the next one: time, what is shown, the truth."""
    left = TimeLeft(total, workers, share, 0.0)
    end, found = reports[-1][0], []
    for place, (now, done, at_work) in enumerate(reports[:-1]):
        left.report(now, done, at_work)
        for moment in (now, now + 0.9 * (reports[place + 1][0] - now)):
            seconds = left.left(moment)
            if seconds is not None and moment < end:
                found.append((moment, seconds, end - moment))
    return found


def assert_within_two(found: list[tuple[float, float, float]]) -> None:
    wrong = [one for one in found if not one[2] / 2 <= one[1] <= one[2] * 2]
    assert not wrong, f"{len(wrong)} of {len(found)}: {wrong[:3]}"


def pool(count: int, workers: int, seconds: Callable[[int], float], start: float = 0.0, parts: int = 1) -> Reports:
    """Reports of a pool of workers; with several parts, of each part (epoch) of a unit."""
    events = []
    free = [start] * workers
    for number in range(count):
        worker = min(range(workers), key=free.__getitem__)
        took = seconds(number)
        events += [(free[worker] + took * (k + 1) / parts, number, (k + 1) / parts) for k in range(parts)]
        free[worker] += took
    reports, shares = [], dict.fromkeys(range(count), 0.0)
    for now, number, share in sorted(events):
        shares[number] = share
        at_work = [1 - one for one in shares.values() if 0 < one < 1] if parts > 1 else []
        reports.append((now, sum(shares.values()), at_work))
    return reports


@pytest.mark.parametrize("name", list(RECORDED))
def test_recorded(name: str) -> None:
    one = RECORDED[name]
    found = shown(one["total"], one["workers"], one["share"], one["reports"])
    assert_within_two(found)
    if name.startswith("align"):
        assert found[0][0] < 0.75 * one["reports"][-1][0], "where the work is even it is told"


CASES: dict[str, Callable[[random.Random, int], Callable[[int], float]]] = {
    "even": lambda rng, workers: lambda k: rng.uniform(0.8, 1.2),
    "slow first units": lambda rng, workers: lambda k: 60.0 if k < workers else rng.uniform(0.9, 1.1),
    "varied": lambda rng, workers: lambda k: rng.lognormvariate(0, 0.5),
    "slower and slower": lambda rng, workers: lambda k: 1 + k / 20,
    "faster and faster": lambda rng, workers: lambda k: 10 / (1 + k / 5),
    "an early stall": lambda rng, workers: lambda k: 6.0 if k == workers + 2 else 1.0,
}


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("case", list(CASES))
def test_constructed(case: str, workers: int) -> None:
    for seed in range(3):
        for count in (5, 10, 26, 68, 120):
            reports = pool(count, workers, CASES[case](random.Random(seed), workers), start=4.0)
            found = shown(count, workers, 1.0, reports)
            assert_within_two(found)
            if case in ("even", "slow first units") and count >= 68:
                assert found, f"{count} units"


@pytest.mark.parametrize(("folds", "workers"), [(3, 2), (9, 2), (10, 2), (26, 2), (5, 4), (26, 4), (9, 1)])
def test_epochs(folds: int, workers: int) -> None:
    """Folds of equal length, of which the last may be trained while the other workers have nothing left to do."""
    rng = random.Random(folds)
    reports = pool(folds, workers, lambda k: rng.uniform(18, 22), start=8.0, parts=30)
    found = shown(folds, workers, 0.25, reports)
    assert_within_two(found)
    assert found or folds < 9


def test_nothing_is_told_of_a_few_units_or_at_once() -> None:
    left = TimeLeft(100, 1, 1.0, 0.0)
    for k in range(1, 6):
        left.report(float(k), k)
        assert left.left(float(k)) is None


def test_what_is_told_runs_down_and_ends_where_nothing_is_heard() -> None:
    left = TimeLeft(100, 1, 1.0, 0.0)
    for k in range(1, 61):
        left.report(float(k), k)
    assert left.left(60.0) == pytest.approx(40) and left.left(65.0) == pytest.approx(35)
    assert left.left(81.0) is None


# --- what stages print


class Clock:
    """A clock that the tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.said = io.StringIO()
        for module in (fdpbench.prep.runtime.progress, fdpbench.prep.runtime.training):
            monkeypatch.setattr(module, "console", Console(file=self.said, width=200))

    def units(self, seconds: list[float]) -> Iterator[int]:
        for number, one in enumerate(seconds):
            self.now += one
            yield number


def test_a_stage_prints_the_time_left_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    done = list(fdpbench.prep.runtime.progress.track(clock.units([300.0] + [10.0] * 49), "align it", total=60, done=10))
    assert len(done) == 50
    lines = clock.said.getvalue().splitlines()
    assert lines[1] == "align it: 11 of 60 clips", "44 minutes are no truth after one unit"
    assert "align it: 40 of 60 clips, about 3 min 20 s left" in lines


def test_a_training_prints_the_time_left_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with fdpbench.prep.runtime.training.TrainingProgress("it", 20, 0) as progress:
        for fold in range(20):
            for epoch in range(1, 5):
                clock.now += 60.0 if (fold, epoch) == (0, 1) else 15.0
                progress.report(Unit(f"f{fold}", None), {"epoch": epoch, "epochs": 4, "loss": 1.0})
            progress.finished(f"f{fold}")
    lines = clock.said.getvalue().splitlines()
    assert "left" not in "".join(lines[:8])
    assert "train it: 10 of 20 folds; fold f10 epoch 4/4 loss 1.0000; about 9 min 00 s left" in lines
