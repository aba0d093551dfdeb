"""A synthetic person: a seeded face shape, skin, hair and eyes.

The shape mixes MakeHuman's whole-head targets (ancestry, sex, age, weight) with random amounts of its
local ones, then is scaled so that every subject's eyes lie `EYE_DISTANCE` apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.head import SKIN, Head, eye_centres, load_head, vertex_normals
from fdpbench.prep.demo.synth.skin import Skin, paint_hair, paint_skin

__all__ = ["EYE_DISTANCE", "Hairline", "Subject", "bare_face", "build_subject"]

EYE_DISTANCE = 0.62  # dm, between the centres of the eyeballs
LIGHT_SKIN, DARK_SKIN = np.array([0.72, 0.44, 0.33]), np.array([0.13, 0.06, 0.037])
DARK_HAIR = np.array([0.030, 0.020, 0.014])
IRISES = np.array([[0.10, 0.055, 0.03], [0.07, 0.04, 0.02], [0.16, 0.20, 0.13], [0.17, 0.24, 0.33]])
DARK_IRISES = 2  # the first two of IRISES


@dataclass(frozen=True)
class Hairline:
    """Where the hair begins, on the average head (dm).

    Attributes
    ----------
    height, curve
        The front: hair above ``height - curve * x**2``.
    depth
        The sides: hair behind this z.
    volume
        Thickness of the hair.
    long
        Whether it falls behind the ears to the neck.
    """

    height: float
    curve: float
    depth: float
    volume: float
    long: bool

    def above_front(self, rest: NDArray[np.float32], softness: float) -> NDArray[np.float32]:
        """Membership in [0, 1] of the hair over the forehead, for points (3, N) in rest."""
        x, y = rest[0], rest[1]
        return np.clip((y - (self.height - self.curve * x * x)) / softness, 0, 1)

    def behind_side(self, rest: NDArray[np.float32], softness: float) -> NDArray[np.float32]:
        """Membership in [0, 1] of the hair at the sides, for points (3, N) in rest."""
        y, z = rest[1], rest[2]
        place = y > 7.38
        if self.long:
            place |= (z < 0.2) & (y > 6.2)
        return np.clip((self.depth - z) / softness, 0, 1) * place


@dataclass(frozen=True, eq=False)
class Subject:
    """One person, ready to be rendered.

    Attributes
    ----------
    head
        The mesh and its action units.
    vertices
        Shape (V, 3), float32, dm: the neutral face, midpoint of the eyes at the origin.
    scale
        Factor from the asset's lengths to this subject's, applied to action units too.
    skin_texture, hair_texture
        See `prep.demo.synth.skin`.
    density
        Texels for each dm of the textures.
    hairline
        Where hair replaces skin.
    hair, lips, iris, cloth, background
        Linear RGB reflectance, shape (3,), float32.
    """

    head: Head
    vertices: NDArray[np.float32]
    scale: float
    skin_texture: NDArray[np.float32]
    hair_texture: NDArray[np.float32]
    density: float
    hairline: Hairline
    hair: NDArray[np.float32]
    lips: NDArray[np.float32]
    iris: NDArray[np.float32]
    cloth: NDArray[np.float32]
    background: NDArray[np.float32]


def build_subject(seed: int, density: float) -> Subject:
    """Draw a person.

    Parameters
    ----------
    seed
        The same seed is the same person, at any density.
    density
        Texels for each dm of the textures: the camera's samples for each dm.
    """
    head = load_head()
    rng = np.random.default_rng(seed)
    female, ancestry, vertices = _build(head, rng)

    melanin = float(np.clip(ancestry @ [0.75, 0.30, 0.12] + rng.normal(0, 0.08), 0.02, 0.95))
    colour = np.exp((1 - melanin) * np.log(LIGHT_SKIN) + melanin * np.log(DARK_SKIN))
    fairness = rng.uniform(0, 2.3)
    hair = DARK_HAIR * np.exp(fairness if melanin < 0.3 else 0.0)
    iris = IRISES[int(rng.integers(0, DARK_IRISES if melanin > 0.3 else len(IRISES)))]
    beard = 0.0 if female else rng.uniform(0.1, 0.6)
    hairline = Hairline(
        height=rng.uniform(7.93, 8.10),
        curve=rng.uniform(0.25, 0.60),
        depth=rng.uniform(0.55, 0.75) if female else rng.uniform(0.35, 0.60),
        volume=0.16 if female else 0.10,
        long=female,
    )
    lips = colour * np.array([0.86, 0.56, 0.58]) * rng.uniform(0.85, 1.05)
    cloth, background = rng.uniform(0.02, 0.5, 3), rng.uniform(0.12, 0.5) * (1 + rng.normal(0, 0.04, 3))

    # The neutral face: eyes at the origin, at the fixed distance, and the hair's volume put on.
    vertices, scale = _at_the_eyes(head, vertices)
    hair_cover = np.maximum(hairline.above_front(head.vertices.T, 0.25), hairline.behind_side(head.vertices.T, 0.20))
    hair_cover *= head.vertex_part == SKIN
    hair_cover *= head.vertices[:, 1] > 7.35  # long hair keeps to the neck: no volume there
    vertices = vertices + np.float32(hairline.volume) * hair_cover[:, None] * vertex_normals(vertices, head.triangles)

    skin = Skin(colour=colour, hair=hair, melanin=melanin, beard=beard, heavy_brows=not female)
    return Subject(
        head=head,
        vertices=vertices.astype(np.float32),
        scale=scale,
        skin_texture=paint_skin(skin, rng, density),
        hair_texture=paint_hair(rng, density),
        density=density,
        hairline=hairline,
        hair=hair.astype(np.float32),
        lips=lips.astype(np.float32),
        iris=iris.astype(np.float32),
        cloth=cloth.astype(np.float32),
        background=background.astype(np.float32),
    )


def bare_face(seed: int) -> tuple[NDArray[np.float32], float]:
    """Draw a person's face alone: no skin, and no hair on it, which takes most of the time of `build_subject`.

    Parameters
    ----------
    seed
        The same seed is the same face as that of `build_subject`.

    Returns
    -------
    vertices : ndarray
        Shape (V, 3), float32, dm: the neutral face, midpoint of the eyes at the origin.
    scale : float
        Factor from the asset's lengths to this subject's, applied to action units too.
    """
    head = load_head()
    return _at_the_eyes(head, _build(head, np.random.default_rng(seed))[2])


def _build(head: Head, rng: np.random.Generator) -> tuple[bool, NDArray[np.float64], NDArray[np.float32]]:
    """Draw what comes first of a person: whether female, ancestry (african, asian, caucasian), face shape (V, 3)."""
    female = bool(rng.random() < 0.5)
    ancestry = rng.dirichlet([0.35] * 3)
    return female, ancestry, _shape(head, rng, "female" if female else "male", ancestry)


def _at_the_eyes(head: Head, vertices: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Move a face shape so that its eyes are at the origin, at the fixed distance; the factor that does it."""
    eyes = eye_centres(vertices, head.vertex_part)
    scale = EYE_DISTANCE / float(np.linalg.norm(eyes[0] - eyes[1]))
    return (vertices - eyes.mean(axis=0)) * np.float32(scale), scale


def _shape(head: Head, rng: np.random.Generator, sex: str, ancestry: NDArray[np.float64]) -> NDArray[np.float32]:
    """Draw a face shape (V, 3), in the asset's own place and scale."""
    vertices = head.vertices.astype(np.float64)
    age = rng.uniform(0, 0.45)  # 0 young, 1 old
    for name, share in zip(("african", "asian", "caucasian"), ancestry, strict=True):
        young, old = head.macro[f"{name}-{sex}-young"], head.macro[f"{name}-{sex}-old"]
        vertices += share * ((1 - age) * young + age * old)
    weight = rng.normal(0, 0.5)
    extreme = min(1.0, abs(weight))
    vertices += (1 - extreme) * head.macro[f"universal-{sex}-averageweight"]
    vertices += extreme * head.macro[f"universal-{sex}-{'maxweight' if weight > 0 else 'minweight'}"]
    for field in head.local.values():
        vertices += max(0.0, rng.normal(0, 0.2)) * field
    return vertices.astype(np.float32)
