"""Exclusive, resumable stages: units of work kept in scratch, outputs published by rename.

A stage that is killed goes on where it stopped, and a stage whose launcher was killed never shares
an output with the next run:

- one process at a time works on a stage (a file lock, which the system frees if the process dies);
- each finished unit (a clip, a fold) is a folder that appears under ``.scratch`` by rename, whole or
  not at all, under a key that hashes everything the unit depends on;
- a unit is forced to disk before that rename and its hashes are kept beside it; the run that goes on
  compares them, and discards a unit that is damaged by name;
- an output is built beside its place, forced to disk and renamed over it;
- finished scratch is kept until DVC has recorded the stage (``dvc.lock`` holds the hashes of the very
  outputs that it published), so that a kill between publishing and recording costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from fdpbench.arithmetic import arithmetic
from fdpbench.prep.runtime.durable import Recorded, dvc_hash, flush, flush_folder, hashes_of, write_durably

__all__ = [
    "LONGEST",
    "Scratch",
    "folder_name",
    "hash_file",
    "hash_listing",
    "hold_stages",
    "key_of",
    "link_tree",
    "open_scratch",
]

ROOT = Path(".scratch")
PUBLISHED = "published"
LONGEST = 240  # bytes of a folder's name: file systems take 255, and ``.json`` stands behind some


class Scratch:
    """The kept work of one stage. Made by `open_scratch`, which holds the stage's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._units = folder / "units"
        self._sums = folder / "sums"  # of each unit, the hashes of its files: not inside, where outputs link to
        # a name of this process's own: an orphan that outlives its lock by a moment shares nothing with us
        self._temporary = folder / "tmp" / f"{os.getpid()}-{time.monotonic_ns()}"

    def unit(self, name: str) -> Path:
        """Folder of a unit, whether or not it is finished. Any name is made a safe folder name."""
        return self._units / folder_name(name)

    def has(self, name: str) -> bool:
        """Whether a unit is finished."""
        return self.unit(name).is_dir()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Names of the units that are not finished yet, in order."""
        return [name for name in names if not self.has(name)]

    def temporary(self, name: str) -> Path:
        """Return a fresh, empty folder in which to build a unit."""
        folder = self._temporary / folder_name(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def finish(self, name: str) -> None:
        """Turn the unit's temporary folder into the finished unit, atomically and for good."""
        folder = self._temporary / folder_name(name)
        flush(folder)
        write_durably(self._sums / f"{folder_name(name)}.json", json.dumps(hashes_of(folder), sort_keys=True))
        os.rename(folder, self.unit(name))
        flush_folder(self._units)

    def discard_damaged(self) -> None:
        """Remove, and name, finished units whose files are not those that were written."""
        for unit in sorted(path for path in self._units.iterdir() if path.is_dir()):
            try:
                expected = json.loads((self._sums / f"{unit.name}.json").read_bytes())
            except (OSError, ValueError):
                expected = None
            found = hashes_of(unit)
            if found == expected:
                continue
            shutil.rmtree(unit)
            expected = expected if isinstance(expected, dict) else {}
            differ = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
            print(
                f"{self.folder.parent.name}: {unquote(unit.name)}, which an earlier run finished, is damaged on disk "
                f"({', '.join(differ) or 'nothing in it'}); discarded, and done again",
                file=sys.stderr,
                flush=True,
            )

    def publish(self, outputs: Mapping[Path, Callable[[Path], None]]) -> None:
        """Build each output beside its place, then rename it there.

        Parameters
        ----------
        outputs
            For each output (a file or a folder), the function that writes it to the path it is given.
        """
        hashes: dict[str, str] = {}
        for output, build in outputs.items():
            output.parent.mkdir(parents=True, exist_ok=True)
            staging = output.parent / f".staging-{output.name}"
            _remove(staging)
            build(staging)
            flush(staging)
            hashes[output.as_posix()] = dvc_hash(staging)
            _remove(output)
            os.rename(staging, output)
            flush_folder(output.parent)
        write_durably(self.folder / PUBLISHED, json.dumps(hashes, sort_keys=True))


