"""Releases: what is known of each before it is read, and the module that reads it.

A release is a module: a file of this folder of its name, found by listing the folder, or one of another distribution
that names it in the entry-point group ``fdpbench.releases``. It holds

* ``RELEASE``, what is known of the release (`Release`),
* ``annotations_of(sheet) -> Annotations``, what its annotation sheet alone says,
* ``read(root, lost_frames) -> Listing``, the same with frames,

and is imported when that release is asked for, and no other with it. `prep.releases.common` has the shared parts.

A data set of one's own needs no module: section `releases` of params.yaml describes it, `declare_releases` makes it as
known as the others, and `prep.releases.own` reads it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fdpbench.prep.settings.problems import near

if TYPE_CHECKING:
    from fdpbench.prep.releases.common.base import Annotations, Listing
    from fdpbench.prep.settings.index import LostFrames
    from fdpbench.prep.settings.release import FolderRelease

__all__ = [
    "RELEASES",
    "SIMULATED",
    "KnownCounts",
    "Release",
    "ReleaseError",
    "declare_releases",
    "is_described",
    "is_simulated",
    "one_each",
    "read_annotations",
    "read_release",
    "reader_module",
    "refuse_crops",
    "release_info",
]

GROUP = "fdpbench.releases"
OWN_READER = "fdpbench.prep.releases.own.reader"

# `fdpbench simulate` leaves this file in the folder of a release whose faces are rendered, names and labels invented.
SIMULATED = "SIMULATED.txt"


class ReleaseError(ValueError):
    """A release cannot be read at all; the message says what is missing and what to do."""


@dataclass(frozen=True)
class KnownCounts:
    """Clips that a version of a release's sheet holds: how many of each emotion, and of how many subjects."""

    version: str
    subjects: int
    emotions: Mapping[str, int]


@dataclass(frozen=True)
class Release:
    """What the project knows of a release before it reads it.

    Attributes
    ----------
    name
        Name of the release and of its file.
    kind
        ``frames`` (image files of each clip) or ``flow`` (one optical-flow image a clip).
    about
        What it is, with its paper.
    expects
        What the linked folder holds.
    class_maps
        Class maps by name, those of the literature unless the release is rendered; the one that `fdpbench link`
        proposes first. Of each, class -> the annotated emotions it gathers, in order of class index.
    known_counts
        What sheets of the release hold (not what papers say in passing), by version.
    longest
        Seconds from onset to offset beyond which a clip is noted as too long (`prep.index.doubts`).
    without_apex
        Whether some or all clips have no annotated apex: the task that `fdpbench link` proposes has no flow then, which
        needs one, until params.yaml says `flow: {missing_apex: estimate}` and the task asks for flow.
    faces_may_be_published
        What the licence says; it guards every picture that the project draws.
    rendered
        Whether the faces are rendered, so that scores on them say nothing about real ones. Tables say so.
    has_crops
        Whether the release comes with its own crops of the faces, which its ``read(root, lost_frames, crops=True)``
        reads in place of the raw frames, for `align.mode: given`.
    """

    name: str
    kind: Literal["frames", "flow"]
    about: str
    expects: str
    class_maps: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    known_counts: tuple[KnownCounts, ...] = ()
    longest: float = 0.5
    without_apex: bool = False
    faces_may_be_published: bool = False
    rendered: bool = False
    has_crops: bool = False


def one_each(*emotions: str) -> dict[str, tuple[str, ...]]:
    """Class map with a class for each emotion, of its name."""
    return {emotion: (emotion,) for emotion in emotions}


class _Releases(Mapping[str, Release]):
    """All releases by name: to list them imports none, to look one up imports its own module."""

    def __getitem__(self, name: str) -> Release:
        if name not in self:
            raise KeyError(name)
        release: Release = _reader(name).RELEASE
        return release

    def __iter__(self) -> Iterator[str]:
        yield from _modules()
        yield from _own

    def __len__(self) -> int:
        return len(_modules()) + len(_own)

    def __contains__(self, name: object) -> bool:
        return name in _modules() or name in _own


RELEASES: Mapping[str, Release] = _Releases()

# Those that params.yaml describes, as it was read last.
_own: dict[str, FolderRelease] = {}


def declare_releases(own: Mapping[str, FolderRelease]) -> None:
    """Make data sets of one's own known by name, in place of those that were before.

    Parameters
    ----------
    own
        What section `releases` of params.yaml says of each.

    Raises
    ------
    ReleaseError
        If a release that has a reader is called like one of them.
    """
    taken = [name for name in own if name in _modules()]
    if taken:
        raise ReleaseError(
            f"params.yaml: releases.{taken[0]}: this name is that of a known release, which has a reader of its own: "
            "write {} after it, or call your data set otherwise"
        )
    _own.clear()
    _own.update(own)


