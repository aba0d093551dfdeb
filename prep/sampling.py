"""Which frames of a clip a model sees: rules that turn two lengths into frame numbers.

A rule returns indices, never frames, so that images, landmarks and truth are picked alike.
Pure numpy, no input or output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SamplingError", "uniform"]


class SamplingError(ValueError):
    """A clip has fewer frames than the rule must return; the message holds both numbers."""


def uniform(count: int, length: int) -> NDArray[np.int64]:
    """Frames evenly spaced over a clip, the first and the last among them.

    Index i is (count - 1) * i / (length - 1) rounded to the nearest whole number, halves up. It is
    computed in whole numbers, so it is the same on every machine. Neighbouring exact positions are
    at least 1 apart when ``count >= length``, so no frame comes twice.

    Parameters
    ----------
    count
        Number of frames in the clip.
    length
        T, the number of frames to return, at least 2: one frame cannot be both first and last.

    Returns
    -------
    Array of shape (T,), int64, strictly increasing from 0 to ``count - 1``.

    Raises
    ------
    SamplingError
        If the clip has fewer frames than asked.
    ValueError
        If ``length`` is below 2.
    """
    if length < 2:
        raise ValueError(f"uniform sampling needs length >= 2 (a first and a last frame), got {length}")
    if count < length:
        raise SamplingError(
            f"fewer frames than asked: the clip has {count}, sampling asks for {length}; "
            "lower the sampling length or leave the clip out"
        )
    steps = length - 1
    i = np.arange(length, dtype=np.int64)
    return (2 * i * (count - 1) + steps) // (2 * steps)
