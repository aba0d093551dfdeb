"""What an image file says of itself: its structure and claims, checked before any pixel is decoded.

Every chunk and checksum of a PNG up to its end chunk, every marker of a JPEG up to its end marker, the stated
sizes of a BMP. A claim that the file's length cannot bear (6000 x 6000 pixels in 2 kB) is refused here, so that
no decoder allocates for it. That costs a few hundredths of a millisecond, and it finds what a strict decoder
lets pass: a PNG that lacks only its last bytes, a progressive JPEG that lacks its last scans.

The pixels themselves are the business of `prep.store.images`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from fdpbench.prep.store.schema import Reason

__all__ = ["MOST_BYTES", "MOST_PIXELS", "PNG_SIGNATURE", "REASONS", "ImageFault", "Structure", "check_structure"]

# Every reason an image can be refused for, with what was expected and what to do.
REASONS = {
    Reason.MISSING_FILE: "no such file; check the release folder and the frame's name",
    Reason.UNREADABLE_FILE: "the file cannot be read; check its permissions, and that it is a regular file",
    Reason.EMPTY_FILE: "the file holds no bytes; copy it again from the release",
    Reason.NOT_AN_IMAGE: "the content is not PNG, JPEG or BMP, whatever its name; copy it again from the release",
    Reason.TRUNCATED_IMAGE: "the image ends before its data do; copy it again from the release",
    Reason.DAMAGED_IMAGE: "the image's data contradict its checksums or its format; copy it again from the release",
    Reason.UNSUPPORTED_DEPTH: "expected 8 bits a channel; convert the release's frames to 8 bits",
    Reason.UNSUPPORTED_CODING: "expected a still PNG, a grey or colour JPEG (baseline or progressive, Huffman-coded) "
    "or an uncompressed BMP; convert the release's frames to PNG",
    Reason.TRANSPARENT_IMAGE: "some pixels are transparent; a frame must be opaque, so flatten the image",
    Reason.TOO_LARGE: "more than 40 million pixels, or a file of more than 200 MB; shrink the release's frames",
}

# Decoded, an image of this many pixels takes 120 MB; a frame of a release has about 0.3 million.
MOST_PIXELS = 40_000_000
MOST_BYTES = 5 * MOST_PIXELS  # of a file: four bytes a pixel, and room for what else a camera writes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
PNG_GREY, PNG_RGB, PNG_PALETTE = 0, 2, 3
PNG_ALPHA = 0b100  # bit of the colour type
DEFLATE_RATIO = 1032  # the most that deflate can shrink: 258 bytes in 2 bits

JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # start of frame: not DHT, JPG or DAC
JPEG_SEQUENTIAL, JPEG_PROGRESSIVE = (0xC0, 0xC1), 0xC2  # the others are lossless, hierarchical or arithmetic
MOST_SCANS = 64  # encoders write about ten; a scan of a few bytes can cost a pass over all pixels

BMP_SIGNATURE = b"BM"
BMP_HEADERS = (40, 52, 56, 108, 124)  # lengths since Windows 3; two letters alone prove little
BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)  # red, green, blue as every decoder reads them


class ImageFault(Exception):
    """A reason out of `REASONS`, without a path: the checks know bytes only."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Structure:
    """What an image's structure says of how to decode it.

    Attributes
    ----------
    kind
        ``png``, ``jpeg`` or ``bmp``.
    alpha
        Whether its pixels can be transparent: an alpha channel, or a transparent colour.
    grey_key
        The grey value (0 to 255) that means transparent, which no decoder here shows as an alpha channel.
    turned
        Whether it can hold an EXIF orientation.
    """

    kind: str
    alpha: bool = False
    grey_key: int | None = None
    turned: bool = False


