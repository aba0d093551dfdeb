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

from prep.synth.camera import SUPERSAMPLING, Camera, Pose
from prep.synth.head import LEFT_EYE, RIGHT_EYE, SKIN, vertex_normals
from prep.synth.raster import Samples, rasterize
from prep.synth.skin import LEFT, TOP
from prep.synth.subject import Subject

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
        self._rest = head.vertices[head.triangles]  # (F, 3, 3)
        self._lips = np.stack([head.lips, head.mouth], axis=1)[head.triangles]  # (F, 3, 2)
        # Triangles that may hold more than skin. A superset is enough: samples decide.
        rest = head.vertices
        covered = hairline.above_front(rest, HAIR_EDGE) > 0
        covered |= (rest[:, 2] < hairline.depth) | (rest[:, 1] < CLOTH_BELOW)
        self._covered = covered[head.triangles].any(axis=1) & (head.triangle_part == SKIN)
        self._mouth: NDArray[np.bool_] = (self._lips > 0).reshape(-1, 6).any(axis=1)
        self._background = _background(camera.size * SUPERSAMPLING, subject.background)
        chin = (int((TOP - 6.5) * subject.density), int(-LEFT * subject.density))
        self._plain_skin = subject.skin_texture[chin]

    def frame(
        self, offsets: NDArray[np.float32], pose: Pose, gaze: tuple[float, float], light: Light
    ) -> NDArray[np.float32]:
        """Render one frame.

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

        Returns
        -------
        Shape (size, size, 3), float32, linear light.
        """
        head, side = self.subject.head, self.camera.size * SUPERSAMPLING
        vertices = self.deform(offsets)
        position, depth = self.camera.project(vertices, pose)
        samples = rasterize(position * SUPERSAMPLING, depth, head.triangles, side, side)
        normals = vertex_normals(vertices, head.triangles) @ pose.rotation().T
        diffuse, gloss = _vertex_light(normals, head.occlusion, light)
        lit = np.concatenate([diffuse, gloss[:, None]], axis=1)[head.triangles]  # (F, 3, 4)
        values = samples.interpolate(np.concatenate([self._rest, lit], axis=2))  # (N, 7)
        rest, diffuse, gloss = values[:, :3], values[:, 3:6], values[:, 6]

        colour, shine = self._materials(samples, rest)
        colour *= diffuse
        colour += (shine * gloss)[:, None]
        for eye in (LEFT_EYE, RIGHT_EYE):
            here = np.flatnonzero(head.triangle_part[samples.triangle] == eye)
            eyeball = samples.subset(here)
            colour[here] = (
                EYE_SHADE
                * diffuse[here]
                * _eye_colour(rest[here] - head.eye_centres[eye - 1], gaze, self.subject.iris)
            )
            facing = eyeball.interpolate(normals[head.triangles])
            shade = eyeball.interpolate(head.occlusion[head.triangles][:, :, None])
            colour[here] += EYE_GLOSS * light.strength * _highlight(facing, light)[:, None] * shade

        image = self._background.copy()
        image.reshape(-1, 3)[samples.pixel] = colour
        size = (self.camera.size, self.camera.size)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)

    def deform(self, offsets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move the subject's neutral face by the asset's offsets (V, 3): vertices (V, 3), dm."""
        return self.subject.vertices + offsets * np.float32(self.subject.scale)

    def bare_skin(self, samples: Samples) -> NDArray[np.bool_]:
        """Tell which samples show skin or lips: not eyes, hair, clothes or the inside of the mouth."""
        head = self.subject.head
        rest = samples.interpolate(self._rest)
        lips = samples.interpolate(self._lips)
        hidden = (self._hair(rest) > 0) | (rest[:, 1] < CLOTH_BELOW)
        hidden |= (lips[:, 1] > 0.5) & (lips[:, 0] < 0.5)
        return (head.triangle_part[samples.triangle] == SKIN) & ~hidden

    def _materials(
        self, samples: Samples, rest: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reflectance (N, 3) and gloss (N,) of the samples; eyeballs are left as skin."""
        subject = self.subject
        colour = self._look_up(subject.skin_texture, rest)
        shine = np.full(len(rest), SKIN_GLOSS, dtype=np.float32)

        here = np.flatnonzero(self._mouth[samples.triangle])
        lips, mouth = samples.subset(here).interpolate(self._lips).T  # (M,), (M,)
        skin = colour[here]
        cover = 0.85 * np.clip(1.15 * lips, 0, 1)[:, None]
        detail = np.clip((skin / self._plain_skin).mean(axis=1, keepdims=True), 0.7, 1.3)
        skin = skin * (1 - cover) + subject.lips * detail * cover
        skin *= 1 - 0.93 * (np.clip(1.3 * mouth, 0, 1) * (lips < 0.5))[:, None]
        colour[here] = skin

        here = np.flatnonzero(self._covered[samples.triangle])
        place = rest[here]
        cover = self._hair(place)
        strands = self._look_up(subject.hair_texture, place)
        mixed = colour[here] * (1 - cover)[:, None] + subject.hair * (strands[:, 0] * cover)[:, None]
        clothed = place[:, 1] < CLOTH_BELOW
        mixed[clothed] = subject.cloth
        colour[here] = mixed
        shine[here] = np.where(cover > 0.5, np.float32(HAIR_GLOSS), np.float32(SKIN_GLOSS)) * ~clothed
        return colour, shine

    def _hair(self, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        hairline = self.subject.hairline
        return np.maximum(hairline.above_front(rest, HAIR_EDGE), hairline.behind_side(rest, SIDE_EDGE))

    def _look_up(self, texture: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Read a texture at points (N, 3) of the face in rest: (N, channels)."""
        count = len(rest)
        folded = np.zeros((2, -(-count // REMAP_WIDTH) * REMAP_WIDTH), dtype=np.float32)
        density = self.subject.density
        folded[0, :count] = (rest[:, 0] - LEFT) * density - 0.5
        folded[1, :count] = (TOP - rest[:, 1]) * density - 0.5
        column, row = folded.reshape(2, -1, REMAP_WIDTH)
        found = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(found, dtype=np.float32).reshape(folded.shape[1], -1)[:count]


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
    """Sharp reflection of the key light on the wet eye, (N,)."""
    halfway = _unit(_unit(np.array(light.direction, dtype=np.float32)) + TO_CAMERA)
    facing = np.clip(_unit(normals) @ halfway, 0, 1)
    return facing**112


def _eye_colour(
    from_centre: NDArray[np.float32], gaze: tuple[float, float], iris: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Reflectance (N, 3) of an eyeball at directions (N, 3) from its centre, not yet unit length."""
    axis = np.array([np.sin(np.deg2rad(gaze[0])), np.sin(np.deg2rad(gaze[1])), 1.0], dtype=np.float32)
    cosine = np.clip(_unit(from_centre) @ _unit(axis), -1, 1)
    angle = np.degrees(np.arccos(cosine))[:, None]  # (N, 1)
    within_iris = np.clip((IRIS_ANGLE - angle) / 2.5 + 0.5, 0, 1)
    within_pupil = np.clip((PUPIL_ANGLE - angle) / 1.5 + 0.5, 0, 1)
    colour = SCLERA * (1 - 0.25 * np.clip((angle - 25) / 40, 0, 1))
    colour = colour * (1 - within_iris) + iris * (0.6 + 0.8 * angle / 24) * within_iris
    return colour * (1 - within_pupil) + 0.004 * within_pupil


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _background(side: int, colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paint a plain wall, lit from the upper left: (side, side, 3)."""
    row, column = np.ogrid[0:side, 0:side]
    fall_off = 1.1 - 0.5 * ((column / side - 0.35) ** 2 + (row / side - 0.3) ** 2)
    return fall_off.astype(np.float32)[..., None] * colour
