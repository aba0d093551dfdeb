"""Worker processes for units of work: progress messages, named failures, no orphans.

Each unit is built by a function in a worker process, into a folder of its own; the parent makes the
folder a finished unit (`prep.runtime.scratch`). What a unit gives depends on its payload alone, so the number
of workers never changes a result. A pool of our own rather than a library's, because a stage needs
three things together: progress from inside a unit, the name of the unit whose worker was killed, and
workers that end when their parent is killed with -9. `concurrent.futures.ProcessPoolExecutor` and loky 3.7 were tried:
a worker that is killed breaks every unit that is left, none of them named as the one at fault, and the workers outlive
a parent that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import ONE_THREAD
from fdpbench.prep.runtime.disk import disk_fault
from fdpbench.prep.runtime.scratch import Scratch

__all__ = ["Context", "Unit", "UnitError", "available_cpus", "end_with_parent", "run_units"]


class UnitError(RuntimeError):
    """A unit of work failed or its worker died; the message names the unit."""


@dataclass(frozen=True)
class Unit:
    """One unit of work: its name, unique in the stage, and what the function needs."""

    name: str
    payload: Any


@dataclass(frozen=True)
class Context:
    """What the function gets beside the payload: where to write, how to report, which worker it is."""

    folder: Path
    report: Callable[[dict[str, Any]], None]
    worker: int


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None


Function = Callable[[Any, Context], None]


def available_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent(only_under_dvc: bool = False, parent: int | None = None) -> None:
    """End this process soon after its parent dies, however the parent dies.

    Parameters
    ----------
    only_under_dvc
        Watch only where DVC started this process, so that a command started by hand with nohup
        outlives its terminal.
    parent
        The process to watch, where the caller knows it: it may be gone before this one asks.
    """
    if only_under_dvc and "DVC_STAGE" not in os.environ:
        return
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def run_units(
    units: Iterable[Unit],
    function: Function,
    scratch: Scratch,
    jobs: int,
    on_report: Callable[[Unit, dict[str, Any]], None] = lambda unit, message: None,
) -> Iterator[str]:
    """Build units in worker processes and keep each as it is finished.

    Parameters
    ----------
    units
        The work, taken as workers become free: a generator is never read ahead.
    function
        Module-level function of (payload, context), run in a worker; it writes into
        ``context.folder`` and may call ``context.report`` with a dict.
    scratch
        Where finished units are kept. Units already finished must not be passed.
    jobs
        Number of worker processes, at least 1.
    on_report
        Called in the parent with each message of a worker.

    Yields
    ------
    The name of each unit as it is finished.

    Raises
    ------
    UnitError
        If a unit raises or a worker dies; the finished units are kept.
    """
    queue = iter(units)
    workers: list[_Worker] = []
    try:
        with _environment(ONE_THREAD):
            for index in range(max(1, jobs)):
                unit = next(queue, None)
                if unit is None:
                    break
                workers.append(_start(index, function))
                _assign(workers[-1], unit, scratch)
        while busy := [worker for worker in workers if worker.unit is not None]:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is ready)
                kind, content = _receive(worker)
                unit = worker.unit
                assert unit is not None
                if kind == "report":
                    on_report(unit, content)
                    continue
                if kind == "failed":
                    raise UnitError(f"{unit.name}: {content}")
                scratch.finish(unit.name)
                worker.unit = None
                following = next(queue, None)
                if following is not None:
                    _assign(worker, following, scratch)
                yield unit.name
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


def _start(index: int, function: Function) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, index, function, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, unit: Unit, scratch: Scratch) -> None:
    worker.unit = unit
    try:
        worker.pipe.send((unit, scratch.temporary(unit.name)))
    except BrokenPipeError:
        raise UnitError(_died(worker)) from None


def _receive(worker: _Worker) -> tuple[str, Any]:
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        raise UnitError(_died(worker)) from None
    return kind, content


def _died(worker: _Worker) -> str:
    worker.process.join(5)
    name = worker.unit.name if worker.unit else "unknown"
    return (
        f"{name}: the worker process died (exit code {worker.process.exitcode}; -9 means it was killed, "
        "often for lack of memory). What was finished is kept: run the same command again, with fewer "
        "jobs if memory was short"
    )


def _serve(pipe: Connection, index: int, function: Function, parent: int) -> None:
    end_with_parent(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    while True:
        try:
            unit, folder = pipe.recv()
        except EOFError:  # the parent is gone
            return
        context = Context(folder, lambda message: pipe.send(("report", message)), index)
        try:
            function(unit.payload, context)
        except Exception as error:
            of_disk = disk_fault(error, folder)
            if of_disk is None and not isinstance(error, ValueError):  # those say all that is to be said
                traceback.print_exc(file=sys.stderr)
            pipe.send(("failed", of_disk or f"{type(error).__name__}: {error}"))
            return
        pipe.send(("done", None))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
