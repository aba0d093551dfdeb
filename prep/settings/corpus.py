"""An entry of section `corpora`: rendered motion to pretrain on, its size and its ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fdpbench.prep.settings.section import Section

__all__ = ["LARGEST_SEED", "ClassShares", "CorpusParams", "Range"]

LARGEST_SEED = 2**32 - 1  # a corpus has this many identities at most too: see `prep.demo.corpus.planner`


def _as_pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range must not fall: write [{value[1]}, {value[0]}]")
    return value


# Smallest and largest value, drawn uniformly between unless the description says otherwise.
Range = Annotated[tuple[float, float], BeforeValidator(_as_pair), AfterValidator(_rising)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PositiveRange = Annotated[tuple[Positive, Positive], BeforeValidator(_as_pair), AfterValidator(_rising)]
NotNegativeRange = Annotated[tuple[NotNegative, NotNegative], BeforeValidator(_as_pair), AfterValidator(_rising)]
PowerRange = Annotated[
    tuple[Annotated[int, Field(ge=1, le=9)], Annotated[int, Field(ge=1, le=9)]],
    BeforeValidator(_as_pair),
    AfterValidator(_rising),
]
FrameRange = Annotated[
    tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]], BeforeValidator(_as_pair), AfterValidator(_rising)
]


class ClassShares(Section):
    """How often each class occurs, relative to the others."""

    negative: Positive = 1.0
    positive: Positive = 1.0
    surprise: Positive = 1.0


class CorpusParams(Section):
    """A corpus (`prep.demo.corpus`). Motion is in px of a face whose eyes are 51 px apart, as the release's."""

    generator: Literal["flow"] = Field(
        description="flow: onset-to-apex flow images from the head mesh and a simulated estimator, no frame rendered"
    )
    identities: int = Field(ge=1, le=LARGEST_SEED, description="number of people, none of whom is in any release")
    clips_per_identity: int = Field(ge=1, le=10_000, description="clips of each of them")
    seed: int = Field(
        ge=0, le=LARGEST_SEED, description="seed of every face, motion and noise; another has other people"
    )

    classes: ClassShares = Field(default=ClassShares(), description="relative frequency of the three classes")
    foreign: Share = Field(default=0.3, description="share of clips that mix in an action unit of no such expression")
    one_sided: Share = Field(default=0.15, description="share of clips whose expression leans to one side of the face")
    style: NotNegative = Field(
        default=0.2,
        description="personal style: standard deviation of the logarithm of a person's own strength of each action "
        "unit, and of each side of the face; 0: all people move alike",
    )
    peak: PositiveRange = Field(
        default=(0.5, 4.0),
        description="largest motion of a landmark by the expression, px, uniform in its logarithm: below, estimators "
        "see noise; above, it is no micro-expression",
    )
    duration: FrameRange = Field(default=(24, 90), description="frames from onset to offset at 200 fps: 0.12 to 0.45 s")
    drift: NotNegativeRange = Field(
        default=(0.0, 1.0), description="motion of the head from onset to apex; 1 is a calm subject, 0 a bust"
    )
    turn: NotNegative = Field(
        default=4.0, description="how people sit: standard deviation of yaw and pitch, degrees; of roll, half of it"
    )
    blink: Share = Field(default=0.3, description="share of clips with a blink about onset or apex")
    gaze: Share = Field(default=0.4, description="share of clips in which the gaze shifts")

    eye_distance: PositiveRange = Field(
        default=(0.44, 0.64), description="distance of the eyes as a share of the crop's width"
    )
    aspect: PositiveRange = Field(
        default=(0.60, 0.84),
        description="vertical scale of the crop as a share of the horizontal: faces are cut out higher than wide, and "
        "flow images are square",
    )
    eye_height: Range = Field(default=(0.20, 0.32), description="height of the eyes in the crop, from the top, share")

    noise: PositiveRange = Field(
        default=(0.02, 0.15),
        description="error of the simulated estimator, standard deviation in px where the face has texture, uniform "
        "in its logarithm",
    )
    spots: NotNegativeRange = Field(
        default=(0.0, 1.0), description="isolated spots of error, as of glasses and highlights, relative to the noise"
    )
    smoothing: PositiveRange = Field(
        default=(0.1, 0.6), description="width of the estimator's window, standard deviation in pixels of the image"
    )
    dominance: PowerRange = Field(
        default=(2, 5),
        description="power of texture in the weights of that window: 1 averages; more, and what has most texture "
        "decides for what is about it, so that motion comes in patches with edges, as total variation gives it",
    )
    shrinkage: NotNegativeRange = Field(
        default=(0.0, 0.4), description="texture below which the estimator falls back on the motion of the whole face"
    )
    bleed: Share = Field(
        default=0.8,
        description="share of sittings in which the face's motion bleeds into the background; else that is still",
    )
    true_flow: bool = Field(default=False, description="keep the true motion of the skin beside the flow image")
