"""Landmarks of rendered frames as the face mesh would find them, without running it.

Each of the mesh's 468 landmarks is a vertex of the head (`MESH_VERTICES`): where it was found on ten rendered people,
on average. To its true place in a frame comes what the mesh errs by: a person's own displacement of the landmarks,
and in each frame a shift of all and a smooth displacement. A clip's landmarks then go into the crop as those of stage
`align` do: by the eyes that they say the first frame has.

Measured on 14 rendered clips of eight frames, eyes 51 px apart: a landmark lies 1.0 px (standard deviation) from its
vertex, differently for each person; over a clip all shift by 0.04 to 0.6 px together and by 0.06 to 0.5 px among
themselves, and neighbours within a third of the eyes' distance do so together: as much as expressions move them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align.faces import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from fdpbench.prep.align.geometry import eye_transform, transform_points
from fdpbench.prep.demo.synth.head import load_head
from fdpbench.prep.settings.corpus import CropParams

__all__ = ["MESH_VERTICES", "in_crop", "mesh_error", "person_error"]

MESH_VERTICES = (
    466, 297, 2697, 1667, 1737, 201, 133, 1065, 220, 234, 251, 467, 468, 468, 474, 494, 495, 496,
    1940, 302, 305, 2165, 48, 43, 39, 1680, 1617, 151, 155, 91, 1651, 904, 1762, 1605, 2005, 216,
    1750, 450, 462, 1957, 411, 453, 504, 1941, 295, 292, 212, 907, 336, 340, 1668, 200, 204, 225,
    272, 209, 94, 1747, 1844, 347, 331, 407, 412, 232, 337, 205, 223, 239, 716, 1588, 262, 1802,
    461, 505, 448, 354, 412, 416, 415, 367, 1964, 459, 462, 1939, 490, 512, 488, 462, 1956, 449,
    476, 477, 374, 1700, 307, 504, 415, 314, 286, 313, 1661, 1652, 1659, 241, 715, 231, 371, 233,
    1589, 250, 34, 1694, 73, 160, 1703, 1660, 1930, 901, 905, 1852, 1906, 1909, 122, 1779, 211, 301,
    161, 2372, 1850, 1654, 20, 1697, 869, 64, 279, 1901, 1901, 1700, 735, 871, 1769, 306, 184, 1790,
    1068, 1069, 503, 1780, 1895, 1897, 1829, 1591, 1828, 1071, 1072, 2387, 260, 58, 55, 3, 1602, 1603,
    2008, 1067, 1675, 1740, 346, 1741, 136, 1829, 1775, 1770, 737, 100, 214, 1814, 1825, 869, 453, 482,
    511, 483, 1938, 415, 413, 408, 711, 1754, 117, 113, 103, 448, 1811, 124, 734, 1666, 125, 131,
    1691, 1765, 733, 731, 1745, 1678, 898, 1934, 1925, 1890, 1761, 283, 1815, 1764, 1759, 1809, 1893, 1845,
    1743, 1856, 367, 319, 277, 175, 177, 176, 178, 173, 148, 2366, 903, 138, 140, 141, 1687, 143,
    2366, 318, 1859, 276, 300, 275, 320, 300, 305, 1647, 106, 111, 2379, 1630, 3961, 4673, 2683, 4280,
    2448, 2444, 2439, 3972, 3975, 2547, 2548, 2549, 2494, 3995, 4054, 2421, 4623, 2644, 4042, 2834, 2839, 4237,
    2789, 2831, 2871, 3839, 2684, 2678, 2642, 3227, 2716, 2720, 3962, 2593, 2616, 2617, 2660, 2602, 2496, 4039,
    4131, 2723, 2712, 2746, 2790, 2623, 2698, 2598, 2620, 2628, 3061, 3884, 4151, 2658, 2838, 4235, 2826, 2733,
    2785, 2808, 2790, 2745, 4244, 2831, 2839, 4221, 2863, 2862, 2861, 2846, 2871, 2795, 2876, 2850, 2754, 4606,
    2864, 2864, 2695, 2673, 2694, 3959, 3948, 3950, 4119, 3056, 2622, 2778, 2624, 3886, 2638, 2437, 3987, 2474,
    2555, 3996, 3955, 4078, 3221, 2606, 4138, 4189, 4192, 2524, 4072, 2603, 2688, 2557, 4306, 4028, 3950, 3929,
    3992, 3192, 2465, 2666, 4185, 3235, 4637, 3073, 4278, 4060, 2689, 2578, 4214, 3377, 3379, 2870, 4097, 4112,
    4181, 4183, 3380, 3998, 4660, 4152, 2460, 2457, 2404, 2409, 2412, 4283, 3376, 4032, 2725, 4033, 4116, 4065,
    4061, 3075, 2463, 2607, 4180, 4128, 2831, 2855, 2877, 2856, 4220, 2864, 2790, 2786, 4040, 4046, 3229, 2510,
    3940, 2793, 4100, 2520, 3072, 2521, 3984, 3068, 4037, 3971, 3218, 4216, 4207, 4188, 4053, 2591, 4103, 4108,
    4109, 3074, 4177, 3074, 4035, 4142, 2745, 2705, 2664, 2569, 2571, 2570, 2572, 2573, 2580, 4613, 3223, 2534,
    2536, 2537, 2482, 2483, 4313, 2698, 4145, 2663, 2683, 2662, 2700, 2683, 2687, 2470, 2508, 2513, 3901, 2484,
)  # fmt: skip
OF_PERSON = 1.0  # px of a frame in which the eyes are 51 px apart, as the following
SHIFT, OWN = (0.04, 0.6), (0.06, 0.5)  # limits over clips, uniform in the logarithm
REACH = 0.13  # width of the smooth displacements, dm


@lru_cache(maxsize=1)
def _smoothing() -> NDArray[np.float64]:
    """Weights (468, 468) that make smooth displacements, of unit variance at each landmark, of independent ones."""
    places = load_head().vertices[list(MESH_VERTICES)].astype(np.float64)
    distance = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    weights = np.exp(-0.5 * distance / REACH**2)
    smooth: NDArray[np.float64] = weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return smooth


def _smooth(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Displacements (frames, 468, 2) of unit variance."""
    noise = rng.standard_normal((frames, len(MESH_VERTICES), 2))
    return np.stack([_smoothing() @ each for each in noise])


def person_error(rng: np.random.Generator) -> NDArray[np.float64]:
    """What of the mesh's error is a person's own, in all frames alike: shape (468, 2), px."""
    error: NDArray[np.float64] = OF_PERSON * _smooth(rng, 1)[0]
    return error


def mesh_error(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """What differs from frame to frame of a clip: shape (frames, 468, 2), px."""
    shift, own = (low * (high / low) ** rng.random() for low, high in (SHIFT, OWN))
    together = shift * rng.standard_normal((frames, 1, 2))
    error: NDArray[np.float64] = together + own * _smooth(rng, frames)
    return error


def in_crop(points: NDArray[np.float64], crop: CropParams) -> NDArray[np.float32]:
    """Landmarks as stage `align` writes them.

    Parameters
    ----------
    points
        Found in the frames of a clip, shape (T, 468, 2), px of the frame, centre of the first pixel at (0, 0).
    crop
        Where the eyes of the first frame are to lie.

    Returns
    -------
    Shape (T, 468, 2), px of the crop.
    """
    left, right = (points[0, list(corners)].mean(axis=0) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    transform = eye_transform(left, right, crop.size, crop.eye_distance, crop.eye_height)
    return transform_points(points, transform).astype(np.float32)
