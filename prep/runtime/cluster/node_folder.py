"""A folder on a node for one run: what its units read, sent once for all workers there, and where they write.

It is for its user alone, and goes when the last worker of the run on that node is gone, however that ended: each holds
a lock on it, and a small process waits for these locks to be free and then removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

__all__ = ["FOLDER", "MISSING", "DamagedError", "NodeFolder", "size_of"]

MISSING, FOLDER = -1, -2  # in place of a size

# Forks, so that it is no child of a worker and does not end with it.
JANITOR = """
import fcntl, os, shutil, sys
if os.fork():
    os._exit(0)
os.setsid()
folder = sys.argv[1]
with open(os.path.join(folder, "lock")) as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    shutil.rmtree(folder, ignore_errors=True)
"""


def size_of(path: Path) -> int:
    """Size of a file in bytes, `FOLDER`, or `MISSING`."""
    if path.is_dir():
        return FOLDER
    return path.stat().st_size if path.is_file() else MISSING


class DamagedError(RuntimeError):
    """A file is not what was sent."""


class NodeFolder:
    """The folder, as one worker sees it.

    Parameters
    ----------
    run
        Name of the run, its own among all that may be on the node.
    base
        Where to make it; None: the node's folder for temporary files (``TMPDIR``).

    Attributes
    ----------
    project
        Stands in for the project's root.
    """

    def __init__(self, run: str, base: Path | None = None) -> None:
        self.folder = Path(base or tempfile.gettempdir()) / f"fdpbench-{os.getuid()}-{run}"
        self._lock = self._hold()
        self.project = self.folder / "project"
        for name in ("project", "marks", "units"):
            (self.folder / name).mkdir(exist_ok=True)

    def _hold(self) -> int:
        """Make the folder, or join those that use it; return what holds its lock."""
        while True:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if self.folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{self.folder} is another user's")
            try:
                lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:  # it is being removed
                continue
            fcntl.flock(lock, fcntl.LOCK_SH)
            try:
                if os.stat(self.folder / "lock").st_ino == os.fstat(lock).st_ino:
                    break
            except FileNotFoundError:
                pass
            os.close(lock)
        try:
            os.close(os.open(self.folder / "janitor", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return lock
        command = [sys.executable, "-I", "-S", "-c", JANITOR, str(self.folder)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return lock

    def fetch(self, root: str, files: Iterable[tuple[str, str, Callable[[], Iterable[bytes]]]]) -> None:
        """Write a file or folder of the project, unless a worker has done so; wait for one that does.

        Parameters
        ----------
        root
            Its path in the project.
        files
            Path of each file in the project, its SHA-256, and what gives its content in parts.

        Raises
        ------
        DamagedError
            If a content is not of its hash.
        """
        mark = self.folder / "marks" / hashlib.sha256(root.encode()).hexdigest()
        if mark.exists():
            return
        with FileLock(mark.with_suffix(".lock")):
            if mark.exists():
                return
            for path, digest, parts in files:
                target = self.project / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    self._write(target, digest, parts)
            if not (self.project / root).exists():
                (self.project / root).mkdir(parents=True)  # a folder without files
            mark.touch()

    def _write(self, target: Path, digest: str, parts: Callable[[], Iterable[bytes]]) -> None:
        staging = target.with_name(f".staging-{os.getpid()}-{target.name}"[:250])
        found = hashlib.sha256()
        with staging.open("wb") as stream:
            for part in parts():
                found.update(part)
                stream.write(part)
        if found.hexdigest() != digest:
            staging.unlink()
            raise DamagedError(f"{target}: damaged on its way to this node")
        staging.replace(target)

    def link(self, name: str, place: str) -> None:
        """Link a folder of the project to where it lies on every node."""
        target = self.project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(place)
        except FileExistsError:
            return

    def new_unit(self) -> Path:
        """A fresh folder for a unit."""
        return Path(tempfile.mkdtemp(dir=self.folder / "units"))

    @staticmethod
    def content(folder: Path) -> dict[str, bytes]:
        """Files of a unit's folder by their paths in there; the folder is removed."""
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        shutil.rmtree(folder)
        return found
