"""Folders and image files of a release: where a clip's frames are, and whether all of them are there."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from prep.releases.base import Annotation, Annotations, Listing
from prep.releases.sheets import ReleaseError
from prep.schema import Reason

__all__ = [
    "SIMULATED",
    "FolderProblem",
    "add_clips",
    "first_folder",
    "frame_numbers",
    "is_simulated",
    "require_folder",
    "subfolder",
]

# `prep simulate` leaves this file in the folder of a release whose faces are rendered, names and labels invented.
SIMULATED = "SIMULATED.txt"

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}


class FolderProblem(Exception):
    """A clip's folder or frames cannot be used: the reason and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def frame_numbers(folder: Path, root: Path, prefix: str = "") -> dict[int, Path]:
    """Image files of a clip by frame number: the digits before the suffix, padded or not.

    Parameters
    ----------
    folder
        The clip's folder.
    root
        The release's folder: a link that leads out of it is refused.
    prefix
        What the names of frames begin with, such as ``reg_img``; others are not frames.

    Raises
    ------
    FolderProblem
        If the folder is missing or cannot be listed, two files are the same frame, or a link leads out of
        the release.
    """
    home = root.resolve()
    if not os.path.isdir(folder):  # False, not an error, for names that no file system holds
        raise FolderProblem(Reason.MISSING_FOLDER, f"{_under(folder, root)} not found")
    if not folder.resolve().is_relative_to(home):
        raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{_under(folder, root)} is a link that leads out of the release")
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise FolderProblem(Reason.UNREADABLE_FILE, f"{_under(folder, root)}: {error.strerror}") from error
    numbered: dict[int, Path] = {}
    for entry in entries:
        path = Path(entry.path)
        digits = path.stem[len(_named(path)) :]
        if not digits or path.suffix.lower() not in IMAGES or not path.name.startswith(prefix) or path.name[0] == ".":
            continue
        # not Path.resolve, which gives up on a link that leads to itself
        if entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{path.name} is a link that leads out of the release")
        other = numbered.setdefault(int(digits), path)
        if other is not path:
            raise FolderProblem(Reason.DUPLICATE, f"{other.name} and {path.name} are the same frame; remove one")
    return numbered


def add_clips(
    listing: Listing,
    annotations: Annotations,
    root: Path,
    folder: Callable[[Annotation], Path],
    fps: float | None,
    prefix: str = "",
    trimmed: bool = False,
) -> None:
    """Join annotations with the image files on disk.

    A clip is rejected by name if its folder is missing or one of its frames from onset to offset is.

    Parameters
    ----------
    listing
        Gets the clips and rejections.
    annotations
        What the sheet says.
    root
        The release's folder; stored paths are relative to it.
    folder
        Gives a clip's folder; may raise `FolderProblem`.
    fps
        Frames per second.
    prefix
        What the names of frames begin with.
    trimmed
        Whether a clip's folder may hold its frames alone, numbered anew (`_not_alone` says when).
    """
    renumbered = 0
    for clip in annotations.clips:
        name = listing.clip_id(clip.subject, clip.clip)
        try:
            place = folder(clip)
            files = frame_numbers(place, root, prefix)
            wanted = range(clip.onset, clip.offset + 1)
            missing = len(wanted) - sum(frame in wanted for frame in files)
            if missing:
                problem = _not_alone(files, wanted) if trimmed else ""
                if problem is not None:
                    numbers = f"the folder holds {len(files)}" + (f", {min(files)} to {max(files)}" if files else "")
                    first = next(frame for frame in wanted if frame not in files)
                    raise FolderProblem(
                        Reason.MISSING_FILE,
                        f"{_under(place, root)}: {missing} of {len(wanted)} frames are missing, first {first}; "
                        f"{numbers}{problem}",
                    )
                files = dict(zip(wanted, (files[number] for number in sorted(files)), strict=True))
                renumbered += 1
        except FolderProblem as problem:
            listing.reject(name, problem.reason, f"{clip.row}: {problem}", clip.emotion)
            continue
        except OSError as error:  # a folder on the way that cannot be listed, a name that no file system holds
            detail = f"{clip.row}: folder of {clip.subject}, {clip.clip}: {error.strerror}"
            listing.reject(name, Reason.UNREADABLE_FILE, detail, clip.emotion)
            continue
        listing.add(
            clip.subject,
            clip.clip,
            emotion=clip.emotion,
            frames=[files[frame].relative_to(root).as_posix() for frame in wanted],
            frame_numbers=list(wanted),
            fps=fps,
            onset=clip.onset,
            apex=clip.apex,
            offset=clip.offset,
            action_units=clip.action_units,
        )
    if renumbered:
        listing.notes.append(f"{renumbered} clips hold their frames alone; these were numbered from the onset on")


def _not_alone(files: dict[int, Path], wanted: range) -> str | None:
    """Say why files are not a clip's frames alone, numbered anew; None if they are.

    They are if there are as many as the sheet counts, numbered in a row from 0 or 1, and named alike: a lost
    frame and a stray file do not make up for each other.
    """
    numbers = sorted(files)
    if not numbers:
        return ""
    text = f"; nor are these the clip's frames alone, {len(wanted)} in a row from 0 or 1 on: "
    gaps = [number + 1 for number, after in zip(numbers, numbers[1:], strict=False) if after != number + 1]
    usual = Counter(map(_named, files.values())).most_common(1)[0][0]
    odd = [path.name for path in files.values() if _named(path) != usual]
    if gaps:
        return text + f"{gaps[0]} is missing" + (f", the first of {len(gaps)} gaps" if len(gaps) > 1 else "")
    if numbers[0] > 1:
        return text + f"they begin with {numbers[0]}"
    if len(numbers) != len(wanted):
        return text + f"they are {len(numbers)}"
    if odd:
        return text + f"{odd[0]} is named otherwise than the rest"
    return None


def _named(path: Path) -> str:
    """A frame's name without its number and suffix."""
    return path.stem.rstrip("0123456789")


def _under(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def subfolder(parent: Path, *names: str) -> Path:
    """Go down into folders by name: as it is written, else the only one alike but for case and Unicode form."""
    for name in names:
        exact = parent / name
        if not os.path.isdir(exact) and os.path.isdir(parent):
            alike = [path for path in sorted(parent.iterdir()) if _alike(path.name) == _alike(name) and path.is_dir()]
            exact = alike[0] if len(alike) == 1 else exact
        parent = exact
    return parent


def _alike(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def is_simulated(folder: Path) -> bool:
    """Whether a folder says that it holds a simulated release."""
    return (folder / SIMULATED).is_file()


def first_folder(root: Path, *names: str) -> Path:
    """Find a release's folder of frames: the first of these names that is there, else the root itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def require_folder(root: Path, *names: str) -> Path:
    """Find a release's folder of frames: the first of these names that is there.

    Raises
    ------
    ReleaseError
        Naming what was expected.
    """
    found = first_folder(root, *names)
    if found != root:
        return found
    raise ReleaseError(f"{root / names[0]} not found; link the folder that holds {' or '.join(names)}")
