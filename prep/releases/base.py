"""What a reader of a release makes: annotations, then manifest rows and rejections, nothing else.

A reader has two steps. `Annotations` hold what the sheet alone says: a row is tidied, checked, corrected
where `corrections.csv` knows better, or rejected by name. `Listing` holds what can be used: annotations
whose frames are on disk. No step drops a row silently.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters
from typing import Any

import pyarrow as pa

from prep import schema
from prep.releases.corrections import known_corrections
from prep.releases.names import NAMES, named_subject, release_of
from prep.releases.sheets import MISSING, ReleaseError, Sheet, whole_number
from prep.schema import Reason

__all__ = [
    "ACTION_UNITS",
    "COLUMNS",
    "Annotation",
    "Annotations",
    "Listing",
    "annotate",
    "own_rows",
]

# Columns of a CASME II-style sheet: ours -> the names under which they are seen.
COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("OnsetFrame", "Onset"),
    "apex": ("ApexFrame", "Apex"),
    "offset": ("OffsetFrame", "Offset"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
ACTION_UNITS = {"action_units": ("Action Units", "AUs", "AU")}

# Subjects and clips are parts of a clip's key and names of folders.
_NAME = re.compile(r"(?!\.\.?$)[^/\\\x00-\x1f]+")


@dataclass(frozen=True)
class Annotation:
    """One usable row of a sheet: subject and clip as the reader names them, frame numbers as the sheet has them.

    ``place`` is what else the reader needs to find the clip's folder.
    """

    row: str
    subject: str
    clip: str
    onset: int
    apex: int | None
    offset: int
    emotion: str
    action_units: str | None
    place: str = ""


@dataclass
class Annotations:
    """What a sheet says of a release's clips, and which of its rows cannot be used.

    ``simulated`` says that `prep simulate` invented them.
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

    ``simulated`` says that `prep simulate` wrote some of them: the faces are rendered.
    """

    dataset: str
    clips: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    simulated: bool = False

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


def own_rows(annotations: Annotations, sheet: Path, table: Sheet) -> Sheet:
    """Keep the rows that are not another release's (`prep.releases.names`); reject the others by name.

    Parameters
    ----------
    annotations
        Gets the rejections, and a note where most rows are named like those of no known release.
    sheet
        The file that the rows are from.
    table
        Columns ``subject`` and ``clip``, as the sheet has them.

    Raises
    ------
    ReleaseError
        If most rows are another release's.
    """
    release = annotations.release
    whose = [release_of(*cells, release) for cells in zip(table["subject"], table["clip"], strict=True)]
    others = Counter(name for name in whose if name not in (None, release))
    if 2 * others.total() > len(whose):
        other, count = others.most_common(1)[0]
        raise ReleaseError(
            f"{sheet}: looks like a sheet of {other}, not of {release}: {count} of {len(whose)} rows "
            f"are named as there ({NAMES[other].example}), {whose.count(release)} as in {release} "
            f"({NAMES[release].example}). Give {release}'s sheet, or read this one as {other}"
        )
    if 2 * whose.count(None) > len(whose):
        annotations.notes.append(
            f"{whose.count(None)} of {len(whose)} rows are named otherwise than known of {release} "
            f"({NAMES[release].example}): is it this release's sheet?"
        )
    own = []
    for number, name in zip(table.index, whose, strict=True):
        if name in (None, release):
            own.append(number)
            continue
        cells = table.loc[number]
        detail = f"row {number}: subject {cells['subject']!r}, clip {cells['clip']!r} are named as in {name}"
        annotations.reject(cells["subject"], cells["clip"], Reason.BAD_ROW, detail, cells["emotion"].lower())
    return table.loc[own].copy()


def annotate(
    annotations: Annotations,
    table: Sheet,
    *,
    emotions: Iterable[str] | None = None,
    same: dict[str, str] | None = None,
    zero_is_missing: bool = True,
) -> None:
    """Turn a sheet's rows into annotations: tidied, corrected, checked.

    A row is rejected by name if it has no subject or clip, a clip whose name carries another subject, is a
    clip's second row, has no whole onset and offset, an apex that is neither a whole number nor marked as
    unknown, marks out of order, or an emotion that is missing or none of ``emotions``. An unknown apex (``/``,
    empty) becomes None.

    Parameters
    ----------
    annotations
        Gets clips, rejections, corrections and notes.
    table
        Columns ``subject`` and ``clip`` as the reader names them, ``onset``, ``apex``, ``offset``,
        ``emotion``, ``action_units`` and, where the reader needs it, ``place``, all text.
    emotions
        The emotions that the release is known to hold, in lower case; None where they are not known.
    same
        Emotions that are spelt in two ways: spelling -> the one to use, both in lower case.
    zero_is_missing
        Whether frames count from 1, so that an apex of 0 is unknown.
    """
    known = None if emotions is None else set(emotions)
    corrections = known_corrections(annotations.release, annotations.sheet)
    by_clip: dict[str, list[Any]] = {}
    for correction in corrections:
        by_clip.setdefault(correction.clip, []).append(correction)
    met: dict[Any, str] = {}
    seen: dict[str, str] = {}
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        row, subject, clip = f"row {number}", cells["subject"], cells["clip"]
        if not _NAME.fullmatch(subject) or not _NAME.fullmatch(clip):
            detail = f"{row}: subject {subject!r}, clip {clip!r}, {_text(cells)}; expected both, as folders are named"
            annotations.reject(subject, clip, Reason.BAD_ROW, detail)
            continue
        named = named_subject(clip, annotations.release)
        if named is not None and whole_number(subject.lstrip(ascii_letters)) != named:
            detail = (
                f"{row}: subject {subject!r}, but clip {clip!r} is named as one of subject {named}; which is right?"
            )
            annotations.reject(subject, clip, Reason.BAD_ROW, detail, cells["emotion"].lower())
            continue
        for correction in by_clip.get(f"{subject}/{clip}", []):
            met[correction] = cells[correction.column]
            if met[correction] == correction.sheet_value:
                cells[correction.column] = correction.value
        name = annotations.clip_id(subject, clip)
        if name in seen:
            annotations.reject(
                subject, clip, Reason.DUPLICATE, f"{row}: this clip stands in the sheet already: {seen[name]}"
            )
            continue
        seen[name] = row
        emotion = cells["emotion"].lower()
        emotion = (same or {}).get(emotion, emotion)
        onset, offset = whole_number(cells["onset"]), whole_number(cells["offset"])
        apex = whole_number(cells["apex"])
        unknown = cells["apex"].lower() in MISSING or (apex == 0 and zero_is_missing)
        problem = None
        if onset is None or offset is None or (apex is None and not unknown) or min(onset, offset, apex or 0) < 0:
            problem = Reason.BAD_ROW, "frame numbers of onset and offset, and of the apex or / where it is unknown"
        elif emotion in MISSING:
            problem = Reason.BAD_ROW, "an emotion"
        elif onset >= offset or not (unknown or apex is None or onset <= apex <= offset):
            problem = Reason.BAD_MARKS, "onset < offset, and the apex between them"
        elif known is not None and emotion not in known:
            problem = Reason.UNKNOWN_EMOTION, f"one of the emotions {', '.join(sorted(known))}"
        if problem is not None:
            detail = f"{row}: {_text(cells)}; expected {problem[1]}"
            annotations.reject(subject, clip, problem[0], detail, emotion)
            continue
        assert onset is not None and offset is not None  # for the type checker: checked above
        annotations.clips.append(
            Annotation(
                row,
                subject,
                clip,
                onset,
                None if unknown else apex,
                offset,
                emotion,
                cells.get("action_units") or None,
                cells.get("place", ""),
            )
        )
    annotations.corrections += [correction.report(met.get(correction)) for correction in corrections]


def _text(cells: dict[str, str]) -> str:
    return ", ".join(f"{name} {cells[name]!r}" for name in ("onset", "apex", "offset", "emotion"))
