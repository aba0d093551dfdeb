"""Face detection and landmarks on a real photograph: scikit-image's astronaut (public domain)."""

import copy
import math

import cv2
import numpy as np
import pytest

from fdpbench.prep.align import faces
from fdpbench.prep.align.faces import NO_FACE, Face, FaceError, FaceMesh
from fdpbench.prep.align.geometry import eye_transform, invert, similarity, transform_points, warp

data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")

# Read off the photograph enlarged 9 times, by eye, to about a pixel: middles between the eye
# corners, and the corners of the mouth.
ASTRONAUT_EYES = np.array([[202.0, 101.5], [247.0, 104.0]])
ASTRONAUT_MOUTH = np.array([[202.5, 139.0], [244.0, 141.0]])
ASTRONAUT_EYE_DISTANCE = 45.0


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


@pytest.fixture(scope="module")
def face(mesh, astronaut) -> Face:
    return mesh.find(astronaut)


def _scene(astronaut: np.ndarray, share: float, centre: tuple[int, int], size: tuple[int, int]):
    """A wide plain frame with a small photograph in it.

    Her eyes are ``share`` of the frame's width apart; returns the frame and the map into it.
    """
    width, height = size
    side = round(512 * share * width / ASTRONAUT_EYE_DISTANCE)
    small = cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA)
    frame = np.full((height, width, 3), 110, np.uint8)
    left, top = centre[0] - side // 2, centre[1] - side // 2
    frame[top : top + side, left : left + side] = small
    return frame, similarity(side / 512, 0, (-0.5, -0.5), (left - 0.5, top - 0.5))


def test_eyes_are_where_they_are_seen(face):
    assert face.score > 0.99
    np.testing.assert_allclose(face.eyes, ASTRONAUT_EYES, atol=2.0)
    assert face.eye_distance == pytest.approx(ASTRONAUT_EYE_DISTANCE, abs=3.0)
    assert face.eyes[0, 0] < face.eyes[1, 0]  # left of the image first


def test_landmarks_and_box_are_pixels_of_the_frame(face):
    assert face.landmarks.shape == (468, 3)
    assert face.landmarks.dtype == np.float64
    left, top, right, bottom = face.box
    assert left < face.eyes[:, 0].min() and face.eyes[:, 0].max() < right
    assert top < face.eyes[:, 1].min() and face.eyes[:, 1].max() < bottom
    nose, chin, forehead = (face.landmarks[i] for i in (1, 152, 10))
    assert forehead[1] < face.eyes[:, 1].min() < nose[1] < chin[1]
    assert nose[2] < chin[2]  # the tip of the nose is nearest
    np.testing.assert_allclose(face.landmarks[[61, 291], :2], ASTRONAUT_MOUTH, atol=3)


def test_same_frame_gives_the_same_bytes(mesh, astronaut, face):
    assert mesh.find(astronaut).landmarks.tobytes() == face.landmarks.tobytes()
    assert FaceMesh().find(astronaut).landmarks.tobytes() == face.landmarks.tobytes()


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_turned_head_is_found_with_its_angle(mesh, astronaut, face, degrees):
    turn = similarity(1.0, math.radians(degrees), (225, 130), (256, 256))
    turned = mesh.find(warp(astronaut, turn, 512))
    np.testing.assert_allclose(turned.eyes, transform_points(face.eyes, turn), atol=1.5)


def test_a_mirrored_face_has_mirrored_eyes(mesh, astronaut, face):
    mirrored = mesh.find(np.ascontiguousarray(astronaut[:, ::-1]))
    expected = face.eyes[::-1].copy()
    expected[:, 0] = 511 - expected[:, 0]  # pixel centres at 0..511
    np.testing.assert_allclose(mirrored.eyes, expected, atol=1.0)


@pytest.mark.parametrize("size", [(512, 300), (260, 512)])
def test_frames_need_not_be_square(mesh, astronaut, face, size):
    width, height = size
    x = 100 if width < 512 else 0
    part = mesh.find(np.ascontiguousarray(astronaut[:height, x : x + width]))
    np.testing.assert_allclose(part.eyes, face.eyes - (x, 0), atol=1.0)


@pytest.mark.parametrize(
    ("share", "centre"), [(0.03, (980, 420)), (0.025, (300, 300)), (0.02, (640, 500)), (0.02, (200, 180))]
)
def test_small_faces_are_found_in_tiles(mesh, astronaut, monkeypatch, share, centre):
    frame, into = _scene(astronaut, share, centre, (1280, 720))
    found = mesh.find(frame)
    with monkeypatch.context() as patch:  # without tiles it would be missed
        patch.setattr(faces, "TILE_DIVISIONS", (1,))
        with pytest.raises(FaceError):
            mesh.find(frame)
    error = np.abs(found.eyes - transform_points(ASTRONAUT_EYES, into)).max()
    assert error < 0.1 * share * 1280


