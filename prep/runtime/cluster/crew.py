"""Nodes and the workers on them: actors of Ray, as many on a node as units fit there, each bound to its node.

A node that joins gets its own workers, so a cluster may grow and shrink meanwhile.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.cluster.nodes import Node, Nodes
from fdpbench.prep.runtime.cluster.schedule import Job
from fdpbench.prep.runtime.cluster.settings import ClusterSettings

__all__ = ["Asked", "Crew", "Member", "UnusableError", "reason_of"]

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


class UnusableError(Exception):
    """The cluster cannot be used; the message says why."""


@dataclass(eq=False)
class Member:
    """A worker.

    Attributes
    ----------
    node, actor
        Where it is, and Ray's handle of it.
    hello
        Reference of its first answer; None once it may take units.
    stream
        Events of what it is at; None while it is idle.
    jobs
        What it was given and has not finished, the one at work first.
    told
        Files and folders that it knows.
    """

    node: Node
    actor: Any
    hello: Any
    stream: Any = None
    jobs: deque[Job] = field(default_factory=deque)
    told: set[str] = field(default_factory=set)


class Crew:
    """All nodes and workers.

    Parameters
    ----------
    asked
        How they are placed, and what a node has to have.
    say
        Takes a line for the user.
    """

    def __init__(self, asked: Asked, say: Callable[[str], None]) -> None:
        import ray

        from fdpbench.prep.runtime.cluster.worker import Worker

        self.members: list[Member] = []
        self.lost_nodes = 0
        self._ray, self._asked, self._say = ray, asked, say
        self._class = ray.remote(Worker)
        self._run = os.urandom(6).hex()
        memory = asked.settings.memory
        self._memory = None if memory is None else int(memory * 1e9)
        self._nodes = Nodes(asked.settings.cpus, asked.gpus, self._memory)
        self._devices = ""  # their kind on the first node that works
        self._looked = 0.0
        self._useful = time.monotonic()  # when a worker was last there

    @property
    def slots(self) -> int:
        """How many units fit on all nodes at a time."""
        return self._nodes.slots

    @property
    def ready(self) -> list[Member]:
        """Workers that take units."""
        return [member for member in self.members if member.hello is None]

    def look(self, now: bool = False) -> Iterator[Member]:
        """Look at the nodes, if it is time or asked for.

        Yields
        ------
        Workers of nodes that are gone; the caller takes their units, and drops them.

        Raises
        ------
        UnusableError
            If no worker was there for too long.
        """
        moment = time.monotonic()
        if moment - self._looked < LOOK and not now:
            return
        self._looked = moment
        for node in self._nodes.update(self._ray.nodes()):
            here = [member for member in self.members if member.node is node]
            node.given += sum(len(member.jobs) for member in here)
            if here or node.given:
                self._say_lost(node)
            yield from here
        for node in self._nodes.heard_again(moment - GRACE):
            self._say(f"node {node.name} is used again")
        self.say_silent(moment - LOOK)
        if self.ready:
            self._useful = moment
        elif moment - self._useful > self._asked.settings.wait:
            raise UnusableError(self._nodes.idle_text(self._asked.settings.wait))

    def say_silent(self, before: float) -> None:
        """Say which nodes have been silent since before some time; all their workers have been missed by then."""
        for node in self._nodes.hopeful:
            if node.silent is not None and node.silent < before:
                self._say_lost(node)

    def _say_lost(self, node: Node) -> None:
        if not node.told:
            node.told = True
            self.lost_nodes += 1
            units = f"{node.given} unit{'s' * (node.given != 1)}"
            self._say(f"lost node {node.name} ({node.reason or 'it does not answer'}); {units} to others")

    def start(self, in_hand: int) -> None:
        """Start as many workers as there are units in hand, on the nodes that have the fewest."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        while True:
            counts = {node: 0 for node in self._nodes.usable}
            for member in self.members:
                if member.node in counts:
                    counts[member.node] += 1
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
            self.members.append(Member(node, actor, actor.hello.remote(self._asked.files, self._asked.packages)))

    def welcome(self, member: Member) -> str:
        """Take a worker's first answer.

        Returns
        -------
        What its node lacks, in words; empty if it may take units.
        """
        from fdpbench.prep.runtime.cluster.fingerprint import differences

        differ = differences(self._asked.ours, self._ray.get(member.hello))
        member.hello = None
        self._useful = time.monotonic()
        self._devices = self._devices or member.node.devices
        if member.node.devices != self._devices:
            differ.append(f"CUDA devices {member.node.devices} there, {self._devices} elsewhere, which round otherwise")
        return "; ".join(differ)

    def could_not_start(self, member: Member, reason: str) -> str:
        """Drop a worker that did not answer at first; what to say of its node if that is not to be used any more."""
        self.drop(member)
        member.node.failed_starts += 1
        return f"no worker can start there: {reason}" if member.node.failed_starts >= STARTS else ""

    def refuse(self, node: Node, why: str) -> Iterator[Member]:
        """Use a node no more.

        Yields
        ------
        Its workers; the caller takes their units, and drops them.

        Raises
        ------
        UnusableError
            If no node is left.
        """
        self._nodes.refuse(node, why)
        self._say(f"node {node.name} is not used: {why}")
        yield from [member for member in self.members if member.node is node]
        if not self._nodes.hopeful:
            raise UnusableError(f"no node can be used: {self._nodes.refused_text()}")

    def cannot_reach(self, member: Member, reason: str) -> None:
        """A worker cannot be reached: most often its node is gone, as Ray finds in half a minute."""
        node = member.node
        node.silent, node.given = node.silent or time.monotonic(), node.given + len(member.jobs)
        node.reason = node.reason or reason

    def drop(self, member: Member) -> None:
        """End a worker."""
        self.members.remove(member)
        self._ray.kill(member.actor)


def reason_of(error: Exception) -> str:
    """The one line of Ray's many that says what happened."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    for sign in ("Worker exit detail:", "out of memory", "low on memory"):
        for line in lines:
            if sign in line:
                return line.partition("Worker exit detail:")[2].strip() or line
    raised = [line for line in lines if "Error: " in line]
    return raised[-1] if raised else lines[0] if lines else type(error).__name__
