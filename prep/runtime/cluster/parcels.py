"""Files and folders of the project in the object store: put there once, in parts, for all nodes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fdpbench.prep.runtime.cluster.worker import Parcel

__all__ = ["PART", "Parcels"]

PART = 64_000_000  # bytes of a part, so that a large file is never in memory as a whole


class Parcels:
    """What was put into the store.

    Parameters
    ----------
    put
        Puts bytes there and gives a reference; the reference keeps them there.
    """

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._made: dict[str, Parcel] = {}

    def of(self, root: str) -> Parcel:
        """A file, or all files of a folder, which are read at the first call."""
        if root not in self._made:
            self._made[root] = tuple(self._file(path) for path in _files(Path(root)))
        return self._made[root]

    def _file(self, path: Path) -> tuple[str, str, tuple[Any, ...]]:
        found, references = hashlib.sha256(), []
        with path.open("rb") as stream:
            while part := stream.read(PART):
                found.update(part)
                references.append(self._put(part))
        return path.as_posix(), found.hexdigest(), tuple(references)


def _files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))
