"""Approximate rank pooling: the weights of a dynamic image, written once for the whole project.

A dynamic image sums a clip's frames into one image that says how its appearance evolves
(Bilen et al., "Dynamic Image Networks", CVPR 2016; "Action Recognition with Dynamic Image
Networks", TPAMI 2018). With frames psi_1..psi_T and running means V_t = (psi_1 + ... + psi_t) / t,
approximate rank pooling is one step of gradient descent from d = 0 on the ranking loss:
sum_t beta_t V_t = sum_t alpha_t psi_t. What it approximates is in `prep.dynamic.rank_pooling_exact`.

Frames are whole numbers or floating. float32 frames give float32, computed at the speed of memory;
all others give float64. A stream is summed in float64 whatever its frames are.

Pure numpy, no input or output, no torch: models take the coefficients from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Rule",
    "clip_with_dynamic_image",
    "coefficients",
    "dynamic_image",
    "dynamic_image_of_stream",
    "dynamic_images",
    "frames_of_means",
    "running_means",
    "scale_to_unit",
]

Rule = Literal["harmonic", "linear"]

# Below this share of the frames' largest magnitude the span of a dynamic image is rounding noise, which
# min-max scaling would stretch to the full range. Float64 sums leave about 1e-13. A plain float32 sum of
# the eight frames of FDP leaves 3e-6, while one grey level of 255 in one of up to 64 frames makes at
# least 4.6e-5 (T = 40).
STATIC_TOLERANCE = 1e-9
STATIC_TOLERANCE_SINGLE = 1e-5

PIXELS_AT_ONCE = 16384  # float32 of as many fit into the caches of a core


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
    Array of shape (T,), float64. The weights sum to 0 up to rounding. Two frames have weights
    -1/2, 1/2 (harmonic) or -1, 1 (linear).

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


def dynamic_image(frames: ArrayLike, rule: Rule = "harmonic") -> NDArray[Any]:
    """Approximate rank pooling of a clip: the weighted sum of its frames.

    Parameters
    ----------
    frames
        Array of shape (T, ...), whole numbers or floating: T frames of any shape.
    rule
        See `coefficients`.

    Returns
    -------
    Array of shape ``frames.shape[1:]``, unscaled: positive where the clip brightens. float32 for
    float32 frames, exactly 0 where a pixel does not change, elsewhere with a rounding error of at most
    (T + 3) 2^-23 max_t |psi_t| sum_t |alpha_t|. Otherwise float64, where pixels with the same values get
    the same bits wherever they lie. One frame gives 0, two give half their difference (harmonic) or
    their difference (linear).

    Raises
    ------
    ValueError
        If there is no frame axis or no frame, or ``rule`` is unknown.
    TypeError
        If the frames are not real numbers.
    """
    clip = _as_clip(frames)
    weights = coefficients(len(clip), rule)
    if clip.dtype == np.float32:
        return _sum_single(clip, weights)
    return _sum_double(clip, weights, clip.shape[1:])


def dynamic_images(clips: ArrayLike, rule: Rule = "harmonic") -> NDArray[Any]:
    """Dynamic images of a batch of clips of one length.

    Parameters
    ----------
    clips
        Array of shape (B, T, ...), whole numbers or floating.
    rule
        See `coefficients`.

    Returns
    -------
    Array of shape (B, ...), of the dtype and values that `dynamic_image` gives for each clip.

    Raises
    ------
    ValueError
        If there are fewer than two axes or no frame, or ``rule`` is unknown.
    TypeError
        If the frames are not real numbers.
    """
    batch = _as_clip(clips)
    if batch.ndim < 2:
        raise ValueError(f"expected clips of shape (B, T, ...), got shape {batch.shape}")
    coefficients(batch.shape[1], rule)  # so that an empty batch is checked too
    images = np.empty((len(batch), *batch.shape[2:]), _pooled_dtype(batch.dtype))
    for index, clip in enumerate(batch):
        images[index] = dynamic_image(clip, rule)
    return images


def dynamic_image_of_stream(
    frames: Iterable[ArrayLike], rule: Rule = "harmonic", length: int | None = None
) -> NDArray[Any]:
    """Approximate rank pooling of frames that come one by one, in one pass.

    A frame may be overwritten once the next is asked for, as readers of video do. Memory does not grow
    with the number of frames: beside the first and the present frame there are two float64 arrays of
    their shape where ``length`` is given, and five where it is not.

    Parameters
    ----------
    frames
        Arrays of one shape and dtype, whole numbers or floating.
    rule
        See `coefficients`.
    length
        T, where it is known. Without it the weights are not known before the last frame, and the sum
        is split into parts that do not depend on T: with S_t = psi_1 + ... + psi_t, the harmonic sum is
        2 sum_t S_t - (T + 1) sum_t S_t / t, the linear one (T + 1) S_T - 2 sum_t S_t. As weights sum
        to 0, the first frame may be taken off every frame, which keeps the sums small.

    Returns
    -------
    Array of the shape of a frame, float32 for float32 frames (rounded once, at the end), else float64.
    With ``length``, the float64 bits are those of `dynamic_image`.

    Raises
    ------
    ValueError
        If no frame comes, a frame has another shape or dtype than the first, or their number is not
        ``length``.
    TypeError
        If the frames are not real numbers.
    """
    weights = coefficients(1 if length is None else length, rule)  # refuses an unknown rule first of all
    stream = _checked(frames, length)
    first = next(stream)
    dtype = _pooled_dtype(first.dtype)
    if length is None:
        image = _sum_unknown_length(stream, rule, first.astype(np.float64))
    else:
        image = _sum_double(chain([first], stream), weights, first.shape)
    return image.astype(dtype, copy=False)


def running_means(frames: ArrayLike) -> NDArray[Any]:
    """Means V_t = (psi_1 + ... + psi_t) / t of a clip.

    Parameters
    ----------
    frames
        Array of shape (T, ...), whole numbers or floating.

    Returns
    -------
    Array of the same shape, float32 for float32 frames (summed in float64), else float64.
    """
    clip = _as_clip(frames)
    means = np.cumsum(clip, axis=0, dtype=np.float64) / _counts(clip)
    return means.astype(_pooled_dtype(clip.dtype), copy=False)


def frames_of_means(means: ArrayLike) -> NDArray[Any]:
    """Frames that have the given running means: psi_t = t V_t - (t - 1) V_{t-1}, `running_means` undone.

    Parameters
    ----------
    means
        Array of shape (T, ...), whole numbers or floating.

    Returns
    -------
    Array of the same shape, float32 for float32 means (computed in float64), else float64.
    """
    clip = _as_clip(means)
    sums = clip * _counts(clip)
    frames = np.diff(sums, axis=0, prepend=np.zeros_like(sums[:1]))
    return frames.astype(_pooled_dtype(clip.dtype), copy=False)


def clip_with_dynamic_image(image: ArrayLike, length: int, rule: Rule = "harmonic") -> NDArray[np.float64]:
    """Least-norm clip that has a wanted dynamic image: psi_t = alpha_t / |alpha|^2 d.

    This is the pseudo-inverse of `dynamic_image`; its frames sum to 0.

    Parameters
    ----------
    image
        The wanted dynamic image d, an array of any shape.
    length
        T, the number of frames, at least 2: one frame always has the dynamic image 0.
    rule
        See `coefficients`.

    Returns
    -------
    Array of shape (T, ...), float64.

    Raises
    ------
    ValueError
        If ``length`` is below 2 or ``rule`` is unknown.
    """
    if length < 2:
        raise ValueError(f"a clip needs at least two frames to have a dynamic image, got length={length}")
    weights = coefficients(length, rule)
    return np.multiply.outer(weights / (weights @ weights), np.asarray(image, dtype=np.float64))


def scale_to_unit(image: NDArray[Any], magnitude: float = 1.0) -> NDArray[np.float64]:
    """Scale an image to [0, 1] by its own minimum and maximum.

    Parameters
    ----------
    image
        Array of any shape.
    magnitude
        Largest value the frames behind the image can take (255 for uint8 frames, 1 for frames in
        [0, 1]). An image that spans no more than 1e-9 of it, or 1e-5 if it is float32, is rounding
        noise.

    Returns
    -------
    Array of the same shape, float64, in [0, 1]. A static clip's image has no range to stretch and
    comes back flat, 0.5 everywhere.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    image = np.asarray(image)
    tolerance = STATIC_TOLERANCE_SINGLE if image.dtype == np.float32 else STATIC_TOLERANCE
    image = image.astype(np.float64, copy=False)
    low, high = image.min(), image.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("cannot scale an image that holds NaN or infinite values")
    if high - low <= tolerance * magnitude:
        return np.full_like(image, 0.5)
    return (image - low) / (high - low)


