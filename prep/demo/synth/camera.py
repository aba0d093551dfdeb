"""The camera: where a point of the head lands in the image, and what the sensor makes of the light.

Image positions inside the renderer have the corner of the first pixel at (0, 0), so that its centre
is (0.5, 0.5). What is written to disk follows OpenCV, where the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.subject import EYE_DISTANCE

__all__ = ["SUPERSAMPLING", "Camera", "Pose", "expose"]

SUPERSAMPLING = 2  # samples along each side of a pixel
EYES_SHARE = 0.2125  # distance of the eyes as a share of the frame's side: 51 of 240 px
EYES_HEIGHT = 0.47  # height of the eyes in the frame, from the top
CAMERA_DISTANCE = 12.0  # dm from the eyes
NECK = np.array([0.0, -1.1, -1.0], dtype=np.float32)  # the head turns about this point, dm

READ_NOISE, SHOT_NOISE = 0.004, 0.010  # standard deviation in the dark, and its growth with light
CONVERTER_LEVELS = 1 << 14
GAMMA = 1 / 2.2


@dataclass(frozen=True)
class Pose:
    """Where the head is: turns in degrees, shifts in pixels (x right, y down)."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def rotation(self) -> NDArray[np.float32]:
        """Give the 3x3 rotation matrix: yaw, then pitch, then roll."""
        yaw, pitch, roll = np.deg2rad([self.yaw, self.pitch, self.roll])
        about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return (about_z @ about_x @ about_y).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """A fixed camera in front of the face, for square frames of `size` pixels."""

    size: int

    @property
    def pixels_per_dm(self) -> float:
        """Scale of the image at the depth of the eyes, px for each dm."""
        return EYES_SHARE * self.size / EYE_DISTANCE

    def project(self, points: NDArray[np.float32], pose: Pose) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Project points of the head onto the image.

        Parameters
        ----------
        points
            Shape (N, 3), dm, midpoint of the eyes at the origin.
        pose
            Where the head is.

        Returns
        -------
        Positions (N, 2) in px, corner of the first pixel at (0, 0), and depth (N,) in dm, larger is
        nearer.
        """
        turned = (points - NECK) @ pose.rotation().T + NECK
        depth = turned[:, 2]
        scale = np.float32(self.pixels_per_dm * CAMERA_DISTANCE) / (np.float32(CAMERA_DISTANCE) - depth)
        position = np.empty((len(points), 2), dtype=np.float32)
        position[:, 0] = self.size / 2 + pose.shift_x + scale * turned[:, 0]
        position[:, 1] = self.size * EYES_HEIGHT + pose.shift_y - scale * turned[:, 1]
        return position, np.asarray(depth, dtype=np.float32)


def expose(light: NDArray[np.float32], rng: np.random.Generator, factor: float = 1.0) -> NDArray[np.uint8]:
    """Turn linear light into an 8-bit image, with the sensor's noise.

    Parameters
    ----------
    light
        Shape (3, H, W), float32, linear, 1 saturates.
    rng
        Source of the noise: read noise, and shot noise whose variance grows with the light.
    factor
        On the noise's standard deviation: 1 is a good camera in good light.

    Returns
    -------
    Shape (H, W, 3), uint8, gamma 1/2.2.
    """
    signal = np.clip(light, 0, 1)
    deviation = np.sqrt(READ_NOISE**2 + SHOT_NOISE**2 * signal)
    deviation *= rng.standard_normal(light.shape, dtype=np.float32)
    deviation *= np.float32(factor)
    deviation += light
    deviation *= CONVERTER_LEVELS - 1
    # The gamma curve as a table over the converter's levels: a power for each pixel is slow.
    level = np.clip(deviation, 0, CONVERTER_LEVELS - 1).astype(np.uint16)
    return np.ascontiguousarray(GAMMA_TABLE[level].transpose(1, 2, 0))


def _gamma_table() -> NDArray[np.uint8]:
    level = (np.arange(CONVERTER_LEVELS) + 0.5) / CONVERTER_LEVELS
    return np.round(255 * level**GAMMA).astype(np.uint8)


GAMMA_TABLE = _gamma_table()