def check_structure(data: bytes) -> Structure:
    """Check an image's structure, and its size against its length.

    Parameters
    ----------
    data
        The file's bytes.

    Returns
    -------
    What is needed to decode it.

    Raises
    ------
    ImageFault
        With the reason why it cannot be used.
    """
    if not data:
        raise ImageFault(Reason.EMPTY_FILE)
    try:
        if data.startswith(PNG_SIGNATURE):
            return _check_png(data)
        if data.startswith(JPEG_SIGNATURE):
            return _check_jpeg(data)
        if data.startswith(BMP_SIGNATURE):
            return _check_bmp(data)
    except (struct.error, IndexError):  # a field lies beyond the last byte
        raise ImageFault(Reason.TRUNCATED_IMAGE) from None
    # Even a file cut within its first bytes is named for what it is.
    if any(signature.startswith(data) for signature in (PNG_SIGNATURE, JPEG_SIGNATURE, BMP_SIGNATURE)):
        raise ImageFault(Reason.TRUNCATED_IMAGE)
    raise ImageFault(Reason.NOT_AN_IMAGE)


def _damaged() -> NoReturn:
    raise ImageFault(Reason.DAMAGED_IMAGE)


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        _damaged()
    if width * height > MOST_PIXELS:
        raise ImageFault(Reason.TOO_LARGE)


def _check_png(data: bytes) -> Structure:
    """Every chunk's checksum up to IEND (PNG specification, ISO/IEC 15948, clause 5.3)."""
    position = len(PNG_SIGNATURE)
    view = memoryview(data)
    depth = colour = least = packed = 0
    transparent: bytes | None = None
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        (checksum,) = struct.unpack_from(">I", data, body + length)
        if zlib.crc32(view[body - 4 : body + length]) != checksum:
            _damaged()
        if position == len(PNG_SIGNATURE):
            if kind != b"IHDR":
                _damaged()
            width, height, depth, colour = struct.unpack_from(">IIBB", data, body)
            if depth > 8:
                raise ImageFault(Reason.UNSUPPORTED_DEPTH)
            _check_size(width, height)
            if colour not in PNG_CHANNELS:
                _damaged()
            least = (width * PNG_CHANNELS[colour] * depth + 7) // 8 * height
        elif kind == b"IDAT":
            packed += length
        elif kind == b"tRNS" and not packed and transparent is None:  # elsewhere it means nothing
            transparent = data[body : body + length]
        elif kind == b"acTL":
            raise ImageFault(Reason.UNSUPPORTED_CODING)
        elif kind == b"IEND":
            if least > packed * DEFLATE_RATIO:
                raise ImageFault(Reason.TRUNCATED_IMAGE)
            return _png_transparency(depth, colour, transparent)
        position = body + length + 4


def _png_transparency(depth: int, colour: int, transparent: bytes | None) -> Structure:
    """How transparency shows, if at all: clause 11.3.2.1 (tRNS) of the specification."""
    if colour & PNG_ALPHA or transparent is None:
        return Structure("png", alpha=bool(colour & PNG_ALPHA))
    if colour == PNG_PALETTE:
        fits = 1 <= len(transparent) <= 256
    else:
        fits = len(transparent) == (6 if colour == PNG_RGB else 2)
    if not fits:
        _damaged()
    if colour != PNG_GREY:
        return Structure("png", alpha=True)
    brightest = (1 << depth) - 1
    value = int.from_bytes(transparent, "big") & brightest
    return Structure("png", alpha=True, grey_key=value * 255 // brightest)


def _check_jpeg(data: bytes) -> Structure:
    """Every segment up to the end-of-image marker (ITU-T T.81, annex B). A JPEG has no alpha.

    Of each coefficient of each component, the lowest bit must have come in a scan: so a progressive JPEG that
    ends between two scans is found, which to a decoder is a coarser image and no fault.
    """
    position = 2  # behind the start-of-image marker
    frame = scans = 0
    lacking: dict[int, bytearray] = {}  # by component: bits of each coefficient that are still to come
    turned = False
    while True:
        if data[position] != 0xFF:
            _damaged()
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xD9:
            if not frame:
                _damaged()
            if any(map(any, lacking.values())):
                raise ImageFault(Reason.TRUNCATED_IMAGE)
            return Structure("jpeg", turned=turned)
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # stands alone
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)  # counts itself
        if marker in (0x00, 0xD8) or length < 2:
            _damaged()
        if marker in JPEG_FRAMES:
            if frame:
                _damaged()
            frame, lacking = marker, _check_frame(data, position, marker)
        elif marker == 0xE1:
            turned = True
        elif marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                raise ImageFault(Reason.UNSUPPORTED_CODING)
            _take_scan(data[position + 4 : position + 2 + length], frame, lacking)
        position += 2 + length
        if marker == 0xDA:
            position = _end_of_scan(data, position)


