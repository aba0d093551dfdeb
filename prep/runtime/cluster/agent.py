"""The process that talks to Ray: starts workers on nodes, hands units out, sees who is lost.

Workers are actors, as many on a node as units fit there, bound to it; a node that joins gets its own, so a cluster may
grow and shrink meanwhile. Units come from the driver as they are needed, and none is held in numbers: memory does not
grow with those that wait. Ray retries nothing by itself, since its retries could not be counted or bounded here.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.cluster.nodes import Node, Nodes
from fdpbench.prep.runtime.cluster.parcels import Parcels
from fdpbench.prep.runtime.cluster.schedule import Job, Schedule, TriedTooOftenError
from fdpbench.prep.runtime.cluster.settings import ClusterSettings
from fdpbench.prep.runtime.disk import disk_fault
from fdpbench.prep.runtime.processes import end_with_parent

__all__ = ["Asked", "serve"]

LISTEN = 0.2  # seconds that one look at all workers takes at most
LOOK = 1.0  # seconds between two looks at the nodes
GRACE = 60.0  # seconds after which a node is used again whose workers could not be reached, if Ray has not lost it
STARTS = 3  # failures of workers to start after which a node is not used


@dataclass(frozen=True)
class Asked:
    """What the driver asks for.

    Attributes
    ----------
    settings, gpus
        How units are placed.
    files, packages
        What a node has to have the same of (`fingerprint`).
    ours
        Fingerprint of this machine.
    native
        Whether the arithmetic is left to processors.
    always
        Files of the project that every unit may read.
    log
        File for what Ray prints.
    """

    settings: ClusterSettings
    gpus: float
    files: tuple[str, ...]
    packages: tuple[str, ...]
    ours: dict[str, str]
    native: bool
    always: tuple[str, ...]
    log: Path


class _UnusableError(Exception):
    """The cluster cannot be used; the message says why."""


class _FailedError(Exception):
    """A unit failed, for good; the message is a line, and the traceback of its own error."""

    def __init__(self, said: str, traced: str = "") -> None:
        super().__init__(said)
        self.traced = traced


@dataclass(eq=False)
class _Worker:
    node: Node
    actor: Any
    hello: Any  # reference of its answer; None once it may work
    stream: Any = None  # events of what it is at; None while it is idle
    jobs: deque[Job] = field(default_factory=deque)
    told: set[str] = field(default_factory=set)  # parcels that it knows


def serve(pipe: Connection, asked: Asked, parent: int) -> None:
    """Be the agent of a driver, until its units are finished or one has failed."""
    end_with_parent(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends this process
    with asked.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        _connect(asked.settings.address or "")
        _Agent(pipe, asked).run()
    except _UnusableError as error:
        pipe.send(("unusable", str(error)))
    except _FailedError as error:
        pipe.send(("failed", str(error), error.traced))
    except (BrokenPipeError, EOFError):  # the driver has stopped
        os._exit(0)
    sys.stderr.flush()
    os._exit(0)  # Ray ends this driver's workers as soon as its process is gone


def _connect(address: str) -> None:
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise _UnusableError(
                f"nothing answers there ({error}); give HOST:PORT of its head, as `ray start` printed them"
            ) from None
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many classes: no cluster here, other versions, no node on this machine
        said = " ".join(str(error).split())
        raise _UnusableError(
            f"cannot be joined: {said[:600]}. The command has to run on a machine that `ray start` made a node, with "
            "the same versions of Python and Ray"
        ) from None


class _Agent:
    def __init__(self, pipe: Connection, asked: Asked) -> None:
        import ray

        from fdpbench.prep.runtime.cluster.worker import Worker

        self._ray = ray
        self._pipe, self._asked = pipe, asked
        settings = asked.settings
        self._memory = None if settings.memory is None else int(settings.memory * 1e9)
        self._class = ray.remote(Worker)
        self._run = os.urandom(6).hex()
        self._parcels = Parcels(ray.put)
        self._schedule = Schedule(settings.retries)
        self._nodes = Nodes(settings.cpus, asked.gpus, self._memory)
        self._workers: list[_Worker] = []
        self._ended = False  # the driver has no more units
        self._wanted = False  # they were asked for
        self._devices = ""  # their kind on the first node that works
        self._lost_nodes = 0
        self._looked = 0.0
        self._useful = time.monotonic()  # when a worker was last there
        self._said = (-1, -1)

    def run(self) -> None:
        """Build what the driver sends."""
        self._receive(block=True)
        while True:
            self._look_at_nodes()
            self._start_workers()
            self._ask_for_units()
            self._hand_out()
            self._tell_fleet()
            if self._ended and not self._schedule and not any(worker.jobs for worker in self._workers):
                break
            self._listen()
            self._receive(block=False)
        self._say_silent_nodes(time.monotonic())
        again = self._schedule.again
        if again or self._lost_nodes:
            nodes = f"{self._lost_nodes} node{'s' * (self._lost_nodes != 1)} lost"
            self._say(f"{nodes}, {again} unit{'s' * (again != 1)} tried again")
        self._pipe.send(("finished",))

    # with the driver

    def _say(self, line: str) -> None:
        self._pipe.send(("say", line))

    def _receive(self, block: bool) -> None:
        if not block and not self._pipe.poll():
            return
        _, jobs, last = self._pipe.recv()
        self._schedule.add(jobs)
        self._ended, self._wanted = last, False

    def _ask_for_units(self) -> None:
        """Ask for as many units as keep all workers busy for a while."""
        room = 2 * max(1, self._nodes.slots) * self._schedule.bundle(1)
        if not self._ended and not self._wanted and len(self._schedule) < max(1, room // 2):
            self._pipe.send(("want", room))
            self._wanted = True
            if self._pipe.poll(LISTEN):
                self._receive(block=True)

    def _ready(self) -> list[_Worker]:
        """Workers that take units."""
        return [worker for worker in self._workers if worker.hello is None]

    def _tell_fleet(self) -> None:
        ready = self._ready()
        now = len({worker.node.id for worker in ready}), len(ready)
        if now != self._said:
            self._said = now
            self._pipe.send(("fleet", *now))

    # nodes and workers

    def _look_at_nodes(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for node in self._nodes.update(self._ray.nodes()):
            self._lose_node(node)
        for node in self._nodes.heard_again(now - GRACE):
            self._say(f"node {node.name} is used again")
        self._say_silent_nodes(now - LOOK)
        if self._ready():
            self._useful = now
        elif now - self._useful > self._asked.settings.wait:
            raise _UnusableError(self._nodes.idle_text(self._asked.settings.wait))

    def _lose_node(self, node: Node) -> None:
        here = [worker for worker in self._workers if worker.node is node]
        node.given += sum(len(worker.jobs) for worker in here)
        if here or node.given:
            self._say_lost(node)
        for worker in here:
            self._lose(worker, node.reason, aloud=False)

    def _say_silent_nodes(self, before: float) -> None:
        """Say which nodes have been silent since before some time; all their workers have been missed by then."""
        for node in self._nodes.hopeful:
            if node.silent is not None and node.silent < before and not node.told:
                self._say_lost(node)

    def _say_lost(self, node: Node) -> None:
        if not node.told:
            node.told = True
            self._lost_nodes += 1
            units = f"{node.given} unit{'s' * (node.given != 1)}"
            self._say(f"lost node {node.name} ({node.reason or 'it does not answer'}); {units} to others")

    def _start_workers(self) -> None:
        """Start as many workers as there are units in hand, on the nodes that have the fewest."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        in_hand = len(self._schedule) + sum(len(worker.jobs) for worker in self._workers)
        while True:
            counts = {node: 0 for node in self._nodes.usable}
            for worker in self._workers:
                if worker.node in counts:
                    counts[worker.node] += 1
            free = [node for node, count in counts.items() if count < node.slots]
            if not free or sum(counts.values()) >= in_hand:
                return
            node = min(free, key=lambda node: counts[node])
            options: dict[str, Any] = {"num_cpus": self._asked.settings.cpus, "max_restarts": 0, "max_task_retries": 0}
            if self._asked.gpus:
                options["num_gpus"] = self._asked.gpus
            if self._memory:
                options["memory"] = self._memory
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node.id, soft=False)
            actor = self._class.options(**options).remote(self._run, self._asked.native)
            hello = actor.hello.remote(self._asked.files, self._asked.packages)
            self._workers.append(_Worker(node, actor, hello))

    def _refuse(self, node: Node, why: str) -> None:
        """Use a node no more; what its workers were given goes to others."""
        self._nodes.refuse(node, why)
        self._say(f"node {node.name} is not used: {why}")
        for worker in [worker for worker in self._workers if worker.node is node]:
            self._schedule.give_back(worker.jobs)
            self._drop(worker)
        if not self._nodes.hopeful:
            raise _UnusableError(f"no node can be used: {self._nodes.refused_text()}")

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._ray.kill(worker.actor)

    def _lose(self, worker: _Worker, reason: str, aloud: bool = True) -> None:
        """A worker is gone: what it had is tried again elsewhere."""
        self._drop(worker)
        node = worker.node
        try:
            job = self._schedule.lost(worker.jobs, node.id)
        except TriedTooOftenError:
            job = worker.jobs[0]
            raise _FailedError(
                f"{job.name}: its worker was lost {job.tries} times, the last time on node {node.name} ({reason}). "
                "What was finished is kept: run the same command again, with more memory for each unit if it was short "
                "(cluster.memory of local.yaml)"
            ) from None
        if job and aloud:
            self._say(
                f"{job.name}: its worker on node {node.name} was lost ({reason}); tried again, {job.tries} of "
                f"{self._schedule.retries}"
            )

    # units

    def _hand_out(self) -> None:
        ready = self._ready()
        nodes = {worker.node.id for worker in ready}
        for worker in ready:
            if worker.stream is not None:
                continue
            jobs = self._schedule.take(worker.node.id, nodes, self._schedule.bundle(len(self._workers)))
            if not jobs:
                continue
            roots = dict.fromkeys(root for job in jobs for root in (*self._asked.always, *job.reads.sent))
            parcels = {root: self._parcels.of(root) for root in roots if root not in worker.told}
            worker.told |= parcels.keys()
            units = [
                (job.name, job.work, (*self._asked.always, *job.reads.sent), job.reads.linked, job.reads.looked_for)
                for job in jobs
            ]
            worker.jobs.extend(jobs)
            worker.stream = worker.actor.work.options(num_returns="streaming").remote(parcels, units)

    def _listen(self) -> None:
        """Take what workers say; wait for it for a moment."""
        by_source = {source: worker for worker in self._workers if (source := worker.hello or worker.stream)}
        if not by_source:
            self._pipe.poll(LISTEN)
            return
        sources = list(by_source)
        ready, _ = self._ray.wait(sources, num_returns=1, timeout=LISTEN)
        if ready:
            ready, _ = self._ray.wait(sources, num_returns=len(sources), timeout=0)
        for source in ready:
            worker = by_source[source]
            if worker not in self._workers:  # its node went while the others were listened to
                continue
            try:
                self._hear_hello(worker) if worker.hello is not None else self._hear(worker)
            except self._ray.exceptions.RayError as error:
                self._hear_of_loss(worker, error)

    def _hear_hello(self, worker: _Worker) -> None:
        from fdpbench.prep.runtime.cluster.fingerprint import differences

        differ = differences(self._asked.ours, self._ray.get(worker.hello))
        worker.hello = None
        self._useful = time.monotonic()
        self._devices = self._devices or worker.node.devices
        if worker.node.devices != self._devices:
            differ.append(
                f"CUDA devices {worker.node.devices} there, {self._devices} elsewhere: they round differently"
            )
        if differ:
            self._refuse(worker.node, "; ".join(differ))

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, name, content, more = self._ray.get(next(worker.stream))
        except StopIteration:
            worker.stream = None
            return
        job = worker.jobs[0]
        if kind == "report":
            self._pipe.send(("report", name, content))
        elif kind == "done":
            self._keep(job, content)
            worker.jobs.popleft()
            self._schedule.measured(more)
            self._pipe.send(("done", name))
        elif kind == "unreachable":
            self._refuse(
                worker.node,
                f"{content}; raw frames are not sent, make them reachable there at the same path, or run this stage "
                "without the cluster",
            )
        elif kind == "died":
            self._lose(worker, content)
        else:
            raise _FailedError(f"{name}: {content} (on node {worker.node.name})", more)

    def _keep(self, job: Job, files: dict[str, bytes]) -> None:
        try:
            for name, content in files.items():
                target = Path(job.folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except OSError as error:
            raise _FailedError(f"{job.name}: {disk_fault(error, Path(job.folder)) or error}") from None

    def _hear_of_loss(self, worker: _Worker, error: Exception) -> None:
        """A worker did not answer: it was killed, could not start, or its node is gone."""
        self._looked = 0.0
        self._look_at_nodes()
        if worker not in self._workers:
            return
        reason = _reason(error)
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            worker.node.silent = (
                worker.node.silent or time.monotonic()
            )  # most often the node is gone, as Ray finds later
            worker.node.given += len(worker.jobs)
            self._lose(worker, reason, aloud=False)
            return
        if worker.hello is None:
            self._lose(worker, reason)
            return
        self._drop(worker)
        worker.node.failed_starts += 1
        if worker.node.failed_starts >= STARTS:
            self._refuse(worker.node, f"no worker can start there: {reason}")


def _reason(error: Exception) -> str:
    """The one line of Ray's many that says what happened."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    for sign in ("Worker exit detail:", "out of memory", "low on memory", "Error: ", "died"):
        for line in _reversed_if(sign == "Error: ", lines):
            if sign in line:
                return line.partition("Worker exit detail:")[2].strip() or line
    return lines[0] if lines else type(error).__name__


def _reversed_if(wanted: bool, lines: list[str]) -> Iterable[str]:
    return reversed(lines) if wanted else lines
