"""Image files, read so that a damaged one is found, and PNG bytes for the shards.

OpenCV alone is not safe to read with: depending on its version, a JPEG cut in half comes back with
a grey lower half and a warning. So a file's structure is checked before its pixels are decoded:
every chunk and checksum of a PNG up to its end chunk, every marker of a JPEG up to its end marker,
the stated size of a BMP. That costs a few hundredths of a millisecond, and it finds what Pillow's
strict decoder lets pass: a PNG that lacks only its last bytes. The formats are those of the
published releases.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DAMAGED_IMAGE",
    "EMPTY_FILE",
    "MISSING_FILE",
    "NOT_AN_IMAGE",
    "REASONS",
    "TOO_LARGE",
    "TRANSPARENT_IMAGE",
    "TRUNCATED_IMAGE",
    "UNREADABLE_FILE",
    "UNSUPPORTED_DEPTH",
    "ImageError",
    "decode_png",
    "encode_png",
    "read_image",
]

MISSING_FILE = "missing_file"
UNREADABLE_FILE = "unreadable_file"
EMPTY_FILE = "empty_file"
NOT_AN_IMAGE = "not_an_image"
TRUNCATED_IMAGE = "truncated_image"
DAMAGED_IMAGE = "damaged_image"
UNSUPPORTED_DEPTH = "unsupported_depth"
TRANSPARENT_IMAGE = "transparent_image"
TOO_LARGE = "too_large"

# Every reason an ImageError can have, with what was expected and what to do.
REASONS = {
    MISSING_FILE: "no such file; check the release folder and the frame's name",
    UNREADABLE_FILE: "the file cannot be read; check its permissions, and that it is a regular file",
    EMPTY_FILE: "the file holds no bytes; copy it again from the release",
    NOT_AN_IMAGE: "the content is not PNG, JPEG or BMP, whatever its name; copy it again from the release",
    TRUNCATED_IMAGE: "the image ends before its data do; copy it again from the release",
    DAMAGED_IMAGE: "the image's data contradict its checksums or its format; copy it again from the release",
    UNSUPPORTED_DEPTH: "expected 8 bits a channel; convert the release's frames to 8 bits",
    TRANSPARENT_IMAGE: "some pixels are transparent; a frame must be opaque, so flatten the image",
    TOO_LARGE: "more than 40 million pixels; shrink the release's frames",
}

# Decoded, an image of this many pixels takes 120 MB; a frame of a release has about 0.3 million.
MOST_PIXELS = 40_000_000

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
BMP_SIGNATURE = b"BM"
BMP_HEADERS = (40, 52, 56, 108, 124)  # lengths since Windows 3; two letters alone prove little
# Of all strategies run-length coding is the fastest on grey face crops, and its files the smallest.
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
PNG_ALPHA = 0b100  # bit of a PNG's colour type


class ImageError(ValueError):
    """An image cannot be used; the message names it, the reason and the cure.

    Attributes
    ----------
    path
        The file, or a description of where the bytes come from.
    reason
        One of the keys of `REASONS`.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it survives the way out of a worker process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}: {REASONS[self.reason]}"


