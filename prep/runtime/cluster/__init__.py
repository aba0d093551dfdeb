"""Units of work on a cluster, by Ray. What is imported here is needed by every stage, and imports nothing itself."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LOCAL_FILE", "VARIABLE", "may_be_asked_for"]

VARIABLE = "FDPBENCH_CLUSTER"
LOCAL_FILE = Path("local.yaml")  # settings of this machine alone


def may_be_asked_for() -> bool:
    """Whether anything is said of a cluster, here or in the environment; `settings` then says what."""
    return bool(os.environ.get(VARIABLE)) or LOCAL_FILE.is_file()
