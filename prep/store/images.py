"""Image files, read so that a damaged one is found, and PNG bytes for the shards.

OpenCV alone is not safe to read with: depending on its version, a JPEG cut in half comes back with
a grey lower half and a warning that no program sees. So a file's structure is checked first
(`prep.store.image_checks`), and a JPEG is decoded by libjpeg-turbo through simplejpeg, which makes each of
libjpeg's warnings an error; its pixels are those of OpenCV, which holds the same library. The formats
are those of the published releases.
"""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from fdpbench.prep.store.image_checks import (
    MOST_BYTES,
    PNG_SIGNATURE,
    REASONS,
    ImageFault,
    Structure,
    check_structure,
)
from fdpbench.prep.store.schema import Reason

__all__ = ["ImageError", "decode_png", "encode_png", "read_image"]

# Of all strategies run-length coding is the fastest on grey face crops, and its files the smallest.
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]


class ImageError(ValueError):
    """An image cannot be used; the message names it, the reason and the cure.

    Attributes
    ----------
    path
        The file, or a description of where the bytes come from.
    reason
        One of the keys of `REASONS`.
    """

    def __init__(self, path: Path | str, reason: Reason) -> None:
        super().__init__(path, reason)  # both, so that it survives the way out of a worker process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}: {REASONS[self.reason]}"


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a frame from a PNG, JPEG or BMP file of 8 bits a channel.

    A grey image comes back with three equal channels, and an EXIF orientation is applied.

    Parameters
    ----------
    path
        The file. Its content decides its format, not its name.

    Returns
    -------
    Array of shape (H, W, 3), uint8, RGB.

    Raises
    ------
    ImageError
        With a reason out of `REASONS`, if the file is missing, cut short, damaged or of another kind.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise ImageError(path, Reason.UNREADABLE_FILE)
        if status.st_size > MOST_BYTES:
            raise ImageError(path, Reason.TOO_LARGE)
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(path, Reason.MISSING_FILE) from None
    except OSError as error:
        raise ImageError(path, Reason.UNREADABLE_FILE) from error
    try:
        structure = check_structure(data)
        if structure.kind == "jpeg":
            rgb = _decode_jpeg(data)
            if not structure.turned:
                return rgb
        bgr = _decode(data, cv2.IMREAD_COLOR)
        if structure.alpha and _is_transparent(data, bgr, structure):
            raise ImageFault(Reason.TRANSPARENT_IMAGE)
    except ImageFault as fault:
        raise ImageError(path, fault.reason) from None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # stubs widen uint8


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG, without loss; one OpenCV version gives the same bytes each time.

    Parameters
    ----------
    image
        Array of shape (H, W), grey, or (H, W, 3), RGB; uint8.

    Returns
    -------
    The file's bytes.

    Raises
    ------
    ValueError
        If the array has another shape or type, or no pixels.
    """
    shape_fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not shape_fits or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"expected an image (H, W) or (H, W, 3) of uint8, got {image.shape} {image.dtype}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    done, data = cv2.imencode(".png", image, PNG_OPTIONS)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Decode what `encode_png` wrote, checksums checked.

    Parameters
    ----------
    data
        The file's bytes.

    Returns
    -------
    Array of shape (H, W), grey, or (H, W, 3), RGB; uint8.

    Raises
    ------
    ImageError
        If the bytes are no PNG of 8 bits, or are cut short or damaged.
    """
    try:
        if data and not data.startswith(PNG_SIGNATURE):
            raise ImageFault(Reason.NOT_AN_IMAGE)
        if check_structure(data).alpha:
            raise ImageFault(Reason.TRANSPARENT_IMAGE)
        image = _decode(data, cv2.IMREAD_UNCHANGED)
    except ImageFault as fault:
        raise ImageError("PNG bytes in memory", fault.reason) from None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image  # type: ignore[return-value]


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageFault(Reason.DAMAGED_IMAGE)
    return image  # type: ignore[return-value]


def _decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        cut = "premature end" in str(error)  # libjpeg's own words, jerror.h
        raise ImageFault(Reason.TRUNCATED_IMAGE if cut else Reason.DAMAGED_IMAGE) from None
    return image


def _is_transparent(data: bytes, bgr: NDArray[np.uint8], structure: Structure) -> bool:
    """Whether a PNG has a pixel that is not opaque: alpha channel, palette or transparent colour alike."""
    if structure.grey_key is not None:
        return bool((bgr[..., 0] == structure.grey_key).any())
    image = _decode(data, cv2.IMREAD_UNCHANGED)
    return image.ndim == 3 and image.shape[2] == 4 and bool(image[..., 3].min() < 255)
