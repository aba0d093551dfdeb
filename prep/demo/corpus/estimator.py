"""What an optical-flow estimator would make of a true motion: a model of its errors in place of frames.

Estimators see motion where the skin has texture (brows, lids, nostrils, lips), and carry it from there over smooth
skin, up to sharp edges; where there is none, they fall back on the motion of the whole; and they find motion that is
not there. So the true motion is, in this order, carried into the background, averaged with weights that are a power of
texture, drawn towards its median, and disturbed. Then it is shrunk without averaging, as the flow images of the field
seem to have been: they hold more of the finest detail than a mean over areas leaves.

The constants below, and the defaults of the ranges (`prep.settings.corpus`), were chosen by comparing generated images
with the 164 flow images of SMIC in the MEGC2019 composite, labels unseen: spectra, sparseness, and where in the
image u, v and strain vary.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.planner import Estimator
from fdpbench.prep.demo.corpus.reading import SIDE
from fdpbench.prep.demo.synth.head import load_head

__all__ = ["RENDERED", "SAMPLES", "bleed", "estimate", "face_texture", "shrink"]

SAMPLES = 3  # along each side of a pixel: motion is computed on a finer grid, as estimators work on larger frames
RENDERED = SIDE * SAMPLES

# Where a face has texture: ellipses on the average head (dm), with their strengths. Those with x > 0 are on both sides.
TEXTURED = (
    # x, y, half width, half height, strength
    (0.30, 7.47, 0.22, 0.06, 1.0),  # brow
    (0.31, 7.22, 0.20, 0.10, 1.0),  # eye
    (0.12, 6.92, 0.14, 0.10, 0.7),  # nostril
    (0.20, 6.60, 0.20, 0.10, 0.9),  # corner of the mouth
    (0.00, 6.60, 0.20, 0.08, 0.7),  # lips
    (0.38, 6.75, 0.10, 0.20, 0.45),  # fold from nose to mouth
    (0.00, 7.42, 0.10, 0.12, 0.5),  # glabella
)
REACH = RENDERED / 14  # how far motion bleeds into the background, standard deviation in samples
LEAST_COVER = 1e-4
PLAIN_SKIN = (0.02, 0.15)  # texture of all skin, which varies from clip to clip with light and camera
UNEVEN = (0.2, 0.5)  # standard deviation of the texture that is not of the face's parts, likewise
TEXTURE_LIMITS = (0.05, 1.5)
FIRMNESS = 0.4  # how much texture halves the error beside that of bare skin
# Errors: broad ones and narrow ones, as shares; spots where noise exceeds a threshold, of either sign.
BROAD, NARROW = 0.6, 0.4
SPOT_THRESHOLD, SPOT_GAIN = 2.8, 9.0
UNEVEN_WIDTH, BROAD_WIDTH, NARROW_WIDTH, SPOT_WIDTH = RENDERED / 9, RENDERED / 8, RENDERED / 28, RENDERED / 24


@lru_cache(maxsize=1)
def face_texture() -> NDArray[np.float32]:
    """Texture of each vertex of the head, shape (V,), float32, 0 to 1."""
    x, y, _ = load_head().vertices.T
    texture = np.zeros(len(x), np.float32)
    for cx, cy, width, height, strength in TEXTURED:
        for side in (1, -1) if cx else (1,):
            spread = ((x - side * cx) / width) ** 2 + ((y - cy) / height) ** 2
            np.maximum(texture, strength * np.exp(-spread), out=texture)
    return texture


def bleed(motion: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """Carry motion over the edge of the face into the background, as regularised estimators do.

    Parameters
    ----------
    motion
        Shape (RENDERED, RENDERED, 2), px, 0 where there is no face.
    cover
        Shape (RENDERED, RENDERED), 1 where there is a face, else 0.
    """
    spread = _blur(motion, REACH) / (_blur(cover, REACH) + np.float32(LEAST_COVER))[..., None]
    return np.where(cover[..., None] > 0, motion, spread)


def estimate(
    motion: NDArray[np.float32], texture: NDArray[np.float32], plan: Estimator, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Give what an estimator would find.

    Parameters
    ----------
    motion
        True motion in and around the face, shape (RENDERED, RENDERED, 2), px.
    texture
        Of the face, shape (RENDERED, RENDERED); 0 in the background.
    plan
        How well the estimator does: ``smoothing`` is the standard deviation of its window, pixels of the flow image;
        ``dominance`` the power of texture in the window's weights: 1 averages, from 2 on the most textured skin decides
        for what is about it; ``shrinkage`` the texture at which it is drawn half-way to the median motion; ``noise``
        the standard deviation of its errors, px, on skin of texture 1 - `FIRMNESS`; ``spots`` the size of isolated
        errors relative to it.
    rng
        Source of the errors.

    Returns
    -------
    Shape (RENDERED, RENDERED, 2), float32, px.
    """
    plain, uneven = np.float32(rng.uniform(*PLAIN_SKIN)), np.float32(rng.uniform(*UNEVEN))
    seen = texture + plain + uneven * _noise(rng, UNEVEN_WIDTH, 1)[..., 0]
    np.clip(seen, *TEXTURE_LIMITS, out=seen)
    width = plan.smoothing * SAMPLES
    weight = seen
    for _ in range(plan.dominance - 1):  # products, since powers are not rounded alike by all libraries
        weight = weight * seen
    found = _blur(motion * weight[..., None], width) / _blur(weight, width)[..., None]
    middle = np.median(found.reshape(-1, 2), axis=0)
    trust = ((seen + _blur(seen, width)) / 2)[..., None]  # here, and in the window about it
    found = middle + (found - middle) * (trust / (trust + np.float32(plan.shrinkage)))

    error = np.float32(BROAD) * _noise(rng, BROAD_WIDTH, 2) + np.float32(NARROW) * _noise(rng, NARROW_WIDTH, 2)
    if plan.spots:
        peaks = _noise(rng, SPOT_WIDTH, 2)
        spots = np.sign(peaks) * np.maximum(np.abs(peaks) - np.float32(SPOT_THRESHOLD), 0)
        error += np.float32(SPOT_GAIN * plan.spots) * spots
    return np.asarray(found + np.float32(plan.noise) * error / (np.float32(FIRMNESS) + seen[..., None]), np.float32)


def shrink(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the sample in the middle of each pixel: (C, RENDERED, RENDERED) to (C, SIDE, SIDE)."""
    return np.ascontiguousarray(field[:, SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES])


def _noise(rng: np.random.Generator, width: float, channels: int) -> NDArray[np.float32]:
    """Smooth noise of unit variance, shape (RENDERED, RENDERED, channels); `width` is its deviation in samples."""
    step = max(1, int(width // 2))  # drawn on a coarser grid where that is enough
    coarse = RENDERED // step + 3
    field = _blur(rng.standard_normal((coarse, coarse, channels), np.float32), max(0.6, width / step))
    if step > 1:
        field = np.asarray(cv2.resize(field, (RENDERED, RENDERED), interpolation=cv2.INTER_LINEAR), np.float32)
    field = field[:RENDERED, :RENDERED].reshape(RENDERED, RENDERED, channels)
    return np.asarray(field / (field.std() + np.float32(1e-6)), np.float32)


def _blur(image: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Gaussian blur of (H, W) or (H, W, C); `width` is the standard deviation, samples."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), width), np.float32).reshape(image.shape)
