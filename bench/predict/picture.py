"""Pictures of what a network looked at and what it says: a strip for each clip, and every intermediate image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.predict.clip import PreparedClip
from fdpbench.bench.predict.result import NOTICE, ClipPrediction
from fdpbench.bench.predict.sources import Source
from fdpbench.prep.align import geometry
from fdpbench.prep.flow.methods import scale_per_image
from fdpbench.prep.preview.strip import Marks, clip_strip
from fdpbench.prep.store.images import encode_png
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["joined", "prediction_strip", "write_picture", "write_steps"]

GROUND, INK, QUIET, BAR = 24, (235, 235, 235), (160, 160, 160), (255, 170, 40)  # RGB
WIDTH, LINE, NAME, LENGTH = 250, 14, 66, 130  # of the bars, px
FONT = cv2.FONT_HERSHEY_SIMPLEX
ENLARGED = 240  # px: smaller pictures of steps are enlarged to at least this


def prediction_strip(said: ClipPrediction, clip: PreparedClip) -> NDArray[np.uint8]:
    """Draw a clip: onset and apex, flow on the face, dynamic image, and bars of all probabilities.

    Parameters
    ----------
    said, clip
        What `bench.predict.run.predict_clip` gave.

    Returns
    -------
    Array of shape (H, W, 3), RGB.
    """
    rows = [
        {"frame": int(clip.numbers[k]), "image": encode_png(clip.crops[k]), "landmarks": None} for k in (0, clip.apex)
    ]
    marks = Marks(said.onset, said.apex, None, clip.apex_estimated)
    strip = clip_strip(
        f"{said.path}: {said.label or ''}  ({said.network.name})", rows, marks, clip.flow, clip.dynamic_image
    )
    panel = _bars(said, strip.shape[0])
    codes = ", ".join(doubt.code for doubt in said.warnings)
    foot = np.full((2 * LINE + 8, strip.shape[1] + panel.shape[1], 3), GROUND, np.uint8)
    for line, text in enumerate((f"warnings: {codes or 'none'}", NOTICE)):
        _write(foot, text, 6, LINE * (line + 1), QUIET)
    return np.concatenate([np.concatenate([strip, panel], axis=1), foot])


def joined(strips: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Strips (H, W, 3) one below the other; there must be one at least."""
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=GROUND) for s in strips]
    )


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, RGB or grey, as PNG.

    Raises
    ------
    ValueError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; choose another place") from None


def write_steps(folder: Path, source: Source, said: ClipPrediction, clip: PreparedClip) -> Path:
    """Write every image between a clip and its probabilities.

    Parameters
    ----------
    folder
        Gets a folder for the clip.
    source, said, clip
        The clip, what is said of it and what it was made of.

    Returns
    -------
    The clip's folder: ``first_frame.png`` with the outline of the crop, ``crops/``, ``region.png`` (the face without
    eyes, where motion is measured), ``onset.png``, ``apex.png``, ``flow_u.png``, ``flow_v.png``, ``flow_strain.png``
    (each scaled by its own range), ``dynamic_image.png``, ``input_NAME.png`` for each input of the network, and
    ``strip.png``.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", said.path).strip("_.") or "clip"
    place = folder / name
    write_picture(place / "first_frame.png", _outlined(source, said.onset, clip))
    for number, crop in zip(clip.numbers, clip.crops, strict=True):
        write_picture(place / "crops" / f"{number:06d}.png", crop)
    write_picture(place / "region.png", np.where(clip.region, clip.crops[0], 0).astype(np.uint8))
    write_picture(place / "onset.png", clip.crops[0])
    write_picture(place / "apex.png", clip.crops[clip.apex])
    for part, field in zip(("u", "v", "strain"), scale_per_image(clip.flow), strict=True):
        write_picture(place / f"flow_{part}.png", _grey(field))
    write_picture(place / "dynamic_image.png", clip.dynamic_image)
    for key, values in clip.inputs.items():
        if INPUTS[key].mirrored is not None:  # an image: landmarks are points
            side_by_side = np.concatenate(list(values.reshape(-1, *values.shape[-2:])), axis=1)
            scaled = scale_per_image(values) if values.dtype != np.uint8 else None
            picture = side_by_side if scaled is None else np.concatenate([_grey(part) for part in scaled], axis=1)
            write_picture(place / f"input_{key}.png", _large(picture.astype(np.uint8)))
    write_picture(place / "strip.png", prediction_strip(said, clip))
    return place


def _outlined(source: Source, number: int, clip: PreparedClip) -> NDArray[np.uint8]:
    """The first frame, with the edges of its crop."""
    frame = next(iter(source.frames(number, number))).image.copy()
    side = clip.crops.shape[1]
    corners = np.array([(0, 0), (side - 1, 0), (side - 1, side - 1), (0, side - 1)], np.float64)
    outline = geometry.transform_points(corners, geometry.invert(clip.transform))
    cv2.polylines(frame, [np.rint(outline).astype(np.int32)], True, BAR, 1, cv2.LINE_AA)
    return frame


def _bars(said: ClipPrediction, height: int) -> NDArray[np.uint8]:
    """Probabilities as bars, classes first."""
    lines = [*said.classes.items(), *said.units.items()]
    panel = np.full((max(height, LINE * (len(lines) + 3)), WIDTH, 3), GROUND, np.uint8)
    y = LINE + 2
    for number, (name, value) in enumerate(lines):
        y += LINE // 2 if number == len(said.classes) else 0
        ink = INK if name == said.label or (name in said.units and value >= 0.5) else QUIET
        _write(panel, name, 2, y, ink)
        end = NAME + round(LENGTH * value)
        cv2.rectangle(panel, (NAME, y - LINE + 5), (NAME + LENGTH, y), (60, 60, 60), 1)
        cv2.rectangle(panel, (NAME, y - LINE + 5), (end, y), BAR, cv2.FILLED)
        _write(panel, f"{value:.2f}", NAME + LENGTH + 6, y, ink)
        y += LINE
    return panel[:height] if y <= height else cv2.resize(panel, (WIDTH, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _write(picture: NDArray[np.uint8], text: str, x: int, y: int, ink: tuple[int, int, int]) -> None:
    # OpenCV's fonts hold ASCII alone
    cv2.putText(picture, text.encode("ascii", "backslashreplace").decode(), (x, y), FONT, 0.38, ink, 1, cv2.LINE_AA)


def _grey(field: NDArray[np.floating]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(255 * field).astype(np.uint8)
    return grey


def _large(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarged by a whole number, pixels as squares."""
    factor = math.ceil(ENLARGED / picture.shape[0])
    return np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
