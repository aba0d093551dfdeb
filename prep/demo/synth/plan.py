"""What the release holds, decided before anything is rendered: one `ClipPlan` for each clip.

Section `synth` has two forms. The calm one has equally many clips of each emotion, chosen here; clips of the drawn one
are drawn as those of a corpus (`prep.demo.synth.people`). Every draw is seeded by the clip's own place (subject,
emotion, repetition), so that adding subjects or clips leaves the others as they are. No clip of one form has the name
of one of the other, so that predictions on two such releases are never taken for those of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fdpbench.prep.demo.synth.clip import BLINK_CLOSE, ClipPlan
from fdpbench.prep.demo.synth.head import load_head
from fdpbench.prep.demo.synth.people import (
    DRIFT,
    OF_RELEASE,
    SITTING,
    SITTING_CLIPS,
    draw_seat,
    draw_style,
    draw_within,
    identity_seed,
    plan_clip,
    stream,
)
from fdpbench.prep.settings.synth import DrawnSynthParams, SynthParams

__all__ = ["EMOTIONS", "plan_release"]

# Each emotion shows as one of several sets of action units, as in annotated releases. The sets share
# units within an emotion and across emotions (AU10 with raised lip, AU17 with pressed lips).
EMOTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "happiness": (("AU6", "AU12"), ("AU12",), ("AU12L",), ("AU12R",)),
    "surprise": (("AU1", "AU2", "AU5"), ("AU1", "AU2"), ("AU5", "AU25")),
    "disgust": (("AU4", "AU9"), ("AU9", "AU10"), ("AU4", "AU7", "AU10")),
    "repression": (("AU14", "AU24"), ("AU15", "AU17"), ("AU17", "AU24")),
}
# Streams of random numbers, so that one never shifts another.
IDENTITY, CLIP = 0, 1


UNIT_SIDE = 240  # px: peaks of the drawn form are in those of a frame of this side


def plan_release(params: SynthParams | DrawnSynthParams) -> list[ClipPlan]:
    """List the clips of the release: subject by subject, and emotion by emotion in the calm form.

    Parameters
    ----------
    params
        The `synth` section of params.yaml.
    """
    if isinstance(params, DrawnSynthParams):
        return [plan for number in range(1, params.subjects + 1) for plan in _draw_subject(params, number)]
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


def _draw_subject(params: DrawnSynthParams, number: int) -> Iterator[ClipPlan]:
    """Draw the clips of a subject."""
    seed = identity_seed(OF_RELEASE, params.seed, number)
    style = draw_style(params, seed)
    for k in range(params.clips_per_subject):
        plan = plan_clip(
            params,
            f"s{number:02d}",
            f"c{k + 1:02d}",
            seed=seed,
            number=k,
            style=style,
            seat=draw_seat(params, stream(seed, SITTING, k // SITTING_CLIPS)),
            drift=draw_within(stream(seed, DRIFT, k), params.drift),
        )
        yield replace(plan, peak=plan.peak * params.size / UNIT_SIDE)


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
        drift=params.drift,
        seat=None,
        sensor_noise=1.0,
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
