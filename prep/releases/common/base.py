"""What a reader of a release makes: annotations, then manifest rows and rejections, nothing else.

A reader has two steps. `Annotations` hold what the sheet alone says (`prep.sheets.rows`): a row is tidied, checked,
corrected where `corrections.csv` knows better, or rejected by name. `Listing` holds what can be used: annotations
whose frames are on disk (`prep.releases.common.folders`). No step drops a row silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fdpbench.prep.store import schema
from fdpbench.prep.store.schema import Reason

__all__ = ["Annotation", "Annotations", "Listing"]


@dataclass(frozen=True)
class Annotation:
    """One usable row of a sheet: subject and clip as the reader names them, frame numbers as the sheet has them.

    Onset and offset are None where the sheet of a data set of one's own does not say: the clip's first and last frame.
    ``recording`` is the sheet's name of what was recorded, where several clips are of one; ``place`` is what else the
    reader needs to find the clip's folder.
    """

    row: str
    subject: str
    clip: str
    onset: int | None
    apex: int | None
    offset: int | None
    emotion: str
    action_units: str | None
    fps: float | None = None
    recording: str = ""
    place: str = ""


@dataclass
class Annotations:
    """What a sheet says of a release's clips, and which of its rows cannot be used.

    ``simulated`` says that `fdpbench simulate` invented them.
    """

    release: str
    dataset: str
    sheet: str
    clips: list[Annotation] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    simulated: bool = False

    def clip_id(self, subject: str, clip: str) -> str:
        """Key of a clip."""
        return f"{self.dataset}/{subject}/{clip}"

    def reject(self, subject: str, clip: str, reason: Reason, detail: str, emotion: str = "") -> None:
        """List a row that is left out."""
        name = self.clip_id(subject or "?", clip or "?")
        self.rejected.append({"clip_id": name, "reason": str(reason), "detail": detail, "emotion": emotion})


@dataclass
class Listing:
    """Clips of a release and what was left out, as a reader finds them.

    ``simulated`` says that `fdpbench simulate` wrote some of them: the faces are rendered. ``crops`` says that the
    frames are the release's own crops of faces, used as they are.
    """

    dataset: str
    clips: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    simulated: bool = False
    crops: bool = False

    @classmethod
    def of(cls, annotations: Annotations) -> Listing:
        """Listing that starts with what the sheet's reading left out."""
        return cls(
            annotations.dataset,
            rejected=list(annotations.rejected),
            notes=list(annotations.notes),
            corrections=list(annotations.corrections),
        )

    def add(
        self, subject: str, clip: str, *, emotion: str, frames: list[str], dataset: str | None = None, **columns: Any
    ) -> None:
        """Add a clip; ``columns`` are further manifest columns (onset, apex, fps, ...)."""
        dataset = dataset or self.dataset
        row = dict.fromkeys(schema.MANIFEST.names) | columns
        row |= {
            "clip_id": f"{dataset}/{subject}/{clip}",
            "dataset": dataset,
            "subject": f"{dataset}/{subject}",
            "emotion": emotion,
            "frames": frames,
        }
        self.clips.append(row)

    def clip_id(self, subject: str, clip: str) -> str:
        """Key of a clip of this release's data set."""
        return f"{self.dataset}/{subject}/{clip}"

    def reject(self, clip_id: str, reason: Reason, detail: str, emotion: str = "") -> None:
        """List a clip, or a file, that is left out."""
        self.rejected.append({"clip_id": clip_id, "reason": str(reason), "detail": detail, "emotion": emotion})

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Return the manifest, sorted by clip, and the rejected table."""
        rows = sorted(self.clips, key=lambda row: row["clip_id"])
        manifest = pa.Table.from_pylist(rows, schema=schema.MANIFEST)
        schema.check_manifest(manifest)
        return manifest, schema.rejected_table(self.rejected)
