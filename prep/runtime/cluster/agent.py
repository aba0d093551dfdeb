"""The process that talks to Ray: hands units out to workers, brings back what they built, sees who is lost.

Units come from the driver as they are needed, and none is held in numbers: memory does not grow with those that wait.
Ray retries nothing by itself, since its retries could not be counted or bounded here.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from fdpbench.prep.runtime.cluster.crew import Asked, Crew, Member, UnusableError, reason_of
from fdpbench.prep.runtime.cluster.nodes import Node
from fdpbench.prep.runtime.cluster.parcels import Parcels
from fdpbench.prep.runtime.cluster.schedule import Job, Schedule, TriedTooOftenError
from fdpbench.prep.runtime.disk import disk_fault
from fdpbench.prep.runtime.processes import end_with_parent

__all__ = ["serve"]

LISTEN = 0.2  # seconds that one look at all workers takes at most


class _FailedError(Exception):
    """A unit failed, for good; the message is a line, and the traceback of its own error."""

    def __init__(self, said: str, traced: str = "") -> None:
        super().__init__(said)
        self.traced = traced


def serve(pipe: Connection, asked: Asked, parent: int) -> None:
    """Be the agent of a driver, until its units are finished or one has failed."""
    end_with_parent(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends this process
    with asked.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    outbox = _Outbox(pipe)
    try:
        _connect(asked.settings.address or "")
        _Agent(pipe, outbox, asked).run()
    except UnusableError as error:
        outbox.send("unusable", str(error))
    except _FailedError as error:
        outbox.send("failed", str(error), error.traced)
    except EOFError:  # the driver has stopped
        os._exit(0)
    outbox.close()
    sys.stderr.flush()
    os._exit(0)  # Ray ends this driver's workers as soon as its process is gone


class _Outbox:
    """What is said to the driver, sent by a thread: where both wait for the other to read, nothing would go on."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._waiting: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def send(self, *event: Any) -> None:
        self._waiting.put(event)

    def close(self) -> None:
        """Send what is left."""
        self._waiting.put(None)
        self._thread.join()

    def _send(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._pipe.send(event)
            except BrokenPipeError:  # the driver has stopped
                os._exit(0)


def _connect(address: str) -> None:
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise UnusableError(
                f"nothing answers there ({error}); give HOST:PORT of its head, as `ray start` printed them"
            ) from None
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many classes: no cluster here, other versions, no node on this machine
        said = " ".join(str(error).split())
        raise UnusableError(
            f"cannot be joined: {said[:600]}. The command has to run on a machine that `ray start` made a node, with "
            "the same versions of Python and Ray"
        ) from None


class _Agent:
    def __init__(self, pipe: Connection, outbox: _Outbox, asked: Asked) -> None:
        import ray

        self._ray, self._pipe, self._outbox, self._asked = ray, pipe, outbox, asked
        self._parcels = Parcels(ray.put)
        self._schedule = Schedule(asked.settings.retries)
        self._crew = Crew(asked, self._say)
        self._ended = False  # the driver has no more units
        self._wanted = False  # they were asked for
        self._told = (-1, -1)

    def run(self) -> None:
        """Build what the driver sends."""
        self._receive(block=True)
        while True:
            self._look()
            self._crew.start(len(self._schedule) + sum(len(member.jobs) for member in self._crew.members))
            self._ask_for_units()
            self._hand_out()
            self._tell_fleet()
            if self._ended and not self._schedule and not any(member.jobs for member in self._crew.members):
                break
            self._listen()
            self._receive(block=False)
        self._crew.say_silent(time.monotonic())
        again, lost = self._schedule.again, self._crew.lost_nodes
        if again or lost:
            self._say(f"{lost} node{'s' * (lost != 1)} lost, {again} unit{'s' * (again != 1)} tried again")
        self._outbox.send("finished")

    # with the driver

    def _say(self, line: str) -> None:
        self._outbox.send("say", line)

    def _receive(self, block: bool) -> None:
        if not block and not self._pipe.poll():
            return
        _, jobs, last = self._pipe.recv()
        self._schedule.add(jobs)
        self._ended, self._wanted = last, False

    def _ask_for_units(self) -> None:
        """Ask for as many units as keep all workers busy for a while."""
        room = 2 * max(1, self._crew.slots) * self._schedule.bundle(1)
        if not self._ended and not self._wanted and len(self._schedule) < max(1, room // 2):
            self._outbox.send("want", room)
            self._wanted = True
            if self._pipe.poll(LISTEN):
                self._receive(block=True)

    def _tell_fleet(self) -> None:
        ready = self._crew.ready
        now = len({member.node.id for member in ready}), len(ready)
        if now != self._told:
            self._told = now
            self._outbox.send("fleet", *now)

    # with the workers

    def _hand_out(self) -> None:
        ready = self._crew.ready
        nodes = {member.node.id for member in ready}
        for member in ready:
            if member.stream is not None:
                continue
            jobs = self._schedule.take(member.node.id, nodes, self._schedule.bundle(len(ready)))
            if not jobs:
                continue
            sent = [tuple(dict.fromkeys((*self._asked.always, *job.reads.sent))) for job in jobs]
            parcels = {root: self._parcels.of(root) for roots in sent for root in roots if root not in member.told}
            member.told |= parcels.keys()
            units = [
                (job.name, job.work, roots, job.reads.linked, job.reads.looked_for)
                for job, roots in zip(jobs, sent, strict=True)
            ]
            member.jobs.extend(jobs)
            member.stream = member.actor.work.options(num_returns="streaming").remote(parcels, units)

    def _listen(self) -> None:
        """Take what workers say; wait for it for a moment."""
        by_source = {source: member for member in self._crew.members if (source := member.hello or member.stream)}
        if not by_source:
            self._pipe.poll(LISTEN)
            return
        sources = list(by_source)
        ready, _ = self._ray.wait(sources, num_returns=1, timeout=LISTEN)
        if ready:
            ready, _ = self._ray.wait(sources, num_returns=len(sources), timeout=0)
        for source in ready:
            member = by_source[source]
            if member not in self._crew.members:  # its node went while the others were listened to
                continue
            try:
                self._hear_first(member) if member.hello is not None else self._hear(member)
            except self._ray.exceptions.RayError as error:
                self._hear_of_loss(member, error)

    def _hear_first(self, member: Member) -> None:
        if lacks := self._crew.welcome(member):
            self._refuse(member.node, lacks)

    def _hear(self, member: Member) -> None:
        try:
            kind, name, content, more = self._ray.get(next(member.stream))
        except StopIteration:
            member.stream = None
            return
        if kind == "report":
            self._outbox.send("report", name, content)
        elif kind == "done":
            self._keep(member.jobs[0], content)
            member.jobs.popleft()
            self._schedule.measured(more)
            self._outbox.send("done", name)
        elif kind == "died":
            self._lose(member, content)
        elif kind == "unreachable":
            more = "raw frames are not sent, make them reachable there at the same path, or run this stage without the "
            self._refuse(member.node, f"{content}; {more}cluster")
        else:
            raise _FailedError(f"{name}: {content} (on node {member.node.name})", more)

    def _keep(self, job: Job, files: dict[str, bytes]) -> None:
        try:
            for name, content in files.items():
                target = Path(job.folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except OSError as error:
            raise _FailedError(f"{job.name}: {disk_fault(error, Path(job.folder)) or error}") from None

    # what goes wrong

    def _look(self, now: bool = False) -> None:
        for member in self._crew.look(now):
            self._lose(member, member.node.reason, aloud=False)

    def _refuse(self, node: Node, why: str) -> None:
        for member in self._crew.refuse(node, why):
            self._schedule.give_back(member.jobs)
            self._crew.drop(member)

    def _hear_of_loss(self, member: Member, error: Exception) -> None:
        """A worker did not answer: it was killed, could not start, or its node is gone."""
        self._look(now=True)
        if member not in self._crew.members:
            return
        reason = reason_of(error)
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            self._crew.cannot_reach(member, reason)
            self._lose(member, reason, aloud=False)
        elif member.hello is None:
            self._lose(member, reason)
        elif fault := self._crew.could_not_start(member, reason):
            self._refuse(member.node, fault)

    def _lose(self, member: Member, reason: str, aloud: bool = True) -> None:
        """A worker is gone: what it had is tried again elsewhere."""
        self._crew.drop(member)
        node = member.node
        try:
            job = self._schedule.lost(member.jobs, node.id)
        except TriedTooOftenError:
            job = member.jobs[0]
            raise _FailedError(
                f"{job.name}: its worker was lost {job.tries} times, the last time on node {node.name} ({reason}). "
                "What was finished is kept: run the same command again, with more memory for each unit if it was short "
                "(cluster.memory of local.yaml)"
            ) from None
        if job and aloud:
            tries = f"{job.tries} of {self._schedule.retries}"
            self._say(f"{job.name}: its worker on node {node.name} was lost ({reason}); tried again, {tries}")
