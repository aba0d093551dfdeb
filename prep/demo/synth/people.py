"""People of a corpus or a release, and what is drawn of each of their clips: `ExpressionParams` made into plans.

Every draw is seeded by its own place (person, sitting, clip, and what it is for), so that more people or more clips
leave the others as they are.

**Nobody of a corpus is in a release.** A person is a seed (`prep.demo.synth.subject.build_subject`), and each kind of
collection has a range of its own. People of releases with equally many clips of each emotion, and of simulated
releases, are 64-bit numbers; those of corpora lie from 2^64 to 2^65, those of releases that are drawn from 2^65 on:
``kind << 64 | seed << 32 | number``. numpy's SeedSequence takes up to 128 bits without loss, so other seeds are other
random numbers, and two corpora of other seeds share nobody either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.clip import BLINK_CLOSE, ClipPlan
from fdpbench.prep.demo.synth.expressions import (
    CLASS_OF,
    CLASSES,
    EMOTIONS,
    LEANING,
    UNIT_SETS,
    UNITS,
    UnitSet,
    sides_of,
)
from fdpbench.prep.demo.synth.motion import BLINK, BLINK_OPEN
from fdpbench.prep.settings.expressions import ExpressionParams, Range

__all__ = [
    "OF_CORPUS",
    "OF_RELEASE",
    "SITTING_CLIPS",
    "Style",
    "draw_seat",
    "draw_style",
    "draw_within",
    "draw_within_log",
    "identity_seed",
    "plan_clip",
    "stream",
]

SITTING_CLIPS = 3  # clips that follow each other with one pose of the head
FAINT = 0.3  # relative weight below which a coder does not note a movement
LEAD_IN, LEAD_OUT = (3, 7), (2, 5)  # frames before onset and after offset, as in annotated releases
RISE = (0.35, 0.55)  # place of the apex between onset and offset

# Streams of random numbers of a person, so that one never shifts another; those from ESTIMATOR to MESH are a corpus's.
STYLE, SITTING, CLIP, ESTIMATOR, NOISE, PLACING, MESH, DRIFT, SENSOR = range(9)

OF_CORPUS, OF_RELEASE = 1, 2  # what a person belongs to stands in the person's seed


@dataclass(frozen=True)
class Style:
    """How strongly a person moves each action unit, and each side of the face: factors about 1."""

    strength: Mapping[str, float]
    lean: Mapping[str, float]


def identity_seed(kind: int, seed: int, number: int) -> int:
    """Seed of person `number` of the corpus or release of a seed, both numbers below 2^32.

    Parameters
    ----------
    kind
        `OF_CORPUS` or `OF_RELEASE`.
    seed, number
        Of the corpus or release, and of the person in it.
    """
    return kind << 64 | seed << 32 | number


def stream(seed: int, *place: int) -> np.random.Generator:
    """Random numbers of a place in a person's clips. A spawn key, since trailing zeros of a list count for nothing."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def draw_within(rng: np.random.Generator, limits: Range) -> float:
    """Draw a number, uniformly."""
    return float(rng.uniform(*limits))


def draw_within_log(rng: np.random.Generator, limits: Range) -> float:
    """Draw a number, uniformly in its logarithm."""
    low, high = limits
    return float(low * (high / low) ** rng.random())


def draw_style(params: ExpressionParams, seed: int) -> Style:
    """Draw a person's style."""
    rng = stream(seed, STYLE)
    strength = {unit: math.exp(params.style * rng.standard_normal()) for unit in UNITS}
    return Style(strength, {side: math.exp(params.style * rng.standard_normal()) for side in "LR"})


def draw_seat(params: ExpressionParams, rng: np.random.Generator) -> Pose:
    """Draw how a person sits."""
    yaw, pitch, roll = params.turn * rng.standard_normal(3)
    return Pose(float(yaw), float(pitch), float(roll / 2))


