"""Video files, read frame by frame in the order in which they are shown, so that a damaged one is found.

Read with PyAV 18.1 (FFmpeg 8.1), after trying it and OpenCV 4.14 on rendered frames that carry their numbers
(`tests/prep/store/test_videos.py` writes such files anew):

======================  ======================================  ==================================================
file                    PyAV                                    OpenCV
======================  ======================================  ==================================================
variable frame rate     all frames, with their times            all frames, with their times; its frame count (by
                                                                duration and mean rate) is wrong in Matroska: 49 for 40
rotation metadata       given, not applied (done here)          applied
10 bits                 all frames                              all frames
cut short, a hole       an error at the frame, or a packet      the frames before it, and no error: 22 of 40 look
                        marked as corrupt                       like a video of 22
sound alone, 0 bytes,   an error that says which                not opened, without a reason
text
======================  ======================================  ==================================================

A file that can be read to its end can lack its end all the same; it is then shorter than its header says, which is
checked here. What no library sees: other values in a format without checksums, such as raw pixels.

Memory does not grow with the length: one frame is held at a time, decoded in one thread.

Bytes: standards fix what H.264, HEVC, FFV1 and the like decode to; of MPEG-4 and Motion JPEG, whose standards leave
room, FFmpeg takes its exact integer transform (``idct=simple``, ``bitexact``), and it turns colours into RGB by
exact rounding (``ACCURATE_RND``, ``BITEXACT``): the flags under which FFmpeg's own tests have one checksum for all
processors. Files of eleven codecs and pixel formats gave the same bytes on a processor with AVX-512 and on an emulated
Haswell and EPYC-Rome (``pytest -m portable -k videos``). Another version of PyAV may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from fdpbench.prep.store.image_checks import MOST_PIXELS
from fdpbench.prep.store.schema import Reason

__all__ = ["SUFFIXES", "VideoError", "VideoFrame", "VideoInfo", "read_video", "video_info"]

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv")

# Containers; FFmpeg also takes playlists, scripts and pictures for videos, whatever a file is called.
CONTAINERS = frozenset("avi,mov,matroska,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,h264,hevc,m4v,dv,nut".split(","))

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_STRICT = {"err_detect": "explode", "flags": "+bitexact", "idct": "simple"}

# What is said of a file that decodes no further; -c:v ffv1 loses nothing of what can still be decoded.
_CURE = "copy it again from where it came from, or save what is left of it: ffmpeg -i {0} -c:v ffv1 repaired.mkv"


class VideoError(ValueError):
    """A video cannot be used; the message names the file, the frame and what to do.

    Attributes
    ----------
    path
        The file.
    reason
        One of `Reason`.
    detail
        What was found, and the cure.
    """

    def __init__(self, path: Path, reason: Reason, detail: str) -> None:
        super().__init__(path, reason, detail)  # all, so that it survives the way out of a worker process
        self.path = path
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}: {self.detail}"


class VideoFrame(NamedTuple):
    """A frame: its number from 0, when it is shown (seconds from the first), its image (H, W, 3) of uint8, RGB."""

    number: int
    seconds: float
    image: NDArray[np.uint8]


class VideoInfo(NamedTuple):
    """What a video's header says of it: none of it is checked before the frames are read.

    ``rate`` is the mean number of frames a second, ``frames`` how many there are; None where it does not say.
    """

    codec: str
    width: int
    height: int
    rate: float | None
    frames: int | None


def video_info(path: Path) -> VideoInfo:
    """Read a video's header.

    Raises
    ------
    VideoError
        If the file is missing, empty, no video, or has no pictures.
    """
    with _opened(path) as (_, stream):
        rate = stream.average_rate
        size = stream.codec_context.width, stream.codec_context.height
        return VideoInfo(stream.codec_context.name, *size, float(rate) if rate else None, stream.frames or None)


def read_video(path: Path) -> Iterator[VideoFrame]:
    """Read a video's frames one by one, in the order in which they are shown, turned as the file says.

    Parameters
    ----------
    path
        The file. Its content decides what it is, not its name. Of several streams the one that players choose is read.

    Yields
    ------
    Each frame. Frames of more than 8 bits are rounded to 8; grey ones have three equal channels.

    Raises
    ------
    VideoError
        If the file is missing, empty, no video, has no pictures, or a frame cannot be decoded; after the last frame,
        if the file is shorter than its header says.
    """
    number, start, rate, shape = -1, 0.0, Fraction(25), None
    end = Fraction(0)  # of what was read, in units of the stream
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or rate
        stream.codec_context.thread_count = 1  # as many frames are held as there are threads
        stream.codec_context.options = _STRICT
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise VideoError(path, Reason.TRUNCATED_VIDEO, _after(path, number, "the file ends within a frame"))
                if packet.pts is not None:
                    end = max(end, Fraction(packet.pts + (packet.duration or 0)))
                for frame in packet.decode():
                    number += 1
                    seconds = float(number / rate) if frame.time is None else frame.time
                    start = seconds if number == 0 else start
                    image = _image(path, number, frame)
                    shape = shape or image.shape
                    if image.shape != shape:
                        detail = f"frame {number} is {image.shape[:2]}, the first is {shape[:2]}; cut the file there"
                        raise VideoError(path, Reason.WRONG_SIZE, detail)
                    yield VideoFrame(number, seconds - start, image)
        except av.FFmpegError as error:
            detail = _after(path, number, f"the data cannot be decoded ({error.strerror})")
            raise VideoError(path, Reason.DAMAGED_VIDEO, detail) from None
        if number < 0:
            raise VideoError(path, Reason.TRUNCATED_VIDEO, _after(path, number, "it holds no whole frame"))
        lacking = _stated(container, stream) - (end - (stream.start_time or 0)) * (stream.time_base or 1)
        if lacking > Fraction(3, 2) / rate:
            what = f"{float(lacking):.2f} s are missing at the end, by what its header says"
            raise VideoError(path, Reason.TRUNCATED_VIDEO, _after(path, number, what))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container of a file and its stream of pictures."""
    try:
        if not path.is_file():
            raise VideoError(path, Reason.MISSING_FILE, "no such file, or none that can be read; check its name")
        if path.stat().st_size == 0:
            raise VideoError(path, Reason.EMPTY_FILE, "the file holds no bytes; copy it again from where it came from")
        # an absolute path is never taken for an address, and nothing but files is opened
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except av.FFmpegError as error:
        what = f"no video, or cut short before its table of contents ({error.strerror})"
        raise VideoError(path, Reason.NOT_A_VIDEO, f"{what}; copy it again from where it came from") from None
    except OSError as error:
        raise VideoError(path, Reason.UNREADABLE_FILE, f"{error.strerror}; check its permissions") from None
    with container:
        if not CONTAINERS & set(container.format.name.split(",")):
            kind = container.format.long_name or container.format.name
            raise VideoError(path, Reason.NOT_A_VIDEO, f"its content is {kind}; expected {', '.join(SUFFIXES)}")
        stream: Any = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise VideoError(path, Reason.NOT_A_VIDEO, f"no pictures in it that can be read; it holds {kinds}")
        if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
            raise VideoError(path, Reason.TOO_LARGE, f"frames of more than {MOST_PIXELS:,} pixels; shrink them")
        yield container, stream


