"""Ways to place a clip's frames, the released geometry, interpolation, several faces, dlib that is missing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.align.faces import Face, FaceError, refuse_alike
from fdpbench.prep.align.faces_dlib import DlibFaces, MissingDlibError
from fdpbench.prep.align.placing import place
from fdpbench.prep.settings.align import AlignParams

SIDE = 120
# Where a face with level eyes 24 px apart lies in the first frame: landmarks of the mesh.
POINTS = {33: (44, 50), 133: (52, 50), 362: (68, 50), 263: (76, 50), 1: (60, 62), 61: (48, 76), 291: (72, 76)}


def texture() -> NDArray[np.float32]:
    """Smooth noise: something to hold on to everywhere."""
    noise = np.random.default_rng(7).normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(128 + 40 * smooth / smooth.std(), np.float32)


def motion(angle: float, x: float, y: float) -> NDArray[np.float64]:
    return geometry.similarity(1.0, angle, (60, 60), (60 + x, 60 + y))


def grey(transform: NDArray[np.float64]) -> NDArray[np.uint8]:
    shown = cv2.warpAffine(texture(), transform, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


MOTIONS = [motion(0.004 * k, 0.3 * k, -0.2 * k) for k in range(5)]


def clip() -> Iterator[NDArray[np.uint8]]:
    for one in MOTIONS:
        yield np.repeat(grey(one)[:, :, None], 3, axis=2)


class Finder:
    """Finds the face where it has moved to, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        angles = np.linspace(0, 2 * math.pi, 468, endpoint=False)
        points = np.column_stack([60 + 34 * np.cos(angles), 60 + 34 * np.sin(angles), 0 * angles])
        for number, point in POINTS.items():
            points[number, :2] = point
        points[:, :2] = geometry.transform_points(points[:, :2], MOTIONS[self.calls])
        self.calls += 1
        return Face(points, 1.0, (26.0, 26.0, 94.0, 94.0))


def params(**changes: Any) -> AlignParams:
    usual: dict[str, Any] = {"mode": "first_frame", "landmarks": "mesh", "geometry": "eyes", "interpolation": "linear"}
    usual |= {"size": 64, "eye_distance": 0.4, "eye_height": 0.35, "colour": False}
    return AlignParams.model_validate(usual | changes)


@pytest.mark.parametrize(("mode", "calls", "most"), [("first_frame", 1, None), ("ecc", 1, 0.1), ("per_frame", 5, 1e-9)])
def test_a_point_of_the_skull_stays_where_it_is(mode: str, calls: int, most: float | None) -> None:
    finder = Finder()
    placed = list(place(clip(), params(mode=mode), finder))
    assert finder.calls == calls and len(placed) == 5
    assert [one.landmarks is not None for one in placed] == [mode == "per_frame" or k == 0 for k in range(5)]
    for frame, one in zip(clip(), placed, strict=True):
        assert (one.frame == frame).all()
    point = np.array([60.0, 55.0])
    seen = np.array(
        [
            geometry.transform_points(geometry.transform_points(point, moved), one.transform)
            for moved, one in zip(MOTIONS, placed, strict=True)
        ]
    )
    if most is None:
        assert all((one.transform == placed[0].transform).all() for one in placed)
    else:
        assert np.abs(seen - seen[0]).max() < most


def test_the_released_geometry_by_hand() -> None:
    """Level eyes 40 px apart, mouth 30 px below them: the box is 40 x 30, and the square 100 px wide."""
    five = np.array([[40.0, 50], [80, 50], [60, 65], [50, 80], [70, 80]])
    transform = geometry.released_transform(five, 101)
    corners = [[60, 65], [10, 15], [110, 115]]
    assert np.allclose(geometry.transform_points(corners, transform), [[50, 50], [0, 0], [100, 100]])
    turned = geometry.transform_points(five, geometry.similarity(1.7, 0.4, (60, 60), (300, 200)))
    again = geometry.released_transform(turned, 101)
    assert np.allclose(geometry.transform_points(turned, again), geometry.transform_points(five, transform))
    for wrong in (five[:4], np.full((5, 2), np.nan), np.zeros((5, 2))):
        with pytest.raises(ValueError, match="five finite|eyes coincide"):
            geometry.released_transform(wrong, 101)
    with pytest.raises(ValueError, match="at least 2"):
        geometry.released_transform(five, 1)


def test_the_released_geometry_is_chosen_by_params() -> None:
    one = next(place(clip(), params(geometry="released"), Finder()))
    five = Finder().find(one.frame).five_points
    assert np.allclose(five, [[48, 50], [72, 50], [60, 62], [48, 76], [72, 76]])
    assert np.allclose(one.transform, geometry.released_transform(five, 64))


@pytest.mark.parametrize("interpolation", list(geometry.INTERPOLATIONS))
def test_interpolations(interpolation: str) -> None:
    image = grey(np.eye(2, 3))
    shifted = geometry.warp(image, np.array([[1.0, 0, -10], [0, 1, -10]]), 64, interpolation)
    assert (shifted == image[10:74, 10:74]).all(), "a whole shift needs none"
    half = geometry.warp(image, np.array([[1.0, 0, -10.5], [0, 1, -10]]), 64, interpolation).astype(float)
    mean = (image[10:74, 10:74].astype(float) + image[10:74, 11:75]) / 2
    assert np.abs(half - mean).mean() < 1.5 and (interpolation == "linear") == bool(np.abs(half - mean).max() <= 0.5)


def face(x: float, distance: float) -> Face:
    points = np.zeros((468, 3))
    points[[33, 133], :2], points[[362, 263], :2] = (x - distance / 2, 100), (x + distance / 2, 100)
    return Face(points, 1.0, (x - distance, 50, x + distance, 150))


def test_two_faces_alike_are_refused() -> None:
    with pytest.raises(FaceError, match="several_faces: two faces alike in size, eyes 50 and 40 px apart, at x 100"):
        refuse_alike(face(100, 50), face(300, 40))
    refuse_alike(face(100, 50), face(300, 30))  # a passer-by
    refuse_alike(face(100, 50), face(104, 49))  # the same face again


def test_dlib_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDlibError, match=r"pip install 'fdpbench\[dlib\]', or choose align.landmarks: mesh"):
        DlibFaces()
