"""Worker processes: results, reports, named failures, and no orphans. Everything here is a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fdpbench.prep.runtime.scratch import Scratch, open_scratch
from fdpbench.prep.runtime.workers import Unit, UnitError, run_units
from tests.support import units

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def scratch(project: Path) -> Iterator[Scratch]:
    with open_scratch("stage", "key") as opened:
        yield opened


def as_units(*payloads: str) -> list[Unit]:
    return [Unit(f"clip/{payload}", payload) for payload in payloads]


def kept(scratch: Scratch) -> dict[str, str]:
    return {path.name: (path / "value").read_text() for path in (scratch.folder / "units").iterdir()}


def test_one_and_two_workers_give_the_same(project: Path) -> None:
    results = []
    for jobs in (1, 2, 7):
        with open_scratch(f"stage{jobs}", "key") as scratch:
            names = list(run_units(as_units(*"0123"), units.slow_write, scratch, jobs))
            assert sorted(names) == [f"clip/{k}" for k in range(4)]
            results.append(kept(scratch))
    assert results[0] == results[1] == results[2] == {f"clip%2F{k}": f"{k}{k}" for k in range(4)}


def test_nothing_to_do(scratch: Scratch) -> None:
    assert list(run_units([], units.write, scratch, jobs=2)) == []


def test_reports_arrive_in_the_parent(scratch: Scratch) -> None:
    seen = []
    list(run_units(as_units("a", "b"), units.write, scratch, 2, lambda unit, m: seen.append((unit.name, m))))
    assert sorted((name, message["payload"]) for name, message in seen) == [("clip/a", "a"), ("clip/b", "b")]
    assert {message["worker"] for _, message in seen} <= {0, 1}


def test_each_worker_has_one_thread(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    list(run_units(as_units("a"), units.note_threads, scratch, 1))
    assert kept(scratch) == {"clip%2Fa": "1"}
    assert os.environ["OMP_NUM_THREADS"] == "2" and "MKL_NUM_THREADS" not in os.environ


def test_a_generator_is_not_read_ahead(scratch: Scratch) -> None:
    taken = []

    def lazy() -> Iterator[Unit]:
        for unit in as_units(*"abcdef"):
            taken.append(unit.name)
            yield unit

    finished = run_units(lazy(), units.write, scratch, jobs=2)
    assert taken == []
    for count, _ in enumerate(finished, start=1):
        assert len(taken) <= count + 2
    assert len(taken) == 6


def test_a_failure_names_its_unit_and_keeps_the_others(scratch: Scratch, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(UnitError, match="clip/bad: RuntimeError: this clip cannot be read"):
        list(run_units(as_units("a", "b", "bad", "c"), units.raise_on_bad, scratch, jobs=1))
    assert kept(scratch) == {"clip%2Fa": "aa", "clip%2Fb": "bb"}
    assert "Traceback" in capfd.readouterr().err


def test_a_killed_worker_names_its_unit_and_keeps_the_others(scratch: Scratch) -> None:
    with pytest.raises(UnitError, match=r"clip/bad: the worker process died \(exit code -9") as caught:
        list(run_units(as_units("a", "b", "bad", "c"), units.kill_on_bad, scratch, jobs=1))
    assert "run the same command again" in str(caught.value)
    assert kept(scratch) == {"clip%2Fa": "aa", "clip%2Fb": "bb"}


def test_the_next_run_does_what_is_left(project: Path) -> None:
    with open_scratch("stage", "key") as scratch, pytest.raises(UnitError):
        list(run_units(as_units("a", "bad", "c"), units.kill_on_bad, scratch, jobs=1))
    with open_scratch("stage", "key") as scratch:
        names = [f"clip/{name}" for name in ("a", "bad", "c")]
        assert scratch.missing(names) == ["clip/bad", "clip/c"]
        list(run_units([Unit(name, name[-1]) for name in scratch.missing(names)], units.write, scratch, jobs=1))
        assert set(kept(scratch)) == {"clip%2Fa", "clip%2Fbad", "clip%2Fc"}
        assert not (scratch.unit("clip/bad") / "half").exists()  # what the killed worker left is gone


def test_no_worker_is_left_when_the_caller_stops(scratch: Scratch) -> None:
    before = {child.pid for child in psutil.Process().children()}
    finished = run_units(as_units(*"abcd"), units.write, scratch, jobs=2)
    next(finished)
    assert {child.pid for child in psutil.Process().children()} - before
    finished.close()  # type: ignore[attr-defined]
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert "spawn_main" not in " ".join(" ".join(child.cmdline()) for child in alive if child.pid not in before)


def test_workers_end_when_the_parent_is_killed(project: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.units", "work"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(
            lambda: all(Path(f"pid-{name}").is_file() and Path(f"pid-{name}").read_text() for name in ("bad1", "bad2"))
        )
        workers = [psutil.Process(int(Path(f"pid-{name}").read_text())) for name in ("bad1", "bad2")]
        assert all(worker.is_running() for worker in workers)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=5)
    alive = [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]  # no reaper in a container
    for worker in alive:
        worker.kill()
    process.communicate()  # its pipes close when the last worker is gone
    assert not alive, "a worker outlived its parent"
    with open_scratch("stage", "key") as scratch:  # and the lock is free
        assert kept(scratch) == {"a": "aa", "b": "bb"}


def wait_for(condition, timeout: float = 30) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "time ran out"
        time.sleep(0.02)
