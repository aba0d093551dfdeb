"""Drift of the head through a clip: where the skull of each frame lies in the first one.

A Euclidean motion (turn and shift) is fitted by maximising the enhanced correlation coefficient
(Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient
Maximization", IEEE TPAMI 2008; OpenCV's implementation), which does not mind a change of brightness or
contrast. It is fitted to the skin that does not move by itself: of the face, each frame keeps the half of
the pixels whose motion, left over after the drift of the frame before, is least. Which half that is
depends on the expression, so that a fixed mask over nose bridge and forehead, which brows move too,
does worse.

Measured on 16 rendered clips of calm subjects, eyes 51 px apart, onset to apex (mean distance over the
face between where the head is and where it is found, source pixels):

=========================================  =====
nothing done                               0.18
fitted to the nose bridge                  0.35
fitted to the whole face                   0.24
fitted to nose and forehead                0.11
as here                                    0.04
best Euclidean motion (the truth turns)    0.02
=========================================  =====

`cv2.findTransformECC` is not used: it samples at whole 1/32 px, and its fit wanders by that and more.

Each frame is compared with the first one, so errors do not add up; it starts from the drift of the frame
before. Transforms are those of `prep.align.geometry`: (2, 3), float64, pixel centres at whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align.geometry import invert

__all__ = ["DriftError", "face_mask", "follow", "undrifted"]

# Pixels around the mask that a frame may drift by.
MARGIN = 16
# Standard deviation of the Gaussian that takes the noise of the sensor off before anything is compared, px.
SMOOTHING = 1.0
# Share of the face's pixels that are kept: those that move least.
KEPT = 0.5
# Standard deviation of the window in which a pixel's own motion is measured, px, and what keeps that motion
# small where the skin has no texture, squared grey levels for each squared pixel.
WINDOW = 3.0
FLATNESS = 1.0
# The fit ends after so many steps, or when the coefficient rises by less.
STEPS = 30
CHANGE = 1e-6
# Correlation that a fit must reach. On rendered clips a face reaches 0.99 and more, and 0.90 where it is made
# eight times darker; half covered by a flat patch it falls to 0.6, another face has 0.6 and noise 0.2.
LEAST_CORRELATION = 0.8


class DriftError(ValueError):
    """The first frame's face cannot be found again in a frame; the message says in which."""


def face_mask(landmarks: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of a frame that show the face: the convex hull of its landmarks.

    Parameters
    ----------
    landmarks
        Shape (K, 2): x, y in pixels of the frame.
    shape
        Height and width of the frame.

    Returns
    -------
    Shape (H, W), bool.
    """
    hull = cv2.convexHull(np.round(np.asarray(landmarks, np.float64)).astype(np.int32))
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return mask > 0


def follow(frames: Iterable[NDArray[np.uint8]], mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Follow the head from the first frame on.

    Parameters
    ----------
    frames
        Grey frames (H, W), uint8, of one shape. A stream will do: two are held at a time.
    mask
        Where the first frame shows the face, (H, W); see `face_mask`.

    Yields
    ------
    For each frame the transform (2, 3) that maps pixels of the first frame to where the same point of the
    skull lies in it; for the first the identity.

    Raises
    ------
    DriftError
        If the face leaves the frame, or the fit fails; the frame's place is named.
    """
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    if not len(rows):
        raise DriftError("the face has no pixel in the first frame")
    top, left = max(rows.min() - MARGIN, 0), max(columns.min() - MARGIN, 0)
    window = np.s_[top : min(rows.max() + MARGIN + 1, height), left : min(columns.max() + MARGIN + 1, width)]
    face = mask[window]
    first: NDArray[np.float32] | None = None
    drift = np.eye(2, 3)  # in the window
    for place, frame in enumerate(frames):
        part = np.asarray(cv2.GaussianBlur(frame[window].astype(np.float32), (0, 0), SMOOTHING), np.float32)
        if first is None:
            first = part
        else:
            still = _still(first, part, drift, face)
            drift = _fit(first, part, drift, still, place)
        yield _in_frame(drift, float(left), float(top))


def _still(
    first: NDArray[np.float32], frame: NDArray[np.float32], drift: NDArray[np.float64], face: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The pixels of the face that move least against what the drift so far explains.

    Motion is one step of Lucas and Kanade (IJCAI 1981) in a Gaussian window, less its median over the face.
    """
    moved = cv2.warpAffine(frame, drift, frame.shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    inside, before = moved[face], first[face]
    gain = before.std() / max(float(inside.std()), 1e-6)
    moved = ((moved - inside.mean()) * gain + before.mean()).astype(np.float32)
    mean, change = (first + moved) / 2, moved - first
    across, down = (cv2.Scharr(mean, cv2.CV_32F, dx, 1 - dx) / 32 for dx in (1, 0))

    def blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), WINDOW))

    xx, xy, yy = blurred(across * across) + FLATNESS, blurred(across * down), blurred(down * down) + FLATNESS
    xd, yd = blurred(across * change), blurred(down * change)
    determinant = xx * yy - xy * xy
    u, v = (xy * yd - yy * xd) / determinant, (xy * xd - xx * yd) / determinant
    speed = np.hypot(u - np.median(u[face]), v - np.median(v[face]))
    return face & (speed <= np.quantile(speed[face], KEPT))


def _fit(
    first: NDArray[np.float32],
    frame: NDArray[np.float32],
    drift: NDArray[np.float64],
    still: NDArray[np.bool_],
    place: int,
) -> NDArray[np.float64]:
    how = cv2.ECCParameters()
    how.motionType, how.gaussFiltSize, how.interpolation = cv2.MOTION_EUCLIDEAN, 1, cv2.INTER_LINEAR
    how.nlevels, how.itersPerLevel = 1, [STEPS]
    how.criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, CHANGE)
    mask = still.astype(np.uint8) * 255  # in the first frame; `findTransformECC` takes one of the other, and jitters
    try:
        correlation, fitted = cv2.findTransformECCMultiScale(first, frame, drift.astype(np.float32), how, mask, None)
    except cv2.error as error:
        raise DriftError(
            f"frame {place} of the clip: the first frame's face is not found again ({error.err})"
        ) from error
    found = np.asarray(fitted, np.float64)
    if not np.isfinite(found).all() or not correlation >= LEAST_CORRELATION:
        raise DriftError(
            f"frame {place} of the clip: the first frame's face is not found again (correlation {correlation:.2f}, "
            f"expected {LEAST_CORRELATION} at least)"
        )
    return found


def _in_frame(drift: NDArray[np.float64], left: float, top: float) -> NDArray[np.float64]:
    """A drift between windows that begin at (left, top), as one between whole frames."""
    origin = np.array([left, top])
    linear = drift[:, :2]
    return np.column_stack([linear, drift[:, 2] + origin - linear @ origin])


def undrifted(transform: NDArray[np.float64], drift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compose two transforms: pixels of a frame to those of the first one, and on by the first's transform.

    Parameters
    ----------
    transform
        First frame to crop, (2, 3).
    drift
        First frame to this frame, (2, 3).

    Returns
    -------
    This frame to crop, (2, 3): one warp from the source, never two.
    """
    back = invert(drift)
    linear = transform[:, :2] @ back[:, :2]
    return np.column_stack([linear, transform[:, :2] @ back[:, 2] + transform[:, 2]])
