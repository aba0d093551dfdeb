"""Section `index`: how sheet and folders become a manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fdpbench.prep.settings.section import Section

__all__ = ["IndexParams", "LostFrames"]

LostFrames = Literal["keep", "reject"]


class IndexParams(Section):
    """How a release's sheet and folders become its manifest (`prep.index.stage`)."""

    lost_frames: LostFrames = Field(
        default="reject",
        description="a clip that lacks frames between onset and offset: keep: with the frames that are there, and "
        "tables say how many such clips there are; reject: left out",
    )
