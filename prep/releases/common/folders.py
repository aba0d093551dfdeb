"""Folders and image files of a release: where a clip's frames are, and whether all of them are there."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.frames import IMAGES, FolderProblem, Frames
from fdpbench.prep.releases.common.videos import ClipVideos, is_video, video_beside
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.store.schema import Reason

__all__ = [
    "FolderProblem",
    "add_clips",
    "check_emotion",
    "find_frames",
    "first_folder",
    "require_folder",
    "subfolder",
]

# What the names of frames begin with where a release gives its own crops of the faces: reg_img46.jpg beside img46.jpg.
CROP = "reg_"


def find_frames(folder: Path, root: Path, prefix: str = "") -> Frames:
    """Image files of a clip by frame number: the digits before the suffix, padded or not.

    Where none is named as raw frames are, the release's own crops count (`CROP` before that name).

    Parameters
    ----------
    folder
        The clip's folder.
    root
        The release's folder: a link that leads out of it is refused.
    prefix
        What the names of raw frames begin with, such as ``img``; others are not frames.

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
    paths = [Path(entry.path) for entry in entries if entry.name[0] != "."]
    images = [path for path in paths if path.suffix.lower() in IMAGES and path.stem != _named(path)]
    raw = [path for path in images if path.name.startswith(prefix) and not path.name.startswith(CROP)]
    crops = [path for path in images if path.name.startswith(CROP + prefix)]
    found = Frames(crops=not raw and bool(crops), place=_under(folder, root))
    for path in raw or crops:
        # not Path.resolve, which gives up on a link that leads to itself
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{path.name} is a link that leads out of the release")
        other = found.files.setdefault(int(path.stem[len(_named(path)) :]), path)
        if other is not path:
            raise FolderProblem(Reason.DUPLICATE, f"{other.name} and {path.name} are the same frame; remove one")
    found.others = [path.name for path in paths if path not in (raw or crops)]
    return found


def add_clips(
    listing: Listing,
    annotations: Annotations,
    root: Path,
    find: Callable[[Annotation], Path | Frames],
    *,
    lost_frames: LostFrames,
    prefix: str = "",
    trimmed: bool = False,
    videos: ClipVideos | None = None,
) -> None:
    """Join annotations with the image files, or the videos, on disk.

    A clip is rejected by name if its folder is missing, or if one of its frames from onset to offset is and lost
    frames are not accepted. Where in place of the folder there is a video of its name, its frames are the clip's.

    Parameters
    ----------
    listing
        Gets the clips and rejections.
    annotations
        What the sheet says.
    root
        The release's folder; stored paths are relative to it.
    find
        Gives a clip's folder, its video, or its frames; may raise `FolderProblem`.
    lost_frames
        ``keep``: a clip keeps the frames that are there, two at least, and its row says which; ``reject``: it is
        rejected.
    prefix
        What the names of frames begin with.
    trimmed
        Whether a clip's folder may hold its frames alone, numbered anew (`_not_alone` says when).
    videos
        How videos are read; None: their frames count from 1.
    """
    videos = videos or ClipVideos(annotations.release, root, 1)
    places = [_place(clip, find, videos) for clip in annotations.clips]
    videos.extract()
    renumbered = crops = lacking = lost = of_video = 0
    for clip, place in zip(annotations.clips, places, strict=True):
        name = listing.clip_id(clip.subject, clip.clip)
        try:
            if isinstance(place, Exception):
                raise place
            of_video += isinstance(place, str)
            if isinstance(place, str):
                frames = videos.frames(place)
            else:
                frames = find_frames(place, root, prefix) if isinstance(place, Path) else place
            onset = min(frames.files, default=0) if clip.onset is None else clip.onset
            offset = max(frames.files, default=0) if clip.offset is None else clip.offset
            marks = [mark for mark in (onset, clip.apex, offset) if mark is not None]
            if None in (clip.onset, clip.offset) and frames.files and (marks != sorted(marks) or onset == offset):
                there = f"{min(frames.files)}..{max(frames.files)}"
                raise FolderProblem(Reason.BAD_MARKS, f"onset, apex, offset are {marks}, but the frames are {there}")
            wanted = range(onset, offset + 1)
            files = {number: path for number, path in frames.files.items() if number in wanted}
            if len(files) < len(wanted):
                problem = _not_alone(frames.files, wanted) if trimmed else ""
                kept = _left(frames.files, wanted, trimmed) if lost_frames == "keep" else None
                if problem is None:
                    files = dict(zip(wanted, (path for _, path in sorted(frames.files.items())), strict=True))
                    renumbered += 1
                elif kept is not None:
                    files, lacking, lost = kept, lacking + 1, lost + len(wanted) - len(kept)
                else:
                    first = next(number for number in wanted if number not in files)
                    raise FolderProblem(
                        Reason.MISSING_FILE,
                        f"{frames.place}: {len(wanted) - len(files)} of {len(wanted)} frames are missing, first "
                        f"{first}; the folder holds {frames}{problem}",
                    )
            crops += frames.crops
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
            frames=[files[number].relative_to(root).as_posix() for number in sorted(files)],
            frame_numbers=sorted(files),
            fps=clip.fps,
            onset=onset,
            apex=clip.apex,
            offset=offset,
            action_units=clip.action_units,
        )
    if of_video:
        listing.notes.append(f"{of_video} clips are videos; their frames are extracted below data/frames")
    if renumbered:
        listing.notes.append(f"{renumbered} clips hold their frames alone; these were numbered from the onset on")
    if crops:
        listing.notes.append(f"{crops} clips are read from the release's own crops, files {CROP}{prefix}*, no raw ones")
    if lacking:
        listing.notes.append(f"index.lost_frames is keep: {lacking} clips lack {lost} frames between onset and offset")


