"""Optical flow from onset to apex, and the strain of the skin that follows from it.

Flow is in pixels of the crop: u to the right, v down, so that what lies at (x, y) in the onset
frame lies at (x + u, y + v) in the apex frame. Fields are channels first, (C, H, W), as the
networks take them.

Three methods (`METHODS`), measured on rendered faces with known motion (60 clips of the embedded
release; mean motion of the skin 0.33 px in crops of 96 px, 0.76 px in crops of 224 px):

=========  =======================================================  ==================  ==============
method     what it is                                               mean end-point      time, one core
                                                                    error at 96, 224    at 96, 224
=========  =======================================================  ==================  ==============
dis        dense inverse search (Kroeger et al., ECCV 2016)         0.094, 0.215 px     8, 42 ms
tvl1       total variation, L1 data term (Zach et al., DAGM 2007)   0.130, 0.226 px     187, 709 ms
farneback  polynomial expansion (Farneback, SCIA 2003)              0.163, 0.324 px     6, 26 ms
=========  =======================================================  ==================  ==============

The same crops give the same bytes with the same number of OpenCV threads. A stage that runs
several workers calls ``cv2.setNumThreads(1)`` itself; this module sets no global state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.dynamic.rank_pooling import scale_to_unit

__all__ = [
    "METHODS",
    "add_strain",
    "flow_field",
    "flow_row",
    "onset_apex_flow",
    "optical_strain",
    "resize_flow",
    "scale_fixed",
    "scale_per_image",
]

# DIS matches patches of 8x8 pixels and halves the image at least once.
SMALLEST_SIDE = 16

# Farneback invents motion at the border, where it has no neighbours: up to 0.45 px between two equal
# crops of 96 px. Behind 16 pixels of repeated border none of it reaches the crop.
FARNEBACK_BORDER = 16


def _dis(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DIS with OpenCV's *medium* preset, carried on to full resolution (the preset stops at half).

    In crops of 96 px the plain preset's error is 0.149 px and that of *fast* 0.212; in crops of 224 px
    the plain preset is ahead by 0.016 px.
    """
    # Built anew for each pair: the object keeps buffers, and costs microseconds.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    flow = dis.calc(onset, apex, None)  # type: ignore[call-overload]  # (H, W, 2); stubs forbid None
    return np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32)


def _farneback(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Farneback's method: windows of 15 pixels, polynomials over 5, three halvings.

    Chosen on 20 of the rendered clips. Of windows of 9 to 41 pixels 13 to 17 did best in crops of 96 px,
    21 to 31 in crops of 224 px, where 15 costs 0.02 px. Polynomials over 7 pixels, a Gaussian window and
    more iterations made it worse or changed nothing.
    """
    border = FARNEBACK_BORDER
    padded = [cv2.copyMakeBorder(c, border, border, border, border, cv2.BORDER_REPLICATE) for c in (onset, apex)]
    flow = cv2.calcOpticalFlowFarneback(
        *padded,
        None,  # type: ignore[call-overload]  # stubs forbid None
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )  # (H + 2 border, W + 2 border, 2)
    inside = flow[border:-border, border:-border].transpose(2, 0, 1)
    return np.ascontiguousarray(inside, dtype=np.float32)


def _tvl1(onset: NDArray[np.uint8], apex: NDArray[np.uint8]) -> NDArray[np.float32]:
    """TV-L1 as scikit-image has it, with twice its weight of the data term.

    scikit-image finds the displacement w with moving(x + w) = reference(x), as (row, column): with the
    onset as reference that is (v, u). On 20 of the rendered clips an attachment of 30 did better than the
    default of 15 at both sizes (0.136 px for 0.146 at 96, 0.245 for 0.301 at 224); 60 did worse at 96.
    """
    # Here, not above: it takes a second to import, and one method needs it.
    from skimage.registration import optical_flow_tvl1

    flow = optical_flow_tvl1(onset, apex, attachment=30, tightness=0.3, num_warp=5, num_iter=10, dtype=np.float32)
    return np.ascontiguousarray(flow[::-1], dtype=np.float32)  # (2, H, W)


# Onset and apex crop, grey (H, W) uint8, to u, v (2, H, W). `onset_apex_flow` checks the crops first.
METHODS: dict[str, Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]] = {
    "dis": _dis,
    "farneback": _farneback,
    "tvl1": _tvl1,
}


def onset_apex_flow(onset: NDArray[np.uint8], apex: NDArray[np.uint8], method: str = "dis") -> NDArray[np.float32]:
    """Optical flow between two aligned crops.

    Parameters
    ----------
    onset, apex
        Grey crops of the same shape (H, W), uint8, each side at least 16 pixels.
    method
        A key of `METHODS`.

    Returns
    -------
    Flow of shape (2, H, W), float32, pixels: u, v at each pixel of the onset crop.

    Raises
    ------
    ValueError
        If the crops are not grey uint8 images of one shape, or are too small, or the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"unknown flow method {method!r}; methods: {', '.join(METHODS)}")
    for name, crop in (("onset", onset), ("apex", apex)):
        if crop.ndim != 2 or crop.dtype != np.uint8:
            raise ValueError(f"the {name} crop must be (H, W) uint8, got {crop.shape} {crop.dtype}")
    if onset.shape != apex.shape:
        raise ValueError(f"onset and apex crops differ in shape: {onset.shape} and {apex.shape}")
    if min(onset.shape) < SMALLEST_SIDE:
        raise ValueError(f"flow needs crops of at least {SMALLEST_SIDE} pixels a side, got {onset.shape}")
    return METHODS[method](onset, apex)


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


