"""Where units are built beside this machine: what the displays of progress say of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fleet", "fleet", "fleet_text", "set_fleet"]


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
    if now is None:
        return ""
    return f"{before}{now.nodes} node{'s' * (now.nodes != 1)}, {now.workers} worker{'s' * (now.workers != 1)}"
