"""What a corpus holds, decided before anything is computed: people, sittings and clips, for any generator.

What is drawn of a clip in a release too stands in `prep.demo.synth.people`; here is what generators need beside. People
are planned one after the other: nothing grows with the corpus. More people, more clips or another generator leave the
others as they are, and nobody of a corpus is in a release.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fdpbench.prep.demo.synth.camera import Pose
from fdpbench.prep.demo.synth.clip import ClipPlan
from fdpbench.prep.demo.synth.expressions import CLASS_OF, CLASSES
from fdpbench.prep.demo.synth.people import (
    ESTIMATOR,
    MESH,
    NOISE,
    OF_CORPUS,
    PLACING,
    SITTING,
    SITTING_CLIPS,
    draw_seat,
    draw_style,
    draw_within,
    draw_within_log,
    identity_seed,
    plan_clip,
    stream,
)
from fdpbench.prep.settings.corpus import CorpusParams

__all__ = ["Crop", "Estimator", "Person", "Placing", "PlannedClip", "Sitting", "person_seed", "plan_people"]

CROP_SHIFT = 0.015  # standard deviation of the middle of the eyes from the middle of the crop, share of its width

# Where the face mesh finds the eyes on rendered faces, beside their true centres (`Placing`): its mean error, what
# differs from person to person and from clip to clip (standard deviations). Measured on clips of the embedded release.
MESH_ERROR = ((-0.36, -0.90, 0.965, -0.25), (0.27, 0.53, 0.028, 0.22), (0.31, 0.30, 0.007, 0.30))


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
    """What clips that follow each other share beside the pose of the head: crop, whether motion bleeds off the face."""

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
        As of a clip of the embedded release. Its action units are those that a coder would note; its activation has
        the faint ones too.
    label
        Class index, of `prep.demo.synth.expressions.CLASSES`.
    sitting, estimator
        See there.
    placing
        Of the crop, where frames are rendered.
    """

    clip: ClipPlan
    label: int
    sitting: Sitting
    estimator: Estimator
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
        Of the face: see `person_seed`.
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


def person_seed(seed: int, number: int) -> int:
    """Seed of person `number` of the corpus of a seed."""
    return identity_seed(OF_CORPUS, seed, number)


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
    seed = person_seed(params.seed, number)
    subject = f"p{number:04d}"
    style = draw_style(params, seed)
    sittings = [
        _sitting(params, stream(seed, SITTING, k)) for k in range(math.ceil(params.clips_per_identity / SITTING_CLIPS))
    ]
    mean, of_person, of_clip = map(np.array, MESH_ERROR)
    error = mean + of_person * stream(seed, PLACING).standard_normal(4)
    clips = []
    for k in range(params.clips_per_identity):
        rng = stream(seed, ESTIMATOR, k)
        estimator, drift = _estimator(params, rng), draw_within(rng, params.drift)
        seat, sitting = sittings[k // SITTING_CLIPS]
        clip = plan_clip(params, subject, f"c{k:03d}", seed=seed, number=k, style=style, seat=seat, drift=drift)
        label = CLASSES.index(CLASS_OF[clip.emotion])
        placing = Placing(*map(float, error + of_clip * stream(seed, PLACING, k).standard_normal(4)))
        clips.append(PlannedClip(clip, label, sitting, estimator, placing))
    return Person(subject, seed, tuple(clips))


def _sitting(params: CorpusParams, rng: np.random.Generator) -> tuple[Pose, Sitting]:
    """Draw a sitting: pose of the head, and the rest."""
    seat = draw_seat(params, rng)
    crop = Crop(
        eye_distance=draw_within(rng, params.eye_distance),
        aspect=draw_within(rng, params.aspect),
        eye_height=draw_within(rng, params.eye_height),
        shift=float(CROP_SHIFT * rng.standard_normal()),
    )
    return seat, Sitting(crop, bool(rng.random() < params.bleed))


def _estimator(params: CorpusParams, rng: np.random.Generator) -> Estimator:
    return Estimator(
        noise=draw_within_log(rng, params.noise),
        spots=draw_within(rng, params.spots),
        smoothing=draw_within(rng, params.smoothing),
        dominance=int(rng.integers(params.dominance[0], params.dominance[1] + 1)),
        shrinkage=draw_within(rng, params.shrinkage),
    )
