"""The plan of one clip: everything that tells it from another, before anything is rendered."""

from __future__ import annotations

from dataclasses import dataclass

from fdpbench.prep.demo.synth.camera import Pose

__all__ = ["BLINK_CLOSE", "ClipPlan"]

BLINK_CLOSE = 11  # frames that the eyes take to close


@dataclass(frozen=True)
class ClipPlan:
    """Everything that tells one clip from another.

    Frame numbers are 1-based file numbers, as in the sheet: ``img001.png`` is frame 1.

    Attributes
    ----------
    subject, clip, emotion
        Names, such as ``s01``, ``happiness_1``, ``happiness``.
    identity_seed, seed
        Seeds of the person, and of this clip's motion and sensor noise.
    frames
        Number of frames in the clip.
    onset, apex, offset
        Frame numbers, onset < apex < offset.
    action_units
        As annotated: ``AU12``, or ``AU12L`` for the subject's left side alone.
    activation
        Relative weight of each action unit and side that moves.
    peak
        Largest motion of a landmark from onset to apex by the expression alone, px.
    blink, gaze_shift
        Frame number of the moment when the eyes are closed, or turn; None for neither.
    drift
        Drift of the head and tremor of the face; 1 is a calm subject, 0 a bust.
    seat
        How the subject sits; None: drawn with the clip's motion.
    sensor_noise
        Factor on the camera's noise; 1 is a good camera in good light.
    """

    subject: str
    clip: str
    emotion: str
    identity_seed: int
    seed: int
    frames: int
    onset: int
    apex: int
    offset: int
    action_units: tuple[str, ...]
    activation: tuple[tuple[str, float], ...]
    peak: float
    blink: int | None
    gaze_shift: int | None
    drift: float
    seat: Pose | None
    sensor_noise: float

    @property
    def sheet_codes(self) -> str:
        """Action units as sheets write them: ``4+L12`` for AU4 and AU12L."""
        return "+".join(_sheet_code(unit) for unit in self.action_units)


def _sheet_code(unit: str) -> str:
    """Write an action unit as sheets do: ``AU12`` as ``12``, ``AU12L`` as ``L12``."""
    side = unit[-1] if unit[-1] in "LR" else ""
    return side + unit.removeprefix("AU").rstrip("LR")
