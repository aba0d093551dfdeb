"""Write the embedded release to disk, laid out like any other release.

    annotations.csv                      one row for each clip
    frames/s01/happiness_1/img001.png    8-bit colour, lossless
    truth/landmarks.csv                  index, name, rigid: the columns of landmarks.npy
    truth/s01/happiness_1/landmarks.npy  (frames, K, 2) float32, px
    truth/s01/happiness_1/flow.npy       (2, size, size) float32, px: onset to apex, NaN off the skin
    README.txt

Frame numbers in the sheet are the files' numbers. A clip depends on its plan and the parameters
alone, so clips can be written in any order, by any number of processes.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, Camera, expose
from fdpbench.prep.demo.synth.clip import ClipPlan
from fdpbench.prep.demo.synth.motion import FPS, plan_motion
from fdpbench.prep.demo.synth.render import Renderer
from fdpbench.prep.demo.synth.subject import build_subject
from fdpbench.prep.demo.synth.truth import dense_flow, face_landmarks

__all__ = ["COLUMNS", "ClipRecord", "encode_png", "renderer_for", "write_clip", "write_sheet"]

COLUMNS = (
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion",
    "Frames", "PeakPixels", "Blink", "GazeShift",
)  # fmt: skip
# Huffman coding alone: sensor noise leaves nothing for longer matches to find, and this is fastest.
PNG_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
)  # fmt: skip

README = f"""The embedded synthetic release of FDP-Bench
===========================================

Rendered faces that show micro-expressions of known size, written by `prep.demo.synth` from a seed.
It exists to run and test the pipeline without a licensed data set.
SCORES ON IT SAY NOTHING ABOUT REAL FACES.

annotations.csv: one row for each clip. Frame numbers are file numbers (img001.png is 1); frames
before onset and after offset exist too. Action units follow FACS, L or R before the number for one
side of the face. PeakPixels is the largest motion of a landmark from onset to apex by the expression
alone; Blink and GazeShift are 1 for clips that hold one. {FPS} frames a second.

truth/: exact positions of the landmarks in every frame and exact motion of the skin from onset to
apex, in pixels, centre of the first pixel at (0, 0). NaN in flow.npy marks pixels that are not skin.
landmarks.csv names the landmarks; those with rigid = 1 move with the skull alone.

The head is derived from MakeHuman and MPFB assets, released under CC0 1.0. No real person is shown.
"""


@dataclass(frozen=True)
class ClipRecord:
    """One row of the annotation sheet."""

    subject: str
    clip: str
    onset: int
    apex: int
    offset: int
    action_units: str
    emotion: str
    frames: int
    peak: float
    blink: bool
    gaze_shift: bool

    @classmethod
    def of(cls, plan: ClipPlan) -> ClipRecord:
        """Annotate a planned clip; nothing needs to be rendered."""
        return cls(
            subject=plan.subject,
            clip=plan.clip,
            onset=plan.onset,
            apex=plan.apex,
            offset=plan.offset,
            action_units=plan.sheet_codes,
            emotion=plan.emotion,
            frames=plan.frames,
            peak=round(plan.peak, 4),
            blink=plan.blink is not None,
            gaze_shift=plan.gaze_shift is not None,
        )


def write_clip(plan: ClipPlan, size: int, root: Path) -> ClipRecord:
    """Render one clip and write its frames and its truth.

    Parameters
    ----------
    plan
        The clip, one of `prep.demo.synth.plan.plan_release`.
    size
        Side of a frame, pixels.
    root
        Folder of the release. What an interrupted run left of this clip is replaced.

    Raises
    ------
    OSError
        If a file cannot be written; the system's message names it.
    """
    renderer = renderer_for(plan.identity_seed, size)
    motion = plan_motion(plan, renderer)
    offsets = motion.offsets(renderer.subject.head)  # (frames, V, 3)
    noise = np.random.default_rng([plan.seed, 2])

    folder = root / "frames" / plan.subject / plan.clip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index, (pose, light, gaze) in enumerate(zip(motion.poses, motion.lights, motion.gaze, strict=True)):
        linear = renderer.frame(offsets[index], pose, (float(gaze[0]), float(gaze[1])), light)
        image = expose(linear, noise, plan.sensor_noise)
        (folder / f"img{index + 1:03d}.png").write_bytes(encode_png(image))

    truth = root / "truth" / plan.subject / plan.clip
    truth.mkdir(parents=True, exist_ok=True)
    landmarks = face_landmarks()
    places = [landmarks.project(renderer, *pair) for pair in zip(offsets, motion.poses, strict=True)]
    onset, apex = plan.onset - 1, plan.apex - 1
    flow = dense_flow(renderer, (offsets[onset], motion.poses[onset]), (offsets[apex], motion.poses[apex]))
    np.save(truth / "landmarks.npy", np.stack(places), allow_pickle=False)
    np.save(truth / "flow.npy", flow, allow_pickle=False)
    return ClipRecord.of(plan)


def write_sheet(records: list[ClipRecord], root: Path) -> Path:
    """Write the annotation sheet, the list of landmarks and the README of the release.

    Parameters
    ----------
    records
        One for each clip, in the order of the sheet.
    root
        Folder of the release.

    Returns
    -------
    Path of ``annotations.csv``.
    """
    rows = [
        (
            record.subject, record.clip, record.onset, record.apex, record.offset, record.action_units,
            record.emotion, record.frames, record.peak, int(record.blink), int(record.gaze_shift),
        )
        for record in records
    ]  # fmt: skip
    (root / "truth").mkdir(parents=True, exist_ok=True)
    landmarks = face_landmarks()
    named = zip(landmarks.names, landmarks.rigid, strict=True)
    _write_csv(
        root / "truth" / "landmarks.csv",
        ("Index", "Name", "Rigid"),
        [(index, name, int(rigid)) for index, (name, rigid) in enumerate(named)],
    )
    (root / "README.txt").write_text(README, encoding="utf-8")
    sheet = root / "annotations.csv"
    _write_csv(sheet, COLUMNS, rows)
    return sheet


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Encode an RGB frame, shape (H, W, 3), without loss."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), PNG_OPTIONS)[1].tobytes()


@lru_cache(maxsize=2)
def renderer_for(identity_seed: int, size: int) -> Renderer:
    """Build a subject once for its clips, which follow each other; two are kept, so memory stays flat."""
    camera = Camera(size)
    return Renderer(build_subject(identity_seed, camera.pixels_per_dm * SUPERSAMPLING), camera)


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