def _as_clip(frames: ArrayLike) -> NDArray[Any]:
    clip = _as_real(frames)
    if clip.ndim == 0:
        raise ValueError("expected frames along the first axis, got a single number")
    return clip


def _as_real(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"frames must be whole numbers or floating, got dtype {array.dtype}")
    return array


def _pooled_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


def _counts(clip: NDArray[Any]) -> NDArray[np.float64]:
    """1..T in the shape (T, 1, ...)."""
    return np.arange(1, len(clip) + 1, dtype=np.float64).reshape(-1, *[1] * (clip.ndim - 1))


def _sum_single(clip: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    single = weights.astype(np.float32)
    pixels = clip.reshape(len(clip), math.prod(clip.shape[1:]))  # (T, N)
    image = single @ pixels  # BLAS: as fast as memory; its build and threads may round otherwise in the last bit
    # What is left of a pixel that does not change is no more than the bound on the rounding error, whatever the
    # order of the sum. All pixels so small are summed again without their first value: exact for a static one.
    bound = np.float32((len(clip) + 2) * 2.0**-24 * np.abs(weights).sum())
    size, limit = np.empty((2, PIXELS_AT_ONCE), np.float32)
    for start in range(0, len(image), PIXELS_AT_ONCE):
        block, sums = pixels[:, start : start + PIXELS_AT_ONCE], image[start : start + PIXELS_AT_ONCE]
        size, limit = size[: len(sums)], limit[: len(sums)]  # the last block may be shorter
        np.abs(sums, out=size)
        np.multiply(np.abs(block[0], out=limit), bound, out=limit)
        doubtful = np.flatnonzero(size <= limit)
        doubtful = doubtful[block[0, doubtful] != 0]
        if len(doubtful):
            # picking many single pixels costs more than to sum all of the block again
            chosen = doubtful if 8 * len(doubtful) < len(sums) else slice(None)
            series = block[:, chosen]
            sums[chosen] = single @ (series - series[0])
    return image.reshape(clip.shape[1:])


def _sum_double(
    frames: Iterable[NDArray[Any]], weights: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    image, product = np.zeros(shape), np.empty(shape)
    for weight, frame in zip(weights, frames, strict=True):
        np.multiply(frame, weight, out=product)
        np.add(image, product, out=image)
    return image


def _sum_unknown_length(frames: Iterable[NDArray[Any]], rule: Rule, first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of `first` and the frames after it; the change from the first is 0 in the first itself."""
    change, total, totals, means = (np.zeros_like(first) for _ in range(4))
    count = 1
    for count, frame in enumerate(frames, start=2):
        np.subtract(frame, first, out=change)
        total += change
        totals += total
        if rule == "harmonic":
            means += np.divide(total, count, out=change)
    totals *= 2
    if rule == "linear":
        total *= count + 1
        total -= totals
        return total
    means *= count + 1
    totals -= means
    return totals


def _checked(frames: Iterable[ArrayLike], length: int | None) -> Iterator[NDArray[Any]]:
    """Frames as arrays, or an error that names the frame, counted from 1."""
    first: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    count = 0
    for count, given in enumerate(frames, start=1):
        frame = _as_real(given)
        if length is not None and count > length:
            raise ValueError(f"the stream goes on after frame {length}, the length stated")
        first = first or (frame.shape, frame.dtype)
        if (frame.shape, frame.dtype) != first:
            raise ValueError(
                f"frame {count} of the stream is {frame.dtype} of shape {frame.shape}, "
                f"frame 1 is {first[1]} of shape {first[0]}: all must be alike"
            )
        yield frame
    if count == 0:
        raise ValueError("rank pooling needs at least one frame, the stream is empty")
    if length is not None and count < length:
        raise ValueError(f"the stream ends after frame {count}, the length stated is {length}")
