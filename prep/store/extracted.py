"""Frames of videos, extracted once and without loss: PNG files below ``data/frames/RELEASE``, which git ignores.

A manifest names such a frame by its video and its number from 0, ``S01/smile.avi#12``, so that it holds nothing of
this machine. What lies in the folder is made again when it is missing: a video is one unit of work, kept whole or not
at all, under its size and time of change, the code that reads videos and the version of PyAV; a run that was killed
goes on with those that are left. Of a long video the frames of its clips alone are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av

from fdpbench.prep.runtime.progress import track
from fdpbench.prep.runtime.scratch import Scratch, folder_name, hold_stages
from fdpbench.prep.runtime.workers import Context, Unit, available_cpus, run_units
from fdpbench.prep.store import images, paths, videos
from fdpbench.prep.store.documents import read_object
from fdpbench.prep.store.schema import Reason
from fdpbench.prep.store.videos import SUFFIXES, VideoError, read_video

__all__ = ["Extracted", "extract_videos", "file_of_frame", "frame_of", "frames_of_videos", "video_of"]

_FRAME = re.compile(rf"(?P<video>.+(?:{'|'.join(map(re.escape, SUFFIXES))}))#(?P<number>[0-9]+)", re.IGNORECASE)

REPORT = "video.json"


@dataclass(frozen=True)
class Extracted:
    """What was found of a video.

    Attributes
    ----------
    frames
        How many frames it has.
    kept
        Numbers of those that were extracted, from 0.
    seconds
        When each frame is shown, from the first on.
    refused
        Why it cannot be read, and what was found; None if it can be.
    """

    frames: int = 0
    kept: frozenset[int] = frozenset()
    seconds: tuple[float, ...] = ()
    refused: tuple[Reason, str] | None = None

    @property
    def rate(self) -> float | None:
        """Mean number of frames a second; None of a video of one frame."""
        return (self.frames - 1) / self.seconds[-1] if self.frames > 1 and self.seconds[-1] > 0 else None

    @property
    def varies(self) -> bool:
        """Whether a frame is shown more than half a frame away from where a constant rate would have it."""
        rate = self.rate
        return rate is not None and any(abs(t * rate - number) > 0.5 for number, t in enumerate(self.seconds))


def frame_of(video: str, number: int) -> str:
    """Name of a video's frame in a manifest."""
    return f"{video}#{number}"


def video_of(source: str) -> str:
    """The file that a frame of a manifest is in: its video, or itself."""
    match = _FRAME.fullmatch(source)
    return match["video"] if match else source


def frames_of_videos(sources: Iterable[str]) -> dict[str, set[int]]:
    """Videos among the sources of a manifest, each with the numbers of its frames."""
    found: dict[str, set[int]] = {}
    for source in sources:
        if match := _FRAME.fullmatch(source):
            found.setdefault(match["video"], set()).add(int(match["number"]))
    return found


def file_of_frame(release: str, root: Path, source: str) -> Path:
    """The image file of a frame of a manifest: below the release's folder, or extracted from a video there."""
    match = _FRAME.fullmatch(source)
    if match is None:
        return root / source
    return _store(release).unit(_unit(root, match["video"])) / _file(int(match["number"]))


