"""Section `align`: crops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fdpbench.prep.settings.section import Section

__all__ = ["AlignParams"]


class AlignParams(Section):
    """Crops (`prep.align.placing`, `prep.align.geometry`): how a clip is aligned and where its eyes land."""

    mode: Literal["first_frame", "ecc", "per_frame", "given"] = Field(
        description="first_frame: the first frame's transform for the whole clip; ecc: the same, the head's drift "
        "undone; per_frame: eyes found anew in each frame; given: no face is sought, the release's own crops are "
        "resized to size"
    )
    landmarks: Literal["mesh", "dlib"] = Field(
        description="mesh: 468 landmarks, steady; dlib: 68, as released code has them (extra `dlib`)"
    )
    geometry: Literal["eyes", "released"] = Field(
        description="eyes: level and at the place given by eye_distance and eye_height; released: as FDP's released "
        "code crops, 2.5 times the box around eyes, nose and mouth, whatever these two say"
    )
    interpolation: Literal["linear", "cubic", "lanczos"] = Field(description="how values between pixels are taken")

    size: int = Field(ge=32, description="side of a crop, pixels")
    eye_distance: float = Field(gt=0, lt=1, description="distance of the eye centres, share of the side")
    eye_height: float = Field(gt=0, lt=1, description="height of the eye line from the top, share of the side")
    colour: bool = Field(description="keep RGB crops; false stores grey ones, which every task uses")
    track: bool = Field(
        default=False,
        description="find the landmarks anew in every frame, for tasks with landmarks; crops stay the same. Mode "
        "per_frame finds them anyway",
    )

    @model_validator(mode="after")
    def _seeks_nothing(self) -> AlignParams:
        if self.mode == "given" and self.track:
            raise ValueError("mode given seeks no face, so that there are no landmarks: leave track out")
        return self

    @property
    def tracks(self) -> bool:
        """Whether landmarks are sought in every frame."""
        return self.track or self.mode == "per_frame"
