"""Optical flow as an image for each clip: as a release gives it, and as an export writes it.

The one place that knows the channel order: red u, green v, blue strain. OpenCV reads images reversed, and a wrong order
costs points silently; `prep.store.images` gives RGB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.flow.methods import varies
from fdpbench.prep.store import images
from fdpbench.prep.store.schema import Reason

__all__ = ["FlowImageError", "encode_flow_image", "read_flow_image"]


class FlowImageError(Exception):
    """A flow image cannot be used: the reason, and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_flow_image(root: Path, source: str) -> NDArray[np.float32]:
    """Read the flow image of a clip.

    Parameters
    ----------
    root
        The release's folder.
    source
        The image, relative to it.

    Returns
    -------
    Array of shape (3, side, side), float32: u, v and strain, each scaled to 0..1 by whoever made the image.

    Raises
    ------
    FlowImageError
        If the image is damaged, not square, or flat.
    """
    try:
        image = images.read_image(root / source)  # (H, W, 3)
    except images.ImageError as error:
        raise FlowImageError(error.reason, f"{source}: {error.reason}") from error
    if image.shape[0] != image.shape[1]:
        raise FlowImageError(Reason.WRONG_SIZE, f"{source}: {image.shape[:2]}, expected a square image")
    field = np.moveaxis(image, 2, 0).astype(np.float32) / np.float32(255)
    if not varies(field):
        raise FlowImageError(Reason.NO_VARIATION, f"{source}: the image is flat, as where the apex is the onset")
    return field


def encode_flow_image(field: NDArray[np.float32]) -> bytes:
    """Encode a flow field as an image; `read_flow_image` gives each value back as the nearest of 0, 1/255, ... 1.

    Parameters
    ----------
    field
        Array of shape (3, side, side): u, v and strain in 0..1.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ValueError
        If a value is outside 0..1 or not finite, or the image would be flat.
    """
    if not (field.min() >= 0 and field.max() <= 1):  # NaN is neither
        raise ValueError(f"flow of {field.min():.3g} to {field.max():.3g}, expected 0 to 1")
    image = np.round(255 * field).astype(np.uint8)
    if not varies(image):
        raise ValueError("flow that is the same everywhere in steps of 1/255, as where nothing moves")
    return images.encode_png(np.ascontiguousarray(np.moveaxis(image, 0, 2)))
