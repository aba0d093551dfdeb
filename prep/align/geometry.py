"""Face alignment: the similarity transform that puts two eyes where we want them, and its warp.

Coordinates are (x, y) with **pixel centres at whole numbers**: the first pixel covers
[-0.5, 0.5], an image of side S covers [-0.5, S - 0.5]. A share s of the side therefore lies at
s * S - 0.5. This is OpenCV's own convention for `cv2.warpAffine` and `cv2.remap`.

A transform is a (2, 3) float64 matrix that maps source pixels to crop pixels:
(x', y') = A (x, y) + b with the columns [A | b].

By default a clip is aligned by its first frame: one transform for all its frames. Eyes found anew in
each frame move by 0.2 px and more although the head does not, and a micro-expression moves by 1 px.
`prep.align.placing` knows the other ways.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "INTERPOLATIONS",
    "eye_transform",
    "invert",
    "released_transform",
    "similarity",
    "to_grey",
    "transform_points",
    "warp",
]

# A crop that is smaller than its source by more than this is averaged over each pixel's area.
# Bilinear sampling reads 2x2 source pixels for each crop pixel: up to 1.5 it skips few of them.
ANTIALIAS_ABOVE = 1.5


# Names in params.yaml -> OpenCV's.
INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}

# Half the side of the released crop, in longer sides of the box around eyes, nose and mouth.
RELEASED_BOX = 2.5 / 2


def similarity(scale: float, angle: float, source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Rotate and scale about one point, and move that point to another.

    Parameters
    ----------
    scale
        Target pixels per source pixel, above 0.
    angle
        Radians; positive turns the x axis towards the y axis (clockwise on screen).
    source, target
        Points (x, y): ``source`` lands on ``target``.

    Returns
    -------
    Transform of shape (2, 3), float64.
    """
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    shift = np.asarray(target, dtype=np.float64) - linear @ np.asarray(source, dtype=np.float64)
    return np.column_stack([linear, shift])


def eye_transform(
    left: ArrayLike, right: ArrayLike, size: int, eye_distance: float, eye_height: float
) -> NDArray[np.float64]:
    """Similarity transform that puts a face's eyes level and centred in a square crop.

    Parameters
    ----------
    left, right
        Eye centres (x, y) in source pixels, ``left`` being the one that shall be left in the crop
        (the subject's right eye).
    size
        Side of the crop, pixels.
    eye_distance
        Distance between the eyes in the crop, as a share of its side, in (0, 1).
    eye_height
        Height of the eye line below the crop's upper edge, as a share of its side, in (0, 1).

    Returns
    -------
    Transform of shape (2, 3), float64, source pixels to crop pixels.

    Raises
    ------
    ValueError
        If a point is not two finite numbers, the eyes coincide, or a share lies outside (0, 1).
    """
    eyes = np.array([left, right], dtype=np.float64)  # (2, 2)
    if eyes.shape != (2, 2) or not np.isfinite(eyes).all():
        raise ValueError(f"eye centres must be two finite (x, y) points, got {left!r} and {right!r}")
    for name, share in (("eye_distance", eye_distance), ("eye_height", eye_height)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is a share of the crop's side, between 0 and 1, got {share}")
    if size < 1:
        raise ValueError(f"the crop's side must be at least 1 pixel, got {size}")
    across = eyes[1] - eyes[0]
    distance = math.hypot(across[0], across[1])
    if distance < 1e-6:
        raise ValueError(f"the eyes coincide at {tuple(eyes[0])}: no scale or angle follows from them")
    middle = (0.5 * size - 0.5, eye_height * size - 0.5)
    angle = -math.atan2(across[1], across[0])
    return similarity(eye_distance * size / distance, angle, eyes.mean(axis=0), middle)


def released_transform(points: ArrayLike, size: int) -> NDArray[np.float64]:
    """Similarity transform of FDP's released code: eyes level, and a box around five points enlarged 2.5 times.

    [code] The square's middle is that of the box around the turned points, its side 2.5 times the box's
    longer side, and it is scaled so that its edges lie at the centres of the crop's outer pixels. Where the
    points of a face move, its square moves and grows with them.

    Parameters
    ----------
    points
        Shape (5, 2): centres of the left and the right eye in the image, tip of the nose, corners of the mouth.
    size
        Side of the crop, pixels.

    Returns
    -------
    Transform of shape (2, 3), float64, source pixels to crop pixels.

    Raises
    ------
    ValueError
        If the points are not five finite ones, the eyes coincide, or the crop has less than two pixels.
    """
    five = np.array(points, dtype=np.float64)
    if five.shape != (5, 2) or not np.isfinite(five).all():
        raise ValueError(f"expected five finite (x, y) points, got shape {five.shape}")
    if size < 2:
        raise ValueError(f"the crop's side must be at least 2 pixels, got {size}")
    across = five[1] - five[0]
    if math.hypot(*across) < 1e-6:
        raise ValueError(f"the eyes coincide at {tuple(five[0])}: no angle follows from them")
    turn = similarity(1.0, -math.atan2(across[1], across[0]), (0.0, 0.0), (0.0, 0.0))
    turned = transform_points(five, turn)
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = (size - 1) / 2 / (RELEASED_BOX * (high - low).max())
    shift = np.full(2, (size - 1) / 2) - scale * (low + high) / 2
    return np.column_stack([scale * turn[:, :2], shift])


def invert(transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the transform back from crop pixels to source pixels.

    Parameters
    ----------
    transform
        Array of shape (2, 3).

    Returns
    -------
    Array of shape (2, 3), float64.
    """
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack([linear, -linear @ transform[:, 2]])


def transform_points(points: ArrayLike, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points by a transform.

    Parameters
    ----------
    points
        Array of shape (..., 2): x, y.
    transform
        Array of shape (2, 3).

    Returns
    -------
    Array of the shape of ``points``, float64.
    """
    return np.asarray(points, dtype=np.float64) @ transform[:, :2].T + transform[:, 2]


def resize_transform(height: int, width: int, size: int) -> NDArray[np.float64]:
    """Source pixels to crop pixels, (2, 3): an image of this height and width becomes a square, whatever its shape."""
    across, down = size / width, size / height
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])


