"""Optical flow from onset to apex, and the strain of the skin that follows from it.

Flow is in pixels of the crop: u to the right, v down, so that what lies at (x, y) in the onset
frame lies at (x + u, y + v) in the apex frame. Fields are channels first, (C, H, W), as the
networks take them.

The method is DIS, dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse
Search", ECCV 2016), OpenCV's implementation with its *medium* preset, carried on to full
resolution (the preset stops at half). On rendered faces with known motion (20 clips, 96 px crops,
0.41 px mean motion) its mean end-point error is 0.069 px; the plain preset's is 0.100, that of
*fast* 0.137, and Farneback's 0.122.

The same crops give the same bytes with the same number of OpenCV threads. A stage that runs
several workers calls ``cv2.setNumThreads(1)`` itself; this module sets no global state.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from prep.rank_pooling import scale_to_unit

__all__ = ["flow_field", "onset_apex_flow", "optical_strain", "resize_flow", "scale_per_image"]

# DIS matches patches of 8x8 pixels and halves the image at least once.
SMALLEST_SIDE = 16


def onset_apex_flow(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical flow between two aligned crops.

    Parameters
    ----------
    onset, apex
        Grey crops of the same shape (H, W), uint8, each side at least 16 pixels.

    Returns
    -------
    Flow of shape (2, H, W), float32, pixels: u, v at each pixel of the onset crop.

    Raises
    ------
    ValueError
        If the crops are not grey uint8 images of one shape, or are too small.
    """
    for name, crop in (("onset", onset), ("apex", apex)):
        if crop.ndim != 2 or crop.dtype != np.uint8:
            raise ValueError(f"the {name} crop must be (H, W) uint8, got {crop.shape} {crop.dtype}")
    if onset.shape != apex.shape:
        raise ValueError(f"onset and apex crops differ in shape: {onset.shape} and {apex.shape}")
    if min(onset.shape) < SMALLEST_SIDE:
        raise ValueError(f"flow needs crops of at least {SMALLEST_SIDE} pixels a side, got {onset.shape}")
    # Built anew for each pair: the object keeps buffers, and costs microseconds.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    flow = dis.calc(onset, apex, None)  # type: ignore[call-overload]  # (H, W, 2); stubs forbid None
    return np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)


def optical_strain(flow: NDArray[np.floating]) -> NDArray[np.float32]:
    """Magnitude of the infinitesimal strain tensor of a flow field.

    The tensor is e = (grad w + grad w^T) / 2 for w = (u, v) and its magnitude
    sqrt(e_xx^2 + e_yy^2 + e_xy^2 + e_yx^2) with e_xx = du/dx, e_yy = dv/dy and
    e_xy = e_yx = (du/dy + dv/dx) / 2 (Shreve et al., "Macro- and micro-expression spotting in long
    videos using spatio-temporal strain", FG 2011; as a recognition feature Liong et al., "Optical
    strain based recognition of subtle emotions", ISPACS 2014, and STSTNet, FG 2019). It is zero
    where the skin only moves along, and to first order where it turns.

    Derivatives are central differences, one-sided at the border: exact for linear flow.

    Parameters
    ----------
    flow
        Array of shape (2, H, W): u, v in pixels.

    Returns
    -------
    Array of shape (H, W), float32, without unit (pixels per pixel), at least 0.
    """
    u, v = flow.astype(np.float64)
    u_y, u_x = np.gradient(u)
    v_y, v_x = np.gradient(v)
    shear = (u_y + v_x) / 2
    return np.sqrt(u_x**2 + v_y**2 + 2 * shear**2).astype(np.float32)


def flow_field(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical flow and strain from onset to apex, unscaled.

    Parameters
    ----------
    onset, apex
        Grey crops; see `onset_apex_flow`.

    Returns
    -------
    Array of shape (3, H, W), float32: u and v in pixels, strain.
    """
    flow = onset_apex_flow(onset, apex)
    return np.concatenate([flow, optical_strain(flow)[None]])


def resize_flow(field: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize a field for a network's input; shrinking takes the mean over each new pixel's area.

    Values keep their unit, pixels of the crop the flow was found in: a motion of 1 px stays 1.

    Parameters
    ----------
    field
        Array of shape (C, H, W), float32.
    size
        New height and width.

    Returns
    -------
    Array of shape (C, size, size), float32.
    """
    channels = [cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA) for c in field]
    return np.stack(channels).astype(np.float32, copy=False)


def scale_per_image(field: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each channel of a field to [0, 1] by its own minimum and maximum.

    The flow images in which the field exchanges the MEGC2019 data set are scaled in this way. It
    removes the strength of a motion, and rest is no longer any fixed value.

    Parameters
    ----------
    field
        Array of shape (C, H, W).

    Returns
    -------
    Array of the same shape, float32, in [0, 1]. A flat channel, as two equal crops give, has no
    range to stretch and comes back 0.5 everywhere.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    return np.stack([scale_to_unit(channel) for channel in field]).astype(np.float32)
