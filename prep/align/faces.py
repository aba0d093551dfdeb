"""Find the face of a frame and its 468 landmarks, with two small networks run by OpenCV.

Detection is BlazeFace, short range (Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face
Detection on Mobile GPUs", 2019); landmarks are those of Face Mesh (Kartynnik et al., "Real-time
Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019). Both models are MediaPipe's,
vendored under Apache-2.0 in `face_models/`, and read by `cv2.dnn`: neither mediapipe nor
TensorFlow is needed.

Coordinates are (x, y) in pixels of the whole frame, pixel centres at whole numbers (`prep.align.geometry`).
"Right eye" is the subject's, which is on the left of the image.

Results repeat bit for bit on one machine. This module sets no global state: a stage that runs
several workers calls ``cv2.setNumThreads(1)`` itself. A `FaceMesh` belongs to one thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align.geometry import invert, similarity, transform_points, warp

__all__ = ["NO_FACE", "SEVERAL_FACES", "Face", "FaceError", "FaceMesh", "eye_corners", "refuse_alike"]

NO_FACE = "no_face"
SEVERAL_FACES = "several_faces"

MODEL_FOLDER = Path(__file__).parent / "face_models"

# Landmarks of the mesh. An eye's centre is the middle of its two corners: lids and pupils move
# with every blink and glance, the corners hardly.
RIGHT_EYE_CORNERS = (33, 133)
LEFT_EYE_CORNERS = (362, 263)
LANDMARKS = 468
NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
# The same of dlib's 68 landmarks, whose eyes have six points each.
DLIB_EYES = (range(36, 42), range(42, 48))
DLIB_EYE_CORNERS = ((36, 39), (45, 42))
DLIB_NOSE_TIP = 30
DLIB_MOUTH_CORNERS = (48, 54)

# Two faces are alike if the smaller one's eyes are at least this share of the larger one's apart. A person
# behind the subject, or a picture on the wall, is smaller; at three quarters nobody can tell whom was filmed.
ALIKE = 0.75

DETECTOR_SIDE = 128
DETECTOR_OUTPUTS = ("classificators", "regressors")
DETECTOR_THRESHOLD = 0.5
# Keypoints of the detector: right eye, left eye, nose, mouth, right ear, left ear.
KEYPOINTS = 6
# A detection is 2 + KEYPOINTS pairs: centre, size, keypoints. All but the size have an origin to be
# moved from.
GEOMETRY = 2 * (2 + KEYPOINTS)
POSITIONS = [0, *range(2, 2 + KEYPOINTS)]
# Boxes that overlap by more than this (intersection over union) are one face.
SAME_FACE = 0.3
# The detector misses faces whose eyes are closer than about 4% of its input's width. Where the
# whole frame shows no face, tiles of a half, then of a third of its longer side are searched.
TILE_DIVISIONS = (1, 2, 3)
# Share by which neighbouring tiles overlap: what one tile cuts off, the next holds whole.
TILE_OVERLAP = 0.4

MESH_SIDE = 192
MESH_OUTPUTS = ("conv2d_21", "conv2d_31")  # landmarks, then the score's logit
# Every refining run must score more. Clear faces score 0.999. Folds of clothing that the detector
# takes for a face reach 0.85, and 0.98 in a single run.
MESH_THRESHOLD = 0.9
# The mesh expects a crop of 1.5 times the face's longer side.
MESH_MARGIN = 1.5
# The detector's box is loose: runs of the mesh on the crop that its own landmarks give make the
# result depend on the face, no longer on the box. On a photograph moved by parts of a pixel, eyes
# 110 px apart, the eye centres' standard deviation is 0.16 px with none, 0.10 with one, 0.05 with
# two and 0.04 with three.
REFINEMENTS = 2
# A detector that sees faces everywhere must not cost a mesh for each.
MOST_CANDIDATES = 5


class FaceError(ValueError):
    """A frame has no usable face.

    Attributes
    ----------
    reason
        Why, from this module's constants: ``no_face``, ``several_faces``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that it survives the way out of a worker process
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


