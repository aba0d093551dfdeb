"""What the release holds, decided before anything is rendered: one `ClipPlan` for each clip.

Every draw is seeded by the clip's own place (subject, emotion, repetition), so that adding subjects
or clips leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fdpbench.prep.demo.synth.head import load_head
from fdpbench.prep.settings.synth import SynthParams

__all__ = ["EMOTIONS", "ClipPlan", "plan_release"]

# Each emotion shows as one of several sets of action units, as in annotated releases. The sets share
# units within an emotion and across emotions (AU10 with raised lip, AU17 with pressed lips).
EMOTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "happiness": (("AU6", "AU12"), ("AU12",), ("AU12L",), ("AU12R",)),
    "surprise": (("AU1", "AU2", "AU5"), ("AU1", "AU2"), ("AU5", "AU25")),
    "disgust": (("AU4", "AU9"), ("AU9", "AU10"), ("AU4", "AU7", "AU10")),
    "repression": (("AU14", "AU24"), ("AU15", "AU17"), ("AU17", "AU24")),
}
BLINK_CLOSE = 11  # frames that the eyes take to close
# Streams of random numbers, so that one never shifts another.
IDENTITY, CLIP = 0, 1


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

    @property
    def sheet_codes(self) -> str:
        """Action units as sheets write them: ``4+L12`` for AU4 and AU12L."""
        return "+".join(_sheet_code(unit) for unit in self.action_units)


def plan_release(params: SynthParams) -> list[ClipPlan]:
    """List the clips of the release: subject by subject, emotion by emotion.

    Parameters
    ----------
    params
        The `synth` section of params.yaml.
    """
    plans = []
    for subject in range(1, params.subjects + 1):
        identity_seed = _seed(params.seed, IDENTITY, subject)
        for emotion_index, emotion in enumerate(EMOTIONS):
            for number in range(1, params.clips_per_emotion + 1):
                plans.append(
                    _plan_clip(
                        params,
                        subject=f"s{subject:02d}",
                        clip=f"{emotion}_{number}",
                        emotion=emotion,
                        identity_seed=identity_seed,
                        seed=_seed(params.seed, CLIP, subject, emotion_index, number),
                    )
                )
    return plans


def _sheet_code(unit: str) -> str:
    """Write an action unit as sheets do: ``AU12`` as ``12``, ``AU12L`` as ``L12``."""
    side = unit[-1] if unit[-1] in "LR" else ""
    return side + unit.removeprefix("AU").rstrip("LR")


def _seed(*place: int) -> int:
    """Mix a place in the release into a 64-bit seed."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])


def _plan_clip(
    params: SynthParams, *, subject: str, clip: str, emotion: str, identity_seed: int, seed: int
) -> ClipPlan:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(params.frames_min, params.frames_max + 1))
    onset = 1 + int(rng.integers(3, 7))  # a few neutral frames come first, as in real releases
    offset = frames - int(rng.integers(2, 5))
    apex = onset + round((offset - onset) * rng.uniform(0.35, 0.55))

    variants = EMOTIONS[emotion]
    action_units = variants[int(rng.integers(len(variants)))]
    weights = {unit: rng.uniform(0.75, 1.0) for unit in action_units}
    foreign = _foreign_unit(rng, emotion, action_units)
    if rng.random() < params.overlap:
        action_units += (foreign,)
        weights[foreign] = rng.uniform(0.3, 0.6)
    return ClipPlan(
        subject=subject,
        clip=clip,
        emotion=emotion,
        identity_seed=identity_seed,
        seed=seed,
        frames=frames,
        onset=onset,
        apex=apex,
        offset=offset,
        action_units=action_units,
        activation=_with_sides(rng, weights),
        peak=float(rng.uniform(params.peak_min, params.peak_max)),
        # Eyes are open at onset: annotators do not begin a clip within a blink.
        blink=_moment(rng, params.blink_rate, onset + BLINK_CLOSE, offset),
        gaze_shift=_moment(rng, params.gaze_rate, onset, offset),
    )


def _foreign_unit(rng: np.random.Generator, emotion: str, own: tuple[str, ...]) -> str:
    """Pick an action unit that belongs to other emotions."""
    excluded = {unit.rstrip("LR") for variant in EMOTIONS[emotion] for unit in variant}
    names = {unit.rstrip("LR") for variants in EMOTIONS.values() for variant in variants for unit in variant}
    choices = sorted(names - excluded)
    return choices[int(rng.integers(len(choices)))]


def _with_sides(rng: np.random.Generator, weights: dict[str, float]) -> tuple[tuple[str, float], ...]:
    """Split the weights over left and right, unequally: no face moves the same on both sides."""
    activation = []
    for unit, weight in weights.items():
        if unit[-1] in "LR" or not load_head().has_sides(unit):
            activation.append((unit, float(weight)))
        else:
            activation += [(unit + side, float(weight * rng.uniform(0.7, 1.0))) for side in "LR"]
    return tuple(activation)


def _moment(rng: np.random.Generator, rate: float, first: int, last: int) -> int | None:
    """Draw the frame of an event that happens in a share `rate` of the clips."""
    happens, frame = rng.random() < rate, int(rng.integers(first, last + 1))
    return frame if happens else None
