"""Timing of several subjects in turns, so that a machine that changes its pace changes all of them."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["measure"]


def measure(subjects: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, the subjects in turns; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(rounds + 1):
        for name, subject in subjects.items():
            start = time.perf_counter()
            subject()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds
