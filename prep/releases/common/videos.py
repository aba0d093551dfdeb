"""Clips that are videos: which file, and its frames, extracted once for all clips of a release."""

from __future__ import annotations

import os
from pathlib import Path

from fdpbench.prep.releases.common.base import Annotation
from fdpbench.prep.releases.common.frames import FolderProblem, Frames
from fdpbench.prep.store.extracted import Extracted, extract_videos, frame_of
from fdpbench.prep.store.schema import Reason
from fdpbench.prep.store.videos import SUFFIXES

__all__ = ["ClipVideos", "is_video", "video_beside"]


class ClipVideos:
    """Videos of a release's clips: first those that are wanted, then what is in them.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder; a video outside is refused.
    first
        Number of a video's first frame as the sheet counts.
    steady
        Whether a video whose frame rate varies is refused, since the sheet's frame numbers were made of times.
    """

    def __init__(self, release: str, root: Path, first: int, *, steady: bool = False) -> None:
        self.release, self.root, self.first, self.steady = release, root, first, steady
        self.found: dict[str, Extracted] = {}
        self._wanted: dict[str, set[int] | None] = {}

    def want(self, clip: Annotation, path: Path) -> str:
        """Ask for a clip's frames; its video's name from the root on.

        Raises
        ------
        FolderProblem
            If the file is a link that leads out of the release.
        """
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{path.name} is a link that leads out of the release")
        video = path.relative_to(self.root).as_posix()
        before = self._wanted.setdefault(video, set())
        if clip.onset is None or clip.offset is None:
            self._wanted[video] = None
        elif before is not None:
            before.update(range(max(clip.onset - self.first, 0), clip.offset - self.first + 1))
        return video

    def extract(self) -> None:
        """Extract all that was asked for."""
        self.found = extract_videos(self.release, self.root, self._wanted)

    def frames(self, video: str) -> Frames:
        """Frames of a video by the sheet's numbers.

        Raises
        ------
        FolderProblem
            If it cannot be read.
        """
        found = self.found[video]
        if found.refused is not None:
            raise FolderProblem(found.refused[0], f"{video}: {found.refused[1]}")
        if self.steady and found.varies:
            raise FolderProblem(
                Reason.BAD_MARKS,
                f"{video}: its frame rate varies, so that times are no frame numbers; write frame numbers into the "
                f"sheet, from {self.first} on",
            )
        files = {number + self.first: self.root / frame_of(video, number) for number in sorted(found.kept)}
        return Frames(files, place=video)


def is_video(path: Path) -> bool:
    """Whether a path is a file that is named as a video."""
    return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def video_beside(folder: Path) -> Path | None:
    """The video that is named as a clip's folder, where that folder is not there; None if there is none, or several."""
    if os.path.isdir(folder):  # False, not an error, for names that no file system holds
        return None
    videos = [path for suffix in SUFFIXES if is_video(path := folder.with_name(folder.name + suffix))]
    return videos[0] if len(videos) == 1 else None