def _check_frame(data: bytes, position: int, marker: int) -> dict[int, bytearray]:
    """A frame header (B.2.2): what it claims against the file's length; the components that it names."""
    length, depth, height, width, count = struct.unpack_from(">HBHHB", data, position + 2)
    if length != 8 + 3 * count:
        _damaged()
    if depth != 8:
        raise ImageFault(Reason.UNSUPPORTED_DEPTH)
    _check_size(width, height)
    if marker not in (*JPEG_SEQUENTIAL, JPEG_PROGRESSIVE) or count not in (1, 3):  # four are CMYK
        raise ImageFault(Reason.UNSUPPORTED_CODING)
    components = [data[position + 10 + 3 * k : position + 13 + 3 * k] for k in range(count)]
    factors = [divmod(component[1], 16) for component in components]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        _damaged()
    across, down = (max(values) for values in zip(*factors, strict=True))
    blocks = sum(-(-width * h // (8 * across)) * -(-height * v // (8 * down)) for h, v in factors)
    # No Huffman code is shorter than a bit: one for each block's first coefficient and, but for a progressive
    # frame, one for its end.
    least = blocks * (1 if marker == JPEG_PROGRESSIVE else 2)
    if least > 8 * len(data):
        raise ImageFault(Reason.TRUNCATED_IMAGE)
    named = {component[0]: bytearray(b"\xff" * 64) for component in components}
    if len(named) != count:
        _damaged()
    return named


def _take_scan(header: bytes, frame: int, lacking: dict[int, bytearray]) -> None:
    """Note what a scan brings by its header (B.2.3)."""
    count = header[0]
    first, last, bits = struct.unpack_from(">BBB", header, 1 + 2 * count)
    if frame in JPEG_SEQUENTIAL:
        first, last, bits = 0, 63, 0
    if first > last or last > 63:
        _damaged()
    for k in range(count):
        name = header[1 + 2 * k]
        if name not in lacking:
            _damaged()
        lacking[name][first : last + 1] = bytes([bits & 15]) * (last + 1 - first)


def _end_of_scan(data: bytes, position: int) -> int:
    """First marker behind a JPEG's entropy-coded data that is no restart marker."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise ImageFault(Reason.TRUNCATED_IMAGE)
        following = data[position + 1]
        if following == 0 or 0xD0 <= following <= 0xD7:  # a stuffed data byte, or a restart
            position += 2
        else:
            return position


def _check_bmp(data: bytes) -> Structure:
    """Header, stated size and transparency of a BMP of plain rows."""
    offset, header = struct.unpack_from("<II", data, 10)
    if header not in BMP_HEADERS:
        raise ImageFault(Reason.NOT_AN_IMAGE)
    width, height, _planes, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    if bits not in (1, 4, 8, 24, 32):
        raise ImageFault(Reason.UNSUPPORTED_DEPTH)
    height = abs(height)  # a negative height stores the first row first
    _check_size(width, height)
    if packing not in (0, 3):  # run-length coded, or a JPEG or PNG in a BMP's clothes
        raise ImageFault(Reason.UNSUPPORTED_CODING)
    if offset < 14 + header:
        _damaged()
    row = (width * bits + 31) // 32 * 4  # padded to 4 bytes
    if len(data) < offset + row * height:
        raise ImageFault(Reason.TRUNCATED_IMAGE)
    if packing == 3:
        if bits != 32 or struct.unpack_from("<III", data, 54) != BMP_MASKS:
            raise ImageFault(Reason.UNSUPPORTED_CODING)
        # Without a mask for it the fourth byte is padding. OpenCV shows it as alpha either way.
        (mask,) = struct.unpack_from("<I", data, 66) if header >= 56 else (0,)
        pixels = np.frombuffer(data, "<u4", width * height, offset)
        if mask and (pixels & np.uint32(mask) != mask).any():
            raise ImageFault(Reason.TRANSPARENT_IMAGE)
    return Structure("bmp")
