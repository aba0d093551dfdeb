"""Nodes of a cluster, as Ray lists them: which take units, how many at a time, which are gone or refused, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fdpbench.prep.runtime.cluster.schedule import slots

__all__ = ["Node", "Nodes"]

KIND = "accelerator_type:"  # of a resource that names the kind of a node's devices


@dataclass(eq=False)
class Node:
    """A node.

    Attributes
    ----------
    id
        Ray's.
    name
        Its host, address and the beginning of its id: a host may have several.
    slots
        How many units fit at a time.
    devices
        Kind of its CUDA devices, where units take some.
    reason
        Why it is gone.
    failed_starts
        How many workers could not start on it.
    silent
        Since when its workers cannot be reached, in seconds of the clock; None while they can.
    given
        How many units were taken from them since.
    told
        Whether it was said that the node is lost.
    """

    id: str
    name: str
    slots: int
    devices: str = ""
    reason: str = ""
    failed_starts: int = 0
    silent: float | None = None
    given: int = 0
    told: bool = False


class Nodes:
    """The nodes that take units.

    Parameters
    ----------
    cpus, gpus, memory
        What a unit takes (`prep.runtime.cluster.schedule.slots`).
    """

    def __init__(self, cpus: float, gpus: float, memory: float | None) -> None:
        self._needs = (cpus, gpus, memory)
        self._known: dict[str, Node] = {}
        self._refused: dict[str, str] = {}  # by id; why

    @property
    def hopeful(self) -> list[Node]:
        """Those that take units, or may do so again."""
        return [node for node in self._known.values() if node.slots and node.id not in self._refused]

    @property
    def usable(self) -> list[Node]:
        """Those that take units."""
        return [node for node in self.hopeful if node.silent is None]

    @property
    def slots(self) -> int:
        """How many units fit on all of them at a time."""
        return sum(node.slots for node in self.usable)

    def update(self, listed: Iterable[Mapping[str, Any]]) -> list[Node]:
        """Take Ray's list of nodes.

        Returns
        -------
        Those that are gone since the last one.
        """
        by_id = {entry["NodeID"]: entry for entry in listed}
        gone = [node for node in self._known.values() if not by_id.get(node.id, {}).get("Alive")]
        for node in gone:
            said = " ".join(str(by_id.get(node.id, {}).get("DeathReasonMessage", "")).split())
            node.reason = said or node.reason
            del self._known[node.id]
        for key, entry in by_id.items():
            if entry["Alive"] and key not in self._known:
                resources = entry["Resources"]
                name = f"{entry['NodeManagerHostname']} ({entry['NodeManagerAddress']}, {key[:6]})"
                kinds = sorted(resource.removeprefix(KIND) for resource in resources if resource.startswith(KIND))
                devices = ", ".join(kinds) if self._needs[1] else ""
                self._known[key] = Node(key, name, slots(resources, *self._needs), devices)
        return gone

    def heard_again(self, before: float) -> list[Node]:
        """Those that Ray has not lost, silent since before some time: they are used again."""
        found = [node for node in self._known.values() if node.silent is not None and node.silent < before]
        for node in found:
            node.silent, node.given, node.reason, node.told = None, 0, "", False
        return found

    def refuse(self, node: Node, why: str) -> None:
        """Use a node no more."""
        self._refused[node.id] = f"{node.name}: {why}"

    def refused_text(self) -> str:
        """Which nodes were refused, and why."""
        return "; ".join(self._refused.values())

    def idle_text(self, seconds: float) -> str:
        """Why nothing was built for some time."""
        cpus, gpus, memory = self._needs
        needs = [
            f"{cpus:g} CPU",
            *([f"{gpus:g} GPU"] if gpus else []),
            *([f"{memory / 1e9:g} GB of memory"] if memory else []),
        ]
        if self.usable:
            names = ", ".join(node.name for node in self.usable)
            return f"no worker could start for {seconds:g} s, though {names} has room: others may use it"
        refused = f"; refused: {self.refused_text()}" if self._refused else ""
        return (
            f"no node had room for a unit ({', '.join(needs)}) for {seconds:g} s, of {len(self._known)} that are "
            f"there{refused}; start nodes, or set cluster.wait in local.yaml"
        )
