"""Frames that need no renderer, and a finder that sees a face in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.predict.preparation import Preparation
from fdpbench.prep.align.faces import NO_FACE, Face, FaceError, eye_corners
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.task import FlowInput, TaskParams
from fdpbench.prep.store.videos import VideoFrame

SIDE = 96
MOUTH = (48.0, 70.0)  # where faces move


class EveryFace:
    """Finds one face in the same place of each frame, but where the frame's first pixel is white."""

    def __init__(self) -> None:
        self.looked = 0

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        """A round face whose eyes are 38 px apart."""
        self.looked += 1
        if rgb[0, 0].min() == 255:
            raise FaceError(NO_FACE, "none here")
        angle = np.linspace(0, 2 * np.pi, 468, endpoint=False)
        points = np.stack([48 + 40 * np.cos(angle), 48 + 44 * np.sin(angle), 0 * angle], axis=1)
        for corners, x in zip(eye_corners(468), (29.0, 67.0), strict=True):
            points[list(corners)] = [(x - 6, 31.0, 0), (x + 6, 31.0, 0)]
        return Face(points, 0.99, (4.0, 4.0, 92.0, 92.0))


def preparation(size: int = 64, aspect: float = 1.0) -> Preparation:
    """Crops as they are, shrunk; flow images of 28 px."""
    align = AlignParams(
        mode="first_frame",
        landmarks="mesh",
        geometry="eyes",
        interpolation="linear",
        size=size,
        eye_distance=0.40,
        eye_height=0.32,
        colour=False,
    )
    task = TaskParams(releases=["r"], classes={"a": ["a"], "b": ["b"]}, flow=FlowInput(size=28, scaling="per_image"))
    return Preparation(align, aspect, task, "dis")


def frames(
    count: int,
    mouth: Callable[[int], float] = lambda number: 0.0,
    head: Callable[[int], float] = lambda number: 0.0,
    fps: float = 30.0,
    faceless: Callable[[int], bool] = lambda number: False,
) -> Iterator[VideoFrame]:
    """Texture whose lower middle moves down by ``mouth`` px, and all of which moves right by ``head`` px."""
    noise = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 200, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    near = np.exp(-(((x - MOUTH[0]) / 14) ** 2 + ((y - MOUTH[1]) / 10) ** 2)).astype(np.float32)
    for number in range(count):
        image = cv2.remap(
            texture, x - np.float32(head(number)), y - np.float32(mouth(number)) * near, cv2.INTER_LINEAR, None,
            cv2.BORDER_REFLECT,
        )  # fmt: skip
        rgb = np.repeat(np.asarray(image, np.uint8)[..., None], 3, axis=2)
        rgb[0, 0] = 255 if faceless(number) else 0
        yield VideoFrame(number, number / fps, rgb)