@dataclass(frozen=True)
class Face:
    """One face of a frame.

    Attributes
    ----------
    landmarks
        (468, 3) float64: x, y in pixels of the frame; z, depth on the scale of x, smaller is nearer. Those of
        `prep.align.faces_dlib` are (68, 3) with z = 0.
    score
        The mesh's confidence that its crop shows a face, the least of its runs; above 0.9.
    box
        The detector's box: left, upper, right, lower edge in pixels of the frame.
    """

    landmarks: NDArray[np.float64]
    score: float
    box: tuple[float, float, float, float]

    @property
    def eyes(self) -> NDArray[np.float64]:
        """Eye centres, (2, 2): the subject's right eye (left of the image), then the left eye.

        Each is the mean of the outer and inner eye corner, landmarks 33 and 133, 362 and 263; of dlib's
        landmarks the mean of an eye's six.
        """
        return _eyes(self.landmarks)

    @property
    def five_points(self) -> NDArray[np.float64]:
        """Eye centres, tip of the nose and corners of the mouth, (5, 2); those on the left of the image first."""
        mesh = len(self.landmarks) == LANDMARKS
        others = (NOSE_TIP, *MOUTH_CORNERS) if mesh else (DLIB_NOSE_TIP, *DLIB_MOUTH_CORNERS)
        return np.concatenate([self.eyes, self.landmarks[list(others), :2]])

    @property
    def eye_distance(self) -> float:
        """Distance between the eye centres, pixels."""
        right, left = self.eyes
        return math.hypot(*(left - right))


@dataclass(frozen=True)
class _Boxes:
    """N detections. Their geometry is one vector each, so that it is averaged as one."""

    score: NDArray[np.float64]  # (N,)
    geometry: NDArray[np.float64]  # (N, GEOMETRY)


