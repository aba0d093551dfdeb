"""The temporal interpolation model: T frames of a clip of any length, frames in between among them.

Zhou, Zhao and Pietikainen, "Towards a practical lipreading system", CVPR 2011. For micro-expressions it
was taken up to give clips of different lengths the same number of frames (Pfister et al., ICCV 2011;
Li et al., "A spontaneous micro-expression database: inducement, collection and baseline", FG 2013: SMIC).

A clip's N frames are the vertices of a path graph. The graph's Laplacian has the eigenvectors
y_k(i) = sin(pi k i / N + pi (N - k) / (2N)), i = 1..N, k = 1..N-1, which are samples of the curve
F_k(t) = sin(pi k t + pi (N - k) / (2N)), t in [1/N, 1], at t = i/N. Zhou et al. take the mean off the
frames, factorise them by SVD, X = U S V^T, solve for the linear map W that takes frames onto the curve,
W^T X = Y, and map a point F(t) of the curve back by least squares.

The rows of Y are orthogonal to each other and to the constant, Y Y^T = N/2. Put in, the SVD falls out,
whatever the rank of X: the map back is x(t) = mean + X Y^T F(t) 2/N. (With i/N written out, y_k is the
k-th cosine of the DCT-II: a clip is interpolated by its own cosine series.) So each new frame is a
weighted sum of the clip's frames, with weights that depend on N and T alone. That is what is computed
here; a test holds it against the algorithm with the SVD.

Pure numpy, no input or output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.dynamic.sampling import SamplingError

__all__ = ["interpolate", "weights"]


def weights(count: int, length: int) -> NDArray[np.float64]:
    """Share of each frame of a clip in each interpolated frame.

    Parameters
    ----------
    count
        N, the number of frames in the clip, at least 2.
    length
        T, the number of frames to make, at least 2: the first is the clip's first, the last its last, and
        the others lie evenly in between.

    Returns
    -------
    Array of shape (T, N), float64. Each row sums to 1; some weights are negative, as those of a
    cosine series are. With T = N it is the identity, up to rounding.

    Raises
    ------
    SamplingError
        If the clip has fewer than two frames.
    ValueError
        If ``length`` is below 2.
    """
    if length < 2:
        raise ValueError(f"interpolation needs length >= 2 (a first and a last frame), got {length}")
    if count < 2:
        raise SamplingError(f"interpolation needs at least 2 frames, the clip has {count}; leave the clip out")
    k = np.arange(1, count)[:, None]  # (N - 1, 1)
    phase = np.pi * (count - k) / (2 * count)
    vertices = np.sin(np.pi * k * np.arange(1, count + 1) / count + phase)  # (N - 1, N)
    times = np.linspace(1 / count, 1, length)
    curve = np.sin(np.pi * k * times + phase)  # (N - 1, T)
    return 1 / count + 2 / count * curve.T @ vertices


def interpolate(frames: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Make T frames out of a clip.

    Sums are float64, rounded to the nearest whole number (halves to the even one) and cut to 0..255: near
    a sharp change the series swings over by some grey levels. A clip that is longer than T is not
    smoothed first; its frames are met at T times.

    Parameters
    ----------
    frames
        Array of shape (N, H, W), uint8, N at least 2.
    length
        T, at least 2.

    Returns
    -------
    Array of shape (T, H, W), uint8. The first and the last frame are the clip's own; with T = N all are.

    Raises
    ------
    SamplingError
        If the clip has fewer than two frames.
    ValueError
        If ``length`` is below 2, or the frames are not uint8.
    """
    if frames.ndim != 3 or frames.dtype != np.uint8:
        raise ValueError(f"expected frames (N, H, W) of uint8, got {frames.shape} {frames.dtype}")
    made = np.tensordot(weights(len(frames), length), frames.astype(np.float64), axes=1)  # (T, H, W)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)
