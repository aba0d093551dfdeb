"""Approximate rank pooling: the weights of a dynamic image, written once for the whole project.

A dynamic image sums a clip's frames into one image that says how its appearance evolves
(Bilen et al., "Dynamic Image Networks", CVPR 2016; "Action Recognition with Dynamic Image
Networks", TPAMI 2018). With frames psi_1..psi_T and running means V_t = (psi_1 + ... + psi_t) / t,
approximate rank pooling is one step of gradient descent from d = 0 on the ranking loss:
sum_t beta_t V_t = sum_t alpha_t psi_t.

Pure numpy, no input or output, no torch: models take the coefficients from here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rule", "coefficients", "dynamic_image", "scale_to_unit"]

Rule = Literal["harmonic", "linear"]

# Below this share of the frames' largest magnitude a dynamic image is rounding noise: a static
# clip's is about 1e-14 of it in float64, which min-max scaling would stretch to the full range.
STATIC_TOLERANCE = 1e-9


def coefficients(length: int, rule: Rule = "harmonic") -> NDArray[np.float64]:
    """Weights of approximate rank pooling, one for each frame.

    Parameters
    ----------
    length
        T, the number of frames, at least 1. One frame has no order: its weight is 0.
    rule
        ``harmonic`` is the rule for raw frames, alpha_t = 2(T - t + 1) - (T + 1)(H_T - H_{t-1})
        with H the harmonic numbers (Bilen et al. 2016, eq. 4). ``linear`` is
        beta_t = 2t - T - 1, the rule for running means, also seen on raw frames; for motion that
        rises and falls, as a micro-expression does, it nearly cancels.

    Returns
    -------
    Array of shape (T,), float64. The weights sum to 0 up to rounding.

    Raises
    ------
    ValueError
        If ``length`` is below 1 or ``rule`` is not one of the two.
    """
    if length < 1:
        raise ValueError(f"rank pooling needs at least one frame, got length={length}")
    t = np.arange(1, length + 1, dtype=np.float64)
    beta = 2 * t - length - 1
    if rule == "linear":
        return beta
    if rule == "harmonic":
        # alpha_t = sum_{i >= t} beta_i / i, summed from the small end
        return np.cumsum((beta / t)[::-1])[::-1].copy()
    raise ValueError(f"unknown rank pooling rule {rule!r}: expected 'harmonic' or 'linear'")


def dynamic_image(frames: NDArray, rule: Rule = "harmonic") -> NDArray[np.float64]:
    """Approximate rank pooling of a clip: the weighted sum of its frames.

    Parameters
    ----------
    frames
        Array of shape (T, ...), uint8 or floating: T frames of any shape.
    rule
        See `coefficients`.

    Returns
    -------
    Array of shape ``frames.shape[1:]``, float64, unscaled: positive where the clip brightens.
    """
    frames = np.asarray(frames)
    weights = coefficients(len(frames), rule)
    return np.einsum("t,t...->...", weights, frames.astype(np.float64, copy=False))


def scale_to_unit(image: NDArray, magnitude: float = 1.0) -> NDArray[np.float64]:
    """Scale an image to [0, 1] by its own minimum and maximum.

    Parameters
    ----------
    image
        Array of any shape.
    magnitude
        Largest value the frames behind the image can take (255 for uint8 frames, 1 for frames in
        [0, 1]). An image that spans less than 1e-9 of it is rounding noise.

    Returns
    -------
    Array of the same shape, float64, in [0, 1]. A static clip's image has no range to stretch and
    comes back flat, 0.5 everywhere.
    """
    image = np.asarray(image, dtype=np.float64)
    low, high = image.min(), image.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("cannot scale an image that holds NaN or infinite values")
    if high - low <= STATIC_TOLERANCE * magnitude:
        return np.full_like(image, 0.5)
    return (image - low) / (high - low)
