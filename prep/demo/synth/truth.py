"""What is known exactly of a synthetic clip: landmarks, and dense motion between two frames.

Positions and motion are in pixels, x right and y down, with the centre of the first pixel at (0, 0)
as in OpenCV. They come from the projected mesh, before any sensor noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.head import ACTION_UNITS, SKIN, Head, eye_centres, load_head, vertex_normals
from fdpbench.prep.demo.synth.raster import gather_corners, rasterize
from fdpbench.prep.demo.synth.render import Renderer

__all__ = ["LANDMARKS", "Landmarks", "dense_flow", "face_landmarks", "landmark_motion"]

LANDMARKS = 128
EYE_NAMES = ("eye_centre_left", "eye_centre_right")
# Named points, as x and y on the average head (dm); the nearest vertex of the face's front is taken.
# Those with x > 0 have a mirror image; left and right are the subject's.
MIDDLE_POINTS = {
    "forehead": (0.0, 7.70), "nose_bridge_1": (0.0, 7.20), "nose_bridge_2": (0.0, 7.10),
    "nose_bridge_3": (0.0, 7.02), "nose_tip": (0.0, 6.94), "upper_lip": (0.0, 6.68),
    "lower_lip": (0.0, 6.53), "chin": (0.0, 6.25),
}  # fmt: skip
PAIRED_POINTS = {
    "brow_inner": (0.14, 7.46), "brow_middle": (0.32, 7.50), "brow_outer": (0.48, 7.44),
    "eye_inner": (0.17, 7.27), "eye_outer": (0.46, 7.29), "upper_lid": (0.31, 7.36),
    "lower_lid": (0.31, 7.18), "cheek": (0.48, 6.90), "nostril": (0.16, 6.90), "mouth_corner": (0.27, 6.60),
}  # fmt: skip
# A landmark is rigid if no action unit moves it by more than this share of the unit's largest motion.
RIGID_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The fixed set of landmarks.

    Attributes
    ----------
    names
        K names. The first two are the centres of the eyeballs, then named points, then the vertex
        that each action unit moves most (``AU12L``), then ``face_000`` and on: an even spread.
    vertices
        Shape (K - 2,), vertex indices of all but the eyeballs' centres.
    rigid
        Shape (K,), whether the point moves with the skull alone.
    """

    names: tuple[str, ...]
    vertices: NDArray[np.int64]
    rigid: NDArray[np.bool_]

    def positions(self, head: Head, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pick the landmarks, shape (K, 3), from deformed `vertices` (V, 3)."""
        return np.concatenate([eye_centres(vertices, head.vertex_part), vertices[self.vertices]])

    def project(self, renderer: Renderer, offsets: NDArray[np.float32], pose: Pose) -> NDArray[np.float32]:
        """Place the landmarks in a frame: shape (K, 2), px, centre of the first pixel at (0, 0)."""
        points = self.positions(renderer.subject.head, renderer.deform(offsets))
        return renderer.camera.project(points, pose)[0] - np.float32(0.5)


@lru_cache(maxsize=1)
def face_landmarks() -> Landmarks:
    """Choose the landmarks on the average head: the same vertices for every subject and clip."""
    head = load_head()
    x, y, z = head.vertices.T
    front = (head.vertex_part == SKIN) & (vertex_normals(head.vertices, head.triangles)[:, 2] > 0.3)
    front &= (np.abs(x) < 0.72) & (y > 6.19) & (y < 7.85) & (z > 0.7) & (head.mouth < 0.3)

    chosen: dict[str, int] = {}

    def choose(name: str, cost: NDArray[np.float32]) -> None:
        vertex = int(np.argmin(np.where(front, cost, np.inf)))
        if vertex not in chosen.values():
            chosen[name] = vertex

    for name, (px, py) in MIDDLE_POINTS.items():
        choose(name, np.hypot(x - px, y - py))
    for name, (px, py) in PAIRED_POINTS.items():
        choose(f"{name}_left", np.hypot(x - px, y - py))
        choose(f"{name}_right", np.hypot(x + px, y - py))
    share = np.zeros(len(x), dtype=np.float32)  # of an action unit's largest motion, over all units
    for unit in ACTION_UNITS:
        for side in ("L", "R") if head.has_sides(unit) else ("",):
            offsets = head.unit(unit + side)
            motion = np.linalg.norm(offsets, axis=1)
            share = np.maximum(share, motion / motion.max())
            choose(unit + side, -np.linalg.norm(offsets[:, :2], axis=1))
    # Farthest-point sampling spreads the rest evenly over the face.
    distance = np.full(len(x), np.inf)
    for vertex in chosen.values():
        distance = np.minimum(distance, np.linalg.norm(head.vertices - head.vertices[vertex], axis=1))
    for number in range(LANDMARKS - len(EYE_NAMES) - len(chosen)):
        vertex = int(np.argmax(np.where(front, distance, -np.inf)))
        chosen[f"face_{number:03d}"] = vertex
        distance = np.minimum(distance, np.linalg.norm(head.vertices - head.vertices[vertex], axis=1))

    vertices = np.array(list(chosen.values()))
    rigid = np.concatenate([np.ones(len(EYE_NAMES), dtype=bool), share[vertices] <= RIGID_SHARE])
    return Landmarks((*EYE_NAMES, *chosen), vertices, rigid)


def landmark_motion(renderer: Renderer, activation: Mapping[str, float], pose: Pose) -> float:
    """Measure how far an expression moves the face: the largest motion of a landmark, px.

    Parameters
    ----------
    renderer
        The subject and the camera.
    activation
        Weights of action units.
    pose
        Pose of the head, held still.
    """
    landmarks, head = face_landmarks(), renderer.subject.head
    moved = landmarks.project(renderer, head.displacement(activation), pose)
    still = landmarks.project(renderer, np.zeros_like(head.vertices), pose)
    return float(np.linalg.norm(moved - still, axis=1).max())


def dense_flow(
    renderer: Renderer,
    start: tuple[NDArray[np.float32], Pose],
    end: tuple[NDArray[np.float32], Pose],
) -> NDArray[np.float32]:
    """Give the true motion of the visible skin between two frames.

    Parameters
    ----------
    renderer
        The subject and the camera.
    start, end
        Offsets of the vertices (V, 3) by action units, and pose, of each frame.

    Returns
    -------
    Shape (2, size, size), float32, px: motion in x and y of what the first frame shows at each pixel's
    centre. NaN where that is not skin or lips: background, hair, clothes, eyes, inside of the mouth.
    """
    size, head = renderer.camera.size, renderer.subject.head
    before, depth = renderer.camera.project(renderer.deform(start[0]), start[1])
    after, _ = renderer.camera.project(renderer.deform(end[0]), end[1])
    samples = rasterize(before, depth, head.triangles, size, size)
    samples = samples.subset(np.flatnonzero(renderer.bare_skin(samples)))
    flow = np.full((2, size * size), np.nan, dtype=np.float32)
    flow[:, samples.pixel] = samples.interpolate(gather_corners(after - before, head.triangles))
    return flow.reshape(2, size, size)
