"""An entry of section `tasks`: releases, class map, inputs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fdpbench.prep.settings.section import Section
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["FlowInput", "Sampling", "TaskParams"]


class Sampling(Section):
    """Which frames of onset..offset a task sees (`prep.dynamic.sampling`, `prep.dynamic.tim`)."""

    rule: Literal["uniform", "truncated", "tim", "all"] = Field(
        description="uniform: equally spaced, first and last included; truncated: as FDP's released code, "
        "whose last frame lands before the end of the clip; tim: frames interpolated by the temporal interpolation "
        "model, of clips of any length; all: every frame, for dynamic images alone, since lengths differ"
    )
    frames: int | None = Field(default=None, ge=2, description="T, frames for each clip; absent with rule all")

    @model_validator(mode="after")
    def _counted(self) -> Sampling:
        if (self.frames is None) != (self.rule == "all"):
            wanted = "takes every frame: leave frames out" if self.rule == "all" else "needs frames, T of each clip"
            raise ValueError(f"rule {self.rule} {wanted}")
        return self


class FlowInput(Section):
    """Onset-to-apex flow as a model's input."""

    size: int = Field(ge=8, description="side of the flow image, pixels")
    scaling: Literal["per_image", "pixels", "fixed"] = Field(
        description="per_image: each of u, v, strain min-max scaled to 0..1 for each clip, as the "
        "MEGC2019 flow images are; pixels: left in pixels of the crop; fixed: scaled to 0..1 by limits that all "
        "clips share"
    )
    limit: float | None = Field(
        default=None, gt=0, description="with fixed alone: u and v of -limit..limit pixels become 0..1, rest is 0.5"
    )
    strain_limit: float | None = Field(
        default=None, gt=0, description="with fixed alone: strain of 0..strain_limit becomes 0..1"
    )

    @model_validator(mode="after")
    def _limited(self) -> FlowInput:
        given = [name for name in ("limit", "strain_limit") if getattr(self, name) is not None]
        if self.scaling == "fixed" and len(given) < 2:
            raise ValueError("scaling fixed needs limit (pixels) and strain_limit")
        if self.scaling != "fixed" and given:
            raise ValueError(f"{', '.join(given)}: for scaling fixed alone, not {self.scaling}; leave out")
        return self


class TaskParams(Section):
    """A classification task: releases, class map, inputs."""

    releases: list[str] = Field(min_length=1, description="names under data/manifest")
    classes: dict[str, list[str]] = Field(
        min_length=2, description="class -> the annotated emotions it gathers, in order of class index"
    )
    rank_pooling: Literal["harmonic", "linear"] | None = Field(
        default=None, description="rule of the ground-truth dynamic images; absent: the task has no frames"
    )
    sampling: Sampling | None = Field(default=None, description="absent: the task has no frames")
    flow: FlowInput | None = Field(default=None, description="absent: the task has no flow")
    apex: bool = Field(default=False, description="gives the apex frame of each clip; `flow.missing_apex` holds for it")
    landmarks: bool = Field(
        default=False, description="gives the landmarks of each sampled frame; align.track must be true"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TaskParams:
        if (self.sampling is None) != (self.rank_pooling is None):
            raise ValueError("give both sampling and rank_pooling (a task with frames) or neither")
        if self.landmarks and "frames" not in self.inputs:
            raise ValueError("landmarks are those of the sampled frames: give sampling with frames, T of each clip")
        if not self.inputs:
            raise ValueError("a task needs frames (sampling and rank_pooling), flow or apex")
        emotions = [emotion for group in self.classes.values() for emotion in group]
        twice = sorted({emotion for emotion in emotions if emotions.count(emotion) > 1})
        if twice:
            raise ValueError(f"emotions in more than one class: {', '.join(twice)}")
        return self

    @property
    def needs_frames(self) -> bool:
        """Whether it can be made of releases with image frames alone."""
        return any(INPUTS[name].needs_frames for name in self.inputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the task gives to models (`prep.task.inputs`)."""
        return tuple(name for name, entry in INPUTS.items() if entry.given(self))