def test_of_two_faces_the_larger_is_taken(mesh, astronaut, face):
    frame = np.full((200, 360, 3), 110, np.uint8)
    frame[:, :200] = astronaut[30:230, 130:330]
    frame[30:170, 210:350] = cv2.resize(frame[:, :200], (140, 140), interpolation=cv2.INTER_AREA)
    assert len(faces._merge(mesh._detect(frame, 1)).score) == 2
    np.testing.assert_allclose(mesh.find(frame).eyes, face.eyes - (130, 30), atol=1.0)
    mirrored = np.ascontiguousarray(frame[:, ::-1])
    np.testing.assert_allclose(mesh.find(mirrored).eyes[:, 0], 359 - (face.eyes[::-1, 0] - 130), atol=1.5)


@pytest.mark.parametrize("name", ["black", "noise", "gradient", "background", "suit"])
def test_no_face_is_said(mesh, astronaut, name):
    frames = {
        "black": np.zeros((240, 320, 3), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8),
        "gradient": np.repeat(np.tile(np.arange(256, dtype=np.uint8), (200, 1))[..., None], 3, axis=2),
        "background": np.ascontiguousarray(astronaut[:200, 300:]),
        "suit": np.ascontiguousarray(astronaut[230:]),
    }
    height, width = frames[name].shape[:2]
    with pytest.raises(FaceError, match=f"{width}x{height} frame whole and in tiles") as caught:
        mesh.find(frames[name])
    assert caught.value.reason == NO_FACE
    assert copy.copy(caught.value).reason == NO_FACE  # survives the way out of a worker process


def test_overlapping_boxes_of_tiles_become_one(mesh, astronaut):
    boxes = mesh._detect(astronaut, 2)
    merged = faces._merge(boxes)
    assert len(boxes.score) > len(merged.score)
    centre, extent = merged.geometry[:, :2], merged.geometry[:, 2:4]
    low, high = centre - extent / 2, centre + extent / 2
    for i in range(len(centre)):
        for j in range(i):
            shared = (np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])).clip(min=0).prod()
            assert shared <= 0.6 * min(extent[i].prod(), extent[j].prod())


@pytest.mark.parametrize(
    "frame", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3))]
)
def test_frames_of_another_shape_or_type_are_refused(mesh, frame):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        mesh.find(frame)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="face_detection_short_range.tflite"):
        FaceMesh(tmp_path)


def test_eye_centres_repeat_under_subpixel_shifts(mesh, astronaut, face):
    rng = np.random.default_rng(0)
    back = []
    for shift in rng.uniform(-1, 1, (12, 2)):
        moved = similarity(1.0, 0.0, (0, 0), shift)
        back.append(transform_points(mesh.find(warp(astronaut, moved, 512)).eyes, invert(moved)))
    assert np.std(back, axis=0).max() < 0.15


def test_an_aligned_crop_has_its_eyes_where_asked(mesh, astronaut, face):
    # Once through: found, aligned, found again in the crop
    left, right = face.eyes
    crop = warp(astronaut, eye_transform(left, right, size=128, eye_distance=0.4, eye_height=0.32), 128)
    again = mesh.find(crop)
    expected = np.array([[0.3, 0.32], [0.7, 0.32]]) * 128 - 0.5
    np.testing.assert_allclose(again.eyes, expected, atol=1.0)


# --- several faces, and the same photograph by dlib


def test_two_faces_beside_each_other_are_refused(mesh, astronaut):
    face_part = astronaut[:260, 90:350]
    with pytest.raises(FaceError, match="several_faces: two faces alike in size"):
        mesh.find(np.ascontiguousarray(np.hstack([face_part, face_part])))


def test_a_smaller_face_in_the_background_does_not_matter(mesh, astronaut):
    near = astronaut[:260, 90:350]
    small = cv2.resize(near, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    frame = np.full((260, 400, 3), 110, np.uint8)
    frame[:, :260], frame[:130, 265:395] = near, small
    assert abs(mesh.find(frame).eyes[:, 0].mean() - (224.5 - 90)) < 4


def test_dlib_finds_the_same_eyes(astronaut):
    pytest.importorskip("dlib", reason="the extra dlib is not installed")
    from fdpbench.prep.align.faces_dlib import DlibFaces

    finder = DlibFaces()
    found = finder.find(astronaut)
    assert found.landmarks.shape == (68, 3)
    np.testing.assert_allclose(found.eyes, ASTRONAUT_EYES, atol=3.0)
    np.testing.assert_allclose(found.five_points[3:], ASTRONAUT_MOUTH, atol=5.0)
    with pytest.raises(FaceError, match="no_face: dlib's detector finds no face in the 64x48 frame"):
        finder.find(np.full((48, 64, 3), 90, np.uint8))
