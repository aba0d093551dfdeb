"""Processes of this machine: how many may work, what they find in their environment, and that none is left over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["available_cpus", "end_with_parent", "environment"]


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


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
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
