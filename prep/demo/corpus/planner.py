"""What a corpus holds, decided before anything is computed: people, sittings and clips, for any generator.

Every draw is seeded by its own place (person, sitting, clip, and what it is for), so that more people, more clips or
another generator leave the others as they are. People are planned one after the other: nothing grows with the corpus.

**Nobody of a corpus is in a release.** A person is a seed (`prep.demo.synth.subject.build_subject`). Seeds of the
embedded release's people, and of those of simulated releases, are 64-bit numbers; those of a corpus are 2^64 and above:
``1 << 64 | seed << 32 | number``. numpy's SeedSequence takes up to 128 bits without loss, so other seeds are other
random numbers, and two corpora of other seeds share nobody either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fdpbench.prep.demo.corpus.expressions import (
    CLASS_OF,
    CLASSES,
    EMOTIONS,
    LEANING,
    UNIT_SETS,
    UNITS,
    UnitSet,
    sides_of,
)
from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.motion import BLINK, BLINK_OPEN
from fdpbench.prep.demo.synth.plan import BLINK_CLOSE, ClipPlan
from fdpbench.prep.settings.corpus import CorpusParams, Range

__all__ = [
    "SITTING_CLIPS",
    "Crop",
    "Estimator",
    "Person",
    "Placing",
    "PlannedClip",
    "Sitting",
    "identity_seed",
    "plan_people",
]

SITTING_CLIPS = 3  # clips that follow each other with one pose of the head and one crop
FAINT = 0.3  # relative weight below which a coder does not note a movement
LEAD_IN, LEAD_OUT = (3, 7), (2, 5)  # frames before onset and after offset, as in the embedded release
RISE = (0.35, 0.55)  # place of the apex between onset and offset
CROP_SHIFT = 0.015  # standard deviation of the middle of the eyes from the middle of the crop, share of its width

# Where the face mesh finds the eyes on rendered faces, beside their true centres (`Placing`): its mean error, what
# differs from person to person and from clip to clip (standard deviations). Measured on clips of the embedded release.
MESH_ERROR = ((-0.36, -0.90, 0.965, -0.25), (0.27, 0.53, 0.028, 0.22), (0.31, 0.30, 0.007, 0.30))

# Streams of random numbers of a person, so that one never shifts another.
STYLE, SITTING, CLIP, ESTIMATOR, NOISE, PLACING, MESH = range(7)


@dataclass(frozen=True)
class Crop:
    """Where a face lies in its crop.

    Attributes
    ----------
    eye_distance
        As a share of the crop's width.
    aspect
        Vertical scale as a share of the horizontal.
    eye_height
        From the top, as a share of the crop's height.
    shift
        Of the middle of the eyes to the right of the crop's middle, as a share of its width.
    """

    eye_distance: float
    aspect: float
    eye_height: float
    shift: float


@dataclass(frozen=True)
class Sitting:
    """What clips that follow each other share: pose of the head, crop, whether motion bleeds into the background."""

    pose: Pose
    crop: Crop
    bleeds: bool


@dataclass(frozen=True)
class Estimator:
    """How well the simulated estimator does on a clip; `prep.demo.corpus.estimator` says what each is."""

    noise: float
    spots: float
    smoothing: float
    dominance: int
    shrinkage: float


@dataclass(frozen=True)
class Placing:
    """How a clip's crop differs from one by the true centres of the eyes, since the face mesh errs.

    Attributes
    ----------
    x, y
        Shift of the face to the right and down, pixels of a crop in which the eyes are 38.4 px apart.
    scale
        Factor on the face's size.
    angle
        Turn, degrees, clockwise.
    """

    x: float
    y: float
    scale: float
    angle: float


@dataclass(frozen=True)
class PlannedClip:
    """A clip, as the generators need it.

    Attributes
    ----------
    clip
        Names, emotion, action units, marks, peak, blink and gaze, as of a clip of the embedded release. Its action
        units are those that a coder would note; its activation has the faint ones too.
    label
        Class index, of `prep.demo.corpus.expressions.CLASSES`.
    sitting, estimator
        See there.
    drift
        Of the head; 1 is a calm subject.
    placing
        Of the crop, where frames are rendered.
    """

    clip: ClipPlan
    label: int
    sitting: Sitting
    estimator: Estimator
    drift: float
    placing: Placing

    @property
    def noise_seed(self) -> np.random.SeedSequence:
        """Seed of what a generator draws by itself, such as the estimator's noise."""
        return np.random.SeedSequence(self.clip.seed, spawn_key=(NOISE,))

    @property
    def mesh_seed(self) -> np.random.SeedSequence:
        """Seed of the face mesh's errors in the frames of the clip."""
        return np.random.SeedSequence(self.clip.seed, spawn_key=(MESH,))


@dataclass(frozen=True)
class Person:
    """A person and what is planned for them.

    Attributes
    ----------
    subject
        Name, such as ``p0001``.
    seed
        Of the face: see `identity_seed`.
    clips
        In order.
    """

    subject: str
    seed: int
    clips: tuple[PlannedClip, ...]

    @property
    def mesh_seed(self) -> np.random.SeedSequence:
        """Seed of what of the face mesh's errors is this person's own."""
        return np.random.SeedSequence(self.seed, spawn_key=(MESH,))


def identity_seed(seed: int, number: int) -> int:
    """Seed of person `number` of the corpus of a seed: 2^64 or above, where no release has any."""
    return 1 << 64 | seed << 32 | number


