"""Data sets as laboratories keep them, of rendered faces: a sheet of one's own form, and images or videos."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import openpyxl
from numpy.typing import NDArray

from fdpbench.prep.demo.simulate import simulate
from fdpbench.prep.releases import read_release
from fdpbench.prep.store.images import read_image
from tests.support.videos import write_video

RATE = 200
PEOPLE = ("Müller", "Schäfer", "Öz")


@dataclass(frozen=True)
class Clip:
    """A clip: subject and clip from 0, its emotion, its frames from onset to offset, and which of them is the apex."""

    subject: int
    number: int
    emotion: str
    frames: tuple[NDArray[np.uint8], ...]
    apex: int


@cache
def clips() -> tuple[Clip, ...]:
    """Six clips of three subjects, two of each; each subject shows both emotions."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "casme2"
        simulate("casme2", root, subjects=len(PEOPLE), clips=2, emotions=["happiness", "disgust"])
        found = []
        rows = sorted(read_release("casme2", root).clips, key=lambda row: row["clip_id"])
        for place, row in enumerate(rows):
            frames = tuple(read_image(root / frame) for frame in row["frames"])
            apex = row["frame_numbers"].index(row["apex"]) if row["apex"] is not None else len(frames) // 2
            found.append(Clip(place // 2, place % 2, ("Freude", "Überraschung")[place % 2], frames, apex))
    return tuple(found)


def german(root: Path) -> Path:
    """A folder of .jpg for each clip, from 1 on; a sheet with semicolons, decimal commas and umlauts; times in seconds.

    Names of folders are in Unicode's other form, as macOS writes them.
    """
    lines = ["Proband;Video;Beginn (s);Höhepunkt (s);Ende (s);Gefühl"]
    for clip in clips():
        person, name = PEOPLE[clip.subject], f"Clip {clip.number + 1}"
        folder = root / "Aufnahmen" / unicodedata.normalize("NFD", person) / name
        folder.mkdir(parents=True)
        for k, frame in enumerate(clip.frames):
            write_image(folder / f"bild{k + 1}.jpg", frame)
        marks = (0, clip.apex / RATE, (len(clip.frames) - 1) / RATE)
        lines.append(";".join([person, name, *(f"{mark:.3f}".replace(".", ",") for mark in marks), clip.emotion]))
    (root / "Auswertung.csv").write_bytes("\r\n".join(lines).encode("cp1252"))
    return root


def videos(root: Path) -> Path:
    """An .avi for each clip, lossless; an Excel sheet whose frames count from 0; 30 frames a second when played."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Participant", "Video", "Start", "Peak", "End", "Label"])
    for clip in clips():
        name = f"P{clip.subject + 1:02d}_take{clip.number + 1}"
        write_video(root / "video" / f"{name}.avi", clip.frames, rate=30)
        sheet.append([clip.subject + 1, f"{name}.avi", 0, clip.apex, len(clip.frames) - 1, clip.emotion])
    book.save(root / "labels.xlsx")
    return root


def nested(root: Path) -> Path:
    """Folders in folders, numbers in all names, and a frame of each clip lost; no offset in the sheet."""
    lines = ["Nr,Subject,Clip,Onset,Apex,Emotion"]
    for clip in clips():
        subject, name = f"{clip.subject + 6:03d}", f"{clip.subject + 6:03d}_{clip.number + 1}"
        folder = root / "session1" / subject / name / "frames"
        folder.mkdir(parents=True)
        for k, frame in enumerate(clip.frames):
            if k != 3:
                write_image(folder / f"{name}_{1040 + k:05d}.png", frame)
        lines.append(f"{len(lines)},{clip.subject + 6},{name},1040,{1040 + clip.apex},{clip.emotion}")
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


def write_image(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a picture in the format that its name says."""
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    path.write_bytes(data.tobytes())


LAYOUTS = {"german": german, "videos": videos, "nested": nested}


def layouts(root: Path) -> Iterator[Path]:
    """All of them."""
    for name, layout in LAYOUTS.items():
        yield layout(root / name)
