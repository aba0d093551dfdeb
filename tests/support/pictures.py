"""Image files made by hand, chunk by chunk, where an encoder would not write them so."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_PALETTE = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()


def picture(height: int = 40, width: int = 52) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour: int, depth: int, rows: np.ndarray, *extra: tuple[bytes, bytes], width: int | None = None) -> bytes:
    """A PNG of the given colour type; ``rows`` holds each row's bytes."""
    header = struct.pack(">IIBBBBB", width or rows.shape[1], rows.shape[0], depth, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", packed), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(chunk(*each) for each in chunks)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found
