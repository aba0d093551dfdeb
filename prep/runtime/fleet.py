"""Where units are built beside this machine: what the displays of progress say of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fleet", "LargestFleet", "fleet", "fleet_text", "set_fleet"]


@dataclass(frozen=True)
class Fleet:
    """Nodes of a cluster that take units, and their workers."""

    nodes: int
    workers: int


_current: list[Fleet] = []


def fleet() -> Fleet | None:
    """What is at work; None where units are built on this machine."""
    return _current[0] if _current else None


def set_fleet(now: Fleet | None) -> None:
    """Say what is at work."""
    _current[:] = [] if now is None else [now]


def fleet_text(before: str = "") -> str:
    """``3 nodes, 12 workers`` after some text; empty where units are built on this machine."""
    now = fleet()
    return "" if now is None else before + _text(now)


class LargestFleet:
    """The most nodes and workers that were seen at work: what a stage says when it has ended, and they are gone."""

    def __init__(self) -> None:
        self._seen: Fleet | None = None

    def look(self) -> None:
        """Take what is at work now."""
        now = fleet()
        if now is not None:
            seen = self._seen or now
            self._seen = Fleet(max(seen.nodes, now.nodes), max(seen.workers, now.workers))

    def text(self, before: str) -> str:
        """``3 nodes, 12 workers`` after some text; empty where units were built on this machine."""
        return "" if self._seen is None else before + _text(self._seen)


def _text(fleet: Fleet) -> str:
    return f"{fleet.nodes} node{'s' * (fleet.nodes != 1)}, {fleet.workers} worker{'s' * (fleet.workers != 1)}"
