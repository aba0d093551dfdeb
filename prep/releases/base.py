"""What a reader of a release makes: manifest rows and rejections, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from prep import schema
from prep.schema import Reason

__all__ = ["Listing", "ReleaseError", "add_rows", "frame_numbers", "read_sheet", "whole_number"]

# Columns of a CASME II-style sheet: ours -> the names under which they are seen.
COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("OnsetFrame", "Onset"),
    "apex": ("ApexFrame", "Apex"),
    "offset": ("OffsetFrame", "Offset"),
    "action_units": ("Action Units", "AUs"),
    "emotion": ("Estimated Emotion", "Emotion"),
}


class ReleaseError(ValueError):
    """A release cannot be read at all; the message names the file, what was expected, what to do."""


@dataclass
class Listing:
    """Clips of a release and what was left out, as a reader finds them."""

    dataset: str
    clips: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

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

    def reject(self, clip_id: str, reason: Reason, detail: str) -> None:
        """List a clip, or a file, that is left out."""
        self.rejected.append({"clip_id": clip_id, "reason": str(reason), "detail": detail})

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Return the manifest, sorted by clip, and the rejected table."""
        rows = sorted(self.clips, key=lambda row: row["clip_id"])
        manifest = pa.Table.from_pylist(rows, schema=schema.MANIFEST)
        schema.check_manifest(manifest)
        return manifest, schema.rejected_table(self.rejected)


def read_sheet(path: Path, columns: Mapping[str, tuple[str, ...]], sheet: str | int = 0) -> pd.DataFrame:
    """Read an annotation sheet (.csv or .xlsx) by column names, never by position.

    Parameters
    ----------
    path
        The sheet.
    columns
        Our name of each column -> the names under which it is seen (compared without case, spaces
        and underscores).
    sheet
        Name or index of the sheet in a workbook.

    Returns
    -------
    A frame with our column names, every cell as stripped text, blank rows dropped, the row number
    in the file as the index (the header is row 1).

    Raises
    ------
    ReleaseError
        If the file is missing or not a sheet, or a column is not found.
    """
    if not path.is_file():
        raise ReleaseError(f"{path}: annotation sheet not found; check the folder given to `python -m prep link`")
    try:
        if path.suffix.lower() == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
        else:
            frame = pd.read_excel(path, sheet_name=sheet, dtype=str, keep_default_na=False)
    except Exception as error:  # pandas and openpyxl raise a dozen kinds for a damaged file
        raise ReleaseError(f"{path}: not a readable annotation sheet ({error})") from error

    def fold(name: object) -> str:
        return str(name).lower().replace(" ", "").replace("_", "")

    found = {fold(name): name for name in frame.columns}
    chosen = {}
    for ours, names in columns.items():
        match = next((found[fold(name)] for name in names if fold(name) in found), None)
        if match is None:
            raise ReleaseError(
                f"{path}: column {names[0]!r} not found; the sheet has {', '.join(map(str, frame.columns))}"
            )
        chosen[ours] = frame[match].astype(str).str.strip()
    result = pd.DataFrame(chosen)
    result.index = pd.RangeIndex(2, len(result) + 2)
    return result[(result != "").any(axis=1)]


def whole_number(text: str) -> int | None:
    """Return a whole number written as ``46`` or ``46.0``; None for anything else (``/``, empty)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def frame_numbers(folder: Path, pattern: str) -> dict[int, Path]:
    """Image files of a clip by frame number: the digits before the suffix, padded or not.

    Parameters
    ----------
    folder
        The clip's folder.
    pattern
        Glob of the frames, such as ``img*.jpg``.
    """
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob(pattern)):
        digits = path.stem[len(path.stem.rstrip("0123456789")) :]
        if digits:
            other = numbered.setdefault(int(digits), path)
            if other is not path:
                raise ReleaseError(f"{folder}: {other.name} and {path.name} are the same frame; remove one of them")
    return numbered


def add_rows(
    listing: Listing, sheet: pd.DataFrame, root: Path, folder: Callable[[str, str], Path], pattern: str, fps: float
) -> None:
    """Turn the rows of a sheet with `COLUMNS` into clips, checked against the image files.

    A row that cannot be used is rejected by name: no whole onset and offset, marks out of order, a
    clip listed twice, a missing folder, a missing frame between onset and offset. An apex that the
    sheet does not give (``/``, 0 or empty) becomes null.

    Parameters
    ----------
    listing
        Gets the clips and rejections.
    sheet
        From `read_sheet`, with ``subject`` written as the folder names write it.
    root
        The release's folder; stored paths are relative to it.
    folder
        Gives a clip's folder from subject and clip.
    pattern
        Glob of its frames.
    fps
        Frames per second.
    """
    seen: set[str] = set()
    for number, row in sheet.iterrows():
        subject, clip = row["subject"], row["clip"]
        name = listing.clip_id(subject, clip)
        if name in seen:
            listing.reject(name, Reason.DUPLICATE, f"row {number}: this clip stands in the sheet already")
            continue
        seen.add(name)
        onset, apex, offset = (whole_number(row[mark]) for mark in ("onset", "apex", "offset"))
        apex = apex or None
        cells = f"onset {row['onset']!r}, apex {row['apex']!r}, offset {row['offset']!r}, emotion {row['emotion']!r}"
        if onset is None or offset is None or not row["emotion"]:
            listing.reject(name, Reason.BAD_ROW, f"row {number}: {cells}; expected frame numbers and an emotion")
            continue
        if onset >= offset or (apex is not None and not onset <= apex <= offset):
            listing.reject(name, Reason.BAD_ROW, f"row {number}: {cells}; expected onset < offset, apex between them")
            continue
        place = folder(subject, clip)
        if not place.is_dir():
            listing.reject(name, Reason.MISSING_FOLDER, f"row {number}: {place.relative_to(root)} not found")
            continue
        files = frame_numbers(place, pattern)
        wanted = range(onset, offset + 1)
        present = sum(onset <= frame <= offset for frame in files)
        if present < len(wanted):
            first = next(frame for frame in wanted if frame not in files)
            listing.reject(
                name,
                Reason.MISSING_FILE,
                f"{place.name}: {len(wanted) - present} of {len(wanted)} frames are missing, first {first}",
            )
            continue
        listing.add(
            subject,
            clip,
            emotion=row["emotion"].lower(),
            frames=[files[frame].relative_to(root).as_posix() for frame in wanted],
            frame_numbers=list(wanted),
            fps=fps,
            onset=onset,
            apex=apex,
            offset=offset,
            action_units=row["action_units"] or None,
        )
