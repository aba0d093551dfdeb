"""The stage's end of a cluster: hands units to the process that talks to Ray, keeps what is finished.

Ray is imported in a process of its own (`fdpbench.prep.runtime.cluster.agent`): when a cluster's head is lost, Ray ends
the process that it is in, whatever that was doing.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import arithmetic
from fdpbench.prep.runtime.cluster.agent import serve
from fdpbench.prep.runtime.cluster.crew import Asked
from fdpbench.prep.runtime.cluster.fingerprint import fingerprint, needed_packages
from fdpbench.prep.runtime.cluster.reads import reads_of, reads_of_stage, unsent_files
from fdpbench.prep.runtime.cluster.schedule import Job
from fdpbench.prep.runtime.cluster.settings import ClusterError, ClusterSettings
from fdpbench.prep.runtime.cluster.stage import stage_at_work
from fdpbench.prep.runtime.fleet import Fleet, set_fleet
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import ROOT, Scratch
from fdpbench.prep.runtime.units import Function, Unit, UnitError

__all__ = ["LOG", "run_on_cluster"]

LOG = ROOT / "cluster.log"  # what Ray prints here
STOPPING = 20.0  # seconds that the agent has to leave the cluster


def run_on_cluster(
    settings: ClusterSettings,
    units: Iterable[Unit],
    function: Function,
    scratch: Scratch,
    on_report: Callable[[Unit, dict[str, Any]], None],
    gpus: float,
) -> Iterator[str]:
    """Build units on a cluster; see `prep.runtime.workers.run_units`."""
    queue = iter(units)
    first = next(queue, None)
    if first is None:
        return
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            f"cluster {settings.address}: Ray is not installed here; pip install -c constraints.txt '.[cluster]', on "
            "every node as well"
        )
    if function.__module__ == "__main__":
        raise ClusterError(
            f"cluster {settings.address}: {function.__qualname__} is a function of the script that runs, which nodes "
            "cannot import; put it into a module"
        )
    at_work = {first.name: first}
    pipe, agent = _start(settings, gpus)
    try:
        _send(pipe, [_job(first, function, scratch)], False)
        while (event := _receive(pipe, agent, settings))[0] != "finished":
            match event:
                case ("want", int(count)):
                    more = list(islice(queue, count))
                    at_work |= {unit.name: unit for unit in more}
                    _send(pipe, [_job(unit, function, scratch) for unit in more], len(more) < count)
                case ("report", str(name), message):
                    on_report(at_work[name], message)
                case ("done", str(name)):
                    del at_work[name]
                    scratch.finish(name)
                    yield name
                case ("say", str(line)):
                    console.print(f"cluster: {line}")
                case ("fleet", int(nodes), int(workers)):
                    set_fleet(Fleet(nodes, workers))
                case ("failed", str(said), str(traced)):
                    print(traced, end="", file=sys.stderr, flush=True)
                    raise UnitError(said)
                case ("unusable", str(said)):
                    raise ClusterError(f"cluster {settings.address}: {said}")
        agent.join(STOPPING)
    finally:
        set_fleet(None)
        agent.kill()
        agent.join()
        pipe.close()


def _start(settings: ClusterSettings, gpus: float) -> tuple[Connection, BaseProcess]:
    planned = stage_at_work()
    unsent = unsent_files(planned)
    packages = tuple(planned.versions) or tuple(needed_packages())
    packages = tuple(name for name in packages if name != "arithmetic")
    asked = Asked(
        settings=settings,
        gpus=settings.gpus or gpus,
        files=unsent,
        packages=packages,
        ours=fingerprint(unsent, packages),
        native=arithmetic() != "pinned",
        always=reads_of_stage(planned),
        log=LOG,
    )
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    agent = spawn.Process(target=serve, args=(theirs, asked, os.getpid()), daemon=True)
    agent.start()
    theirs.close()
    return ours, agent


def _job(unit: Unit, function: Function, scratch: Scratch) -> Job:
    """A unit as it goes to a node: its payload as the pipes of `multiprocessing` have it."""
    work = bytes(ForkingPickler.dumps((function, unit.payload)))
    return Job(unit.name, work, str(Path.cwd() / scratch.temporary(unit.name)), reads_of(unit.payload))


def _send(pipe: Connection, jobs: list[Job], last: bool) -> None:
    try:
        pipe.send(("units", jobs, last))
    except BrokenPipeError:  # what it said before it ended is still to be read
        return


def _receive(pipe: Connection, agent: BaseProcess, settings: ClusterSettings) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        agent.join(5)
        raise UnitError(
            f"the cluster at {settings.address} was lost: its head does not answer any more, or this machine's node "
            f"ended (exit code {agent.exitcode} of the process that talks to Ray; {LOG} has what it said). What was "
            "finished is kept: start the cluster and run the same command again"
        ) from None
