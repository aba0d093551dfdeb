"""Section `flow`: onset-to-apex flow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fdpbench.prep.settings.section import Section

__all__ = ["FlowParams"]


class FlowParams(Section):
    """Onset-to-apex flow of releases with image frames (`prep.flow.stage`)."""

    method: Literal["dis", "farneback", "tvl1"] = Field(
        description="dis: the most accurate on rendered faces; farneback; tvl1: twenty times as slow as dis"
    )
    missing_apex: Literal["reject", "estimate"] = Field(
        description="a clip whose sheet names no apex: reject: has no flow; estimate: its apex is the frame in which "
        "the face has moved most since the onset, and is marked as estimated"
    )
