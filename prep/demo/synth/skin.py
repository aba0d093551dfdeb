"""Paint a subject's skin: a colour texture seen from the front, in linear light.

Texture coordinates are the x and y of the average head in rest (dm), so that the paint moves with
the mesh. Everything is painted at `PAINT_DENSITY` and then averaged down to the density at which the
camera samples the face: a finer texture would alias, and aliasing shimmers under motion of a
fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["LEFT", "TOP", "Skin", "paint_hair", "paint_skin"]

LEFT, TOP = -1.15, 8.75  # x and y (dm) of the texture's upper left corner
EXTENT = (2.3, 3.5)  # width and height, dm
PAINT_DENSITY = 400  # texels for each dm while painting

# Where things are on the average head, dm.
CHEEK, NOSE_TIP, CHIN, EYE, BROW_Y = (0.42, 6.95), (0.0, 6.95), (0.0, 6.35), (0.31, 7.19), 7.445


@dataclass(frozen=True)
class Skin:
    """What a subject's skin is made of.

    Attributes
    ----------
    colour, hair
        Linear RGB reflectance, shape (3,).
    melanin
        0 (very light) to 1 (very dark).
    beard
        Density of stubble, 0 for none.
    heavy_brows
        Whether the brows are thick.
    """

    colour: NDArray[np.float64]
    hair: NDArray[np.float64]
    melanin: float
    beard: float
    heavy_brows: bool


def paint_skin(skin: Skin, rng: np.random.Generator, density: float) -> NDArray[np.float32]:
    """Paint the face: mottling, redness, moles, stubble and brows.

    Parameters
    ----------
    skin
        The subject's colours.
    rng
        Source of every random detail.
    density
        Texels for each dm of the texture that is returned.

    Returns
    -------
    Shape (height, width, 3), float32, linear reflectance.
    """
    canvas = _Canvas(rng)
    mottling = 0.015 * canvas.noise(25, channels=3)  # (H, W, 3), little of it in colour
    for strength, sigma in ((0.030, 60), (0.020, 18), (0.030, 5), (0.045, 1.2)):
        mottling += strength * canvas.noise(sigma)
    paint = skin.colour * np.exp(mottling * (1 + 0.5 * skin.melanin))  # (H, W, 3)
    redness = 0.05 * canvas.noise(35)[..., 0]
    redness += 0.16 * canvas.bump(CHEEK, 0.22) + 0.18 * canvas.bump(NOSE_TIP, 0.14)
    paint *= np.exp(-redness[..., None] * np.array([-0.1, 0.9, 0.8]) * (1 - 0.6 * skin.melanin))
    paint *= np.exp(-0.25 * canvas.bump(EYE, 0.16, 0.06))[..., None]  # shade below the eyes
    _add_moles(paint, canvas, freckled=skin.melanin < 0.35)
    if skin.beard > 0:
        cover = np.clip(1.3 * canvas.bump(CHIN, 0.55, 0.42) - 1.2 * canvas.bump(CHEEK, 0.3), 0, 1)
        paint *= np.exp(-skin.beard * cover * (1 + 0.25 * canvas.noise(1.3)[..., 0]))[..., None]
    brows = _brow_cover(canvas, skin.heavy_brows)
    paint = paint * (1 - brows) + 1.2 * skin.hair * brows
    return _average_down(paint.astype(np.float32), density)


def paint_hair(rng: np.random.Generator, density: float) -> NDArray[np.float32]:
    """Paint vertical strands of hair: brightness around 1, shape (height, width), float32."""
    canvas = _Canvas(rng)
    grain = rng.standard_normal(canvas.x.shape, dtype=np.float32)
    strands = 1 + 2.1 * cv2.GaussianBlur(grain, (0, 0), 1.2, sigmaY=14)
    return _average_down(np.clip(strands, 0.4, 1.8), density)


class _Canvas:
    """The texture's grid at the density of painting, with its brushes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.width, self.height = round(EXTENT[0] * PAINT_DENSITY), round(EXTENT[1] * PAINT_DENSITY)
        row, column = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        self.x, self.y = column / PAINT_DENSITY + LEFT, TOP - row / PAINT_DENSITY

    def noise(self, sigma: float, channels: int = 1) -> NDArray[np.float32]:
        """Smooth noise of unit variance, correlated over `sigma` texels: (H, W, channels)."""
        # Wide noise is drawn on a coarse grid and enlarged: the same look, far less to blur.
        coarse = max(1, int(sigma // 3))
        shape = (self.height // coarse + 1, self.width // coarse + 1, channels)
        grain = self.rng.standard_normal(shape, dtype=np.float32)
        blurred = cv2.GaussianBlur(grain, (0, 0), sigma / coarse)
        large = cv2.resize(blurred, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(large / large.std(), dtype=np.float32).reshape(self.height, self.width, channels)

    def bump(self, centre: tuple[float, float], radius: float, radius_y: float | None = None) -> NDArray[np.float32]:
        """Make a Gaussian of height 1 at `centre` and at its mirror image: (H, W)."""
        dx, dy = (np.abs(self.x) - centre[0]) / radius, (self.y - centre[1]) / (radius_y or radius)
        return np.exp(-(dx * dx + dy * dy))

    def window(self, x: float, y: float, reach: int) -> tuple[slice, slice]:
        """Give the texels within `reach` texels of a point."""
        row, column = int((TOP - y) * PAINT_DENSITY), int((x - LEFT) * PAINT_DENSITY)
        return slice(max(0, row - reach), row + reach), slice(max(0, column - reach), column + reach)

    def line(
        self, image: NDArray[np.float32], start: tuple[float, float], end: tuple[float, float], value: float
    ) -> None:
        """Draw a thin smooth line between two points, in place."""
        unit = 16 * PAINT_DENSITY  # cv2 takes positions as integers with `shift` fractional bits
        ends = [(round((x - LEFT) * unit), round((TOP - y) * unit)) for x, y in (start, end)]
        cv2.line(image, ends[0], ends[1], value, thickness=1, lineType=cv2.LINE_AA, shift=4)


def _add_moles(paint: NDArray[np.float64], canvas: _Canvas, freckled: bool) -> None:
    rng = canvas.rng
    for _ in range(12 + (int(rng.integers(0, 120)) if freckled else 0)):
        x, y, radius = rng.normal(0, 0.45), rng.uniform(6.3, 7.9), rng.uniform(0.004, 0.012)
        window = canvas.window(x, y, reach=20)
        distance = (canvas.x[window] - x) ** 2 + (canvas.y[window] - y) ** 2
        paint[window] *= np.exp(-rng.uniform(0.1, 0.7) * np.exp(-distance / radius**2))[..., None]


def _brow_cover(canvas: _Canvas, heavy: bool, hairs: int = 520) -> NDArray[np.float32]:
    """Opacity of the brows, drawn hair by hair: (H, W, 1)."""
    rng = canvas.rng
    thickness = rng.uniform(0.028, 0.055) * (1.25 if heavy else 0.9)
    arch, lift, length = rng.uniform(0.02, 0.07), rng.normal(0, 0.012), rng.uniform(0.36, 0.43)
    cover = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    for side in (-1, 1):
        for along in rng.uniform(0, 1, hairs):  # 0 at the nose, 1 at the temple
            bow = arch * np.sin(0.8 * np.pi * min(1.0, 1.25 * along)) - 0.035 * max(0.0, along - 0.7) / 0.3
            half = thickness * (1 - 0.65 * along**2) * (0.75 + 0.25 * min(1.0, along / 0.15))
            root_x, root_y = 0.10 + length * along, BROW_Y + lift + bow + rng.uniform(-1, 1) * half
            angle, reach = np.deg2rad(70 - 62 * along + rng.normal(0, 9)), 0.075 * (1 - 0.35 * along)
            tip_x, tip_y = root_x + reach * np.cos(angle), root_y + 0.45 * reach * np.sin(angle)
            canvas.line(cover, (side * root_x, root_y), (side * tip_x, tip_y), float(rng.uniform(0.45, 0.9)))
    return np.clip(1.5 * cv2.GaussianBlur(cover, (0, 0), 0.9), 0, 0.92)[..., None]


def _average_down(image: NDArray[np.float32], density: float) -> NDArray[np.float32]:
    if density >= PAINT_DENSITY:
        return image
    size = (round(EXTENT[0] * density), round(EXTENT[1] * density))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
