"""Where each frame of a clip goes in its crop: four ways to align a clip, two ways to frame a face.

================  =============================================================================================
`align.mode`      one transform for
================  =============================================================================================
``first_frame``   the whole clip, from the face of its first frame: the camera stands still, the head nearly so
``ecc``           each frame: the first frame's, after the head's drift since then is undone (`prep.align.drift`)
``per_frame``     each frame, from its own face: as many papers do, with the noise of landmarks found anew
``given``         the whole clip, whose frames are crops of faces already: they are resized to a square, no face is
                  sought, and nobody knows where the eyes are
================  =============================================================================================

`results/accuracy.md` has what each costs and gains on rendered faces whose truth is known.

With `align.track` landmarks are found anew in each frame under every mode. They move no crop: a transform maps
them into the crop that the frame gets anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align import drift, geometry
from fdpbench.prep.align.faces import Face, FaceError
from fdpbench.prep.settings.align import AlignParams

__all__ = ["FaceFinder", "Placed", "place"]


class FaceFinder(Protocol):
    """What finds the face of a frame: `prep.align.faces.FaceMesh`, or `prep.align.faces_dlib.DlibFaces`."""

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        """Find the face of a frame (H, W, 3), RGB; raises `prep.align.faces.FaceError`."""
        ...


class Placed(NamedTuple):
    """A frame, its transform from source to crop pixels, and its landmarks (K, 2) in the crop, if sought."""

    frame: NDArray[np.uint8]
    transform: NDArray[np.float64]
    landmarks: NDArray[np.float64] | None


def place(
    frames: Iterable[NDArray[np.uint8]], params: AlignParams, finder: FaceFinder | None = None
) -> Iterator[Placed]:
    """Find where each frame of a clip goes; see this module.

    Parameters
    ----------
    frames
        Frames (H, W, 3), uint8, RGB, of one shape, in order of time. A stream will do.
    params
        Section ``align`` of params.yaml.
    finder
        Finds faces; None under ``given``, which seeks none.

    Yields
    ------
    Each frame with its transform. Landmarks come with the first frame; under ``per_frame`` and with ``track`` with
    each, but for a later frame that only ``track`` looks at and in which no face, or more than one, is found; under
    ``given`` with none.

    Raises
    ------
    prep.align.faces.FaceError
        If a face that is sought is not found, or not the only one.
    prep.align.drift.DriftError
        If the first frame's face is not found again.
    """
    stream = iter(frames)
    if params.mode == "given":
        for frame in stream:
            yield Placed(frame, geometry.resize_transform(frame.shape[0], frame.shape[1], params.size), None)
        return
    assert finder is not None
    if params.mode == "per_frame":
        for frame in stream:
            yield _by_its_face(frame, params, finder)
        return
    first = _by_its_face(next(stream), params, finder)
    if params.mode == "first_frame":
        yield first
        for frame in stream:
            yield _tracked(Placed(frame, first.transform, None), params, finder)
        return
    waiting: deque[NDArray[np.uint8]] = deque()

    def greys() -> Iterator[NDArray[np.uint8]]:
        for frame in chain([first.frame], stream):
            waiting.append(frame)
            yield geometry.to_grey(frame)

    assert first.landmarks is not None
    in_source = geometry.transform_points(first.landmarks, geometry.invert(first.transform))
    landmarks: NDArray[np.float64] | None = first.landmarks
    for moved in drift.follow(greys(), drift.face_mask(in_source, first.frame.shape)):
        placed = Placed(waiting.popleft(), drift.undrifted(first.transform, moved), landmarks)
        yield placed if landmarks is not None else _tracked(placed, params, finder)
        landmarks = None


def _tracked(placed: Placed, params: AlignParams, finder: FaceFinder) -> Placed:
    """A later frame with the landmarks found in it, where `align.track` asks for them and there are some."""
    if not params.track:
        return placed
    try:
        face = finder.find(placed.frame)
    except FaceError:
        return placed
    return placed._replace(landmarks=geometry.transform_points(face.landmarks[:, :2], placed.transform))


def _by_its_face(frame: NDArray[np.uint8], params: AlignParams, finder: FaceFinder) -> Placed:
    face = finder.find(frame)
    if params.geometry == "released":
        transform = geometry.released_transform(face.five_points, params.size)
    else:
        left, right = face.eyes
        transform = geometry.eye_transform(left, right, params.size, params.eye_distance, params.eye_height)
    return Placed(frame, transform, geometry.transform_points(face.landmarks[:, :2], transform))