def _image(path: Path, number: int, frame: Any) -> NDArray[np.uint8]:
    """Pixels of a decoded frame as RGB, turned as its display matrix says."""
    turns, rest = divmod(round(frame.rotation), 90)
    if rest:
        detail = f"frame {number} is to be shown turned by {frame.rotation} degrees; only quarter turns can be applied"
        raise VideoError(path, Reason.UNSUPPORTED_CODING, detail)
    image = frame.reformat(format="rgb24", interpolation=_EXACT, threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, turns))


def _stated(container: Any, stream: Any) -> Fraction:
    """Seconds that a file says that its pictures last; 0 where it does not say."""
    if container.format.name == "avi":  # whose duration FFmpeg mends by the size of the file
        return stream.frames * Fraction(stream.time_base)
    if stream.duration:
        return Fraction(stream.duration) * stream.time_base
    try:  # Matroska: "00:00:01.639000000"
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
    except (KeyError, ValueError):
        alone = len(container.streams) == 1 and container.duration
        return Fraction(container.duration, av.time_base) if alone else Fraction(0)


def _after(path: Path, number: int, what: str) -> str:
    where = f"after frame {number} (from 0)" if number >= 0 else "at its first frame"
    return f"{where}: {what}; {_CURE.format(path.name)}"
