"""Which unit goes to which worker, what is tried again, and how many small ones go together. Knows nothing of Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fdpbench.prep.runtime.cluster.reads import Reads

__all__ = ["Job", "Schedule", "TriedTooOftenError", "slots"]

BUNDLE_SECONDS = 1.0  # of work that a worker is handed at once, where units are small
RECENT = 0.2  # weight of the newest unit in the mean time of a unit
ROUND = 1e-9


@dataclass
class Job:
    """A unit of work on its way: its name, its payload as bytes, where its files go, what it reads, how it fared."""

    name: str
    work: bytes
    folder: str
    reads: Reads
    tries: int = 0  # that were lost
    lost_on: set[str] = field(default_factory=set)  # nodes


class TriedTooOftenError(RuntimeError):
    """A unit's worker was lost as often as it may be."""


def slots(resources: Mapping[str, float], cpus: float, gpus: float, memory: float | None) -> int:
    """How many units fit on a node at a time.

    Parameters
    ----------
    resources
        What the node has, as Ray names it: ``CPU``, ``GPU``, ``memory`` in bytes.
    cpus, gpus
        What a unit takes. A share of a device comes from one device alone.
    memory
        Bytes that a unit takes; None: not looked at.
    """
    fits = [math.floor(resources.get("CPU", 0.0) / cpus + ROUND)]
    if gpus:
        devices = math.floor(resources.get("GPU", 0.0) + ROUND)
        fits.append(devices * math.floor(1 / gpus + ROUND) if gpus <= 1 else math.floor(devices / gpus + ROUND))
    if memory:
        fits.append(math.floor(resources.get("memory", 0.0) / memory + ROUND))
    return min(fits)


class Schedule:
    """Units that wait, and what becomes of those that are lost.

    Parameters
    ----------
    retries
        How often a unit may be lost and tried again.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.again = 0  # tries that were made again, of all units
        self._waiting: deque[Job] = deque()
        self._seconds: float | None = None  # mean of a unit

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, jobs: Iterable[Job]) -> None:
        """Take units that have not been tried."""
        self._waiting.extend(jobs)

    def measured(self, seconds: float) -> None:
        """Take the time that a unit took its worker."""
        mean = self._seconds
        self._seconds = seconds if mean is None else mean + RECENT * (seconds - mean)

    def bundle(self, workers: int) -> int:
        """How many units a worker is handed at once: about `BUNDLE_SECONDS` of work, near the end its share of it."""
        if self._seconds is None:
            return 1
        share = math.ceil(len(self._waiting) / max(1, workers))
        return max(1, min(share, math.floor(BUNDLE_SECONDS / max(self._seconds, 1e-3))))

    def take(self, node: str, others: Iterable[str], count: int = 1) -> list[Job]:
        """Units for a worker, in order; one that was lost on its node only if it was lost on all the others too.

        Parameters
        ----------
        node
            The worker's.
        others
            All nodes that take units.
        count
            How many at most.
        """
        nodes = {node, *others}
        taken: list[Job] = []
        left: deque[Job] = deque()
        while self._waiting and len(taken) < count:
            job = self._waiting.popleft()
            avoided = node in job.lost_on and not nodes <= job.lost_on
            (left if avoided else taken).append(job)
        self._waiting.extendleft(reversed(left))
        return taken

    def lost(self, jobs: Iterable[Job], node: str) -> Job | None:
        """Take back units of a worker that was lost, in the order it had them; the first one was at work.

        Returns
        -------
        The unit that was at work, to be tried again; None if there was none.

        Raises
        ------
        TriedTooOftenError
            If it has been lost more often than it may be.
        """
        given = list(jobs)
        if given:
            given[0].tries += 1
            given[0].lost_on.add(node)
            if given[0].tries > self.retries:
                raise TriedTooOftenError
            self.again += 1
        self._waiting.extendleft(reversed(given))
        return given[0] if given else None

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Take back units that a node could not begin; no try of theirs."""
        self._waiting.extendleft(reversed(list(jobs)))
