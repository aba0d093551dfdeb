"""Units of work for `test_workers` and `test_scratch`: worker processes import them by name.

Also a stage in miniature: ``python -m tests.support.units COMMAND ...`` in the folder that shall hold ``.scratch``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.scratch import Scratch, open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, run_units


def write(payload: Any, context: Context) -> None:
    """Write the payload, twice, and report it."""
    context.report({"payload": payload, "worker": context.worker})
    (context.folder / "value").write_text(f"{payload}{payload}")


def slow_write(payload: Any, context: Context) -> None:
    time.sleep(0.05 * (int(payload) % 3))
    write(payload, context)


def note_threads(payload: Any, context: Context) -> None:
    (context.folder / "value").write_text(os.environ.get("OMP_NUM_THREADS", "unset"))


def raise_on_bad(payload: Any, context: Context) -> None:
    if payload == "bad":
        raise RuntimeError("this clip cannot be read")
    write(payload, context)


def kill_on_bad(payload: Any, context: Context) -> None:
    if payload == "bad":
        (context.folder / "half").write_text("not whole")
        os.kill(os.getpid(), signal.SIGKILL)
    write(payload, context)


def fill_disk_on_bad(payload: Any, context: Context) -> None:
    if payload == "bad":
        Path("/dev/full").write_text("no room for this")
    write(payload, context)


def list_files(payload: Any, context: Context) -> None:
    """Write the names and sizes of all files below a folder, and the names of folders without any."""
    found = []
    for folder, folders, names in os.walk(payload, followlinks=True):
        folders.sort()
        found += [f"{folder}/{name} {os.path.getsize(Path(folder) / name)}" for name in sorted(names)]
        found += [] if folders or names else [f"{folder}/"]
    (context.folder / "value").write_text("\n".join(found))


def report_often(payload: Any, context: Context) -> None:
    """Report a hundred times a second for some seconds."""
    for k in range(int(100 * payload)):
        context.report({"k": k})
        time.sleep(0.01)


def sleep_on_bad(payload: Any, context: Context) -> None:
    """Write one's process id beside the scratch, then sleep for ever if the payload says so."""
    Path(f"pid-{payload}").write_text(str(os.getpid()))
    if payload.startswith("bad"):
        time.sleep(600)
    write(payload, context)


def run_here(
    units: Iterable[Unit], function: Callable[[Any, Context], None], scratch: Scratch, jobs: int
) -> Iterator[str]:
    """In place of `run_units`: worker processes would not see what a test has replaced."""
    for unit in units:
        function(unit.payload, Context(scratch.temporary(unit.name), lambda message: None, 0))
        scratch.finish(unit.name)
        yield unit.name


def main(command: str, *arguments: str) -> None:
    if command == "hold":  # hold a stage's lock until killed
        with open_scratch(arguments[0], arguments[1]):
            print("held", flush=True)
            time.sleep(600)
    elif command == "take":  # take a stage's lock and say when
        with open_scratch(arguments[0], arguments[1]) as scratch:
            print("taken", sorted(path.name for path in (scratch.folder / "units").iterdir()), flush=True)
    elif command == "work":  # two workers that never end beside units that do
        with open_scratch("stage", "key") as scratch:
            units = [Unit(name, name) for name in ("a", "b", "bad1", "bad2") if not scratch.has(name)]
            for name in run_units(units, sleep_on_bad, scratch, jobs=2):
                print("finished", name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
