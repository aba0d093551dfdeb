"""How a face moves through a clip: the expression, and everything that hides it.

The expression rises from onset to apex and falls to offset. On top lie drift of the head, tremor of
the face, flicker of the light, and in planned clips a blink or a shift of gaze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.clip import BLINK_CLOSE, ClipPlan
from fdpbench.prep.demo.synth.head import Head
from fdpbench.prep.demo.synth.render import Light, Renderer
from fdpbench.prep.demo.synth.truth import landmark_motion

__all__ = ["BLINK", "DRIFT_SHIFT", "DRIFT_TURN", "FPS", "Motion", "blink_closure", "envelope", "plan_motion"]

FPS = 200
RESIDUE = 0.1  # share of the expression that is left at offset
BLINK = "AU45"
BLINK_OPEN = 22  # frames to open the eyes again
GAZE_FRAMES = 6  # frames that a shift of gaze takes

# Standard deviations at drift 1: turns in degrees, shifts as shares of the frame's side.
DRIFT_TURN, DRIFT_SHIFT, DRIFT_FRAMES = (0.165, 0.135, 0.09), 0.0007, 14
POSE_TURN, POSE_SHIFT = (2.5, 2.0, 1.5), 0.0094  # how the subject sits, from clip to clip
TREMOR = {"AU1": 0.0045, "AU7": 0.0045, "AU14L": 0.0045, "AU24": 0.0045}  # weights at drift 1
TREMOR_FRAMES = 9
MAINS_HZ = 100.0  # lamps on 50 Hz mains flicker at twice that
LIGHT_WANDER, LIGHT_FRAMES, LIGHT_FLICKER = 0.006, 16, 0.004


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip's movement, frame by frame; entry ``k`` belongs to file number ``k + 1``.

    Attributes
    ----------
    weights
        Shape (frames,) for each action unit that moves.
    poses, lights
        One for each frame.
    gaze
        Shape (frames, 2), degrees to the subject's left and up.
    expression
        Weight of each action unit of the expression alone, at apex.
    """

    weights: dict[str, NDArray[np.float64]]
    poses: list[Pose]
    lights: list[Light]
    gaze: NDArray[np.float64]
    expression: dict[str, float]

    def offsets(self, head: Head, entries: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        """Give the displacement of the vertices in every frame, or some: shape (frames, V, 3), dm."""
        weights = np.stack([each[entries] for each in self.weights.values()], axis=1).astype(np.float32)  # (frames, U)
        units = np.stack([head.unit(name) for name in self.weights])  # (U, V, 3)
        return (weights @ units.reshape(len(units), -1)).reshape(len(weights), -1, 3)


def envelope(numbers: NDArray[np.integer], onset: int, apex: int, offset: int) -> NDArray[np.float64]:
    """Give the expression's strength at frames `numbers`: 0 to onset, 1 at apex, `RESIDUE` from offset."""
    rise = _smooth_step((numbers - onset) / (apex - onset))
    fall = _smooth_step((numbers - apex) / (offset - apex))
    return rise * (1 - (1 - RESIDUE) * fall)


def plan_motion(plan: ClipPlan, renderer: Renderer) -> Motion:
    """Draw the movement of one clip.

    Parameters
    ----------
    plan
        The clip.
    renderer
        Its subject and camera, by which the expression is scaled to the planned peak.
    """
    rng = np.random.default_rng([plan.seed, 1])
    numbers = np.arange(1, plan.frames + 1)
    side = renderer.camera.size
    spread = np.array([*DRIFT_TURN, DRIFT_SHIFT * side, DRIFT_SHIFT * side])
    place = rng.normal(0, [*POSE_TURN, POSE_SHIFT * side, POSE_SHIFT * side])
    seat, drift = plan.seat, plan.drift
    if seat is not None:
        place = np.array([seat.yaw, seat.pitch, seat.roll, seat.shift_x, seat.shift_y])
    wander = np.stack([_wander(rng, plan.frames, DRIFT_FRAMES) for _ in spread], axis=1)  # (frames, 5)
    poses = [Pose(*map(float, row)) for row in place + drift * spread * wander]

    weights = {name: drift * size * _wander(rng, plan.frames, TREMOR_FRAMES) for name, size in TREMOR.items()}
    gain = _gain(plan, renderer, poses[plan.onset - 1])
    expression = {name: gain * share for name, share in plan.activation}
    strength = gain * envelope(numbers, plan.onset, plan.apex, plan.offset)
    for name, share in plan.activation:
        weights[name] = weights.get(name, 0.0) + share * strength
    closure = rng.uniform(0.8, 1.0)
    if plan.blink is not None:
        weights[BLINK] = closure * blink_closure(numbers - plan.blink)

    gaze = np.tile(rng.normal(0, 2, 2), (plan.frames, 1))
    turn = rng.choice([-1, 1], 2) * rng.uniform([3, 0.5], [8, 2.5])
    if plan.gaze_shift is not None:
        gaze += turn * _smooth_step((numbers - plan.gaze_shift) / GAZE_FRAMES + 0.5)[:, None]

    flicker = np.sin(2 * np.pi * 1.02 * MAINS_HZ / FPS * numbers + rng.uniform(0, 2 * np.pi))
    key = 1 + LIGHT_WANDER * _wander(rng, plan.frames, LIGHT_FRAMES) + LIGHT_FLICKER * flicker
    x, y, z = np.array(Light().direction) + rng.normal(0, 0.12, 3)
    lights = [Light((float(x), float(y), float(z)), float(value)) for value in key]
    return Motion(weights, poses, lights, gaze, expression)


def _gain(plan: ClipPlan, renderer: Renderer, pose: Pose) -> float:
    """Factor on the plan's activation that moves some landmark by `plan.peak`, and none further."""
    activation = dict(plan.activation)
    gain = plan.peak / landmark_motion(renderer, activation, pose)
    # Perspective makes motion not quite proportional: one more step at the right size settles it.
    scaled = {name: gain * share for name, share in activation.items()}
    return gain * plan.peak / landmark_motion(renderer, scaled, pose)


def _smooth_step(u: NDArray[np.float64]) -> NDArray[np.float64]:
    u = np.clip(u, 0, 1)
    return u * u * (3 - 2 * u)


def blink_closure(frames: NDArray[np.integer]) -> NDArray[np.float64]:
    """Closure of the eyes at `frames` relative to the moment they are closed."""
    return _smooth_step(1 + frames / BLINK_CLOSE) * _smooth_step(1 - frames / BLINK_OPEN)


def _wander(rng: np.random.Generator, frames: int, smoothness: int) -> NDArray[np.float64]:
    """Draw a smooth random walk of about unit variance that starts at 0: shape (frames,)."""
    reach = np.arange(-4 * smoothness, 4 * smoothness + 1)
    kernel = np.exp(-0.5 * (reach / smoothness) ** 2)
    noise = rng.standard_normal(frames + len(kernel) - 1)
    path = np.convolve(noise, kernel, "valid") / np.sqrt(np.square(kernel).sum())
    return path - path[0]
