"""A stage in miniature for tests of the cluster, in the folder that shall hold ``.scratch``.

Each unit notes in ``built`` there that it was begun.
"""

from __future__ import annotations

from fdpbench.arithmetic import pin_arithmetic

pin_arithmetic()

# ruff: noqa: E402
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.progress import console, track
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, UnitError, run_units


def build(payload: tuple[str, float, str, str], context: Context) -> None:
    """Note that the unit was begun, take some time, write what depends on its name alone."""
    name, seconds, notes, kind = payload
    with Path(notes).open("a") as stream:
        stream.write(f"{name} {os.getpid()}\n")
    if name == "u/3" and kind == "fails":
        raise RuntimeError("this one cannot be built")
    if name == "u/3" and kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    context.report({"epoch": 1, "epochs": 1, "loss": 0.0})
    time.sleep(seconds)
    (context.folder / "value").write_text(hashlib.sha256(name.encode()).hexdigest())
    (context.folder / "more").mkdir()
    (context.folder / "more/large").write_bytes(name.encode() * 100_000)


def main(count: int, seconds: float, kind: str = "") -> None:
    names = [f"u/{k}" for k in range(count)]
    notes = str(Path("built").absolute())
    with open_scratch("work", "key") as scratch:
        missing = scratch.missing(names)
        units = (Unit(name, (name, seconds, notes, kind)) for name in missing)
        finished: Any = run_units(units, build, scratch, jobs=2)
        try:
            for name in track(finished, "work", count, count - len(missing), "units"):
                print("finished", name, flush=True)
        except (UnitError, ValueError) as error:
            console.print(f"error: {error}")
            sys.exit(1)