def plan_clip(
    params: ExpressionParams,
    subject: str,
    clip: str,
    *,
    seed: int,
    number: int,
    style: Style,
    seat: Pose,
    drift: float,
) -> ClipPlan:
    """Plan one clip of a person.

    Parameters
    ----------
    params
        Of the corpus or release.
    subject, clip
        Names.
    seed, number
        The person's seed, and the place of the clip among theirs, from 0 on.
    style, seat, drift
        The person's style; pose and drift of the head in this clip.
    """
    rng = stream(seed, CLIP, number)
    sets = _expressions(params, rng)
    weights = np.array([one.weight for one in sets])
    chosen = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
    strength = {unit: rng.uniform(0.6, 1.0) * style.strength[unit] for unit in chosen.units}
    foreign, faint, mixed = UNITS[int(rng.integers(len(UNITS)))], rng.uniform(0.15, 0.5), rng.random() < params.foreign
    if mixed and foreign not in strength and foreign != BLINK:
        strength[foreign] = faint
    activation = _with_sides(rng, strength, style.lean, rng.random() < params.one_sided)

    onset = 1 + int(rng.integers(*LEAD_IN))
    duration = int(rng.integers(params.duration[0], params.duration[1] + 1))
    offset, apex = onset + duration, onset + round(duration * rng.uniform(*RISE))
    blinks, blink = rng.random() < params.blink, int(rng.integers(onset - BLINK_OPEN, apex + BLINK_CLOSE))
    turns, gaze_shift = rng.random() < params.gaze, int(rng.integers(onset, apex + 1))
    return ClipPlan(
        subject=subject,
        clip=clip,
        emotion=chosen.emotion,
        identity_seed=seed,
        seed=int(np.random.SeedSequence(seed, spawn_key=(CLIP, number)).generate_state(1, np.uint64)[0]),
        frames=offset + int(rng.integers(*LEAD_OUT)),
        onset=onset,
        apex=apex,
        offset=offset,
        action_units=_noted(activation, chosen.units),
        activation=tuple(activation.items()),
        peak=draw_within_log(rng, params.peak),
        blink=blink if blinks else None,
        gaze_shift=gaze_shift if turns else None,
        drift=drift,
        seat=seat,
        sensor_noise=draw_within_log(stream(seed, SENSOR, number), params.sensor_noise),
    )


def _expressions(params: ExpressionParams, rng: np.random.Generator) -> tuple[UnitSet, ...]:
    """Draw a class, or an emotion: the sets of action units to choose from."""
    given, names = (params.classes, CLASSES) if params.emotions is None else (params.emotions, EMOTIONS)
    shares = np.array([getattr(given, name) for name in names])
    drawn = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    if params.emotions is None:
        return UNIT_SETS[drawn]
    return tuple(one for one in UNIT_SETS[CLASS_OF[drawn]] if one.emotion == drawn)


def _with_sides(
    rng: np.random.Generator, strength: dict[str, float], lean: Mapping[str, float], one_sided: bool
) -> dict[str, float]:
    """Split strengths over the sides: never quite the same on both, and now and then hardly there on one."""
    weak = "LR"[int(rng.integers(2))]
    activation = {}
    for unit, value in strength.items():
        for part in sides_of(unit):
            share = 1.0
            if part != unit:
                share = rng.uniform(0.65, 1.0) * lean[part[-1]]
                if one_sided and part[-1] == weak and unit in LEANING:
                    share *= rng.uniform(0, 0.3)
            activation[part] = float(value * share)
    return activation


def _noted(activation: dict[str, float], own: tuple[str, ...]) -> tuple[str, ...]:
    """Action units as a coder notes them: `own` always, others unless faint; of each, the side alone that moves."""
    noted = []
    for unit in dict.fromkeys(part.rstrip("LR") for part in activation):
        parts = [part for part in sides_of(unit) if part in activation]
        strongest = max(parts, key=lambda part: activation[part])
        if unit not in own and activation[strongest] < FAINT:
            continue
        faint = [part for part in parts if activation[part] < FAINT * activation[strongest]]
        noted.append(strongest if faint else unit)
    return tuple(noted)
