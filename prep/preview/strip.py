"""A clip's strip: aligned frames with landmarks, what changed, flow arrows and dynamic image, in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.store import images

__all__ = ["Marks", "clip_strip", "frames_shown"]

TILE = 240  # px, at least: smaller crops are enlarged by a whole number
CAPTION, GAP = 40, 6  # px
GROUND, INK, QUIET = 24, (235, 235, 235), (160, 160, 160)
OWN, OF_FIRST, ARROW = (80, 255, 120), (255, 170, 40), (255, 230, 60)  # RGB
ARROWS = 16  # on a side
CHANGE = 4  # how many times a change of grey levels is amplified
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Marks:
    """Frame numbers as the sheet counts; None where unknown. ``estimated``: the apex is not the sheet's."""

    onset: int | None
    apex: int | None
    offset: int | None
    estimated: bool = False

    def of(self, number: int) -> str:
        """Names of the marks that a frame has."""
        apex = "apex (estimated)" if self.estimated else "apex"
        named = {"onset": self.onset, apex: self.apex, "offset": self.offset}
        return ", ".join(name for name, mark in named.items() if mark == number)


def frames_shown(numbers: Sequence[int], marks: Marks) -> list[int]:
    """Places of the frames that a strip shows: the marked ones, the ends, and the one half-way between two of them.

    Parameters
    ----------
    numbers
        Frame numbers of the clip's aligned frames, rising; not empty.
    marks
        Onset, apex and offset.
    """
    known = {mark for mark in (marks.onset, marks.apex, marks.offset) if mark is not None}
    ends = sorted({0, len(numbers) - 1} | {k for k, number in enumerate(numbers) if number in known})
    between = {(a + b) // 2 for a, b in zip(ends, ends[1:], strict=False)}
    return sorted({*ends, *between})


def clip_strip(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    marks: Marks,
    flow: NDArray[np.float32] | None,
    dynamic: NDArray[np.uint8] | None,
) -> NDArray[np.uint8]:
    """Draw a clip.

    Parameters
    ----------
    title
        Stands above the strip.
    rows
        Its rows of `prep.store.schema.FRAMES`, in order.
    marks
        Onset, apex and offset.
    flow
        Onset-to-apex u and v in pixels of the crop, (2, H, W); None: a tile says that there is none.
    dynamic
        Its dynamic image, grey, (h, w); None likewise.

    Returns
    -------
    Array of shape (H, W, 3), RGB.
    """
    by_number = {row["frame"]: row for row in rows}
    first = rows[0]["landmarks"]
    side = _large(_rgb(rows[0]["image"])).shape[0]
    tiles = []
    for place in frames_shown(list(by_number), marks):
        row = rows[place]
        own = row["landmarks"] is not None
        points = row["landmarks"] if own else first
        crop = _rgb(row["image"])
        picture = _large(crop)
        scale = picture.shape[0] / crop.shape[0]
        if points is not None:
            _dots(picture, points, scale, OWN if own else OF_FIRST)
        detail = (
            "landmarks found"
            if own
            else f"landmarks of frame {rows[0]['frame']}"
            if points is not None
            else ""  # none in the whole clip
        )
        tiles.append(_tile(picture, f"frame {row['frame']} {marks.of(row['frame'])}".rstrip(), detail))
    onset, apex = by_number.get(marks.onset), by_number.get(marks.apex)
    if onset is not None and apex is not None:
        tiles.append(_tile(_large(_change(onset, apex)), "change", f"apex - onset, x {CHANGE}"))
    else:
        tiles.append(_nothing("change", "onset or apex unknown", side))
    if flow is not None and onset is not None:
        picture, magnified = _arrows(_rgb(onset["image"]), flow)
        tiles.append(_tile(picture, "flow", f"onset to apex, arrows x {magnified:.3g}"))
    else:
        tiles.append(_nothing("flow", "none of this clip", side))
    if dynamic is not None:
        tiles.append(_tile(_large(np.repeat(dynamic[..., None], 3, axis=2)), "dynamic image", ""))
    else:
        tiles.append(_nothing("dynamic image", "none of this clip", side))
    return _joined(title, tiles)


def _rgb(png: bytes) -> NDArray[np.uint8]:
    crop = images.decode_png(png)
    return np.repeat(crop[..., None], 3, axis=2) if crop.ndim == 2 else crop


def _grey(row: Mapping[str, Any]) -> NDArray[np.int16]:
    crop = images.decode_png(row["image"])
    return (crop if crop.ndim == 2 else geometry.to_grey(crop)).astype(np.int16)


def _change(onset: Mapping[str, Any], apex: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Grey where nothing changed; edges of the whole face in it are motion of the head or a bad alignment."""
    change = np.clip(128 + CHANGE * (_grey(apex) - _grey(onset)), 0, 255).astype(np.uint8)
    return np.repeat(change[..., None], 3, axis=2)


def _large(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = math.ceil(TILE / max(picture.shape[:2]))
    size = picture.shape[1] * factor, picture.shape[0] * factor
    large: NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return np.ascontiguousarray(large)


def _dots(picture: NDArray[np.uint8], points: Sequence[float], scale: float, colour: tuple[int, int, int]) -> None:
    radius = 1 if len(points) > 200 else 2  # a mesh has hundreds
    for x, y in zip(points[::2], points[1::2], strict=True):
        # pixel centres lie at whole numbers in both, the crop and the enlarged picture
        at = round((x + 0.5) * scale - 0.5), round((y + 0.5) * scale - 0.5)
        cv2.circle(picture, at, radius, colour, cv2.FILLED, cv2.LINE_AA)


def _arrows(crop: NDArray[np.uint8], flow: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
    """Arrows on a grid, the largest about as long as two cells; how many times they are magnified."""
    picture = _large(crop)
    picture = (picture * 0.6).astype(np.uint8)
    side, scale = flow.shape[-1], picture.shape[0] / flow.shape[-1]
    cell = side / ARROWS
    places = ((np.arange(ARROWS) + 0.5) * cell).astype(int)
    sampled = flow[:2][:, places][:, :, places]  # (2, A, A)
    largest = float(np.linalg.norm(sampled, axis=0).max())
    magnified = 2 * cell / largest if largest > 0 else 1.0
    for i, y in enumerate(places):
        for j, x in enumerate(places):
            u, v = (float(one) * magnified for one in sampled[:, i, j])
            start, end = ((round((a + 0.5) * scale), round((b + 0.5) * scale)) for a, b in ((x, y), (x + u, y + v)))
            if math.hypot(u, v) > 0.15 * cell:
                cv2.arrowedLine(picture, start, end, ARROW, 1, cv2.LINE_AA, tipLength=0.3)
    return picture, magnified


def _tile(picture: NDArray[np.uint8], name: str, detail: str) -> NDArray[np.uint8]:
    """A picture below its caption of two lines."""
    height, width = picture.shape[:2]
    tile = np.full((CAPTION + height, width, 3), GROUND, np.uint8)
    tile[CAPTION:] = picture
    for line, (text, colour) in enumerate(((name, INK), (detail, QUIET))):
        cv2.putText(tile, text, (2, 15 + 17 * line), FONT, 0.42, colour, 1, cv2.LINE_AA)
    return tile


def _nothing(name: str, detail: str, side: int) -> NDArray[np.uint8]:
    return _tile(np.full((side, side, 3), GROUND + 20, np.uint8), name, detail)


def _joined(title: str, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(tile.shape[0] for tile in tiles)
    width = sum(tile.shape[1] + GAP for tile in tiles) + GAP
    strip = np.full((CAPTION + height + GAP, width, 3), GROUND, np.uint8)
    # OpenCV's fonts hold ASCII alone
    cv2.putText(strip, title.encode("ascii", "backslashreplace").decode(), (GAP, 24), FONT, 0.6, INK, 1, cv2.LINE_AA)
    x = GAP
    for tile in tiles:
        strip[CAPTION : CAPTION + tile.shape[0], x : x + tile.shape[1]] = tile
        x += tile.shape[1] + GAP
    return strip
