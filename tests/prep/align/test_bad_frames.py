"""Frames with faults that only reading shows: the clip is listed with its reason, and good clips survive."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fdpbench.prep.align import stage as crops
from fdpbench.prep.demo.simulate import simulate
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import FRAMES, REJECTED, Reason
from tests.prep.task.test_stages import run_here
from tests.support.builders import PARAMS

RELEASE = "samm"
ALIGN = section(AlignParams, PARAMS["align"], "align")


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def write(path: Path, suffix: str, image: np.ndarray) -> None:
    """Write an image of one format under the name of another, as converters do."""
    done, data = cv2.imencode(suffix, image)
    assert done
    path.write_bytes(data.tobytes())


def cut_jpeg(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("The frame was moved to another server.\n")


def sixteen_bits(path: Path) -> None:
    write(path, ".png", picture(path).astype(np.uint16) << 8)


def transparent(path: Path) -> None:
    image = cv2.cvtColor(picture(path), cv2.COLOR_BGR2BGRA)
    image[:4, :, 3] = 0
    write(path, ".png", image)


def smaller(path: Path) -> None:
    write(path, ".jpg", picture(path)[2:, 2:])


def turned(path: Path) -> None:
    write(path, ".jpg", np.ascontiguousarray(picture(path).transpose(1, 0, 2)))


def fifty_megapixels_png(path: Path) -> None:
    """The header of such an image, and nothing behind it: it must be refused before it is decoded."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 5_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


def fifty_megapixels_jpeg(path: Path) -> None:
    """A small image whose header says 5,000 rows of 10,000 pixels."""
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 5_000, 10_000)
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone.jpg"))


def no_face(path: Path) -> None:
    write(path, ".jpg", np.full_like(picture(path), 90))


def unreadable(path: Path) -> None:
    """Nothing is done to the file: reading it is refused, as tests may run as root."""


# What is done to a frame, which frame of the clip, the reason.
FAULTS: list[tuple[Callable[[Path], None], int, Reason]] = [
    (cut_jpeg, 3, Reason.TRUNCATED_IMAGE),
    (no_bytes, 0, Reason.EMPTY_FILE),
    (text, 0, Reason.NOT_AN_IMAGE),
    (sixteen_bits, 5, Reason.UNSUPPORTED_DEPTH),
    (transparent, 2, Reason.TRANSPARENT_IMAGE),
    (smaller, 6, Reason.WRONG_SIZE),
    (turned, 4, Reason.WRONG_SIZE),
    (fifty_megapixels_png, 0, Reason.TOO_LARGE),
    (fifty_megapixels_jpeg, -1, Reason.TOO_LARGE),
    (folder, 4, Reason.UNREADABLE_FILE),
    (dangling, 4, Reason.MISSING_FILE),
    (no_face, 0, Reason.NO_FACE),
    (unreadable, 3, Reason.UNREADABLE_FILE),
]


def harmless_alpha(path: Path) -> None:
    write(path, ".png", cv2.cvtColor(picture(path), cv2.COLOR_BGR2BGRA))


def bmp(path: Path) -> None:
    write(path, ".bmp", picture(path))


def trailing_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"written by a camera")


HARMLESS = (harmless_alpha, bmp, trailing_bytes)


def test_faults_of_frames(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults in one release, each in a clip of its own subject; some clips are odd but good."""
    monkeypatch.setattr(crops, "run_units", run_here)
    root = paths.raw(RELEASE)
    written = simulate(RELEASE, root, subjects=len(FAULTS) + len(HARMLESS) + 1, clips=1)
    index_release(RELEASE, root, paths.manifest(RELEASE))
    frames = [[root / frame for frame in clip.frames] for clip in written.clips]
    for (spoil, place, _), files in zip(FAULTS, frames, strict=False):
        spoil(files[place])
    for change, files in zip(HARMLESS, frames[len(FAULTS) :], strict=False):
        change(files[0])
        change(files[4])

    refused = frames[len(FAULTS) - 1][FAULTS[-1][1]]
    read_bytes = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self == refused:
            raise PermissionError(13, "Permission denied", str(self))
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    crops.align_release(RELEASE, root, load_manifest(RELEASE), paths.aligned(RELEASE), ALIGN, 1)

    rejected = shards.read_table(paths.aligned(RELEASE) / "rejected.parquet", REJECTED).to_pylist()
    expected = {clip.clip_id: str(fault[2]) for clip, fault in zip(written.clips, FAULTS, strict=False)}
    assert {row["clip_id"]: row["reason"] for row in rejected} == expected
    details = {row["clip_id"]: row["detail"] for row in rejected}
    for clip, (spoil, place, _) in zip(written.clips, FAULTS, strict=False):
        assert clip.frames[place] in details[clip.clip_id], spoil
    good = [clip for clip in written.clips if clip.clip_id not in expected]
    rows = [row for path in shards.frame_shards(paths.aligned(RELEASE)) for row in shards.read_rows(path, FRAMES)]
    assert [row["source"] for row in rows] == [frame for clip in good for frame in clip.frames]
