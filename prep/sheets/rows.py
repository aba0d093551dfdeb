"""Rows of an annotation sheet: whose they are, and how they become annotations or rejections."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import ascii_letters
from typing import Any

import pandas as pd

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.releases.common.base import Annotation, Annotations
from fdpbench.prep.sheets.columns import MORE, own_column
from fdpbench.prep.sheets.corrections import Correction, known_corrections
from fdpbench.prep.sheets.names import NAMES, data_set, named_emotion, named_subject, release_of
from fdpbench.prep.sheets.tables import Sheet, is_unknown, read_sheet, whole_number
from fdpbench.prep.store.schema import Reason

__all__ = ["COLUMNS", "OPTIONAL", "annotate", "rows_of"]

# Columns that most sheets have, and those that a sheet may have.
COLUMNS = ("subject", "clip", "onset", "apex", "offset", "emotion")
_MARKS = ("onset", "apex", "offset")
OPTIONAL = ("action_units", "fps", "dataset", *(f"{mark}{k}" for k in MORE for mark in _MARKS))

# Words for an emotion that a release is not known to use are taken for slips of the pen while there are fewer rows of
# them than this, or no larger share; beyond, it is the list of known ones that is wrong.
FEW_ROWS, FEW_SHARE = 3, 0.1

# Subjects and clips are parts of a clip's key and names of folders.
_NAME = re.compile(r"(?!\.\.?$)[^/\\\x00-\x1f]+")


def rows_of(
    annotations: Annotations,
    path: Path,
    columns: Iterable[str] = COLUMNS,
    optional: Iterable[str] = (),
    **choice: Any,
) -> Sheet:
    """Read a sheet and keep the rows that are this release's.

    A row of another data set, by a column that says so, is passed over, and how many is noted. A row named like
    those of another release (`prep.sheets.names`) is rejected by name. A row that holds several expressions gives
    as many, the further ones named by their number: ``s01_ne_01_2``.

    Parameters
    ----------
    annotations
        Gets rejections and notes.
    path
        The file.
    columns, optional
        Columns that the sheet must have, and may have beside `OPTIONAL`.
    **choice
        Which sheets of a workbook to consider, as `read_sheet` takes it.

    Returns
    -------
    A table of text with all these columns and ``recording``, the clip's name in the sheet.

    Raises
    ------
    ReleaseError
        If the sheet cannot be read or is another release's.
    """
    release = annotations.release
    columns = list(columns)
    further = [name for name in (*OPTIONAL, "apex", *optional) if name not in columns]
    table = read_sheet(path, columns, further, release, notes=annotations.notes, **choice)
    signed = any(own_column(name) == release for name in table.attrs["header"].values())
    rows = list(zip(table.index, table.to_dict("records"), strict=True))
    rows = _of_data_set(annotations, path, rows)
    if not signed:
        rows = _own(annotations, path, rows)
    several = [clip for row in rows for clip in _expressions(*row)]
    if len(several) > len(rows):
        annotations.notes.append(
            f"{len(several) - len(rows)} rows' further micro-expressions are clips of their own, named by number (_2)"
        )
    return pd.DataFrame(
        [cells for _, cells in several],
        index=pd.Index([number for number, _ in several], dtype="int64"),
        columns=[*columns, *further, "recording"],
    )


_Row = tuple[int, dict[str, str]]


def _of_data_set(annotations: Annotations, sheet: Path, rows: list[_Row]) -> list[_Row]:
    """Rows whose column of data sets does not name another release."""
    others = Counter(cells["dataset"] for _, cells in rows if data_set(cells["dataset"], annotations.release) is False)
    if not others:
        return rows
    said = ", ".join(f"{name} {count}" for name, count in sorted(others.items()))
    own = [row for row in rows if row[1]["dataset"] not in others]
    if not own:
        raise ReleaseError(f"{sheet}: no row of {annotations.release}; its column of data sets says {said}")
    annotations.notes.append(f"{others.total()} rows of other data sets are passed over: {said}")
    return own


def _own(annotations: Annotations, sheet: Path, rows: list[_Row]) -> list[_Row]:
    """Rows that are not named like another release's; the others are rejected by name.

    Raises
    ------
    ReleaseError
        If most rows are another release's.
    """
    release = annotations.release
    whose = [release_of(cells["subject"], cells["clip"], release) for _, cells in rows]
    others = Counter(name for name in whose if name not in (None, release))
    known = f" ({NAMES[release].example})" if release in NAMES else ""
    if 2 * others.total() > len(whose):
        other, count = others.most_common(1)[0]
        raise ReleaseError(
            f"{sheet}: looks like a sheet of {other}, not of {release}: {count} of {len(whose)} rows "
            f"are named as there ({NAMES[other].example}), {whose.count(release)} as in {release}"
            f"{known}. Give {release}'s sheet, or read this one as {other}"
        )
    if known and 2 * whose.count(None) > len(whose):
        annotations.notes.append(
            f"{whose.count(None)} of {len(whose)} rows are named otherwise than known of {release}{known}: is it this "
            "release's sheet?"
        )
    own = []
    for (number, cells), name in zip(rows, whose, strict=True):
        if name in (None, release):
            own.append((number, cells))
            continue
        detail = f"row {number}: subject {cells['subject']!r}, clip {cells['clip']!r} are named as in {name}"
        annotations.reject(cells["subject"], cells["clip"], Reason.BAD_ROW, detail, cells["emotion"].lower())
    return own


def _expressions(number: int, cells: dict[str, str]) -> Iterator[_Row]:
    """The expressions of a row, each as a row of its own."""
    clip = cells["clip"]
    yield number, cells | {"recording": clip}
    for k in MORE:
        marks = {mark: cells.get(f"{mark}{k}", "") for mark in _MARKS}
        if not all(is_unknown(marks[mark]) or whole_number(marks[mark]) == 0 for mark in ("onset", "offset")):
            yield number, cells | marks | {"clip": f"{clip}_{k}", "recording": clip}


def annotate(
    annotations: Annotations,
    table: Sheet,
    *,
    fps: float | None,
    emotions: Iterable[str] | None = None,
    same: Mapping[str, str] | None = None,
    zero_is_missing: bool = True,
    whole_clips: bool = False,
) -> None:
    """Turn a sheet's rows into annotations: tidied, corrected, checked.

    A row is rejected by name if it has no subject or clip, a clip whose name carries another subject or another
    emotion, is a clip's second row, has no whole onset and offset, an apex that is neither a whole number nor marked
    as unknown, marks out of order, or an emotion that is missing or none of ``emotions``. An unknown apex (``/``,
    empty) becomes None.

    Emotions that are none of ``emotions`` in more than a few rows (`FEW_ROWS`, `FEW_SHARE`) are no slips of the pen:
    these rows are kept with the sheet's words, and a note says so. Numbers are never kept: what they stand for is not
    known.

    Parameters
    ----------
    annotations
        Gets clips, rejections, corrections and notes.
    table
        Columns ``subject`` and ``clip`` as the reader names them, ``onset``, ``apex``, ``offset``,
        ``emotion``, ``action_units`` and, where the reader needs them, ``fps``, ``recording`` and ``place``, all text.
    fps
        Frames per second, of rows that do not say.
    emotions
        The emotions that the release is known to hold, in lower case; None where they are not known.
    same
        Emotions that are spelt in two ways: spelling -> the one to use, both in lower case.
    zero_is_missing
        Whether frames count from 1, so that an apex of 0 is unknown.
    whole_clips
        Whether onset and offset may be unknown, as the apex may: the clip's first and last frame then, None here.
    """
    known = None if emotions is None else set(emotions)
    corrections = known_corrections(annotations.release, annotations.sheet)
    by_clip: dict[str, list[Correction]] = {}
    for correction in corrections:
        by_clip.setdefault(correction.clip, []).append(correction)
    met: dict[Correction, str] = {}
    seen: dict[str, str] = {}
    strange: list[tuple[Annotation, str]] = []
    codes: Counter[tuple[str, str]] = Counter()
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        row, subject, clip = f"row {number}", cells["subject"], cells["clip"]
        word = cells["emotion"].lower()
        emotion = (same or {}).get(word, word)
        misnamed = _misnamed(annotations, cells)
        if misnamed is not None:
            annotations.reject(subject, clip, Reason.BAD_ROW, f"{row}: {misnamed}", word)
            continue
        for correction in by_clip.get(f"{subject}/{clip}", []):
            met[correction] = cells[correction.column]
            if met[correction] == correction.sheet_value:
                cells[correction.column] = correction.value
                if correction.column == "emotion":
                    word = correction.value.lower()
                    emotion = (same or {}).get(word, word)
        name = annotations.clip_id(subject, clip)
        if name in seen:
            twice = f"{row}: this clip stands in the sheet already: {seen[name]}"
            annotations.reject(subject, clip, Reason.DUPLICATE, twice)
            continue
        seen[name] = row
        named = named_emotion(clip, annotations.release)
        if named is not None and not is_unknown(word):
            codes[word, named] += 1
        onset, offset, apex = (whole_number(cells[mark]) for mark in ("onset", "offset", "apex"))
        problem: tuple[Reason, str] | None = None
        unknown = is_unknown(cells["apex"]) or (apex == 0 and zero_is_missing)
        apex = None if unknown else apex
        left_open = {"apex"} if unknown else set()
        left_open |= {mark for mark in ("onset", "offset") if whole_clips and is_unknown(cells[mark])}
        marks = {"onset": onset, "apex": apex, "offset": offset}
        known_marks = [mark for mark in marks.values() if mark is not None]
        if (
            any(mark is None and name not in left_open for name, mark in marks.items())
            or min(known_marks, default=0) < 0
        ):
            problem = Reason.BAD_ROW, _NUMBERS
        elif is_unknown(word):
            problem = Reason.BAD_ROW, "an emotion"
        elif known_marks != sorted(known_marks) or (onset is not None and onset == offset):
            problem = Reason.BAD_MARKS, "onset < offset, and the apex between them"
        elif known is not None and emotion not in known:
            problem = Reason.UNKNOWN_EMOTION, f"one of the emotions {', '.join(sorted(known))}"
        elif named not in (None, emotion):
            problem = Reason.CONTRADICTS_NAME, f"the emotion {named}, as the clip is named"
        detail = "" if problem is None else f"{row}: {_text(cells)}; expected {problem[1]}"
        if problem is not None and problem[0] != Reason.UNKNOWN_EMOTION:
            annotations.reject(subject, clip, problem[0], detail, emotion)
            continue
        annotation = Annotation(
            row,
            subject,
            clip,
            onset,
            apex,
            offset,
            emotion,
            cells.get("action_units") or None,
            _rate(cells.get("fps", ""), fps),
            cells.get("recording", clip),
            cells.get("place", ""),
        )
        if problem is None:
            annotations.clips.append(annotation)
        else:
            strange.append((annotation, detail))
    _place_strange(annotations, strange)
    _say_codes(annotations, codes, same or {})
    annotations.corrections += [correction.report(met.get(correction)) for correction in corrections]


_NUMBERS = "frame numbers of onset and offset, and of the apex or / where it is unknown"


def _misnamed(annotations: Annotations, cells: Mapping[str, str]) -> str | None:
    """What is wrong with the names of a row, if anything."""
    subject, clip = cells["subject"], cells["clip"]
    if not _NAME.fullmatch(subject) or not _NAME.fullmatch(clip):
        return f"subject {subject!r}, clip {clip!r}, {_text(cells)}; expected both, as folders are named"
    named = named_subject(clip, annotations.release)
    if named is not None and whole_number(subject.lstrip(ascii_letters)) != named:
        return f"subject {subject!r}, but clip {clip!r} is named as one of subject {named}; which is right?"
    return None


def _text(cells: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {cells[name]!r}" for name in (*_MARKS, "emotion"))


def _rate(cell: str, fps: float | None) -> float | None:
    """Frames per second by a row's own cell, or else the release's."""
    return float(cell) if re.fullmatch(r"[0-9]{1,5}(\.[0-9]*)?", cell) and float(cell) else fps


def _place_strange(annotations: Annotations, strange: list[tuple[Annotation, str]]) -> None:
    """Reject rows with emotions that the release is not known to hold, or keep them where they are many."""
    words = [pair for pair in strange if re.search(r"[^\W\d_]", pair[0].emotion)]
    many = len(words) >= FEW_ROWS and len(words) > FEW_SHARE * (len(annotations.clips) + len(strange))
    if many:
        annotations.clips += [annotation for annotation, _ in words]
        counts = Counter(annotation.emotion for annotation, _ in words)
        listed = ", ".join(f"{emotion} {count}" for emotion, count in sorted(counts.items()))
        annotations.notes.append(
            f"{len(words)} clips are kept with emotions that {annotations.release} is not known to hold: {listed}; the "
            "class maps do not have them, a task of your own may"
        )
    for annotation, detail in strange:
        if not many or (annotation, detail) not in words:
            annotations.reject(annotation.subject, annotation.clip, Reason.UNKNOWN_EMOTION, detail, annotation.emotion)


def _say_codes(annotations: Annotations, codes: Counter[tuple[str, str]], same: Mapping[str, str]) -> None:
    """Note what numbers stand for by the clips' names, where that is not what the reader takes them for."""
    numbers = {(word, named): count for (word, named), count in codes.items() if word.isdecimal()}
    wrong = sum(count for (word, named), count in numbers.items() if same.get(word) != named)
    if wrong:
        by_names = ", ".join(f"{word} is {named} ({count})" for (word, named), count in sorted(numbers.items()))
        taken = ", ".join(f"{word} for {emotion}" for word, emotion in same.items() if word.isdecimal())
        annotations.notes.append(
            f"{wrong} labels contradict the names of their clips: by the names {by_names}; numbers are taken {taken}. "
            "Another code is in use: write the emotions in words"
        )
