"""Section `synth`: the embedded release."""

from __future__ import annotations

from pydantic import Field, model_validator

from fdpbench.prep.settings.section import Section

__all__ = ["EMBEDDED", "SynthParams"]

EMBEDDED = "synthetic"  # the release's name


class SynthParams(Section):
    """The embedded release (`prep.demo.synth`)."""

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
