"""The stage at work, as it was planned: which code, packages and files its units need on every node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fdpbench.prep.settings.planned import Planned

__all__ = ["planned_stage", "stage_at_work"]

_at_work: list[Planned] = []


@contextmanager
def planned_stage(planned: Planned) -> Iterator[None]:
    """Run the body as the stage that was planned."""
    _at_work.append(planned)
    try:
        yield
    finally:
        _at_work.pop()


def stage_at_work() -> Planned:
    """What was planned for the stage at work; of work outside any stage, nothing."""
    return _at_work[-1] if _at_work else Planned({})
