"""Render one frame of a subject in linear light.

Light varies slowly over a face, so it is computed at the mesh's vertices and interpolated. What the
face is made of (skin, lips, hair, cloth, eyes) is looked up at every sample, in coordinates of the
face in rest: the paint sticks to the moving skin, and a motion of a tenth of a pixel shows as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, Camera, Pose
from fdpbench.prep.demo.synth.head import LEFT_EYE, RIGHT_EYE, SKIN, vertex_normals
from fdpbench.prep.demo.synth.raster import Samples, Window, gather_corners, rasterize
from fdpbench.prep.demo.synth.skin import LEFT, TOP
from fdpbench.prep.demo.synth.subject import Subject

__all__ = ["Light", "Renderer"]

CLOTH_BELOW = 5.75  # height on the average head (dm) where the clothes begin
HAIR_EDGE, SIDE_EDGE = 0.06, 0.08  # softness of the hairline, dm
SKIN_GLOSS, HAIR_GLOSS, EYE_GLOSS = 0.035, 0.010, 0.5
EYE_SHADE = 0.75  # lids and lashes shade the eyeball
SCLERA = np.array([0.62, 0.56, 0.52], dtype=np.float32)
IRIS_ANGLE, PUPIL_ANGLE = 24.5, 9.5  # degrees from the axis of the eye
SUBSURFACE = np.array([0.35, 0.20, 0.15], dtype=np.float32)  # light that wraps round the skin, R G B
FILL_LIGHT = np.array([-0.6, 0.1, 0.75], dtype=np.float32)
TO_CAMERA = np.array([0.0, 0.0, 1.0], dtype=np.float32)
REMAP_WIDTH = 512  # cv2.remap takes no image with a side above 32767: samples are folded into rows


@dataclass(frozen=True)
class Light:
    """The key light: direction (x, y, z) towards it and strength, about 1."""

    direction: tuple[float, float, float] = (0.35, 0.5, 0.8)
    strength: float = 1.0


class Renderer:
    """Render frames of one subject at one size; what does not change between frames is kept."""

    def __init__(self, subject: Subject, camera: Camera) -> None:
        self.subject, self.camera = subject, camera
        head, hairline = subject.head, subject.hairline
        self._rest = gather_corners(head.vertices, head.triangles)  # (3, 3, F)
        self._occlusion = gather_corners(head.occlusion[:, None], head.triangles)  # (1, 3, F)
        self._lips = gather_corners(np.stack([head.lips, head.mouth], axis=1), head.triangles)  # (2, 3, F)
        # Triangles that may hold more than skin. A superset is enough: samples decide.
        rest = head.vertices.T  # (3, V)
        covered = hairline.above_front(rest, HAIR_EDGE) > 0
        covered |= (rest[2] < hairline.depth) | (rest[1] < CLOTH_BELOW)
        self._covered = np.asarray(covered[head.triangles].any(axis=1) & (head.triangle_part == SKIN))
        self._mouth = np.asarray(((head.lips > 0) | (head.mouth > 0))[head.triangles].any(axis=1))
        self._background = _background(camera.size * SUPERSAMPLING, subject.background)
        chin = (int((TOP - 6.5) * subject.density), int(-LEFT * subject.density))
        self._plain_skin = subject.skin_texture[chin][:, None]  # (3, 1)

    def frame(
        self,
        offsets: NDArray[np.float32],
        pose: Pose,
        gaze: tuple[float, float],
        light: Light,
        window: Window | None = None,
    ) -> NDArray[np.float32]:
        """Render one frame, or a part of it.

        Parameters
        ----------
        offsets
            Shape (V, 3), displacement of the vertices by action units, in the asset's dm.
        pose
            Where the head is.
        gaze
            Degrees to the subject's left and up, relative to the head.
        light
            The key light.
        window
            The part of the frame to render, pixels; by default the whole.

        Returns
        -------
        Shape (3, size, size), or that of the window, float32, linear light: red, green, blue.
        """
        head, side = self.subject.head, self.camera.size * SUPERSAMPLING
        left, top, right, bottom = window or (0, 0, self.camera.size, self.camera.size)
        seen = Window(left, top, right, bottom).scaled(SUPERSAMPLING)
        vertices = self.deform(offsets)
        position, depth = self.camera.project(vertices, pose)
        samples = rasterize(position * SUPERSAMPLING, depth, head.triangles, side, side, seen)
        normals = vertex_normals(vertices, head.triangles) @ pose.rotation().T
        diffuse, gloss = _vertex_light(normals, head.occlusion, light)
        lit = gather_corners(np.concatenate([diffuse, gloss[:, None]], axis=1), head.triangles)
        diffuse, gloss = np.split(samples.interpolate(lit), [3])  # (3, N), (1, N)
        rest = samples.interpolate(self._rest)  # (3, N)

        colour, shine = self._materials(samples, rest)
        colour *= diffuse
        colour += shine * gloss
        facing = gather_corners(normals, head.triangles)
        part = head.triangle_part[samples.triangle]
        for eye in (LEFT_EYE, RIGHT_EYE):
            here = np.flatnonzero(part == eye)
            if not len(here):  # closed, turned away or outside the window
                continue
            eyeball = samples.subset(here)
            surface = _eye_colour(rest[:, here] - head.eye_centres[eye - 1][:, None], gaze, self.subject.iris)
            shine = EYE_GLOSS * _highlight(eyeball.interpolate(facing), light)
            colour[:, here] = EYE_SHADE * surface * diffuse[:, here]
            colour[:, here] += shine * eyeball.interpolate(self._occlusion)

        image = self._background[:, seen.top : seen.bottom, seen.left : seen.right].copy()
        size = (right - left, bottom - top)
        small = np.empty((3, *size[::-1]), dtype=np.float32)
        for channel in range(3):
            image[channel].reshape(-1)[samples.pixel] = colour[channel]
            cv2.resize(image[channel], size, dst=small[channel], interpolation=cv2.INTER_AREA)
        return small

    def deform(self, offsets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move the subject's neutral face by the asset's offsets (V, 3): vertices (V, 3), dm."""
        return self.subject.vertices + offsets * np.float32(self.subject.scale)

    def bare_skin(self, samples: Samples) -> NDArray[np.bool_]:
        """Tell which samples show skin or lips: not eyes, hair, clothes or the inside of the mouth."""
        head = self.subject.head
        rest = samples.interpolate(self._rest)
        lips = samples.interpolate(self._lips)
        hidden = (self._hair(rest) > 0) | (rest[1] < CLOTH_BELOW) | ((lips[1] > 0.5) & (lips[0] < 0.5))
        return (head.triangle_part[samples.triangle] == SKIN) & ~hidden

    def _materials(
        self, samples: Samples, rest: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reflectance (3, N) and gloss (N,) of the samples; eyeballs are left as skin."""
        subject = self.subject
        colour = self._look_up(subject.skin_texture, rest)
        shine = np.full(rest.shape[1], SKIN_GLOSS, dtype=np.float32)

        here = np.flatnonzero(self._mouth[samples.triangle])
        lips, mouth = samples.subset(here).interpolate(self._lips)  # (M,), (M,)
        skin = colour[:, here]
        cover = 0.85 * np.clip(1.15 * lips, 0, 1)
        detail = np.clip((skin / self._plain_skin).mean(axis=0), 0.7, 1.3)
        skin = skin * (1 - cover) + subject.lips[:, None] * (detail * cover)
        colour[:, here] = skin * (1 - 0.93 * np.clip(1.3 * mouth, 0, 1) * (lips < 0.5))

        here = np.flatnonzero(self._covered[samples.triangle])
        place = rest[:, here]
        cover = self._hair(place)
        strands = self._look_up(subject.hair_texture, place)
        mixed = colour[:, here] * (1 - cover) + subject.hair[:, None] * (strands * cover)
        clothed = place[1] < CLOTH_BELOW
        colour[:, here] = np.where(clothed, subject.cloth[:, None], mixed)
        shine[here] = np.where(cover > 0.5, np.float32(HAIR_GLOSS), np.float32(SKIN_GLOSS)) * ~clothed
        return colour, shine

    def _hair(self, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        hairline = self.subject.hairline
        return np.maximum(hairline.above_front(rest, HAIR_EDGE), hairline.behind_side(rest, SIDE_EDGE))

    def _look_up(self, texture: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Read a texture at points (3, N) of the face in rest: (channels, N)."""
        count = rest.shape[1]
        folded = np.zeros((2, -(-count // REMAP_WIDTH) * REMAP_WIDTH), dtype=np.float32)
        density = self.subject.density
        folded[0, :count] = (rest[0] - LEFT) * density - 0.5
        folded[1, :count] = (TOP - rest[1]) * density - 0.5
        column, row = folded.reshape(2, -1, REMAP_WIDTH)
        found = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        values = np.asarray(found, dtype=np.float32).reshape(folded.shape[1], -1)[:count]
        return np.ascontiguousarray(values.T)


def _vertex_light(
    normals: NDArray[np.float32], occlusion: NDArray[np.float32], light: Light
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Diffuse light (V, 3) and the broad highlight (V,) that vertices send to the camera."""
    key = _unit(np.array(light.direction, dtype=np.float32))
    wrapped = ((normals @ key)[:, None] + SUBSURFACE) / (1 + SUBSURFACE)
    diffuse = 0.85 * light.strength * np.maximum(wrapped, 0) * (0.35 + 0.65 * occlusion)[:, None]
    sky = 0.30 + 0.08 * normals[:, 1]
    fill = 0.22 * np.maximum(0.8 * (normals @ _unit(FILL_LIGHT)) + 0.2, 0)
    diffuse += (occlusion * (sky + fill))[:, None]
    halfway = _unit(key + TO_CAMERA)
    gloss = np.clip(normals @ halfway, 0, 1) ** 14 * light.strength * occlusion
    return diffuse, gloss


def _highlight(normals: NDArray[np.float32], light: Light) -> NDArray[np.float32]:
    """Sharp reflection (N,) of the key light on the wet eye, for normals (3, N) of any length."""
    halfway = _unit(_unit(np.array(light.direction, dtype=np.float32)) + TO_CAMERA)
    facing = np.clip(halfway @ (normals / np.linalg.norm(normals, axis=0)), 0, 1)
    return light.strength * facing**112


def _eye_colour(
    from_centre: NDArray[np.float32], gaze: tuple[float, float], iris: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Reflectance (3, N) of an eyeball at offsets (3, N) from its centre."""
    axis = np.array([np.sin(np.deg2rad(gaze[0])), np.sin(np.deg2rad(gaze[1])), 1.0], dtype=np.float32)
    cosine = np.clip(_unit(axis) @ (from_centre / np.linalg.norm(from_centre, axis=0)), -1, 1)
    angle = np.degrees(np.arccos(cosine))  # (N,)
    within_iris = np.clip((IRIS_ANGLE - angle) / 2.5 + 0.5, 0, 1)
    within_pupil = np.clip((PUPIL_ANGLE - angle) / 1.5 + 0.5, 0, 1)
    colour = SCLERA[:, None] * (1 - 0.25 * np.clip((angle - 25) / 40, 0, 1))
    colour = colour * (1 - within_iris) + iris[:, None] * (0.6 + 0.8 * angle / 24) * within_iris
    return colour * (1 - within_pupil) + 0.004 * within_pupil


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _background(side: int, colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paint a plain wall, lit from the upper left: (3, side, side)."""
    row, column = np.ogrid[0:side, 0:side]
    fall_off = 1.1 - 0.5 * ((column / side - 0.35) ** 2 + (row / side - 0.3) ** 2)
    return fall_off.astype(np.float32) * colour[:, None, None]
