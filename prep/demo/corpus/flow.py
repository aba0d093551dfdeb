"""Flow images of planned clips, from the head mesh: no frame is rendered, no flow estimated.

The mesh is projected at onset and at apex, with the expression, a blink, a shift of gaze and the drift of the head
between; the motion of its vertices is interpolated over the crop, goes through a simulated estimator
(`prep.demo.corpus.estimator`), and gets the form of the flow images of the field: u, v and strain, each scaled by
its own minimum and maximum (`prep.flow.methods`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.estimator import RENDERED, SAMPLES, bleed, estimate, face_texture, shrink
from fdpbench.prep.demo.corpus.planner import Crop, Person, PlannedClip, Sitting
from fdpbench.prep.demo.corpus.reading import SIDE
from fdpbench.prep.demo.synth.camera import EYES_SHARE, Camera, Pose
from fdpbench.prep.demo.synth.expressions import SIDED_UNITS, sided_weights
from fdpbench.prep.demo.synth.head import SKIN, load_head
from fdpbench.prep.demo.synth.motion import BLINK, DRIFT_SHIFT, DRIFT_TURN, blink_closure
from fdpbench.prep.demo.synth.raster import Samples, gather_corners, rasterize
from fdpbench.prep.demo.synth.subject import bare_face
from fdpbench.prep.demo.synth.truth import face_landmarks
from fdpbench.prep.flow.methods import add_strain, scale_per_image

__all__ = ["CAMERA", "FlowClip", "Stage", "flow_clip", "flow_clips"]

CAMERA = Camera(240)  # the embedded release's: its pixels are the unit of motion
EYE_PIXELS = EYES_SHARE * CAMERA.size
# Onset and apex lie some tenths of a second apart, so that both are as good as independent in the wander of a head.
TURN_DRIFT, SHIFT_DRIFT = 2.0, 1.5
GAZE = 1.2  # motion of the eyes by a shift of gaze, standard deviation in each direction, px
CLOSURE = (0.5, 1.0)  # how far a blink closes the eyes
LEAST_MOTION = 1e-3  # px: below, an expression cannot be scaled to its peak


@dataclass(frozen=True, eq=False)
class FlowClip:
    """What is known of a generated clip.

    Attributes
    ----------
    image
        Shape (3, SIDE, SIDE), uint8: u, v, strain.
    intensity
        Shape (len(SIDED_UNITS),), float32: how far each action unit, and side, moves from onset to apex; 1 is the full,
        posed movement. Of a blink it is below 0 where the eyes open.
    true_flow
        Shape (2, SIDE, SIDE), float32, px of `CAMERA`: what moves at each pixel before any estimator, mean over its
        samples; NaN where less than half of them show the face.
    """

    image: NDArray[np.uint8]
    intensity: NDArray[np.float32]
    true_flow: NDArray[np.float32]


@lru_cache(maxsize=1)
def unit_fields() -> NDArray[np.float32]:
    """Offsets of each of `SIDED_UNITS` at weight 1: shape (units, V, 3), dm of the average head."""
    return np.stack([load_head().unit(unit) for unit in SIDED_UNITS])


class Stage:
    """A person in a sitting, seen at onset: what the clips of the sitting share.

    Parameters
    ----------
    face, scale
        Of `prep.demo.synth.subject.bare_face`.
    seat, sitting
        Pose of the head, and crop.
    """

    def __init__(self, face: NDArray[np.float32], scale: float, seat: Pose, sitting: Sitting) -> None:
        head = load_head()
        self.face, self.scale, self.seat, self.sitting = face, np.float32(scale), seat, sitting
        self.rest, depth = CAMERA.project(face, seat)  # (V, 2)
        self.samples: Samples = rasterize(self._in_crop(sitting.crop), depth, head.triangles, RENDERED, RENDERED)
        self.eyes = head.triangle_part[self.samples.triangle] != SKIN  # of the samples
        self.cover = np.zeros((RENDERED, RENDERED), np.float32)
        self.cover.reshape(-1)[self.samples.pixel] = 1
        self.texture = np.zeros((RENDERED, RENDERED), np.float32)
        corners = gather_corners(face_texture()[:, None], head.triangles)
        self.texture.reshape(-1)[self.samples.pixel] = self.samples.interpolate(corners)[0]

    def _in_crop(self, crop: Crop) -> NDArray[np.float32]:
        """Positions of the vertices at onset in samples of the crop's grid, (V, 2)."""
        middle = self.rest[load_head().vertex_part != SKIN].mean(axis=0)
        scale = crop.eye_distance / EYE_PIXELS  # crop widths for each px
        place = (self.rest - middle) * np.array([scale, scale * crop.aspect], np.float32)
        return np.asarray((place + np.array([0.5 + crop.shift, crop.eye_height], np.float32)) * RENDERED, np.float32)

    def motion(self, offsets: NDArray[np.float32], pose: Pose) -> NDArray[np.float32]:
        """Motion of the vertices from onset to a state: shape (V, 2), px of `CAMERA`."""
        moved, _ = CAMERA.project(self.face + offsets * self.scale, pose)
        return moved - self.rest

    def gain(self, offsets: NDArray[np.float32], peak: float) -> float:
        """Factor on `offsets`, (V, 3), that moves some landmark by `peak` px, the head held still."""
        points = face_landmarks().vertices
        rest, part, gain = self.rest[points], offsets[points] * self.scale, 1.0
        for _ in range(2):  # perspective makes motion not quite proportional
            moved, _ = CAMERA.project(self.face[points] + np.float32(gain) * part, self.seat)
            gain *= peak / max(float(np.linalg.norm(moved - rest, axis=1).max()), LEAST_MOTION)
        return gain

    def seen(self, motion: NDArray[np.float32]) -> NDArray[np.float32]:
        """Motion of the vertices, (V, 2), at each sample that shows the face: shape (2, N)."""
        return self.samples.interpolate(gather_corners(motion, load_head().triangles))


