"""LBP-TOP: local binary patterns on three orthogonal planes, and a linear SVM.

Zhao and Pietikainen, "Dynamic Texture Recognition Using Local Binary Patterns with an Application to
Facial Expressions", TPAMI 2007; the customary baseline for micro-expressions since Pfister et al.,
ICCV 2011, with the 5 x 5 grid of blocks of Yan et al., "CASME II", PLoS ONE 2014.

Ours: radii that fit eight frames, one common set of voxels for all planes, square roots of the
histograms, the tolerance for ties, and the cost of the SVM.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fdpbench.models.common.estimators import LinearSVMEstimator
from fdpbench.models.common.registry import Count, ModelOptionError, Positive, register_model

__all__ = ["BINS", "NEIGHBOURS", "LbpTop", "lbp_codes", "uniform_labels"]

NEIGHBOURS = 8
BINS = 59  # 58 uniform patterns of 8 bits, and one bin for all others

# A neighbour this close below the centre counts as equal. The least true difference of 8-bit frames
# in [0, 1] is 3e-4 after interpolation; float32 rounding is below 1e-6.
TIE = 1e-6

# Axes (T, H, W) that a plane's circle moves along: cosine first, minus sine second.
PLANES = {"xy": (2, 1), "xt": (2, 0), "yt": (1, 0)}


def uniform_labels() -> NDArray[np.intp]:
    """Bin of each of the 256 codes, shape (256,).

    A pattern is uniform if, read as a circle, it changes between 0 and 1 at most twice. The 58 uniform
    codes take bins 0..57 in rising order; all other codes share bin 58.
    """
    codes = np.arange(2**NEIGHBOURS)
    bits = codes[:, None] >> np.arange(NEIGHBOURS) & 1  # (256, 8)
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, BINS - 1)


def lbp_codes(volume: NDArray[np.float32], plane: str, radius_xy: int, radius_t: int) -> NDArray[np.uint8]:
    """Codes of one plane at every voxel whose neighbours lie inside in all three planes.

    Bit p is set where the volume at angle 2 pi p / 8 of the ellipse around the voxel, interpolated
    bilinearly, is at least the voxel's value (Zhao and Pietikainen 2007, eq. 5 and 6).

    Parameters
    ----------
    volume
        (T, H, W), frames in [0, 1].
    plane
        ``xy``, ``xt`` or ``yt``.
    radius_xy, radius_t
        Radii in pixels and in frames.

    Returns
    -------
    Codes of shape (T - 2 radius_t, H - 2 radius_xy, W - 2 radius_xy), uint8.
    """
    radii = (radius_t, radius_xy, radius_xy)
    inner = tuple(length - 2 * radius for length, radius in zip(volume.shape, radii, strict=True))
    first, second = PLANES[plane]

    def shifted(along_first: int, along_second: int) -> NDArray[np.float32]:
        start = list(radii)
        start[first] += along_first
        start[second] += along_second
        return volume[tuple(slice(s, s + n) for s, n in zip(start, inner, strict=True))]

    centre = shifted(0, 0)
    codes = np.zeros(inner, dtype=np.uint8)
    for p in range(NEIGHBOURS):
        angle = 2 * np.pi * p / NEIGHBOURS
        # rounded, so that neighbours on an axis fall exactly on a voxel
        a, b = round(radii[first] * np.cos(angle), 6), round(-radii[second] * np.sin(angle), 6)
        low_a, low_b = int(np.floor(a)), int(np.floor(b))
        part_a, part_b = a - low_a, b - low_b
        # differences are interpolated, not values: in a flat area they are exactly zero
        difference = np.zeros(inner, dtype=np.float32)
        for step_a, weight_a in ((0, 1 - part_a), (1, part_a)):
            for step_b, weight_b in ((0, 1 - part_b), (1, part_b)):
                if weight_a * weight_b > 0:
                    corner = shifted(low_a + step_a, low_b + step_b)
                    difference += np.float32(weight_a * weight_b) * (corner - centre)
        codes |= (difference >= -TIE).astype(np.uint8) << np.uint8(p)
    return codes


@register_model(inputs=("frames",), paper="Zhao & Pietikainen, TPAMI 2007; Yan et al., PLoS ONE 2014")
class LbpTop(LinearSVMEstimator):
    """Histograms of uniform patterns by block and plane, and a linear SVM.

    Parameters
    ----------
    num_classes, seed, cost
        See `LinearSVMEstimator`.
    grid
        Blocks along each side of the face.
    radius_xy
        Radius of the circle in the image, pixels.
    radius_t
        Radius in time, frames. A clip needs more than twice as many.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        seed: int = 0,
        grid: Count = 5,
        radius_xy: Count = 1,
        radius_t: Count = 2,
        cost: Positive = 10.0,
    ) -> None:
        super().__init__(num_classes, seed=seed, cost=cost)
        self.grid, self.radius_xy, self.radius_t = grid, radius_xy, radius_t

    def features(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Square roots of the block histograms, each of which sums to 1 before: (B, 3 * grid^2 * 59).

        Raises
        ------
        ModelOptionError
            If the frames are too few or too small for the radii and the grid.
        """
        frames = np.asarray(inputs["frames"], dtype=np.float32)
        need_t, need_xy = 2 * self.radius_t + 1, 2 * self.radius_xy + self.grid
        if frames.ndim != 5 or frames.shape[1] < need_t or min(frames.shape[3:]) < need_xy:
            raise ModelOptionError(
                f"lbp_top: frames of shape {frames.shape}, expected (B, T, C, H, W) "
                f"with T >= {need_t} for radius_t={self.radius_t} and "
                f"H, W >= {need_xy} for radius_xy={self.radius_xy} and grid={self.grid}"
            )
        labels = uniform_labels()
        inner = [length - 2 * self.radius_xy for length in frames.shape[3:]]
        rows, columns = (np.arange(length) * self.grid // length for length in inner)
        blocks = rows[:, None] * self.grid + columns  # (H', W'), the block of each pixel
        return np.stack([self._clip_features(clip.mean(axis=1), labels, blocks) for clip in frames])

    def _clip_features(
        self, volume: NDArray[np.float32], labels: NDArray[np.intp], blocks: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        histograms = []
        for plane in PLANES:
            bins = labels[lbp_codes(volume, plane, self.radius_xy, self.radius_t)]  # (T', H', W')
            counts = np.bincount((blocks * BINS + bins).ravel(), minlength=self.grid**2 * BINS)
            counts = counts.reshape(self.grid**2, BINS)
            histograms.append(np.sqrt(counts / counts.sum(axis=1, keepdims=True)))
        return np.concatenate(histograms).ravel()