def plan_people(params: CorpusParams, first: int = 0, last: int | None = None) -> Iterator[Person]:
    """Plan people one by one.

    Parameters
    ----------
    params
        The corpus.
    first, last
        Numbers of the first, and of the one after the last; all if not given.
    """
    for number in range(first, params.identities if last is None else last):
        yield _plan_person(params, number)


def _plan_person(params: CorpusParams, number: int) -> Person:
    seed = identity_seed(params.seed, number)
    subject = f"p{number:04d}"
    rng = _stream(seed, STYLE)
    style = {unit: math.exp(params.style * rng.standard_normal()) for unit in UNITS}
    lean = {side: math.exp(params.style * rng.standard_normal()) for side in "LR"}
    sittings = [
        _sitting(params, _stream(seed, SITTING, k)) for k in range(math.ceil(params.clips_per_identity / SITTING_CLIPS))
    ]
    mean, of_person, of_clip = map(np.array, MESH_ERROR)
    error = mean + of_person * _stream(seed, PLACING).standard_normal(4)
    clips = []
    for k in range(params.clips_per_identity):
        clip, label = _clip(params, subject, seed, k, style, lean)
        rng = _stream(seed, ESTIMATOR, k)
        estimator, drift = _estimator(params, rng), _within(rng, params.drift)
        placing = Placing(*map(float, error + of_clip * _stream(seed, PLACING, k).standard_normal(4)))
        clips.append(PlannedClip(clip, label, sittings[k // SITTING_CLIPS], estimator, drift, placing))
    return Person(subject, seed, tuple(clips))


def _stream(seed: int, *place: int) -> np.random.Generator:
    """Random numbers of a place in a person's clips. A spawn key, since trailing zeros of a list count for nothing."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def _within(rng: np.random.Generator, limits: Range) -> float:
    return float(rng.uniform(*limits))


def _log_within(rng: np.random.Generator, limits: Range) -> float:
    low, high = limits
    return float(low * (high / low) ** rng.random())


def _sitting(params: CorpusParams, rng: np.random.Generator) -> Sitting:
    yaw, pitch, roll = params.turn * rng.standard_normal(3)
    crop = Crop(
        eye_distance=_within(rng, params.eye_distance),
        aspect=_within(rng, params.aspect),
        eye_height=_within(rng, params.eye_height),
        shift=float(CROP_SHIFT * rng.standard_normal()),
    )
    return Sitting(Pose(float(yaw), float(pitch), float(roll / 2)), crop, bool(rng.random() < params.bleed))


def _estimator(params: CorpusParams, rng: np.random.Generator) -> Estimator:
    return Estimator(
        noise=_log_within(rng, params.noise),
        spots=_within(rng, params.spots),
        smoothing=_within(rng, params.smoothing),
        dominance=int(rng.integers(params.dominance[0], params.dominance[1] + 1)),
        shrinkage=_within(rng, params.shrinkage),
    )


def _clip(
    params: CorpusParams, subject: str, seed: int, number: int, style: dict[str, float], lean: dict[str, float]
) -> tuple[ClipPlan, int]:
    """Plan a clip; with its class index."""
    rng = _stream(seed, CLIP, number)
    label, sets = _expressions(params, rng)
    weights = np.array([one.weight for one in sets])
    chosen = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
    strength = {unit: rng.uniform(0.6, 1.0) * style[unit] for unit in chosen.units}
    foreign, faint, mixed = UNITS[int(rng.integers(len(UNITS)))], rng.uniform(0.15, 0.5), rng.random() < params.foreign
    if mixed and foreign not in strength and foreign != BLINK:
        strength[foreign] = faint
    activation = _with_sides(rng, strength, lean, rng.random() < params.one_sided)

    onset = 1 + int(rng.integers(*LEAD_IN))
    duration = int(rng.integers(params.duration[0], params.duration[1] + 1))
    offset, apex = onset + duration, onset + round(duration * rng.uniform(*RISE))
    blinks, blink = rng.random() < params.blink, int(rng.integers(onset - BLINK_OPEN, apex + BLINK_CLOSE))
    turns, gaze_shift = rng.random() < params.gaze, int(rng.integers(onset, apex + 1))
    plan = ClipPlan(
        subject=subject,
        clip=f"c{number:03d}",
        emotion=chosen.emotion,
        identity_seed=seed,
        seed=int(np.random.SeedSequence(seed, spawn_key=(CLIP, number)).generate_state(1, np.uint64)[0]),
        frames=offset + int(rng.integers(*LEAD_OUT)),
        onset=onset,
        apex=apex,
        offset=offset,
        action_units=_noted(activation, chosen.units),
        activation=tuple(activation.items()),
        peak=_log_within(rng, params.peak),
        blink=blink if blinks else None,
        gaze_shift=gaze_shift if turns else None,
    )
    assert CLASS_OF[plan.emotion] == CLASSES[label]
    return plan, label


def _expressions(params: CorpusParams, rng: np.random.Generator) -> tuple[int, tuple[UnitSet, ...]]:
    """Draw a class, or an emotion: the class index and the sets of action units to choose from."""
    given, names = (params.classes, CLASSES) if params.emotions is None else (params.emotions, EMOTIONS)
    shares = np.array([getattr(given, name) for name in names])
    drawn = int(rng.choice(len(names), p=shares / shares.sum()))
    if params.emotions is None:
        return drawn, UNIT_SETS[CLASSES[drawn]]
    emotion = EMOTIONS[drawn]
    sets = UNIT_SETS[CLASS_OF[emotion]]
    return CLASSES.index(CLASS_OF[emotion]), tuple(one for one in sets if one.emotion == emotion)


def _with_sides(
    rng: np.random.Generator, strength: dict[str, float], lean: dict[str, float], one_sided: bool
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
