"""Section `releases`: names of releases that have a reader, and data sets of one's own, described by settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from fdpbench.prep.releases import declare_releases
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.settings.problems import ParamsError, Problems
from fdpbench.prep.settings.section import Section, section

__all__ = ["COLUMNS", "FolderRelease", "SheetColumns", "declared", "folder_releases"]

# What may stand in braces in a pattern of files: a column, and how many digits a number has there.
_FIELD = re.compile(r"\{(\w*)(?::0([1-9]))?\}")


class SheetColumns(Section):
    """Names of a sheet's columns, as its header has them; case, spaces and underscores do not matter."""

    subject: str = Field(min_length=1, description="who is in the clip")
    clip: str = Field(
        min_length=1, description="the clip's name: with the subject's, all that a pattern of files needs"
    )
    emotion: str = Field(min_length=1, description="the clip's label")
    onset: str | None = Field(default=None, min_length=1, description="absent: the clip's first frame")
    apex: str | None = Field(default=None, min_length=1, description="absent: not known")
    offset: str | None = Field(default=None, min_length=1, description="absent: the clip's last frame")
    action_units: str | None = Field(default=None, min_length=1, description="absent: not known")
    fps: str | None = Field(default=None, min_length=1, description="frames per second, clip by clip")


COLUMNS = tuple(SheetColumns.model_fields)


class FolderRelease(Section):
    """A data set of one's own: a sheet with a row for each clip, and image files or a video of each."""

    kind: Literal["folder"] = Field(description="a folder with a sheet in it")
    sheet: str = Field(min_length=1, description=".xlsx, .xls or .csv, from the linked folder on")
    columns: SheetColumns
    frames: str | None = Field(
        default=None,
        min_length=1,
        description='pattern of the image files of a clip, such as "{subject}/{clip}/*.png"; the number of a frame is '
        "what stands last in its name; {subject:03} writes 7 as 007",
    )
    video: str | None = Field(
        default=None,
        min_length=1,
        description='in place of frames: the video of a clip, such as "{subject}/{clip}.avi"',
    )
    fps: float | None = Field(default=None, gt=0, description="frames per second, of clips whose row does not say")
    unit: Literal["frames", "seconds", "milliseconds"] = Field(
        default="frames", description="what onset, apex and offset count; others than frames need fps"
    )
    first_frame: int = Field(
        default=1, ge=0, le=1, description="number of a video's first frame, and of the frame at time 0"
    )
    lost_frames: LostFrames | None = Field(default=None, description="in place of index.lost_frames")
    faces_may_be_published: bool = Field(default=False, description="what subjects, or the licence, agreed to")

    @model_validator(mode="after")
    def _consistent(self) -> FolderRelease:
        if (self.frames is None) == (self.video is None):
            raise ValueError("give either frames (image files) or video, a pattern of files")
        key, pattern = ("frames", self.frames) if self.frames is not None else ("video", self.video)
        assert pattern is not None
        for name, _ in _FIELD.findall(pattern):
            if name not in ("subject", "clip"):
                raise ValueError(f"{key}: {{{name}}} is neither {{subject}} nor {{clip}}")
        bare = _FIELD.sub("x", pattern)
        if "{clip" not in pattern or re.search(r"[{}]", bare):
            raise ValueError(f"{key}: expected {{clip}}, and what else is in braces whole; found {pattern!r}")
        if bare.startswith(("/", "~")) or re.search(r"(^|/)\.\.?(/|$)|\\|^[A-Za-z]:", bare):
            raise ValueError(f"{key}: write it from the linked folder on, with /, without . and ..; found {pattern!r}")
        if self.frames is not None and "*" not in self.frames.rpartition("/")[2]:
            raise ValueError(f"frames: expected * for what differs from frame to frame, as in img*.png; found {bare!r}")
        if self.unit != "frames" and self.fps is None and self.columns.fps is None:
            raise ValueError(f"unit {self.unit} needs fps, to turn times into frame numbers")
        return self


def folder_releases(listed: Sequence[str] | Mapping[str, Any]) -> dict[str, FolderRelease]:
    """The data sets of section `releases` that are described there; none in a list of names.

    Parameters
    ----------
    listed
        The section: a list of names, or name -> settings; ``{}``, or nothing, of a release that has a reader.

    Raises
    ------
    ParamsError
        Naming every key that is wrong.
    """
    found: dict[str, FolderRelease] = {}
    if not isinstance(listed, Mapping):
        return found
    problems = Problems()
    for name, content in listed.items():
        with problems.gather():
            if content is not None and not isinstance(content, Mapping):
                raise ParamsError(
                    f"params.yaml: releases.{name}: expected settings, or {{}} for a release that has a reader; found "
                    f"{content!r}"
                )
            if content:
                found[name] = section(FolderRelease, content, f"releases.{name}")
    problems.refuse()
    return found


def declared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Declare the data sets that a stage's planned settings describe; the other settings."""
    rest = dict(settings)
    described = rest.pop("described", {})
    declare_releases({name: section(FolderRelease, own, f"releases.{name}") for name, own in described.items()})
    return rest
