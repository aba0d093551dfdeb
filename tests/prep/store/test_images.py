"""Image reading: every way a file can be broken has its own reason, and PNG bytes are exact."""

import copy
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fdpbench.prep.store.image_checks import REASONS
from fdpbench.prep.store.images import ImageError, decode_png, encode_png, read_image
from fdpbench.prep.store.schema import Reason


def _picture(height: int = 48, width: int = 60) -> np.ndarray:
    """A colour picture with smooth parts and noise, RGB."""
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([2 * y, 3 * x, 60 + y + x], axis=-1)
    return (ramps + noise).clip(0, 255).astype(np.uint8)


def _bytes(suffix: str, rgb: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, rgb[..., ::-1], list(options))
    assert done
    return data.tobytes()


def _reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_lossless_files_come_back_exactly_in_rgb(tmp_path, suffix):
    rgb = _picture()
    path = _write(tmp_path, f"frame{suffix}", _bytes(suffix, rgb))
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpeg_of_every_kind_is_read(tmp_path, options):
    rgb = cv2.GaussianBlur(_picture(), (0, 0), 3)
    data = _bytes(".jpg", rgb, cv2.IMWRITE_JPEG_QUALITY, 98, *options)
    got = read_image(_write(tmp_path, "frame.jpg", data + b"trailing bytes of a camera"))
    assert got.shape == rgb.shape
    assert np.abs(got.astype(int) - rgb).mean() < 3


def test_a_thumbnail_does_not_end_a_jpeg(tmp_path):
    # A thumbnail sits in an application segment and has an end marker of its own.
    data = _bytes(".jpg", _picture())
    thumbnail = b"Exif-like" + _bytes(".jpg", _picture(8, 8))
    segment = b"\xff\xe5" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = data[:2] + segment + data[2:]
    read_image(_write(tmp_path, "whole.jpg", data))
    assert _reason(_write(tmp_path, "cut.jpg", data[:-200])) == Reason.TRUNCATED_IMAGE


def test_grey_and_wrongly_named_files_are_read(tmp_path):
    grey = _picture()[..., 0]
    path = _write(tmp_path, "grey.jpg", cv2.imencode(".png", grey)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_file_cut_anywhere_is_truncated(tmp_path, suffix):
    data = _bytes(suffix, _picture())
    cuts = {*range(1, 64), *range(64, len(data), 211), *range(len(data) - 30, len(data))}
    for cut in sorted(cuts):
        path = _write(tmp_path, f"cut{suffix}", data[:cut])
        assert _reason(path) == Reason.TRUNCATED_IMAGE, f"cut after {cut} of {len(data)} bytes"


def test_a_progressive_jpeg_cut_between_its_scans_is_truncated(tmp_path):
    data = _bytes(".jpg", _picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for cut in scans:
        assert _reason(_write(tmp_path, "cut.jpg", data[:cut])) == Reason.TRUNCATED_IMAGE


def test_no_flipped_bit_of_a_png_goes_unseen(tmp_path):
    data = _bytes(".png", _picture(12, 12))
    rng = np.random.default_rng(1)
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << int(rng.integers(8))
        reason = _reason(_write(tmp_path, "flipped.png", bytes(broken)))
        assert reason in {Reason.DAMAGED_IMAGE, Reason.TRUNCATED_IMAGE, Reason.NOT_AN_IMAGE}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"clip,onset,apex\n1,2,3\n", "not_an_image"),
        (b"<html>404</html>", "not_an_image"),
        (b"GIF89a" + bytes(100), "not_an_image"),
        (b"BM" + bytes(200), "not_an_image"),
        (b"BMI,age\n" + 40 * b"21,30\n", "not_an_image"),
        (b"\xff\xd8\xff\xd9", "damaged_image"),
        (b"\xff\xd8\xff\xe0\x00\x04\x00\x00garbage", "damaged_image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, reason):
    assert _reason(_write(tmp_path, "frame.png", content)) == reason


def test_missing_file_folder_and_file_as_folder(tmp_path):
    assert _reason(tmp_path / "none.png") == Reason.MISSING_FILE
    assert _reason(_write(tmp_path, "file", b"x") / "frame.png") == Reason.MISSING_FILE
    assert _reason(tmp_path) == Reason.UNREADABLE_FILE


def test_no_permission_is_unreadable(tmp_path, monkeypatch):
    # Injected: tests may run as root, whom permissions do not stop.
    path = _write(tmp_path, "frame.png", b"x")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert _reason(path) == Reason.UNREADABLE_FILE


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_refused_not_cut_down(tmp_path, channels):
    deep = np.full((8, 8, channels), 40_000, np.uint16)
    path = _write(tmp_path, "deep.png", cv2.imencode(".png", deep)[1].tobytes())
    assert _reason(path) == Reason.UNSUPPORTED_DEPTH


def test_twelve_bit_jpeg_is_refused(tmp_path):
    data = bytearray(_bytes(".jpg", _picture()))
    frame = data.index(b"\xff\xc0")
    assert data[frame + 4] == 8
    data[frame + 4] = 12
    assert _reason(_write(tmp_path, "deep.jpg", bytes(data))) == Reason.UNSUPPORTED_DEPTH


def test_alpha_is_dropped_where_opaque_and_refused_where_not(tmp_path):
    rgb = _picture()
    rgba = np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 255, np.uint8)])
    path = _write(tmp_path, "alpha.png", cv2.imencode(".png", rgba)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), rgb)
    rgba[3, 4, 3] = 254
    path = _write(tmp_path, "alpha.png", cv2.imencode(".png", rgba)[1].tobytes())
    assert _reason(path) == Reason.TRANSPARENT_IMAGE


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 10_000, 5_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert _reason(_write(tmp_path, "huge.png", data)) == Reason.TOO_LARGE


def test_error_survives_the_way_out_of_a_worker_process(tmp_path):
    error = ImageError(tmp_path / "x.png", Reason.EMPTY_FILE)
    again = copy.copy(error)  # by the same protocol as pickle
    assert (again.path, again.reason, str(again)) == (error.path, error.reason, str(error))


shapes = st.one_of(
    array_shapes(min_dims=2, max_dims=2, max_side=12),
    array_shapes(min_dims=2, max_dims=2, max_side=12).map(lambda s: (*s, 3)),
)


@given(arrays(np.uint8, shapes))
def test_png_round_trip_is_exact_and_repeats(image):
    data = encode_png(image)
    again = decode_png(data)
    assert again.shape == image.shape
    np.testing.assert_array_equal(again, image)
    assert encode_png(again) == data


def test_png_written_here_is_rgb_for_everyone_else():
    pil = pytest.importorskip("PIL.Image")
    rgb = _picture()
    with pil.open(io.BytesIO(encode_png(rgb))) as image:
        np.testing.assert_array_equal(np.asarray(image), rgb)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)],
)
def test_what_cannot_be_encoded_is_refused(image):
    with pytest.raises(ValueError, match="expected an image"):
        encode_png(image)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"\x89PN", "not_an_image"),
        (_bytes(".jpg", _picture()), "not_an_image"),
        (encode_png(_picture())[:-1], "truncated_image"),
        (cv2.imencode(".png", np.zeros((4, 4, 4), np.uint8))[1].tobytes(), "transparent_image"),
    ],
)
def test_bytes_that_are_not_ours_are_refused(data, reason):
    with pytest.raises(ImageError, match="PNG bytes in memory") as caught:
        decode_png(data)
    assert caught.value.reason == reason