def flow_clips(person: Person) -> list[FlowClip]:
    """All clips of a person, in order."""
    face, scale = bare_face(person.seed)
    clips: list[FlowClip] = []
    stage = None
    for planned in person.clips:
        if stage is None or stage.sitting is not planned.sitting:
            assert planned.clip.seat is not None
            stage = Stage(face, scale, planned.clip.seat, planned.sitting)
        clips.append(flow_clip(stage, planned))
    return clips


def flow_clip(stage: Stage, planned: PlannedClip) -> FlowClip:
    """Generate one clip.

    Parameters
    ----------
    stage
        Its person in its sitting.
    planned
        The clip.
    """
    rng = np.random.default_rng(planned.noise_seed)
    intensity = _intensity(stage, planned, rng)
    offsets = (intensity @ unit_fields().reshape(len(SIDED_UNITS), -1)).reshape(-1, 3)
    seen = stage.seen(stage.motion(offsets, _drifted(stage.seat, planned.clip.drift, rng)))
    gaze = GAZE * rng.standard_normal((2, 1))
    if planned.clip.gaze_shift is not None:
        seen[:, stage.eyes] += gaze.astype(np.float32)

    motion = np.zeros((RENDERED, RENDERED, 2), np.float32)
    motion.reshape(-1, 2)[stage.samples.pixel] = seen.T
    true_flow = _mean_over_face(motion, stage.cover)
    if planned.sitting.bleeds:
        motion = bleed(motion, stage.cover)
    found = estimate(motion, stage.texture, planned.estimator, rng)
    field = add_strain(np.ascontiguousarray(found.transpose(2, 0, 1)))
    image = np.round(255 * scale_per_image(shrink(field))).astype(np.uint8)
    return FlowClip(image, intensity, true_flow)


def _intensity(stage: Stage, planned: PlannedClip, rng: np.random.Generator) -> NDArray[np.float32]:
    """Weight of each of `SIDED_UNITS` at apex, less that at onset: the expression scaled to its peak, and the blink."""
    clip = planned.clip
    weights = sided_weights(dict(clip.activation))
    used = np.flatnonzero(weights)
    offsets = (weights[used] @ unit_fields()[used].reshape(len(used), -1)).reshape(-1, 3)
    weights *= np.float32(stage.gain(offsets, clip.peak))
    closure = rng.uniform(*CLOSURE)
    if clip.blink is not None:
        at_onset, at_apex = blink_closure(np.array([clip.onset, clip.apex]) - clip.blink)
        weights += sided_weights({BLINK: closure * (at_apex - at_onset)})
    return weights


def _drifted(seat: Pose, drift: float, rng: np.random.Generator) -> Pose:
    """Pose of the head at apex."""
    yaw, pitch, roll, x, y = drift * rng.standard_normal(5)
    turn, shift = TURN_DRIFT * np.array(DRIFT_TURN), SHIFT_DRIFT * DRIFT_SHIFT * CAMERA.size
    return Pose(
        yaw=float(seat.yaw + turn[0] * yaw),
        pitch=float(seat.pitch + turn[1] * pitch),
        roll=float(seat.roll + turn[2] * roll),
        shift_x=float(seat.shift_x + shift * x),
        shift_y=float(seat.shift_y + shift * y),
    )


def _mean_over_face(motion: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean motion in each pixel of the image over the samples that show the face: (2, SIDE, SIDE), NaN elsewhere."""
    blocks = (SIDE, SAMPLES, SIDE, SAMPLES)
    count = cover.reshape(blocks).sum(axis=(1, 3))
    total = motion.reshape(*blocks, 2).sum(axis=(1, 3))  # (SIDE, SIDE, 2)
    mean = total / np.maximum(count, 1)[..., None]
    mean[count < SAMPLES**2 / 2] = np.nan
    return np.ascontiguousarray(mean.transpose(2, 0, 1))
