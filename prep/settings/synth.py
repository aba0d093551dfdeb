"""Section `synth`: the embedded release, in one of two forms, which are told apart by their keys."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from fdpbench.prep.settings.expressions import LARGEST_SEED, ExpressionParams
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import Section, section

__all__ = ["EMBEDDED", "DrawnSynthParams", "SynthParams", "synth_section"]

EMBEDDED = "synthetic"  # the release's name


class SynthParams(Section):
    """The calm form: equally many clips of each emotion, all within the same limits."""

    seed: int = Field(ge=0, description="seed of every face, motion and noise of the release")
    subjects: int = Field(ge=2, description="number of subjects")
    clips_per_emotion: int = Field(ge=1, description="clips of each emotion for each subject")
    size: int = Field(ge=120, description="side of a frame, pixels")
    frames_min: int = Field(ge=24, description="shortest clip, frames at 200 fps")
    frames_max: int = Field(ge=24, description="longest clip, frames at 200 fps")
    peak_min: float = Field(gt=0, description="smallest peak motion of a clip, pixels")
    peak_max: float = Field(gt=0, description="largest peak motion of a clip, pixels")
    drift: float = Field(ge=0, description="head drift, 1 = a calm subject")
    blink_rate: float = Field(ge=0, le=1, description="share of clips with a blink")
    gaze_rate: float = Field(ge=0, le=1, description="share of clips with a gaze shift")
    overlap: float = Field(ge=0, le=1, description="share of clips that mix in an action unit of another emotion")

    @model_validator(mode="after")
    def _ordered(self) -> SynthParams:
        if self.frames_min > self.frames_max:
            raise ValueError("frames_min must not exceed frames_max")
        if self.peak_min > self.peak_max:
            raise ValueError("peak_min must not exceed peak_max")
        return self


class DrawnSynthParams(ExpressionParams):
    """The drawn form: every clip is drawn as those of a corpus are, with its keys; classes are as rare as in real data.

    `peak` is in px of a frame of 240 px, in which eyes are 51 px apart, whatever `size` is.
    """

    seed: int = Field(ge=0, le=LARGEST_SEED, description="seed of every face, motion and noise of the release")
    subjects: int = Field(ge=2, le=LARGEST_SEED, description="number of subjects, none of whom is in any corpus")
    clips_per_subject: int = Field(ge=1, le=10_000, description="clips of each subject, of whichever class is drawn")
    size: int = Field(ge=120, description="side of a frame, pixels")


def synth_section(content: Any, where: str = "synth") -> SynthParams | DrawnSynthParams:
    """Read section `synth`.

    Parameters
    ----------
    content
        What `read_params` gave for it.
    where
        Its path in the file, for error messages.

    Raises
    ------
    ParamsError
        If keys of both forms stand side by side; else as `prep.settings.section.section`.
    """
    calm, drawn = set(SynthParams.model_fields), set(DrawnSynthParams.model_fields)
    found = content if isinstance(content, dict) else {}
    of_calm, of_drawn = ([key for key in found if key in own] for own in (calm - drawn, drawn - calm))
    if of_calm and of_drawn:
        raise ParamsError(
            f"params.yaml: {where}: {', '.join(of_calm)} and {', '.join(of_drawn)} belong to two forms of the embedded "
            "release; leave out the former to have clips drawn as in a corpus (clips_per_subject), or the latter to "
            "have equally many of each emotion (clips_per_emotion)"
        )
    return section(SynthParams, content, where) if of_calm else section(DrawnSynthParams, content, where)