def warp(
    image: NDArray[np.uint8], transform: NDArray[np.float64], size: int, interpolation: str = "linear"
) -> NDArray[np.uint8]:
    """Cut a square crop out of an image: one warp, from the source straight to the crop.

    Where the crop is smaller than the source by more than 1.5 times, each crop pixel is the mean
    of n x n bilinear samples spread evenly over its area, n being the smallest whole number that
    puts them at most one source pixel apart. That is one area average, carried out as a warp to
    an n times finer grid whose n x n blocks are then averaged: no sample is interpolated twice,
    and no detail finer than the crop's grid turns into moving patterns (aliasing), as it would
    with one bilinear sample.

    OpenCV rounds sampling positions to 1/32 px: an error of at most 1/64 px, which the frames of a
    clip share, since they share the transform.

    Outside the source its border pixels are repeated. A reflected border would show a second,
    mirrored piece of face, and move it with the face; a black one would make an edge.

    Parameters
    ----------
    image
        Array of shape (H, W) or (H, W, 3), uint8.
    transform
        Source pixels to crop pixels, shape (2, 3).
    size
        Side of the crop, pixels.
    interpolation
        How a value between pixels is taken: a key of `INTERPOLATIONS`. Bilinear is what is described above.

    Returns
    -------
    Array of shape (size, size) or (size, size, 3), uint8.
    """
    shrink = 1 / math.sqrt(abs(np.linalg.det(transform[:, :2])))  # source pixels per crop pixel
    n = math.ceil(shrink) if shrink > ANTIALIAS_ABOVE else 1
    # Crop pixel x covers n pixels of the finer grid, the first at n * x, their mean at
    # n * x + (n - 1) / 2.
    finer = n * transform
    finer[:, 2] += (n - 1) / 2
    how = INTERPOLATIONS[interpolation]
    crop = cv2.warpAffine(image, finer, (n * size, n * size), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if n > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return crop  # type: ignore[return-value]  # OpenCV's stubs widen uint8 to any number


def to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of an RGB image: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded.

    Parameters
    ----------
    rgb
        Array of shape (H, W, 3), uint8.

    Returns
    -------
    Array of shape (H, W), uint8. Equal channels give that same value back.
    """
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]
