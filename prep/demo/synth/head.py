"""The head asset: a triangle mesh, its identity shapes and its facial action units.

`head.npz` holds the MakeHuman head with its identity targets and 51 "face units", all CC0 (see
`head.LICENSE.md`). Lengths are decimetres; x points to the subject's left, y up, z to the camera.
An action unit (FACS, Ekman and Friesen 1978) is a field of vertex offsets that is added with a
weight; 1 is the full, posed movement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTION_UNITS", "Head", "load_head", "vertex_normals"]

ASSET = Path(__file__).with_name("head.npz")
SKIN, LEFT_EYE, RIGHT_EYE = 0, 1, 2

# FACS action unit -> the asset's face unit and the weight that makes a full movement.
ACTION_UNITS: dict[str, tuple[str, float]] = {
    "AU1": ("browInnerUp", 1.0),
    "AU2": ("browOuterUp", 1.0),
    "AU4": ("browDown", 1.0),
    "AU5": ("eyeWide", 1.0),
    "AU6": ("cheekSquint", 1.0),
    "AU7": ("eyeSquint", 1.0),
    "AU9": ("noseSneer", 1.0),
    "AU10": ("mouthUpperUp", 1.0),
    "AU12": ("mouthSmile", 1.0),
    "AU14": ("mouthDimple", 1.0),
    "AU15": ("mouthFrown", 1.0),
    "AU17": ("mouthShrugLower", 1.0),
    "AU20": ("mouthStretch", 1.0),
    "AU24": ("mouthPress", 1.0),
    "AU25": ("jawOpen", 0.25),
    "AU45": ("eyeBlink", 1.0),
}


@dataclass(frozen=True, eq=False)
class Head:
    """The average head and everything that deforms it.

    Attributes
    ----------
    vertices
        Shape (V, 3), float32, dm.
    triangles
        Shape (F, 3), vertex indices, anticlockwise from outside.
    triangle_part, vertex_part
        Shapes (F,) and (V,): 0 skin, 1 left eyeball, 2 right eyeball.
    eye_centres
        Shape (2, 3), float32, dm: centres of the left and the right eyeball.
    occlusion, lips, mouth
        Shape (V,), float32 in [0, 1]: ambient light that arrives, membership of the lips and of the
        inside of the mouth.
    face_units, macro, local
        Offset fields (V, 3), float32, dm, by the asset's names: expressions, whole-head identity
        (ancestry, sex, age, weight) and local identity.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int64]
    triangle_part: NDArray[np.int8]
    vertex_part: NDArray[np.int8]
    eye_centres: NDArray[np.float32]
    occlusion: NDArray[np.float32]
    lips: NDArray[np.float32]
    mouth: NDArray[np.float32]
    face_units: dict[str, NDArray[np.float32]]
    macro: dict[str, NDArray[np.float32]]
    local: dict[str, NDArray[np.float32]]

    def has_sides(self, name: str) -> bool:
        """Tell whether the action unit `name` (``AU12``) can move on one side of the face alone."""
        return _face_unit(name)[0] not in self.face_units

    def unit(self, name: str) -> NDArray[np.float32]:
        """Give the offsets of one action unit at weight 1.

        Parameters
        ----------
        name
            ``AU12`` moves both sides, ``AU12L`` and ``AU12R`` the subject's left and right.

        Returns
        -------
        Shape (V, 3), float32, dm.

        Raises
        ------
        ValueError
            If there is no such action unit, or it has no sides and one is asked for.
        """
        face_unit, weight = _face_unit(name.rstrip("LR"))
        if face_unit in self.face_units:
            if name[-1] in "LR":
                raise ValueError(f"action unit {name!r}: {name.rstrip('LR')} has no sides, leave out L or R")
            return self.face_units[face_unit] * np.float32(weight)
        sides = {"L": ("Left",), "R": ("Right",)}.get(name[-1], ("Left", "Right"))
        total = np.zeros_like(self.vertices)
        for side in sides:
            total += self.face_units[face_unit + side]
        return total * np.float32(weight)

    def displacement(self, activation: Mapping[str, float]) -> NDArray[np.float32]:
        """Sum action units: shape (V, 3), float32, dm, linear in the weights of `activation`."""
        total = np.zeros_like(self.vertices)
        for name, weight in activation.items():
            total += self.unit(name) * np.float32(weight)
        return total


def _face_unit(name: str) -> tuple[str, float]:
    if name not in ACTION_UNITS:
        raise ValueError(f"unknown action unit {name!r}: expected one of {', '.join(ACTION_UNITS)}")
    return ACTION_UNITS[name]


@lru_cache(maxsize=1)
def load_head() -> Head:
    """Read the head asset, once in a process."""
    with np.load(ASSET, allow_pickle=False) as asset:
        data = {key: asset[key] for key in asset.files}
    vertices = data["v"].astype(np.float32)
    triangles = data["tri"].astype(np.int64)
    vertex_part = np.zeros(len(vertices), dtype=np.int8)
    for part in (LEFT_EYE, RIGHT_EYE):
        vertex_part[np.unique(triangles[data["part"] == part])] = part

    def fields(group: str) -> dict[str, NDArray[np.float32]]:
        pairs = zip(data[f"{group}_n"], data[group], strict=True)
        return {str(name): field.astype(np.float32) for name, field in pairs}

    return Head(
        vertices=vertices,
        triangles=triangles,
        triangle_part=data["part"].astype(np.int8),
        vertex_part=vertex_part,
        eye_centres=eye_centres(vertices, vertex_part),
        occlusion=data["ao"].astype(np.float32),
        lips=data["m_lips"].astype(np.float32),
        mouth=data["m_inside_mouth"].astype(np.float32),
        face_units=fields("au"),
        macro=fields("macro"),
        local=fields("loc"),
    )


def eye_centres(vertices: NDArray[np.float32], vertex_part: NDArray[np.int8]) -> NDArray[np.float32]:
    """Give the centres of the left and right eyeball, shape (2, 3), of deformed `vertices`."""
    return np.stack([vertices[vertex_part == part].mean(axis=0) for part in (LEFT_EYE, RIGHT_EYE)])


def vertex_normals(vertices: NDArray[np.float32], triangles: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give unit normals (V, 3), float32: the mean of the adjoining triangles, weighted by area."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    face = np.empty_like(ab)
    face[:, 0] = ab[:, 1] * ac[:, 2] - ab[:, 2] * ac[:, 1]
    face[:, 1] = ab[:, 2] * ac[:, 0] - ab[:, 0] * ac[:, 2]
    face[:, 2] = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    corner = triangles.ravel()
    normals = np.empty_like(vertices)
    for axis in range(3):
        normals[:, axis] = np.bincount(corner, np.repeat(face[:, axis], 3), len(vertices))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + np.float32(1e-12)
    return normals