class _Fault(Exception):
    """A reason without a path: the checks below know bytes only."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a frame from a PNG, JPEG or BMP file of 8 bits a channel.

    A grey image comes back with three equal channels, and an EXIF orientation is applied.

    Parameters
    ----------
    path
        The file. Its content decides its format, not its name.

    Returns
    -------
    Array of shape (H, W, 3), uint8, RGB.

    Raises
    ------
    ImageError
        With a reason out of `REASONS`, if the file is missing, cut short, damaged or of another kind.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(path, MISSING_FILE) from None
    except OSError as error:
        raise ImageError(path, UNREADABLE_FILE) from error
    try:
        alpha = _check(data)
        bgr = _decode(data, cv2.IMREAD_COLOR)
        if alpha and _decode(data, cv2.IMREAD_UNCHANGED)[..., -1].min() < 255:
            raise _Fault(TRANSPARENT_IMAGE)
    except _Fault as fault:
        raise ImageError(path, fault.args[0]) from None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # stubs widen uint8


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG, without loss; one OpenCV version gives the same bytes each time.

    Parameters
    ----------
    image
        Array of shape (H, W), grey, or (H, W, 3), RGB; uint8.

    Returns
    -------
    The file's bytes.

    Raises
    ------
    ValueError
        If the array has another shape or type, or no pixels.
    """
    shape_fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not shape_fits or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"expected an image (H, W) or (H, W, 3) of uint8, got {image.shape} {image.dtype}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    done, data = cv2.imencode(".png", image, PNG_OPTIONS)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Decode what `encode_png` wrote, checksums checked.

    Parameters
    ----------
    data
        The file's bytes.

    Returns
    -------
    Array of shape (H, W), grey, or (H, W, 3), RGB; uint8.

    Raises
    ------
    ImageError
        If the bytes are no PNG of 8 bits, or are cut short or damaged.
    """
    try:
        if data and not data.startswith(PNG_SIGNATURE):
            raise _Fault(NOT_AN_IMAGE)
        if _check(data):
            raise _Fault(TRANSPARENT_IMAGE)
        image = _decode(data, cv2.IMREAD_UNCHANGED)
    except _Fault as fault:
        raise ImageError("PNG bytes in memory", fault.args[0]) from None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image  # type: ignore[return-value]


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise _Fault(DAMAGED_IMAGE)
    return image  # type: ignore[return-value]


def _check(data: bytes) -> bool:
    """Check an image's structure and size; whether it has an alpha channel."""
    if not data:
        raise _Fault(EMPTY_FILE)
    try:
        if data.startswith(PNG_SIGNATURE):
            return _check_png(data)
        if data.startswith(JPEG_SIGNATURE):
            return _check_jpeg(data)
        if data.startswith(BMP_SIGNATURE):
            return _check_bmp(data)
    except (struct.error, IndexError):  # a field lies beyond the last byte
        raise _Fault(TRUNCATED_IMAGE) from None
    # Even a file cut within its first bytes is named for what it is.
    if any(signature.startswith(data) for signature in (PNG_SIGNATURE, JPEG_SIGNATURE, BMP_SIGNATURE)):
        raise _Fault(TRUNCATED_IMAGE)
    raise _Fault(NOT_AN_IMAGE)


def _check_size(width: int, height: int) -> None:
    if width == 0 or height == 0:
        raise _Fault(DAMAGED_IMAGE)
    if width * height > MOST_PIXELS:
        raise _Fault(TOO_LARGE)


def _check_png(data: bytes) -> bool:
    """Every chunk's checksum up to IEND (PNG specification, ISO/IEC 15948, clause 5.3)."""
    position = len(PNG_SIGNATURE)
    alpha = False
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        (checksum,) = struct.unpack_from(">I", data, body + length)
        if zlib.crc32(memoryview(data)[body - 4 : body + length]) != checksum:
            raise _Fault(DAMAGED_IMAGE)
        if position == len(PNG_SIGNATURE):
            if kind != b"IHDR":
                raise _Fault(DAMAGED_IMAGE)
            width, height, depth, colour = struct.unpack_from(">IIBB", data, body)
            if depth > 8:
                raise _Fault(UNSUPPORTED_DEPTH)
            _check_size(width, height)
            alpha = bool(colour & PNG_ALPHA)
        if kind == b"IEND":
            return alpha
        position = body + length + 4


def _check_jpeg(data: bytes) -> bool:
    """Every segment up to the end-of-image marker (ITU-T T.81, annex B). A JPEG has no alpha."""
    position = 2  # behind the start-of-image marker
    while True:
        if data[position] != 0xFF:
            raise _Fault(DAMAGED_IMAGE)
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker == 0xD9:
            return False
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)  # counts itself
            # Start of frame: C0 to CF but DHT, JPG and DAC
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                depth, height, width = struct.unpack_from(">BHH", data, position + 4)
                if depth != 8:
                    raise _Fault(UNSUPPORTED_DEPTH)
                _check_size(width, height)
            position += 2 + length
            if marker == 0xDA:
                position = _end_of_scan(data, position)


def _end_of_scan(data: bytes, position: int) -> int:
    """First marker behind a JPEG's entropy-coded data that is no restart marker."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise _Fault(TRUNCATED_IMAGE)
        following = data[position + 1]
        if following == 0 or 0xD0 <= following <= 0xD7:  # a stuffed data byte, or a restart
            position += 2
        else:
            return position


def _check_bmp(data: bytes) -> bool:
    """Header and stated size of a BMP. Its fourth byte a pixel is padding, read as such."""
    offset, header = struct.unpack_from("<II", data, 10)
    if header not in BMP_HEADERS:
        raise _Fault(NOT_AN_IMAGE)
    width, height, _planes, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    if bits not in (1, 4, 8, 24, 32):
        raise _Fault(UNSUPPORTED_DEPTH)
    width, height = abs(width), abs(height)  # a negative height stores the first row first
    _check_size(width, height)
    if packing in (0, 3):  # plain rows, each padded to 4 bytes; else run-length coded
        row = (width * bits + 31) // 32 * 4
        expected = offset + row * height
    else:
        (expected,) = struct.unpack_from("<I", data, 2)
    if len(data) < expected:
        raise _Fault(TRUNCATED_IMAGE)
    return False
