"""Worker processes of this machine for units of work: progress messages, named failures, no orphans.

A pool of our own rather than a library's, because a stage needs three things together: progress from inside a unit,
the name of the unit whose worker was killed, and workers that end when their parent is killed with -9.
`concurrent.futures.ProcessPoolExecutor` and loky 3.7 were tried: a worker that is killed breaks every unit that is
left, none of them named as the one at fault, and the workers outlive a parent that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from fdpbench.arithmetic import ONE_THREAD
from fdpbench.prep.runtime.processes import end_with_parent, environment
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.units import Context, Function, Unit, UnitError, fault_of

__all__ = ["run_here", "serve"]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None


def run_here(
    units: Iterable[Unit],
    function: Function,
    scratch: Scratch,
    jobs: int,
    on_report: Callable[[Unit, dict[str, Any]], None],
) -> Iterator[str]:
    """Build units in processes of this machine; see `prep.runtime.workers.run_units`."""
    queue = iter(units)
    workers: list[_Worker] = []
    try:
        with environment(ONE_THREAD):
            for index in range(max(1, jobs)):
                unit = next(queue, None)
                if unit is None:
                    break
                workers.append(_start(index))
                _assign(workers[-1], unit, function, scratch)
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
                    raise UnitError(f"{unit.name}: {content[0]}")
                scratch.finish(unit.name)
                worker.unit = None
                following = next(queue, None)
                if following is not None:
                    _assign(worker, following, function, scratch)
                yield unit.name
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


def _start(index: int) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, index, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, unit: Unit, function: Function, scratch: Scratch) -> None:
    worker.unit = unit
    try:
        worker.pipe.send(scratch.temporary(unit.name))
        worker.pipe.send((function, unit.payload))
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


def serve(pipe: Connection, index: int, parent: int, aloud: bool = True) -> None:
    """Build what is asked for in a process of its own: of each unit first its folder, then function and payload.

    Parameters
    ----------
    pipe
        Brings units; takes ``report`` and a message, ``done``, or ``failed``, a line and the traceback where it says
        more, after which nothing more is built.
    index
        Number of this worker.
    parent
        The process with which this one ends.
    aloud
        Print the traceback as well.
    """
    end_with_parent(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    while True:
        try:
            folder = pipe.recv()
            order = pipe.recv_bytes()
        except EOFError:  # the parent is gone
            return
        context = Context(folder, lambda message: pipe.send(("report", message)), index)
        try:
            function, payload = ForkingPickler.loads(order)
            function(payload, context)
        except Exception as error:
            said, traced = fault_of(error, folder)
            text = traceback.format_exc() if traced else ""
            if aloud:
                print(text, end="", file=sys.stderr, flush=True)
            pipe.send(("failed", (said, text)))
            return
        pipe.send(("done", None))
