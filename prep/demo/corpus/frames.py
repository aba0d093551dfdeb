"""Frames of planned clips, rendered in the window of their crop alone, and what a task would make of them.

Of a clip the frames that its task would sample are rendered, and its apex; of each frame the part that the crop shows.
What is rendered there is the same as in the whole frame. From there on a clip goes the way of a release: the
sensor's noise, grey, the crop of the clip's first frame for all of them, dynamic image, flow, PNG. The face mesh
alone is not run: eyes are where they truly are, and the crop errs as the mesh does (`Placing`), as do landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align import geometry
from fdpbench.prep.demo.corpus.flow import CAMERA
from fdpbench.prep.demo.corpus.mesh import MESH_VERTICES, in_crop, mesh_error, person_error
from fdpbench.prep.demo.corpus.planner import Person, Placing, PlannedClip
from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, expose
from fdpbench.prep.demo.synth.expressions import sided_weights
from fdpbench.prep.demo.synth.motion import BLINK, Motion, plan_motion
from fdpbench.prep.demo.synth.raster import Window
from fdpbench.prep.demo.synth.render import Renderer
from fdpbench.prep.demo.synth.subject import build_subject
from fdpbench.prep.demo.synth.truth import face_landmarks
from fdpbench.prep.dynamic.sampling import RULES
from fdpbench.prep.dynamic.stage import draw_dynamic_image
from fdpbench.prep.flow.methods import flow_field, resize_flow, scale_per_image
from fdpbench.prep.settings.corpus import FLOW_SIDE, CorpusParams, CropParams
from fdpbench.prep.store.images import encode_png

__all__ = ["FrameClip", "crop_transform", "crop_window", "frame_clip", "frame_clips", "inputs_of"]

MEASURED_EYES = 38.4  # px between the eyes in the crops in which the mesh's errors were measured
MARGIN = 5  # px around a crop's corners: the widest interpolation, Lanczos, looks at four to each side


@dataclass(frozen=True, eq=False)
class FrameClip:
    """A generated clip.

    Attributes
    ----------
    frames
        Shape (T, size, size), uint8: the sampled ones, grey.
    apex
        Shape (size, size), uint8.
    intensity
        Shape (len(SIDED_UNITS),), float32: how far each action unit, and side, moves from onset to apex; 1 is the full,
        posed movement. Of a blink it is below 0 where the eyes open. Tremor is not counted.
    landmarks
        Shape (T, 468, 2), float32, px of the crop, of the sampled frames (`prep.demo.corpus.mesh`).
    """

    frames: NDArray[np.uint8]
    apex: NDArray[np.uint8]
    intensity: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def frame_clips(person: Person, params: CorpusParams) -> list[FrameClip]:
    """All clips of a person, in order."""
    renderer = Renderer(build_subject(person.seed, CAMERA.pixels_per_dm * SUPERSAMPLING), CAMERA)
    error = person_error(np.random.default_rng(person.mesh_seed))
    return [frame_clip(renderer, planned, params, error) for planned in person.clips]


def frame_clip(renderer: Renderer, planned: PlannedClip, params: CorpusParams, error: NDArray[np.float64]) -> FrameClip:
    """Render one clip.

    Parameters
    ----------
    renderer
        Its person.
    planned
        The clip.
    params
        Of the corpus: sampling and crop.
    error
        The face mesh's on this person, of `prep.demo.corpus.mesh.person_error`.
    """
    clip, sampling = planned.clip, params.sampling
    assert sampling.frames is not None
    motion = plan_motion(clip, renderer)
    sampled = RULES[sampling.rule](clip.offset - clip.onset + 1, sampling.frames)
    entries = np.concatenate([clip.onset - 1 + sampled, [clip.apex - 1]])  # entry k belongs to frame number k + 1
    offsets = motion.offsets(renderer.subject.head, entries)  # (T + 1, V, 3)
    first = int(entries[0])
    eyes = face_landmarks().project(renderer, offsets[0], motion.poses[first])[:2]
    transform = crop_transform(eyes.astype(np.float64), params.crop, planned.placing)
    window = crop_window(transform, params.crop.size, CAMERA.size)
    in_window = transform.copy()
    in_window[:, 2] += transform[:, :2] @ window[:2]

    noise = np.random.default_rng(planned.noise_seed)
    crops: dict[int, NDArray[np.uint8]] = {}  # by entry: the apex may be one of those sampled
    for moved, entry in zip(offsets, map(int, entries), strict=True):
        if entry not in crops:
            gaze = (float(motion.gaze[entry, 0]), float(motion.gaze[entry, 1]))
            light = renderer.frame(moved, motion.poses[entry], gaze, motion.lights[entry], window)
            grey = geometry.to_grey(expose(light, noise, clip.sensor_noise))
            crops[entry] = geometry.warp(grey, in_window, params.crop.size, params.crop.interpolation)
    *frames, apex = (crops[int(entry)] for entry in entries)
    vertices = list(MESH_VERTICES)
    true = np.stack(
        [
            CAMERA.project(renderer.deform(moved)[vertices], motion.poses[int(entry)])[0] - np.float32(0.5)
            for moved, entry in zip(offsets[:-1], entries[:-1], strict=True)
        ]
    )
    found = true + error + mesh_error(len(true), np.random.default_rng(planned.mesh_seed))
    intensity = _intensity(motion, clip.onset, clip.apex)
    return FrameClip(np.stack(frames), apex, intensity, in_crop(found, params.crop))


def crop_transform(eyes: NDArray[np.float64], crop: CropParams, placing: Placing) -> NDArray[np.float64]:
    """Transform from pixels of the frame to those of the crop, shape (2, 3): by the eyes, erring as the mesh does.

    Parameters
    ----------
    eyes
        True centres of both in the clip's first frame, shape (2, 2), px.
    crop
        Where they shall lie.
    placing
        The error.
    """
    left, right = eyes[np.argsort(eyes[:, 0], kind="stable")]
    exact = geometry.eye_transform(left, right, crop.size, crop.eye_distance, crop.eye_height)
    middle = np.array([0.5 * crop.size - 0.5, crop.eye_height * crop.size - 0.5])
    unit = crop.eye_distance * crop.size / MEASURED_EYES
    shifted = middle + unit * np.array([placing.x, placing.y])
    error = geometry.similarity(placing.scale, math.radians(placing.angle), middle, shifted)
    return np.column_stack([error[:, :2] @ exact[:, :2], error[:, :2] @ exact[:, 2] + error[:, 2]])


def crop_window(transform: NDArray[np.float64], size: int, frame: int) -> Window:
    """The part of a frame that a crop reads.

    Parameters
    ----------
    transform
        Pixels of the frame to those of the crop.
    size, frame
        Sides of the crop and of the frame, pixels.
    """
    edges = [-0.5, size - 0.5]
    corners = geometry.transform_points([(x, y) for x in edges for y in edges], geometry.invert(transform))
    low, high = np.floor(corners.min(axis=0)).astype(int) - MARGIN, np.ceil(corners.max(axis=0)).astype(int) + MARGIN
    left, top = (int(value) for value in np.clip(low, 0, frame - 1))
    right, bottom = (int(value) for value in np.clip(high + 1, 1, frame))
    return Window(left, top, right, bottom)


def inputs_of(clip: FrameClip, params: CorpusParams) -> dict[str, Any]:
    """Inputs of models by name, in the form of a task's table (`prep.task.inputs`).

    Parameters
    ----------
    clip
        The clip.
    params
        Of the corpus: rule of dynamic images, and whether landmarks are kept.
    """
    field = resize_flow(flow_field(clip.frames[0], clip.apex), FLOW_SIDE)
    return {
        "frames": [encode_png(frame) for frame in clip.frames],
        "dynamic_image": encode_png(draw_dynamic_image(clip.frames, params.rank_pooling)),
        "flow": scale_per_image(field).ravel().tolist(),
        "apex": encode_png(clip.apex),
        "landmarks": [frame.ravel().tolist() for frame in clip.landmarks] if params.landmarks else None,
    }


def _intensity(motion: Motion, onset: int, apex: int) -> NDArray[np.float32]:
    """Weight of each of `SIDED_UNITS` at apex, less that at onset: the expression and the blink."""
    weights = sided_weights(motion.expression)
    if BLINK in motion.weights:
        closed = motion.weights[BLINK]
        weights += sided_weights({BLINK: closed[apex - 1] - closed[onset - 1]})
    return weights