def folder_name(unit: str) -> str:
    """A unit's name as one safe folder name; dots too, which `quote` leaves as they are.

    Of a name that file systems find too long, its first part and a hash of all of it, after a sign that no other has.
    """
    name = quote(unit, safe="").replace(".", "%2E")
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(unit.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{name[: LONGEST - 33]}={digest}"


@contextmanager
def open_scratch(stage: str, key: str) -> Iterator[Scratch]:
    """Open the scratch of a stage, alone; wait while another process still works on the stage.

    Parameters
    ----------
    stage
        Name of the stage, such as ``align-synthetic``.
    key
        Hash of everything the stage's units depend on (`key_of`). Kept work under another key is
        of no use any more and is removed.
    """
    ROOT.mkdir(exist_ok=True)
    lock = _acquire(stage)
    try:
        _sweep(stage, key)
        folder = ROOT / stage / key
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        for name in ("units", "sums"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        scratch = Scratch(folder)
        scratch.discard_damaged()
        yield scratch
    finally:
        lock.release()


@contextmanager
def hold_stages(stages: Iterable[str]) -> Iterator[None]:
    """Keep other processes from working on stages while their outputs are read; wait for those that do."""
    ROOT.mkdir(exist_ok=True)
    with ExitStack() as stack:
        for stage in sorted(set(stages)):  # in one order everywhere, so that no two wait for each other
            stack.callback(_acquire(stage).release)
        yield


def _acquire(stage: str) -> FileLock:
    lock = FileLock(ROOT / f"{stage}.lock")
    holder = ROOT / f"{stage}.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text(encoding="utf-8") if holder.is_file() else "unknown"
        print(
            f"{stage}: process {pid} still works on this stage (a run that was cut off, or another "
            f"terminal); waiting for it. To stop it: kill {pid}",
            file=sys.stderr,
            flush=True,
        )
        lock.acquire()
    holder.write_text(str(os.getpid()), encoding="utf-8")
    return lock


def _sweep(stage: str, key: str) -> None:
    """Remove scratch that no run can use: this stage's under other keys, and what DVC has recorded."""
    recorded = Recorded()
    for folder in ROOT.glob("*/*/"):
        mine, current = folder.parent.name == stage, folder.name == key
        if (mine and not current) or ((mine or not _held(folder.parent.name)) and recorded.holds(_published(folder))):
            shutil.rmtree(folder, ignore_errors=True)


def _held(stage: str) -> bool:
    lock = FileLock(ROOT / f"{stage}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _published(folder: Path) -> dict[str, str]:
    """Hashes of the outputs that were published from a folder of scratch; none if it was cut off before."""
    try:
        hashes = json.loads((folder / PUBLISHED).read_bytes())
    except (OSError, ValueError):
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def key_of(**parts: object) -> str:
    """Hash named parts (anything JSON can hold) into a short key, independent of their order.

    Work under arithmetic that is not pinned has keys of its own.
    """
    if arithmetic() != "pinned":
        parts["arithmetic"] = arithmetic()
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def hash_file(path: Path) -> str:
    """Hash a file's content: hexadecimal SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_listing(files: Iterable[Path]) -> str:
    """Hash of files' paths, sizes and modification times (of a missing file: its path alone).

    Used for raw releases, whose content DVC hashes; reading hundreds of gigabytes again to resume a
    stage would cost more than the stage.
    """
    digest = hashlib.sha256()
    for path in files:
        line = path.as_posix()
        if path.is_file():
            status = path.stat()
            line += f"\0{status.st_size}\0{status.st_mtime_ns}"
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def link_tree(source: Path, target: Path) -> None:
    """Reproduce a folder by hard links, or by copies where the file system has none."""

    def link(origin: str, place: str) -> None:
        try:
            os.link(origin, place)
        except OSError:
            shutil.copy2(origin, place)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)
