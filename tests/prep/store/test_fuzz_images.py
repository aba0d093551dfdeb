"""Damaged images by the thousand: each is read whole or refused with a reason, and no cut JPEG is read at all.

In the fast suite a tenth of them; `make test-long` tries 4,500.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from fdpbench.prep.store.image_checks import REASONS
from fdpbench.prep.store.images import ImageError, read_image
from fdpbench.prep.store.schema import Reason
from tests.support.pictures import GREY_PALETTE, PNG_SIGNATURE, chunk, encoded, picture, png, png_chunks

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SEED = int.from_bytes(os.urandom(4), "little") if LONG else 14
ROUNDS = 90 if LONG else 9  # of each kind of mutation on each image
END = b"\xff\xd9"


CORPUS = {
    "png": encoded(".png", picture()),
    "png alpha": encoded(".png", np.dstack([picture(), np.full((40, 52), 255, np.uint8)])),
    "png palette": png(3, 8, picture()[..., 0], (b"PLTE", GREY_PALETTE), (b"tRNS", b"\xff" * 256)),
    "jpeg": encoded(".jpg", picture()),
    "jpeg grey": encoded(".jpg", picture()[..., 0]),
    "jpeg restarts": encoded(".jpg", picture(), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "jpeg progressive": encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "jpeg grey progressive": encoded(".jpg", picture()[..., 0], cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "bmp": encoded(".bmp", picture()),
    "bmp grey": encoded(".bmp", picture()[..., 0]),
}


def flips(data: bytes, rng: np.random.Generator) -> bytes:
    broken = bytearray(data)
    for position in rng.integers(len(data), size=rng.integers(1, 6)):
        broken[position] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(1, len(data))]


def cut_with_end(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut somewhere before the end, and closed as its format closes."""
    if data.startswith(b"\x89PNG"):
        return data[: rng.integers(1, len(data) - 12)] + chunk(b"IEND", b"")
    if data.startswith(b"BM"):
        kept = data[: rng.integers(54, len(data))]
        return kept[:2] + struct.pack("<I", len(kept)) + kept[6:]
    return data[: rng.integers(2, len(data) - 2)] + END


def header(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes of the first 64, or of a JPEG's markers and what follows them, set to anything; a PNG's sums mended."""
    broken = bytearray(data)
    places = list(range(2, min(64, len(data))))
    if data.startswith(b"\xff\xd8"):
        markers = [k for k in range(len(data) - 12) if data[k] == 0xFF and data[k + 1] not in (0, 0xFF)]
        places = [k + step for k in markers for step in range(1, 12)]
    for place in rng.choice(places, size=rng.integers(1, 4)):
        broken[place] = rng.choice([0, 1, 2, 8, 12, 127, 128, 255, int(rng.integers(256))])
    return bytes(broken)


def chunks(data: bytes, rng: np.random.Generator) -> bytes:
    """A PNG's chunks changed under a right checksum, dropped, doubled or in another order; else bytes moved."""
    if not data.startswith(b"\x89PNG"):
        start, stop = sorted(rng.integers(2, len(data), size=2))
        return data[:start] + data[stop:] + data[start:stop]
    parts = png_chunks(data)
    k = int(rng.integers(len(parts)))
    kind, body = parts[k]
    dice = rng.integers(5)
    if dice == 0:
        del parts[k]
    elif dice == 1:
        parts.insert(int(rng.integers(len(parts))), parts[k])
    elif dice == 2:
        parts[k] = (kind, cut(body, rng) if len(body) > 1 else b"\0\0")
    else:
        parts[k] = (kind, flips(body, rng) if body else b"\0")
    return PNG_SIGNATURE + b"".join(chunk(*part) for part in parts)


MUTATIONS = (flips, cut, cut_with_end, header, chunks)


@pytest.mark.parametrize("name", CORPUS)
def test_a_mutated_image_is_read_or_refused(name: str, tmp_path: Path) -> None:
    data = CORPUS[name]
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, list(CORPUS).index(name)])
    path = tmp_path / "frame"
    path.write_bytes(data)
    assert read_image(path).shape == (40, 52, 3)
    read = {mutation.__name__: 0 for mutation in MUTATIONS}
    for number in range(ROUNDS * len(MUTATIONS)):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        path.write_bytes(mutation(data, rng))
        try:
            image = read_image(path)
        except ImageError as error:
            assert error.reason in REASONS
            continue
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        read[mutation.__name__] += 1
    assert read["cut"] == 0, f"seed {SEED}"
    assert read["cut_with_end"] == 0, f"seed {SEED}"


@pytest.mark.parametrize("name", [name for name in CORPUS if name.startswith("jpeg")])
def test_no_jpeg_cut_anywhere_and_closed_is_read(name: str, tmp_path: Path) -> None:
    data = CORPUS[name]
    path = tmp_path / "frame.jpg"
    for kept in range(2, len(data) - 2, 1 if LONG else 5):
        path.write_bytes(data[:kept] + END)
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert caught.value.reason in {Reason.TRUNCATED_IMAGE, Reason.DAMAGED_IMAGE}, kept


def test_a_scan_of_bits_that_break_the_code_is_damaged(tmp_path: Path) -> None:
    """Bits changed within the data: what libjpeg warns of and goes on."""
    data = bytearray(CORPUS["jpeg"])
    scan = data.index(b"\xff\xda")
    middle = (scan + len(data)) // 2
    data[middle : middle + 4] = b"\xfe\xfe\xfe\xfe"
    path = tmp_path / "frame.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="damaged_image|truncated_image"):
        read_image(path)
