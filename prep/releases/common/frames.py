"""Frames of a clip by their numbers, and why there are none that can be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fdpbench.prep.store.schema import Reason

__all__ = ["IMAGES", "FolderProblem", "Frames"]

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}


class FolderProblem(Exception):
    """A clip's folder or frames cannot be used: the reason and what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class Frames:
    """Image files of a clip by frame number, whether they are the release's own crops, and what else is there.

    ``place`` is where they lie, for messages.
    """

    files: dict[int, Path] = field(default_factory=dict)
    crops: bool = False
    others: list[str] = field(default_factory=list)
    place: str = ""

    def __str__(self) -> str:
        numbers = f", {min(self.files)} to {max(self.files)}" if self.files else ""
        others = f"; {len(self.others)} other files are not read, such as {self.others[0]}" if self.others else ""
        return f"{len(self.files)}{numbers}{others}"
