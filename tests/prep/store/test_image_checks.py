"""Images that claim more than they hold, that are coded otherwise, or that are transparent in any of the ways."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fdpbench.prep.store import image_checks, images
from fdpbench.prep.store.images import ImageError, decode_png, read_image
from fdpbench.prep.store.schema import Reason
from tests.support.pictures import GREY_PALETTE, PNG_SIGNATURE, chunk, encoded, picture, png, png_chunks


@pytest.fixture
def read(tmp_path: Path):
    """Read bytes as a frame; what is refused gives its reason."""

    def read(data: bytes) -> np.ndarray | str:
        path = tmp_path / "frame"
        path.write_bytes(data)
        try:
            return read_image(path)
        except ImageError as error:
            return error.reason

    return read


SAMPLINGS = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)])
@pytest.mark.parametrize("shape", [(41, 55), (8, 8), (1, 1), (64, 17)])
def test_pixels_of_a_jpeg_are_those_of_opencv(read, sampling, kind, shape):
    for quality in (30, 75, 100):
        options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, *kind)
        for image in (picture(*shape), picture(*shape)[..., 0]):
            data = encoded(".jpg", image, *options)
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(read(data), np.asarray(expected)[..., ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_applied(read, orientation):
    data = encoded(".jpg", picture(24, 32))
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    expected = read(data)
    if orientation >= 5:
        expected = expected.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
    np.testing.assert_array_equal(read(turned), np.flip(expected, flips.get(orientation, ())))


def scans_of(data: bytes) -> list[int]:
    return [k for k in range(len(data) - 1) if data[k : k + 2] == b"\xff\xda"]


def test_a_progressive_jpeg_without_its_last_scans_is_truncated(read):
    """A coarser image to a decoder, which gives no warning."""
    data = encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for start in scans_of(data)[1:]:
        assert read(data[:start] + b"\xff\xd9") == Reason.TRUNCATED_IMAGE


def sof(data: bytes) -> int:
    return next(k for k in range(len(data)) if data[k] == 0xFF and data[k + 1] in (0xC0, 0xC2))


def claiming(data: bytes, height: int, width: int) -> bytes:
    start = sof(data)
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def png_claiming(data: bytes, height: int, width: int) -> bytes:
    (kind, header), *rest = png_chunks(data)
    parts = [(kind, struct.pack(">II", width, height) + header[8:]), *rest]
    return PNG_SIGNATURE + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    "data",
    [
        claiming(encoded(".jpg", picture(16, 16)), 6000, 6000),
        claiming(encoded(".jpg", picture(16, 16)[..., 0]), 6000, 6000),
        claiming(encoded(".jpg", picture(16, 16), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 6000, 6000),
        png_claiming(encoded(".png", picture(16, 16)), 6000, 6000),
        png_claiming(png(3, 8, picture(16, 16)[..., 0], (b"PLTE", GREY_PALETTE)), 6000, 6000),
    ],
    ids=["jpeg", "grey jpeg", "progressive jpeg", "png", "palette png"],
)
def test_a_small_file_that_claims_a_large_image_is_refused_before_it_is_decoded(read, monkeypatch, data):
    assert len(data) < 4000

    def decode(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "_decode", decode)
    monkeypatch.setattr(images, "_decode_jpeg", decode)
    tracemalloc.start()
    assert read(data) == Reason.TRUNCATED_IMAGE
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_jpeg_twice_as_high_as_its_data_is_truncated(read):
    """Well within what its bytes could hold: only decoding tells."""
    data = encoded(".jpg", picture(64, 48))
    assert read(claiming(data, 128, 48)) == Reason.TRUNCATED_IMAGE
    assert read(claiming(data, 72, 48)) == Reason.TRUNCATED_IMAGE


def test_the_least_that_images_need_is_no_bound_on_real_ones(read):
    """One colour over many pixels: as small as files of this size get."""
    for data in (
        encoded(".png", np.zeros((3000, 4000, 3), np.uint8), cv2.IMWRITE_PNG_COMPRESSION, 9),
        encoded(".jpg", np.full((3000, 4000), 128, np.uint8), cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        encoded(".jpg", np.full((3000, 4000), 128, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    ):
        assert read(data).shape == (3000, 4000, 3)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_jpegs_that_are_lossless_hierarchical_or_arithmetic_are_named(read, marker):
    data = encoded(".jpg", picture())
    start = sof(data)
    assert read(data[: start + 1] + bytes([marker]) + data[start + 2 :]) == Reason.UNSUPPORTED_CODING


def test_cmyk_is_named(read, tmp_path):
    pil = pytest.importorskip("PIL.Image")
    pil.fromarray(picture()).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert read((tmp_path / "cmyk.jpg").read_bytes()) == Reason.UNSUPPORTED_CODING


def test_scans_without_end_are_refused(read):
    """Each scan of a few bytes costs a pass over all pixels."""
    data = encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = scans_of(data)[-1]
    many = data[:last] + data[last:-2] * image_checks.MOST_SCANS + b"\xff\xd9"
    assert read(many) == Reason.UNSUPPORTED_CODING


def test_an_animated_png_is_no_frame(read):
    first, *rest = png_chunks(encoded(".png", picture()))
    parts = [first, (b"acTL", struct.pack(">II", 1, 0)), *rest]
    assert read(PNG_SIGNATURE + b"".join(chunk(*part) for part in parts)) == Reason.UNSUPPORTED_CODING


GREY = picture()[..., 0]
RGB = picture()
NIBBLES = (GREY[:, ::2] & 0xEE) | 0x01  # pairs of values of 4 bits: even ones first, odd ones second
SEEN, UNSEEN = int(GREY[3, 4]), int(np.setdiff1d(np.arange(256), GREY)[0])
RGB_ROWS = RGB.reshape(RGB.shape[0], -1)

TRANSPARENCIES = {
    "grey": (png(0, 8, GREY, (b"tRNS", struct.pack(">H", SEEN))), True),
    "grey, a value that no pixel has": (png(0, 8, GREY, (b"tRNS", struct.pack(">H", UNSEEN))), False),
    "grey, 4 bits": (png(0, 4, NIBBLES, (b"tRNS", struct.pack(">H", int(NIBBLES[0, 0] >> 4))), width=52), True),
    "grey, 1 bit": (png(0, 1, GREY[:, ::8], (b"tRNS", struct.pack(">H", 1)), width=52), True),
    "rgb": (png(2, 8, RGB_ROWS, (b"tRNS", struct.pack(">HHH", *map(int, RGB[3, 4]))), width=52), True),
    "rgb, a colour that no pixel has": (
        png(2, 8, RGB_ROWS, (b"tRNS", struct.pack(">HHH", 0, 255, 0)), width=52),
        False,
    ),
    "palette": (png(3, 8, GREY, (b"PLTE", GREY_PALETTE), (b"tRNS", b"\xff" * SEEN + b"\xfe")), True),
    "palette, opaque": (png(3, 8, GREY, (b"PLTE", GREY_PALETTE), (b"tRNS", b"\xff" * 256)), False),
    "palette, a colour that no pixel has": (
        png(3, 8, GREY, (b"PLTE", GREY_PALETTE), (b"tRNS", b"\xff" * UNSEEN + b"\0")),
        False,
    ),
    "palette, 4 bits": (
        png(3, 4, NIBBLES, (b"PLTE", GREY_PALETTE[:48]), (b"tRNS", b"\0" * 16), width=52),
        True,
    ),
    "grey and alpha": (png(4, 8, np.dstack([GREY, GREY]).reshape(40, -1), width=52), True),
    "grey and alpha, opaque": (png(4, 8, np.dstack([GREY, np.full_like(GREY, 255)]).reshape(40, -1), width=52), False),
}


@pytest.mark.parametrize("name", TRANSPARENCIES)
def test_one_rule_for_transparency(read, name):
    """Any pixel that is not opaque is a reason to refuse; the means to be transparent are none."""
    data, transparent = TRANSPARENCIES[name]
    got = read(data)
    if transparent:
        assert got == Reason.TRANSPARENT_IMAGE
    else:
        colours = RGB if name.startswith("rgb") else np.repeat(GREY[..., None], 3, axis=2)
        np.testing.assert_array_equal(got, colours)


def test_a_shard_holds_no_image_that_could_be_transparent():
    for data, _ in TRANSPARENCIES.values():
        with pytest.raises(ImageError, match="transparent_image"):
            decode_png(data)


@pytest.mark.parametrize(("colour", "size"), [(0, 1), (2, 2), (3, 257)])
def test_a_transparent_colour_of_the_wrong_length_is_damage(read, colour, size):
    rows = RGB_ROWS if colour == 2 else GREY
    extra = ((b"PLTE", GREY_PALETTE),) if colour == 3 else ()
    assert read(png(colour, 8, rows, *extra, (b"tRNS", b"\xff" * size), width=52)) == Reason.DAMAGED_IMAGE


def bmp(bits: int, rows: bytes, header: int, packing: int, masks: tuple[int, ...], width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, packing, len(rows), 0, 0, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows


def test_a_bitmap_is_transparent_only_by_a_mask_for_alpha(read):
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = np.dstack([RGB[::-1, :, ::-1], np.full(RGB.shape[:2], 254, np.uint8)]).tobytes()
    assert read(bmp(32, rows, 124, 3, masks, 52, 40)) == Reason.TRANSPARENT_IMAGE
    for header, packing, shown in ((124, 0, masks), (40, 0, ()), (40, 3, masks[:3]), (124, 3, (*masks[:3], 0))):
        np.testing.assert_array_equal(read(bmp(32, rows, header, packing, shown, 52, 40)), RGB)
    opaque = np.dstack([RGB[::-1, :, ::-1], np.full(RGB.shape[:2], 255, np.uint8)]).tobytes()
    np.testing.assert_array_equal(read(bmp(32, opaque, 124, 3, masks, 52, 40)), RGB)


def test_bitmaps_in_other_orders_or_run_length_coded_are_named(read):
    rows = np.dstack([RGB, GREY]).tobytes()
    assert read(bmp(32, rows, 40, 3, (0xFF, 0xFF00, 0xFF0000), 52, 40)) == Reason.UNSUPPORTED_CODING
    for packing in (1, 2, 4, 5):
        assert read(bmp(8, rows, 40, packing, (), 52, 40)) == Reason.UNSUPPORTED_CODING
    assert read(bmp(32, rows, 40, 0, (), -52, 40)) == Reason.DAMAGED_IMAGE


def test_a_pipe_or_an_enormous_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="unreadable_file"):
        read_image(tmp_path / "pipe")
    with (tmp_path / "large.png").open("wb") as file:
        file.write(PNG_SIGNATURE)
        file.truncate(10**12)  # takes no room on the disk
    with pytest.raises(ImageError, match="too_large"):
        read_image(tmp_path / "large.png")


def test_bombs_stay_within_a_limit_of_memory(tmp_path):
    """Text and profiles of a PNG that unpack to gigabytes, and the largest image that passes, with 1.5 GB to take."""
    bomb = zlib.compress(bytes(400_000_000), 9)
    first, *rest = png_chunks(encoded(".png", picture()))
    for kind, body in {"iCCP": b"x\0\0", "zTXt": b"x\0\0", "iTXt": b"x\0\1\0\0\0"}.items():
        parts = [first, (kind.encode(), body + bomb), *rest]
        (tmp_path / f"{kind}.png").write_bytes(PNG_SIGNATURE + b"".join(chunk(*part) for part in parts))
    (tmp_path / "largest.jpg").write_bytes(
        encoded(".jpg", np.full((6000, 6600, 3), 90, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    )
    code = """
import resource, sys
from pathlib import Path
from fdpbench.prep.store.images import ImageError, read_image
import numpy
resource.setrlimit(resource.RLIMIT_DATA, (1_500_000_000, 1_500_000_000))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, read_image(path).shape)
    except ImageError as error:
        print(path.name, error.reason)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "largest.jpg (6000, 6600, 3)" in done.stdout
    assert len(done.stdout.splitlines()) == 4
