"""What tests of tuning share."""

from __future__ import annotations

from pathlib import Path

import pytest

import fdpbench.bench.tune.loop
from tests.support.tuning import made_up, run_backwards, write_tuning


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a task to tune on, whose folds are made up in this process."""
    monkeypatch.setattr(fdpbench.bench.tune.loop, "run_units", run_backwards)
    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", made_up)
    write_tuning()
    return project
