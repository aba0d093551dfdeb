"""Clips as they lie on disk: a video, a folder of frames, or frames named one by one or by a pattern."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.releases.common.frames import IMAGES
from fdpbench.prep.settings.problems import near
from fdpbench.prep.store.images import read_image
from fdpbench.prep.store.videos import SUFFIXES, VideoFrame, read_video, video_info

__all__ = ["Source", "SourceError", "Unusable", "natural_key", "source_of_frames", "sources_of"]


class SourceError(ValueError):
    """A path is no clip; the message names it, what was found and what to do."""


@dataclass(frozen=True)
class Unusable:
    """A path that is no clip, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A clip on disk, whose frames can be read any number of times.

    Attributes
    ----------
    name
        As it was given; of frames that were named one by one their folder.
    files
        Frames in order, or the video alone.
    is_video
        Whether it is a video.
    fps
        Frames a second: as the user says, else as the video's header does; None where nobody says it.
    count
        Number of frames, of a video as far as its header says; None where it does not.
    own_rate
        Whether the user said ``fps``, in whose time the frames then are.
    held
        Frames in memory, (N, H, W, 3) uint8, RGB, instead of files.
    lost
        How many frames the numbers in the files' names skip.
    """

    name: str
    files: tuple[Path, ...]
    is_video: bool
    fps: float | None
    count: int | None
    own_rate: bool = False
    held: NDArray[np.uint8] | None = None
    lost: int = 0

    def frames(self, first: int = 0, last: int | None = None) -> Iterator[VideoFrame]:
        """Read frames ``first`` to ``last``, from 0, both among them; by default to the end.

        Raises
        ------
        prep.store.videos.VideoError, prep.store.images.ImageError
            If a frame cannot be read.
        SourceError
            If frames differ in size.
        """
        stop = None if last is None else last + 1
        if self.held is not None:
            for number, image in islice(enumerate(self.held), first, stop):
                yield self._timed(VideoFrame(number, 0.0, image))
            return
        if self.is_video:
            frames = islice(read_video(self.files[0]), first, stop)
            yield from (self._timed(frame) for frame in frames)
            return
        shape = None
        for number, file in islice(enumerate(self.files), first, stop):
            image = read_image(file)
            shape = shape or image.shape
            if image.shape != shape:
                raise SourceError(
                    f"{file}: its size is {image.shape[1]} x {image.shape[0]}, that of the frames before {shape[1]} x "
                    f"{shape[0]}: not one clip; leave out what does not belong to it, or name the frames by a pattern"
                )
            yield self._timed(VideoFrame(number, 0.0, image))

    def _timed(self, frame: VideoFrame) -> VideoFrame:
        if self.is_video and not self.own_rate:
            return frame
        return frame._replace(seconds=frame.number / self.fps if self.fps else float("nan"))


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts names by the numbers in them: img2 comes before img10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def sources_of(paths: Sequence[str | Path], fps: float | None = None) -> list[Source | Unusable]:
    """Find the clips that some paths name.

    Parameters
    ----------
    paths
        Videos; folders, whose images are the frames of one clip; images, and patterns such as ``clip1/*.png``, of which
        those of one folder are one clip.
    fps
        Frames a second; None: as videos say.

    Returns
    -------
    In the order of the paths; those that are no clip with the reason. Images of a folder whose names differ in more
    than numbers are no clip: they are several.
    """
    found: list[Source | Unusable] = []
    frames: dict[Path, list[Path]] = {}  # images by folder
    places: dict[Path, int] = {}
    for given in paths:
        try:
            for path in _expanded(given):
                if path.is_dir():
                    found.append(_folder(path, fps))
                elif path.suffix.lower() in IMAGES:
                    if path.parent not in places:
                        places[path.parent] = len(found)
                        found.append(Unusable(str(path.parent), ""))  # its place, until all its frames are known
                    frames.setdefault(path.parent, []).append(path)
                else:
                    found.append(_video(path, fps))
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            found.append(Unusable(str(given), reason.removeprefix(f"{given}: ")))
    for folder, place in places.items():
        try:
            found[place] = _of_images(str(folder), frames[folder], fps)
        except SourceError as error:
            found[place] = Unusable(str(folder), str(error).removeprefix(f"{folder}: "))
    return found


def source_of_frames(frames: NDArray[np.uint8], fps: float | None = None, name: str = "frames") -> Source:
    """A clip in memory.

    Parameters
    ----------
    frames
        (N, H, W, 3), RGB.
    fps
        Frames a second, if they are known.
    name
        What it is called.

    Raises
    ------
    SourceError
        If the array is of another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < 2:
        raise SourceError(f"{name}: expected (N, H, W, 3) uint8, N at least 2; got {frames.shape} {frames.dtype}")
    return Source(name, (), False, fps, len(frames), True, frames)


def _expanded(given: str | Path) -> list[Path]:
    path = Path(given).expanduser()
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        matched = sorted(map(Path, glob.glob(str(path))), key=natural_key)
        if not matched:
            raise SourceError(f"{given}: no file matches this pattern; check it, or give the folder")
        return matched
    siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f": there is no folder {path.parent}"
    raise SourceError(f"{given}: no such file or folder{where}{near(path.name, siblings)}")


def _video(path: Path, fps: float | None) -> Source:
    info = video_info(path)
    return Source(str(path), (path,), True, fps or info.rate, info.frames, fps is not None)


def _folder(path: Path, fps: float | None) -> Source:
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in IMAGES]
    if not images:
        videos = sorted(file.name for file in files if file.suffix.lower() in SUFFIXES)
        folders = sorted(file.name for file in files if file.is_dir())
        inside = (
            f"it holds {len(videos)} videos: give them, {path}/*{Path(videos[0]).suffix}"
            if videos
            else f"it holds {len(folders)} folders: give those, {path}/*/"
            if folders
            else "give a folder of frames, or a video"
        )
        raise SourceError(f"{path}: no image ({', '.join(sorted(IMAGES))}) in this folder; {inside}")
    return _of_images(str(path), images, fps)


def _of_images(name: str, files: list[Path], fps: float | None) -> Source:
    ordered = sorted(dict.fromkeys(files), key=natural_key)
    series: dict[str, Path] = {}  # by the name without its numbers
    for file in ordered:
        series.setdefault(re.sub(r"[0-9]+", "0", file.name.casefold()), file)
    if len(series) > 1:
        one, other, *_ = series.values()
        pattern = one.with_name(re.sub(r"[0-9]+", "*", one.name))
        raise SourceError(
            f"{name}: {one.name} and {other.name} differ in more than numbers: not the frames of one clip; name those "
            f"of one by a pattern, '{pattern}', and the next clip in a call of its own"
        )
    if len(ordered) < 2:
        raise SourceError(f"{name}: one frame alone, {ordered[0].name}; motion needs two, give the folder of the clip")
    return Source(name, tuple(ordered), False, fps, len(ordered), fps is not None, lost=_lost(ordered))


def _lost(ordered: Sequence[Path]) -> int:
    """How many frames are skipped by the numbers of names that differ in these alone.

    The step that is most frequent is that of the numbering: 1, 3, 5, 9 skip one frame.
    """
    numbers = np.array([[int(part) for part in re.findall(r"[0-9]+", path.name)] for path in ordered], dtype=object)
    varying = [column for column in numbers.T if len(set(column)) > 1]
    steps = [int(step) for step in np.diff(varying[-1]) if step > 0] if varying else []
    if not steps:
        return 0
    usual, _ = min(Counter(steps).most_common(), key=lambda item: (-item[1], item[0]))
    return sum(round(step / usual) - 1 for step in steps if step > usual)
