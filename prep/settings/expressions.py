"""How people of rendered clips move: the keys that corpora and the embedded release have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fdpbench.prep.settings.section import Section

__all__ = [
    "LARGEST_SEED",
    "ClassShares",
    "EmotionShares",
    "ExpressionParams",
    "NotNegativeRange",
    "PositiveRange",
    "PowerRange",
    "Range",
    "Share",
]

LARGEST_SEED = 2**32 - 1  # there are this many people at most too: see `prep.demo.synth.people.identity_seed`


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


class EmotionShares(Section):
    """How often each emotion of the embedded release occurs, relative to the others."""

    disgust: Positive = 1.0
    happiness: Positive = 1.0
    repression: Positive = 1.0
    surprise: Positive = 1.0


class ExpressionParams(Section):
    """What is drawn of each clip (`prep.demo.synth.people`), in px of a face whose eyes are 51 px apart."""

    classes: ClassShares = Field(default=ClassShares(), description="relative frequency of the three classes")
    emotions: EmotionShares | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="in place of classes: relative frequency of the embedded release's four emotions; absent: disgust "
        "and repression share the negative class, 70 to 30",
    )
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
    sensor_noise: PositiveRange = Field(
        default=(1.0, 1.0),
        description="noise of the camera in rendered frames, a factor, uniform in its logarithm; 1 is a good camera in "
        "good light, and what flow then errs by is much less than on real clips",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ExpressionParams:
        if self.emotions is not None and "classes" in self.model_fields_set:
            raise ValueError("give classes or emotions, not both: relative frequencies of the one decide the other's")
        return self
