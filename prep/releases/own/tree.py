"""Image series and videos below a folder, and the pattern that leads to them from a sheet's cells."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fdpbench.prep.releases.common.frames import IMAGES, FolderProblem
from fdpbench.prep.releases.own.files import Claims, Finder, Recording, alike
from fdpbench.prep.sheets.tables import whole_number
from fdpbench.prep.store.videos import SUFFIXES

__all__ = ["Place", "best_pattern", "places_below"]

MOST_FILES = 2_000_000


@dataclass(frozen=True)
class Place:
    """Frames of a clip: files of a folder that differ in the number at the end of their names, or a video.

    ``parts`` are the names of folders from the root on and, last, what stands before the number, or the video's name
    without suffix. ``alone`` says whether the folder has no other files of that kind.
    """

    parts: tuple[str, ...]
    suffix: str
    video: bool
    alone: bool = True


def places_below(root: Path) -> list[Place]:
    """Series of images of two frames at least, and videos, in order of names."""
    found: list[Place] = []
    seen = 0
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        seen += len(files)
        if seen > MOST_FILES:
            break
        above = Path(folder).relative_to(root).parts
        series: Counter[tuple[str, str]] = Counter()
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            bare = stem.rstrip("0123456789")
            if suffix.lower() in IMAGES and bare != stem:
                series[bare, suffix] += 1
            elif suffix.lower() in SUFFIXES:
                found.append(Place((*above, stem), suffix, True))
        kept = [one for one, count in series.items() if count > 1]
        found += [Place((*above, bare), suffix, False, len(kept) == 1) for bare, suffix in kept]
    return found


def best_pattern(root: Path, places: Sequence[Place], rows: Sequence[Recording], video: bool) -> tuple[str, int]:
    """The pattern that leads from most rows to a place of their own.

    Parameters
    ----------
    root
        The folder.
    places
        What is there.
    rows
        Cells of the sheet.
    video
        Whether videos are meant, or images.

    Returns
    -------
    The pattern, empty if there is none, and for how many of the rows it finds files.
    """
    candidates: Counter[str] = Counter()
    for row in rows[:: max(1, len(rows) // 40)]:
        patterns = {pattern for place in places if place.video is video for pattern in _patterns(place, row)}
        candidates.update(patterns)
    scored = []
    for pattern, _ in candidates.most_common(12):
        count = _covered(root, pattern, rows)
        # of equal ones the plainest: without *, with both fields, short
        scored.append((count, -pattern.count("*"), pattern.count("{"), -len(pattern), pattern))
    if not scored or max(scored)[0] == 0:
        return "", 0
    count, *_, pattern = max(scored)
    return pattern, count


def _covered(root: Path, pattern: str, rows: Sequence[Recording]) -> int:
    """How many rows find files of their own."""
    claims, count = Claims(Finder(root), pattern, rows), 0
    for row in rows:
        with suppress(FolderProblem):
            count += bool(claims.files_of(row))
    return count


def _patterns(place: Place, row: Recording) -> Iterable[str]:
    """Patterns that lead from a row to a place: as parts are written, and with ``*`` for those that name neither."""
    subject, clip = row
    parts = [_fields(part, subject, clip) for part in place.parts]
    if place.video and clip.lower().endswith(tuple(SUFFIXES)):
        parts[-1] = _fields(place.parts[-1] + place.suffix, subject, clip)
    folders, last = parts[:-1], parts[-1]
    if place.video:
        last = last if last.endswith("{clip}") and clip.lower().endswith(tuple(SUFFIXES)) else last + place.suffix
    elif "{" in last or not place.alone:
        last = f"{last}*{place.suffix}"
    else:
        last = f"*{place.suffix}"
    if not any("{clip" in part for part in (*folders, last)):
        return
    yield "/".join([*folders, last])
    wild = ["*" if "{" not in part else part for part in folders]
    if wild != folders:
        yield "/".join([*wild, last])


def _fields(part: str, subject: str, clip: str) -> str:
    """A name with the cells that it holds written as fields; the longer cell first, since it may hold the other."""
    order = sorted((("subject", subject), ("clip", clip)), key=lambda pair: (-len(pair[1]), pair[0] != "clip"))
    pieces = [part]
    for name, value in order:
        pieces = [piece for text in pieces for piece in _cut(text, name, value)]
    return "".join(pieces)


def _cut(text: str, name: str, value: str) -> list[str]:
    """A text in pieces: before, field, after; the text alone where it does not hold the value, or is a field."""
    if text.startswith("{") or not value:
        return [text]
    number = whole_number(value)
    like, edge = (f"0*{number}", r"\d") if number is not None else (re.escape(alike(value)), r"[^\W_]")
    folded = alike(text)
    if len(folded) != len(text):  # a form of Unicode that has other lengths: the whole name alone can be compared
        return [f"{{{name}}}"] if folded == alike(value) else [text]
    match = re.search(rf"(?<!{edge}){like}(?!{edge})", folded)
    if match is None:
        return [text]
    width = match.end() - match.start()
    padded = number is not None and width > len(str(number))
    written = number is not None and value != text[match.start() : match.end()]
    field = f"{{{name}:0{width}}}" if padded and written else f"{{{name}}}"
    return [piece for piece in (text[: match.start()], field, text[match.end() :]) if piece]
