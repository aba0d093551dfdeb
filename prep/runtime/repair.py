"""Drop DVC's own files that a kill has cut short: `dvc repro` refuses to start on them, and makes them anew."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["repair"]

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")
PAUSE = 1.0  # seconds in which a DVC that is still at work ends its writing


def repair() -> list[str]:
    """Drop ``dvc.lock`` and ``.dvc/tmp/rwlock`` where they are empty or cannot be parsed.

    What DVC knows beyond them is kept: its cache and its run cache, from which `dvc repro` restores the stages
    whose inputs have not changed. A file that is whole is left alone, whatever it says.

    Returns
    -------
    A line for each file dropped.
    """
    readers: dict[Path, Callable[[bytes], Any]] = {LOCK: _read_lock, RWLOCK: _read_rwlock}
    broken = {path: fault for path, read in readers.items() if (fault := _fault(path, read))}
    if broken:
        time.sleep(PAUSE)  # another DVC may be writing: look again
    lines = []
    for path in broken:
        if fault := _fault(path, readers[path]):
            path.unlink()
            lines.append(f"{path}: {fault}, as a kill leaves it; dropped, `dvc repro` writes it anew")
    return lines


def _fault(path: Path, read: Callable[[bytes], Any]) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.strip():
        return "empty"
    try:
        read(content)
    except Exception as error:  # of whichever parser or schema: all say that DVC cannot read it
        return f"cannot be parsed ({type(error).__name__})"
    return None


def _read_lock(content: bytes) -> None:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # what DVC itself holds the file against

    COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(content))


def _read_rwlock(content: bytes) -> None:
    from dvc.rwlock import SCHEMA

    SCHEMA(json.loads(content))