def is_described(name: str) -> bool:
    """Whether a release is a data set of one's own, described in params.yaml."""
    return name in _own


def release_info(name: str) -> Release:
    """Tell what is known of a release; imports its module.

    Raises
    ------
    ReleaseError
        If there is no such release; the message lists those there are.
    """
    reader_module(name)
    return RELEASES[name]


def reader_module(name: str) -> str:
    """Dotted name of the module that reads a release, such as ``fdpbench.prep.releases.casme2``; imports nothing.

    Raises
    ------
    ReleaseError
        If there is no such release, or two modules have its name.
    """
    if name not in RELEASES:
        raise ReleaseError(
            f"unknown release {name!r}{near(name, RELEASES)}; known releases: {', '.join(RELEASES)}. A data set of "
            f"your own is described in params.yaml: fdpbench describe DIR --name {name}"
        )
    return OWN_READER if name in _own else _modules()[name]


def read_annotations(name: str, sheet: Path) -> Annotations:
    """Read a release's annotation sheet alone, without frames.

    Raises
    ------
    ReleaseError
        If the release is unknown, or the sheet is not there or not that release's.
    """
    annotations: Annotations = _reader(name).annotations_of(sheet)
    annotations.simulated = is_simulated(sheet.parent)
    return annotations


def read_release(name: str, root: Path, lost_frames: LostFrames = "reject", crops: bool = False) -> Listing:
    """Read a release from its folder.

    Parameters
    ----------
    name, root
        The release and its folder.
    lost_frames
        Section ``index`` of params.yaml: what becomes of a clip that lacks frames.
    crops
        Whether the release's own crops of the faces are read (`align.mode: given`). The files of a data set of one's
        own are taken for such; a release of flow images has none and needs none.

    Raises
    ------
    ReleaseError
        If the folder or its sheet is not there or cannot be read, or crops are asked for and there are none.
    """
    release = release_info(name)
    if not root.is_dir():
        raise ReleaseError(
            f"{root}: folder of release {name!r} not found. Expected {release.expects}. "
            f"Point the project at it: fdpbench link {name} /path/to/the/release"
        )
    if crops:
        refuse_crops(release)
    listing: Listing = _reader(name).read(root, lost_frames, **({"crops": True} if crops and release.has_crops else {}))
    listing.crops = crops and release.kind == "frames"
    listing.simulated |= is_simulated(root)
    if not listing.clips:
        first = "; ".join(f"{row['clip_id']}: {row['detail']}" for row in listing.rejected[:3])
        raise ReleaseError(f"{root}: no clip of {name!r} could be used. Expected {release.expects}. {first}")
    return listing


def refuse_crops(release: Release) -> None:
    """Refuse a release that comes with no crops of faces, of which `align.mode: given` would make squashed frames.

    Raises
    ------
    ReleaseError
        Naming it and those that have some.
    """
    if release.kind == "frames" and not release.has_crops and release.name not in _own:
        have = ", ".join(name for name, other in RELEASES.items() if other.has_crops)
        raise ReleaseError(
            f"align.mode is given, but release {release.name!r} has no crops of its faces; those that do: {have} "
            "and data sets of your own. Choose another mode, or prepare it in another study"
        )


def is_simulated(folder: Path) -> bool:
    """Whether a folder says that it holds a simulated release."""
    return (folder / SIMULATED).is_file()


@cache
def _modules() -> dict[str, str]:
    """Module of each release by its name, in order of names: files of this folder, and those of other distributions."""
    found = {module.name: f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if not module.ispkg}
    for point in metadata.entry_points(group=GROUP):
        other = found.setdefault(point.name, point.value)
        if other != point.value:
            raise ReleaseError(
                f"two modules read a release {point.name!r}: {other} and {point.value} (entry points of the group "
                f"{GROUP}); uninstall the distribution that one of them comes with"
            )
    return dict(sorted(found.items()))


def _reader(name: str) -> Any:
    """The module that reads a release, checked for what it must hold."""
    module = reader_module(name)
    try:
        reader = import_module(module)
    except ImportError as error:
        raise ReleaseError(f"release {name!r}: its module {module} cannot be imported ({error})") from error
    if name in _own:
        return reader.FolderReader(name, _own[name])
    release = getattr(reader, "RELEASE", None)
    whole = all(callable(getattr(reader, function, None)) for function in ("annotations_of", "read"))
    if not (isinstance(release, Release) and release.name == name and whole):
        raise ReleaseError(
            f"release {name!r}: its module {module} must hold RELEASE = Release(name={name!r}, ...), "
            "annotations_of(sheet) and read(root, lost_frames)"
        )
    return reader
