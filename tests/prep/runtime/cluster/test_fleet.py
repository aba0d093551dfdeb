"""What the displays of progress say of a cluster, and the time left where the number of workers changes."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from fdpbench.prep.runtime import progress, training
from fdpbench.prep.runtime.fleet import Fleet, fleet_text, set_fleet
from fdpbench.prep.runtime.progress import track, workers_now
from fdpbench.prep.runtime.time_left import ChangingTimeLeft, TimeLeft
from fdpbench.prep.runtime.training import TrainingProgress
from fdpbench.prep.runtime.workers import Unit


@pytest.fixture(autouse=True)
def no_fleet() -> Iterator[None]:
    yield
    set_fleet(None)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    console = Console(file=stream, width=200, highlight=False, soft_wrap=True, markup=False)
    monkeypatch.setattr(progress, "console", console)
    monkeypatch.setattr(training, "console", console)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(training, "LINE_EVERY", 0.0)
    return stream


def test_nothing_is_said_of_this_machine(shown: io.StringIO) -> None:
    assert fleet_text(", on ") == "" and workers_now(3) == 3
    list(track(iter("ab"), "align x", 2))
    assert "node" not in shown.getvalue()


def test_nodes_and_workers_stand_beside_what_is_finished(shown: io.StringIO) -> None:
    set_fleet(Fleet(3, 12))
    list(track(iter("ab"), "align x", 2))
    assert "align x: 1 of 2 clips, on 3 nodes, 12 workers\n" in shown.getvalue()
    assert workers_now(2) == 12


def test_in_training_too(shown: io.StringIO) -> None:
    set_fleet(Fleet(1, 1))
    with TrainingProgress("run", 2, 0) as display:
        display.report(Unit("0/s01", None), {"epoch": 1, "epochs": 3, "loss": 0.5})
    assert "fold 0/s01 epoch 1/3 loss 0.5000; on 1 node, 1 worker\n" in shown.getvalue()


def test_the_most_that_were_at_work_stand_at_the_end(shown: io.StringIO) -> None:
    """Also where the whole stage was over before the first line, and its workers with it."""

    def units() -> Iterator[str]:
        for fleet in (Fleet(1, 4), Fleet(2, 3)):
            set_fleet(fleet)
            yield "unit"
        set_fleet(None)

    list(track(units(), "align x", 2))
    assert "align x: 2 clips in 0 s, on 2 nodes, 4 workers\n" in shown.getvalue()
    with TrainingProgress("run", 2, 0) as display:
        for name in units():
            display.finished(name)
    assert "train run: 2 folds in 0 s, on 2 nodes, 4 workers\n" in shown.getvalue()


def test_on_a_terminal(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=shown, width=200, force_terminal=True, markup=False)
    monkeypatch.setattr(progress, "console", console)
    set_fleet(Fleet(2, 5))

    def slowly() -> Iterator[str]:
        for unit in "abc":
            time.sleep(0.15)
            yield unit

    list(track(slowly(), "align x", 3))
    assert "2 nodes, 5 workers" in shown.getvalue()


def test_with_the_same_workers_the_time_left_is_the_plain_one() -> None:
    plain, changing = TimeLeft(100, 2, 1.0, 0.0), ChangingTimeLeft(100, 2, 1.0, 0.0)
    for k in range(1, 60):
        plain.report(5.0 * k, k)
        changing.report(5.0 * k, k, 2)
        assert plain.left(5.0 * k) == changing.left(5.0 * k)
    assert plain.left(5.0 * 59) is not None


def test_when_workers_join_it_is_measured_anew() -> None:
    """With two workers a unit is finished every 5 s, with ten every second: the old pace says nothing of the new."""
    left = ChangingTimeLeft(300, 2, 1.0, 0.0)
    now = 0.0
    for k in range(1, 101):
        now += 5.0
        left.report(now, k, 2)
    assert left.left(now) is None or left.left(now) == pytest.approx(1000, rel=0.3)
    told = []
    for k in range(101, 280):
        now += 1.0
        left.report(now, k, 10)
        if (seconds := left.left(now)) is not None:
            told.append((seconds, 300.0 - k))
    assert told and all(truth / 2 <= seconds <= 2 * truth for seconds, truth in told)
