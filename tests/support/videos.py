"""Video files, written with PyAV from frames that carry their numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 96, 128
_BITS, _CELL = 8, 12

# Name of a file, codec, pixel format.
FORMATS = [
    ("h264.mp4", "libx264", "yuv420p"),
    ("h264.mkv", "libx264", "yuv420p"),
    ("ten_bits.mp4", "libx264", "yuv420p10le"),
    ("hevc_ten_bits.mp4", "libx265", "yuv420p10le"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("raw.avi", "rawvideo", "bgr24"),
    ("ffv1.avi", "ffv1", "bgr0"),
    ("png.mov", "png", "rgb24"),
    ("grey.avi", "ffv1", "gray"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
]


def numbered_frame(number: int) -> NDArray[np.uint8]:
    """A smooth picture (HEIGHT, WIDTH, 3), its number on the left: a cell for each bit, white or black."""
    noise = np.random.default_rng(5).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 4)
    for bit in range(_BITS):
        image[bit * _CELL : (bit + 1) * _CELL, :16] = 255 if number >> bit & 1 else 0
    return np.asarray(image, np.uint8)


def number_of(image: NDArray[np.uint8]) -> int:
    """The number that a frame carries, after lossy compression too."""
    cells = (image[bit * _CELL + 3 : (bit + 1) * _CELL - 3, 3:13].mean() > 128 for bit in range(_BITS))
    return sum(1 << bit for bit, white in enumerate(cells) if white)


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    codec: str = "ffv1",
    pixels: str = "bgr0",
    rate: int = 25,
    milliseconds: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames (H, W, 3) RGB as a video; with ``milliseconds`` each is shown from its own time on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.codec_context.thread_count = 1
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pixels
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with sound alone."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix of an MP4 file's picture: its upper left four numbers."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0: times, duration, layer, volume
    a, b, c, d = (65536 * number for number in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
