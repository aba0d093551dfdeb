"""Section `align`: crops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fdpbench.prep.settings.section import Section

__all__ = ["AlignParams"]


class AlignParams(Section):
    """Crops (`prep.align.placing`, `prep.align.geometry`): how a clip is aligned and where its eyes land."""

    mode: Literal["first_frame", "ecc", "per_frame"] = Field(
        description="first_frame: the first frame's transform for the whole clip; ecc: the same, the head's drift "
        "undone; per_frame: eyes found anew in each frame"
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

    @property
    def tracks(self) -> bool:
        """Whether landmarks are sought in every frame."""
        return self.track or self.mode == "per_frame"
