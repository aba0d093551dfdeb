"""What a unit reads beside its payload: files that are sent to its node, and raw frames that must be reachable there.

A payload names files by paths. Those inside the project are sent, once to a node, where they lie under the same names
in a folder in which units run; so tasks, decoded inputs, features, corpora and weights need no shared file system. Raw
releases are too large for that: their folders, and those of frames extracted from their videos, are linked to the
places where they lie here, and each file that a unit reads there is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from fdpbench.prep.runtime.cluster.fingerprint import in_package
from fdpbench.prep.runtime.cluster.node_folder import size_of
from fdpbench.prep.runtime.cluster.settings import ClusterError
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.store import paths

__all__ = ["Reads", "reads_of", "reads_of_stage", "unsent_files"]


@dataclass(frozen=True)
class Reads:
    """What a unit reads.

    Attributes
    ----------
    sent
        Files and folders of the project, in order.
    linked
        Folders of the project, each with the place that it is linked to, the same on every node.
    looked_for
        Files that must be reachable, each with its size (`fdpbench.prep.runtime.cluster.node_folder.size_of`); one
        that is missing here must be missing there.
    """

    sent: tuple[str, ...] = ()
    linked: tuple[tuple[str, str], ...] = ()
    looked_for: tuple[tuple[str, int], ...] = ()


def reads_of(payload: Any) -> Reads:
    """What a unit reads, from the paths in its payload and the frames of a manifest's row in it.

    Raises
    ------
    ClusterError
        If it names a file outside the project by a relative path.
    """
    named, rows = _paths_and_rows(payload)
    sent: list[str] = []
    linked: dict[str, str] = {}
    files: dict[str, int] = {}
    for path in named:
        if path.is_absolute():
            files[path.as_posix()] = size_of(path)
        elif root := _release(path):
            for folder in (root, paths.frames(root.name)):
                if folder.exists():
                    linked[folder.as_posix()] = folder.resolve().as_posix()
            files[path.as_posix()] = size_of(path)
            files |= {frame.as_posix(): size_of(frame) for row in rows for frame in _frames(root, row)}
        elif path.exists():
            sent.append(_inside(path))
    return Reads(tuple(dict.fromkeys(sent)), tuple(linked.items()), tuple(files.items()))


def reads_of_stage(planned: Planned) -> tuple[str, ...]:
    """Files of the project that every unit of a stage may read: weights to start from, those of options, a model's."""
    entry = planned.settings.get("entry") or {}
    start = planned.settings.get("start") or ()
    named = [*planned.files, *start, *(name for name in planned.code if not in_package(name))]
    mine = [name for name in named if not in_package(name) and not Path(name).is_absolute()]
    model, _, _ = str(entry.get("model", "")).rpartition(":")  # of a file; it may lie among ours as well
    if model and not Path(model).is_absolute():
        mine.append(model)
    return tuple(_inside(Path(name)) for name in dict.fromkeys(mine) if Path(name).is_file())


def unsent_files(planned: Planned) -> tuple[str, ...]:
    """Files that a stage depends on and every node has to have by itself."""
    sent = {name for name in reads_of_stage(planned) if not in_package(name)}
    return tuple(name for name in dict.fromkeys([*planned.code, *planned.files]) if name not in sent)


def _paths_and_rows(payload: Any) -> tuple[list[Path], list[Mapping[str, Any]]]:
    """Paths anywhere in a payload, and mappings that list frames, as rows of a manifest do."""
    found: dict[Path, None] = {}
    rows = []
    seen: set[int] = set()
    waiting = [payload]
    while waiting:
        one = waiting.pop()
        if isinstance(one, PurePath):
            found[Path(one)] = None
        elif id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, Mapping) and isinstance(one.get("frames"), list | tuple):
                rows.append(one)
            waiting.extend(_parts(one))
    return sorted(found), rows


def _parts(one: Any) -> Iterator[Any]:
    """What an object holds; of texts, numbers, arrays, classes and functions nothing."""
    if isinstance(one, Mapping):
        yield from one.keys()
        yield from one.values()
    elif isinstance(one, list | tuple | set | frozenset):
        yield from one
    elif isinstance(one, type) or callable(one):
        return
    elif is_dataclass(one):
        yield from (getattr(one, field.name) for field in fields(one))
    else:
        yield from getattr(one, "__dict__", {}).values()


def _release(path: Path) -> Path | None:
    """The folder of the raw release, or of its extracted frames, that a path lies in."""
    for folder in (paths.raw(""), paths.frames("")):
        if path.is_relative_to(folder) and path != folder:
            return paths.raw(path.relative_to(folder).parts[0])
    return None


def _frames(root: Path, row: Mapping[str, Any]) -> Iterator[Path]:
    from fdpbench.prep.store.extracted import file_of_frame  # which imports the seam itself

    yield from (file_of_frame(root.name, root, source) for source in row["frames"] if isinstance(source, str))


def _inside(path: Path) -> str:
    if ".." in path.parts:
        raise ClusterError(
            f"{path}: lies outside the project, and cannot be sent to a cluster's nodes under that name; copy or link "
            "it into the project, and name it there"
        )
    return path.as_posix()