class FaceMesh:
    """Face detector and landmark network, loaded once and used for many frames.

    Parameters
    ----------
    folder
        Holds ``face_detection_short_range.tflite`` and ``face_landmark.tflite``; by default the
        vendored models.

    Raises
    ------
    FileNotFoundError
        If a model file is missing.
    """

    def __init__(self, folder: Path = MODEL_FOLDER) -> None:
        self._detector = _load(folder / "face_detection_short_range.tflite")
        self._mesh = _load(folder / "face_landmark.tflite")
        self._anchors = _anchors()  # (896, 2)

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        """Find the face of a frame: the largest box that the mesh confirms, if no other is nearly as large.

        Parameters
        ----------
        rgb
            Frame of shape (H, W, 3), uint8, RGB.

        Returns
        -------
        The face, its landmarks in pixels of the frame.

        Raises
        ------
        FaceError
            ``no_face``, if no box is found in the frame or its tiles, or the mesh confirms none;
            ``several_faces``, if a second face beside the first is alike in size.
        ValueError
            If the frame is not (H, W, 3) uint8.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
        candidates = 0
        for divisions in TILE_DIVISIONS:
            boxes = _merge(self._detect(rgb, divisions))
            area = boxes.geometry[:, 2] * boxes.geometry[:, 3]
            found: Face | None = None
            for index in np.argsort(-area, kind="stable")[:MOST_CANDIDATES]:
                if found is not None and math.sqrt(area[index]) < ALIKE**2 * _side(found):
                    break  # boxes are loose, but not as loose as that: it cannot be alike
                candidates += 1
                face = self._confirm(rgb, boxes.geometry[index])
                if found is None:
                    found = face
                elif face is not None:
                    refuse_alike(found, face)
            if found is not None:
                return found
        height, width = rgb.shape[:2]
        raise FaceError(
            NO_FACE,
            f"searched the {width}x{height} frame whole and in tiles of a half and a third; "
            f"{candidates} candidate boxes, none confirmed by the landmark network "
            f"(score above {MESH_THRESHOLD}). The face must be upright within about 45 degrees, and its "
            "eyes at least about 2% of the longer side apart",
        )

    def _detect(self, rgb: NDArray[np.uint8], divisions: int) -> _Boxes:
        """All boxes of a frame searched in square tiles of 1 / divisions of its longer side."""
        height, width = rgb.shape[:2]
        side = math.ceil(max(height, width) / divisions)
        scores, geometries = [], []
        for top in _tile_starts(height, side):
            for left in _tile_starts(width, side):
                found = self._detect_square(_square(rgb, left, top, side))
                # Shares of the tile -> pixels of the frame. The tile's edge lies half a pixel before
                # its first pixel's centre.
                points = found.geometry.reshape(-1, 2 + KEYPOINTS, 2) * side  # (N, 8, 2)
                points[:, POSITIONS] += (left - 0.5, top - 0.5)
                scores.append(found.score)
                geometries.append(points.reshape(-1, GEOMETRY))
        return _Boxes(np.concatenate(scores), np.concatenate(geometries))

    def _detect_square(self, square: NDArray[np.uint8]) -> _Boxes:
        """BlazeFace on one square image; geometry in shares of its side."""
        small = cv2.resize(square, (DETECTOR_SIDE, DETECTOR_SIDE), interpolation=cv2.INTER_AREA)
        self._detector.setInput(_blob(small, scale=1 / 127.5, offset=-1.0))
        logits, offsets = self._detector.forward(DETECTOR_OUTPUTS)
        score = _sigmoid(logits.reshape(-1))  # (896,)
        points = offsets.reshape(-1, 2 + KEYPOINTS, 2).astype(np.float64) / DETECTOR_SIDE  # (896, 8, 2)
        points[:, POSITIONS] += self._anchors[:, None]
        kept = (score > DETECTOR_THRESHOLD) & (points[:, 1] > 0).all(axis=1)  # a box has an area
        return _Boxes(score[kept], points[kept].reshape(-1, GEOMETRY))

    def _confirm(self, rgb: NDArray[np.uint8], geometry: NDArray[np.float64]) -> Face | None:
        """Run the mesh at a detected box; None where it does not see a face."""
        centre, extent, right_eye, left_eye = geometry[:8].reshape(4, 2)
        angle = _angle(right_eye, left_eye)
        landmarks, _ = self._landmarks(rgb, centre, extent.max(), angle)
        scores = []
        for _ in range(REFINEMENTS):
            angle = _angle(*_eyes(landmarks))
            upright = similarity(1.0, -angle, (0.0, 0.0), (0.0, 0.0))
            level = transform_points(landmarks[:, :2], upright)
            low, high = level.min(axis=0), level.max(axis=0)
            centre = transform_points((low + high) / 2, invert(upright))
            landmarks, score = self._landmarks(rgb, centre, (high - low).max(), angle)
            scores.append(score)
        if not min(scores) > MESH_THRESHOLD:
            return None
        (x, y), (half_width, half_height) = geometry[:2], geometry[2:4] / 2
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        return Face(landmarks, min(scores), tuple(float(edge) for edge in box))  # type: ignore[arg-type]

    def _landmarks(
        self, rgb: NDArray[np.uint8], centre: NDArray[np.float64], side: float, angle: float
    ) -> tuple[NDArray[np.float64], float]:
        """Landmarks (468, 3) and score of the face in a turned square of the frame."""
        scale = MESH_SIDE / (side * MESH_MARGIN)
        middle = (MESH_SIDE / 2 - 0.5, MESH_SIDE / 2 - 0.5)
        to_crop = similarity(scale, -angle, centre, middle)
        self._mesh.setInput(_blob(warp(rgb, to_crop, MESH_SIDE), scale=1 / 255, offset=0.0))
        points, logit = self._mesh.forward(MESH_OUTPUTS)
        landmarks = points.reshape(LANDMARKS, 3).astype(np.float64)
        # The network measures from the crop's corner, half a pixel before its first pixel's centre.
        landmarks[:, :2] = transform_points(landmarks[:, :2] - 0.5, invert(to_crop))
        landmarks[:, 2] /= scale
        return landmarks, float(_sigmoid(logit.reshape(-1))[0])


def _load(path: Path) -> cv2.dnn.Net:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: face model not found; reinstall the package, which carries it")
    return cv2.dnn.readNetFromTFLite(str(path))


def _anchors() -> NDArray[np.float64]:
    """Anchor centres, shares of the side, (896, 2): a 16x16 grid twice, an 8x8 grid six times."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        ticks = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(ticks, ticks, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(grids)