def add_strain(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put a flow's strain behind it: (2, H, W) u, v to (3, H, W) u, v, strain."""
    return np.concatenate([flow, optical_strain(flow)[None]])


def flow_field(onset: NDArray[np.uint8], apex: NDArray[np.uint8], method: str = "dis") -> NDArray[np.float32]:
    """Optical flow and strain from onset to apex, unscaled.

    Parameters
    ----------
    onset, apex, method
        Grey crops and a key of `METHODS`; see `onset_apex_flow`.

    Returns
    -------
    Array of shape (3, H, W), float32: u and v in pixels, strain.
    """
    return add_strain(onset_apex_flow(onset, apex, method))


def varies(field: NDArray[Any]) -> bool:
    """Whether anything is to be seen in a field (C, H, W): a channel of it that is not the same everywhere."""
    return bool((np.ptp(field, axis=(1, 2)) > 0).any())


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


def scale_fixed(field: NDArray[np.floating], limit: float, strain_limit: float) -> NDArray[np.float32]:
    """Scale a field to [0, 1] by limits that all clips share, so that the strength of a motion is kept.

    Parameters
    ----------
    field
        Array of shape (3, H, W): u, v in pixels, strain.
    limit
        Pixels, above 0: u and v are cut to -limit..limit, and that range becomes 0..1. Rest is 0.5.
    strain_limit
        Above 0: strain is cut to 0..strain_limit, and that range becomes 0..1. No strain is 0.

    Returns
    -------
    Array of the same shape, float32, in [0, 1].

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    if not np.isfinite(field).all():
        raise ValueError("cannot scale a flow field that holds NaN or infinite values")
    motion = (np.clip(field[:2].astype(np.float64) / limit, -1, 1) + 1) / 2
    strain = np.clip(field[2:].astype(np.float64) / strain_limit, 0, 1)
    return np.concatenate([motion, strain]).astype(np.float32)


def flow_row(
    clip_id: str,
    subject: str,
    field: NDArray[np.float32],
    unit: str,
    apex: int | None = None,
    apex_source: str | None = None,
    apex_image: bytes | None = None,
) -> dict[str, Any]:
    """Row of `prep.store.schema.FLOW`.

    Parameters
    ----------
    clip_id, subject
        Names of the clip and of its subject.
    field
        Array of shape (3, side, side): u, v, strain.
    unit
        ``pixels`` or ``image``.
    apex
        Number of the apex frame; None for a flow image, which does not say.
    apex_source
        ``annotated`` or ``estimated``; None for a flow image.
    apex_image
        Grey PNG of the apex frame's crop; None for a flow image.
    """
    return {
        "clip_id": clip_id,
        "subject": subject,
        "unit": unit,
        "side": field.shape[1],
        "apex": apex,
        "apex_source": apex_source,
        "apex_image": apex_image,
        "flow": field.ravel().tolist(),
    }