def _place(
    clip: Annotation, find: Callable[[Annotation], Path | Frames], videos: ClipVideos
) -> Path | Frames | str | Exception:
    """A clip's folder or frames, the name of its video, whose frames are asked for, or what is wrong with it."""
    try:
        found = find(clip)
        if not isinstance(found, Path):
            return found
        video = found if is_video(found) else video_beside(found)
        return found if video is None else videos.want(clip, video)
    except (FolderProblem, OSError) as error:
        return error


def _left(files: dict[int, Path], wanted: range, trimmed: bool) -> dict[int, Path] | None:
    """Frames that are left of a clip, by the sheet's numbers; None where they are fewer than two.

    Also None where a clip's frames alone may have been numbered anew, and its first or last frame is not there:
    nobody knows then which were lost.
    """
    if trimmed and files:
        first, last = min(files), max(files)
        if first <= 1 and last - first + 1 == len(wanted) and len({_named(path) for path in files.values()}) == 1:
            return {number - first + wanted.start: path for number, path in files.items()} if len(files) > 1 else None
        if last <= len(wanted) and not (wanted.start == 1 and first >= 1):
            return None
    left = {number: path for number, path in files.items() if number in wanted}
    return left if len(left) > 1 else None


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


def check_emotion(clip: Annotation, name: str, emotions: Collection[str], same: Mapping[str, str]) -> None:
    """Check that a folder named like an emotion is not that of another one than the clip's.

    Raises
    ------
    FolderProblem
        Naming both.
    """
    named = same.get(name.lower(), name.lower())
    if named in emotions and clip.emotion in emotions and named != clip.emotion:
        raise FolderProblem(
            Reason.CONTRADICTS_NAME, f"emotion {clip.emotion!r}, but the clip's folder is under {name!r}"
        )


def first_folder(root: Path, *names: str) -> Path:
    """Find a release's folder of frames: the first of these names that is there, else the root itself.

    An archive unpacked into a folder of its own name gives that name twice; the inner folder is meant.
    """
    found = next((path for path in (subfolder(root, *name.split("/")) for name in names) if path.is_dir()), root)
    inner = found / found.name
    return inner if found != root and inner.is_dir() else found


def require_folder(root: Path, *names: str) -> Path:
    """Find a release's folder of frames: the first of these names that is there.

    Raises
    ------
    ReleaseError
        Naming what was expected and what is there.
    """
    found = first_folder(root, *names)
    if found != root:
        return found
    there = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise ReleaseError(
        f"{root / names[0]} not found; link the folder that holds {' or '.join(names)}. {root.name} holds {there}"
    )
