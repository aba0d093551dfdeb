"""A worker on a node: an actor of Ray that has one process of its own build units, one after the other.

That process is the one of `prep.runtime.local`, which a run on one machine has too: Ray, and what Ray imports, is not
in it, its arithmetic is pinned before anything that computes is imported, and what units need is imported once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import NATIVE, ONE_THREAD, PINS, pin_arithmetic
from fdpbench.prep.runtime.cluster.fingerprint import fingerprint
from fdpbench.prep.runtime.cluster.node_folder import FOLDER, MISSING, NodeFolder, size_of
from fdpbench.prep.runtime.local import serve

__all__ = ["Parcel", "Worker", "be_process"]

REPORT_EVERY = 1.0  # seconds between two reports of a unit

# Of the shell that started the node; none of units'.
VARIABLES = ("FDPBENCH_CLUSTER", "FDPBENCH_JOBS", "DVC_STAGE", NATIVE, *PINS)

PROCESS = "import sys; from fdpbench.prep.runtime.cluster.worker import be_process as be; be(*map(int, sys.argv[1:]))"

# Of a file or folder that is sent: path, SHA-256 and references to the parts of each of its files.
Parcel = tuple[tuple[str, str, tuple[Any, ...]], ...]


class Worker:
    """Has units built.

    Parameters
    ----------
    run
        Name of the run; the workers of a run on a node share a folder.
    native
        Whether the arithmetic is left to the processor.
    get
        Gives what a reference of a parcel refers to; None: Ray's.
    base
        Of `NodeFolder`.
    """

    def __init__(
        self, run: str, native: bool, get: Callable[[Any], bytes] | None = None, base: Path | None = None
    ) -> None:
        self._native, self._get = native, get or _ray_get
        self._parcels: dict[str, Parcel] = {}
        self._folder = NodeFolder(run, base)
        self._asked: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._process: subprocess.Popen[bytes] | None = None

    def hello(self, files: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
        """What this node has: see `fingerprint`."""
        self._start()
        self._pipe.send((tuple(files), tuple(packages)))
        found: dict[str, str] = self._pipe.recv()
        return found

    def work(
        self,
        parcels: dict[str, Parcel],
        units: Iterable[tuple[str, bytes, Iterable[str], Iterable[tuple[str, str]], Iterable[tuple[str, int]]]],
    ) -> Iterator[tuple[str, str, Any, Any]]:
        """Have units built.

        Parameters
        ----------
        parcels
            Files and folders that this worker has not been told of, by their paths.
        units
            Of each its name, its work as bytes, and of what it reads that which is sent, linked and looked for
            (`fdpbench.prep.runtime.cluster.reads.Reads`).

        Yields
        ------
        An event, the unit's name and what belongs to it: ``report`` and the message; ``done``, its files and the
        seconds it took. After one of these no more is built: ``failed``, a line and the traceback; ``died`` and a line,
        if the process did; ``unreachable`` and a line.
        """
        self._parcels |= parcels
        for name, work, sent, linked, looked_for in units:
            for link, place in linked:
                self._folder.link(link, place)
            if fault := self._unreachable(linked, looked_for):
                yield "unreachable", name, fault, None
                return
            for root in sent:
                parts = self._parcels[root]
                self._folder.fetch(root, ((path, sha, partial(map, self._get, refs)) for path, sha, refs in parts))
            start = time.monotonic()
            folder = self._folder.new_unit()
            kind: str = ""
            for kind, content in self._built(work, folder):
                if kind == "report":
                    yield kind, name, content, None
            if kind != "done":
                yield (kind, name, *content)
                return
            yield kind, name, self._folder.content(folder), time.monotonic() - start

    def _built(self, work: bytes, folder: Path) -> Iterator[tuple[str, Any]]:
        """What the process says of a unit; of reports the last one of each second."""
        if self._process is None:
            self._start()
            self._pipe.send(((), ()))
            self._pipe.recv()
        assert self._process is not None
        last = time.monotonic()
        try:
            self._pipe.send(folder)
            self._pipe.send_bytes(work)
            while (event := self._pipe.recv())[0] == "report":
                if time.monotonic() - last >= REPORT_EVERY:
                    last = time.monotonic()
                    yield event
        except (EOFError, ConnectionResetError, BrokenPipeError):
            said = f"exit code {self._process.wait()}; -9 means it was killed, often for lack of memory"
            event = "died", (said, None)
        if event[0] != "done":
            self._process.wait()  # it builds nothing after a failure
            self._pipe.close()
            self._process = None
        yield event

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROCESS, str(theirs.fileno()), str(os.getpid())],
            env=kept | ({NATIVE: "1"} if self._native else {}),
            cwd=self._folder.project,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def _unreachable(self, linked: Iterable[tuple[str, str]], looked_for: Iterable[tuple[str, int]]) -> str:
        """What cannot be reached on this node, in words."""
        for folder, place in linked:
            if size_of(Path(place)) != FOLDER:
                return f"{folder} ({place}) is not there"
        for name, size in looked_for:
            path = self._folder.project / name
            found = size_of(path)
            if found != size:
                what = "not there" if found == MISSING else "another file there"
                return f"{name} ({path.resolve()}) is {what}"
        return ""


def be_process(descriptor: int, parent: int) -> None:
    """Be a worker's process: say what this node has, then build units.

    Parameters
    ----------
    descriptor
        Of the pipe.
    parent
        The worker, with which this process ends.
    """
    pin_arithmetic()
    os.environ.update(ONE_THREAD)
    pipe = Connection(descriptor)
    pipe.send(fingerprint(*pipe.recv()))
    serve(pipe, 0, parent, aloud=False)


def _ray_get(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content