def extract_videos(
    release: str, root: Path, wanted: Mapping[str, Iterable[int] | None], jobs: int | None = None
) -> dict[str, Extracted]:
    """Extract frames of videos; what is there already is not looked at again.

    Parameters
    ----------
    release
        Name of the release.
    root
        Its folder.
    wanted
        Videos below it, each with the numbers of the frames that are needed, from 0; None: all. Where a number is
        beyond the video's end, all of its frames are extracted, since others may be meant.
    jobs
        Number of worker processes; None: FDPBENCH_JOBS, or one for each processor.

    Returns
    -------
    For each video what was found. One that cannot be read says why; it is tried again when its file, the code that
    reads videos or PyAV has changed.
    """
    if not wanted:
        return {}
    jobs = jobs or int(os.environ.get("FDPBENCH_JOBS", 0)) or available_cpus()
    scratch = _store(release)
    names = {video: _unit(root, video) for video in wanted}
    numbers = {video: None if needed is None else frozenset(needed) for video, needed in wanted.items()}
    with hold_stages([f"frames-{release}"]):
        for name in ("units", "sums"):
            (scratch.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch.folder / "tmp", ignore_errors=True)
        missing = []
        for video, name in names.items():
            if scratch.has(name) and not _covers(found := _read(scratch, name), numbers[video]):
                more = numbers[video]
                numbers[video] = None if more is None else more | found.kept
                shutil.rmtree(scratch.unit(name))
            if not scratch.has(name):
                _remove_former(scratch, video)
                missing.append(video)
        payloads = (Unit(names[video], (root / video, numbers[video])) for video in missing)
        if missing:
            finished = run_units(payloads, _extract, scratch, jobs)
            for _ in track(finished, f"frames {release}", len(missing), what="videos", workers=jobs):
                pass
        return {video: _read(scratch, name) for video, name in names.items()}


def _covers(found: Extracted, needed: Collection[int] | None) -> bool:
    """Whether all that is needed of a video was extracted; so it is where nothing can be."""
    whole = found.refused is not None or len(found.kept) == found.frames
    return whole or (needed is not None and found.kept.issuperset(needed))


def _store(release: str) -> Scratch:
    return Scratch(paths.frames(release))


def _unit(root: Path, video: str) -> str:
    """Name of a video's unit: another one once the file has changed, or what reads it."""
    try:
        status = (root / video).stat()
    except OSError:
        return f"{video}@missing"
    return f"{video}@{status.st_size}-{status.st_mtime_ns}-{_reader()}"


@cache
def _reader() -> str:
    """Hash of what decides which images a video's frames are: the module that reads it, and PyAV's version."""
    return hashlib.sha256(Path(videos.__file__).read_bytes() + av.__version__.encode()).hexdigest()[:10]


def _remove_former(scratch: Scratch, video: str) -> None:
    """Remove what was extracted of a video that has changed since, or that was read otherwise."""
    former = re.compile(re.escape(folder_name(f"{video}@")) + r"(missing|[0-9]+-[0-9]+(-[0-9a-f]{10})?)")
    for unit in scratch.unit(video).parent.iterdir():
        if former.fullmatch(unit.name):
            shutil.rmtree(unit)


def _file(number: int) -> str:
    return f"{number:06d}.png"


def _extract(payload: tuple[Path, frozenset[int] | None], context: Context) -> None:
    """Write the frames of a video as PNG files, and what was found of it."""
    path, needed = payload
    seconds: list[float] = []
    report: dict[str, Any]
    try:
        for frame in read_video(path):
            seconds.append(frame.seconds)
            if needed is None or frame.number in needed:
                (context.folder / _file(frame.number)).write_bytes(images.encode_png(frame.image))
    except VideoError as error:
        for file in context.folder.glob("*.png"):
            file.unlink()
        report = {"refused": [error.reason, error.detail]}
    else:
        if needed is not None and max(needed, default=0) >= len(seconds):
            _extract((path, None), context)
            return
        kept = range(len(seconds)) if needed is None else sorted(needed)
        report = {"frames": len(seconds), "kept": list(kept), "seconds": seconds}
    (context.folder / REPORT).write_text(json.dumps(report), encoding="utf-8")


def _read(scratch: Scratch, name: str) -> Extracted:
    folder = scratch.unit(name)
    content = read_object(folder / REPORT, f"delete {folder} and run the command again")
    if "refused" in content:
        reason, detail = content["refused"]
        return Extracted(refused=(Reason(reason), detail))
    return Extracted(content["frames"], frozenset(content["kept"]), tuple(content["seconds"]))