def _blob(rgb: NDArray[Any], scale: float, offset: float) -> NDArray[np.float32]:
    """An image as network input: (H, W, 3) uint8 -> (1, 3, H, W) float32."""
    values = rgb.astype(np.float32) * np.float32(scale) + np.float32(offset)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    # Beyond 80 the result is 0 or 1 in float32; unclipped, exp would overflow.
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))


def _eyes(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    mesh = len(landmarks) == LANDMARKS
    corners = [list(eye) for eye in ((RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS) if mesh else DLIB_EYES)]
    return landmarks[corners, :2].mean(axis=1)  # (2, 2)


def eye_corners(count: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Numbers of the landmarks at the corners of the right and of the left eye.

    Parameters
    ----------
    count
        How many landmarks there are: 468 of the mesh or 68 of dlib.
    """
    return (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS) if count == LANDMARKS else DLIB_EYE_CORNERS


def _angle(right_eye: NDArray[np.float64], left_eye: NDArray[np.float64]) -> float:
    """Angle of the eye line, radians, 0 for an upright face."""
    return math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])


def _side(face: Face) -> float:
    left, upper, right, lower = face.box
    return math.sqrt((right - left) * (lower - upper))


def refuse_alike(first: Face, second: Face) -> None:
    """Refuse a frame in which two faces are beside each other and nearly of one size.

    Raises
    ------
    FaceError
        ``several_faces``.
    """
    apart = float(np.hypot(*(first.eyes.mean(axis=0) - second.eyes.mean(axis=0))))
    small, large = sorted((first.eye_distance, second.eye_distance))
    if apart > large and small >= ALIKE * large:
        raise FaceError(
            SEVERAL_FACES,
            f"two faces alike in size, eyes {first.eye_distance:.0f} and {second.eye_distance:.0f} px apart, at x "
            f"{first.eyes[:, 0].mean():.0f} and {second.eyes[:, 0].mean():.0f}: nobody can tell whose clip it is; "
            "crop the frames to one",
        )


def _tile_starts(extent: int, side: int) -> list[int]:
    """First pixels of overlapping tiles along one axis; one centred tile where it covers the axis."""
    if extent <= side:
        return [(extent - side) // 2]
    count = math.ceil((extent - side) / (side * (1 - TILE_OVERLAP))) + 1
    return [round(start) for start in np.linspace(0, extent - side, count)]


def _square(rgb: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square piece of the frame, black where it reaches beyond it."""
    height, width = rgb.shape[:2]
    square = np.zeros((side, side, 3), np.uint8)
    y0, y1, x0, x1 = max(top, 0), min(top + side, height), max(left, 0), min(left + side, width)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    return square


def _merge(boxes: _Boxes) -> _Boxes:
    """Weighted non-maximum suppression: overlapping boxes become their mean, weighted by score.

    Averaging instead of keeping the best one is what keeps BlazeFace's boxes steady from frame to
    frame (Bazarevsky et al. 2019, section 3.4). The merged box keeps the best score.
    """
    centre, extent = boxes.geometry[:, :2], boxes.geometry[:, 2:4]
    low, high = centre - extent / 2, centre + extent / 2
    area = extent.prod(axis=1)
    scores, geometries = [], []
    remaining = np.argsort(-boxes.score, kind="stable")
    while len(remaining):
        best = remaining[0]
        overlap = np.minimum(high[remaining], high[best]) - np.maximum(low[remaining], low[best])
        shared = overlap.clip(min=0).prod(axis=1)
        same = shared > SAME_FACE * (area[remaining] + area[best] - shared)
        group = remaining[same]
        weights = boxes.score[group] / boxes.score[group].sum()
        scores.append(boxes.score[best])
        geometries.append(weights @ boxes.geometry[group])
        remaining = remaining[~same]
    return _Boxes(np.array(scores), np.array(geometries).reshape(-1, GEOMETRY))
