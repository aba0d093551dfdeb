"""Logs of predictions as released code writes them: the MEGC2019 challenge's form, and lists for each subject.

The challenge's form (STSTNet, CapsuleNet and others) names every clip, its two columns in either order::

    casme2 sub01
    EP02_01f 1 1

The public PyTorch port of STSTNet, and HTNet and CausalNet after it, print lists for each subject and name no clip::

    Subject: 006
    Predicted   : [0, 2]
    Ground Truth: [0, 0]
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fdpbench.bench.external.text import MAX_FIELD, MAX_ROWS, MAX_SUBJECTS, OutsideError, Row, check_count
from fdpbench.prep.releases.common.composite import EMOTIONS, composite_key

__all__ = [
    "LoggedClip",
    "clip_log",
    "looks_like_clip_log",
    "looks_like_subject_log",
    "subject_log",
]

HEAD = re.compile(r"(casme2|smic|samm)[ \t]+(\S+)", re.IGNORECASE)
SUBJECT = re.compile(r"subject\s*:\s*(\S.*)", re.IGNORECASE)
LIST = re.compile(r"(best\s+)?(predicted|ground\s*truth)\b\s*:?\s*(.*)", re.IGNORECASE)

# What stands before the number of a subject in each data set; in a log of several, SAMM's are bare.
PREFIXES = {"casme2": "sub", "smic": "s", "samm": ""}
SPELLINGS = {"casme2": re.compile(r"sub[0-9]+"), "smic": re.compile(r"s[0-9]+"), "samm": re.compile(r"[0-9]+")}


@dataclass(frozen=True)
class LoggedClip:
    """A line of the challenge's form: whose clip, and its two columns in the file's order."""

    where: str
    dataset: str
    subject: str
    clip: str
    columns: tuple[str, str]


def looks_like_clip_log(text: str) -> bool:
    """Whether a line is the head of a subject in the challenge's form, such as ``casme2 sub01``."""
    return any(HEAD.fullmatch(line) for _, line in _lines(text))


def looks_like_subject_log(text: str) -> bool:
    """Whether a line is the head of a subject in the form with lists, such as ``Subject: 006``."""
    return any(SUBJECT.fullmatch(line) for _, line in _lines(text))


def clip_log(path: Path, text: str) -> list[LoggedClip]:
    """Read a log of the challenge's form.

    A head's subject may be a bare number, as SAMM's are: ``smic 20`` is ``s20``.

    Parameters
    ----------
    path
        Its place, for messages.
    text
        Its content.

    Raises
    ------
    OutsideError
        Naming the line that is neither a subject's head nor a clip with two labels of 0, 1, 2, or whose clip is not
        one of that subject.
    """
    found: list[LoggedClip] = []
    head: tuple[str, str] | None = None
    for number, line in _lines(text):
        where = f"line {number}"
        _check_length(path, where, line)
        words, match = line.split(), HEAD.fullmatch(line)
        if match:
            head = (match.group(1).lower(), match.group(2))
        elif len(words) == 3 and head is not None and all(word in EMOTIONS for word in words[1:]):
            key = _composite(head[0], head[1], words[0])
            if key is None:
                raise OutsideError(f"{path}, {where}: {' '.join(head)} {words[0]} is no clip of MEGC2019")
            check_count(path, len(found) + 1, MAX_ROWS, "clips")
            found.append(LoggedClip(where, *key, (words[1], words[2])))
        else:
            raise OutsideError(
                f"{path}, {where}: {line[:80]!r}; expected a line such as 'casme2 sub01', then lines 'clip gt pred' "
                "with labels 0, 1, 2"
            )
    if not found:
        raise OutsideError(f"{path}: no clip in this log")
    return found


def _composite_subject(subject: str) -> str | None:
    """Data set of MEGC2019 whose subjects are spelt so: ``sub01``, ``s01``, ``006``; None of no one's."""
    return next((name for name, spelling in SPELLINGS.items() if spelling.fullmatch(subject)), None)


def subject_log(path: Path, text: str, notes: list[str]) -> list[Row]:
    """Read a log with lists for each subject; its clips are not named.

    Parameters
    ----------
    path
        Its place, for messages.
    text
        Its content. Lines of other kinds, such as running scores, are passed over.
    notes
        Takes a line where the lists are, by the log's own words, those of the best epoch.

    Returns
    -------
    list of Row
        In the file's order, ``clip`` None. The data set is that of MEGC2019 where the subjects are spelt as those of
        several of its sets are, else None.

    Raises
    ------
    OutsideError
        Naming line and subject, if a subject comes twice, lacks a list, or its lists differ in length.
    """
    subjects = _subjects(path, text)
    best = all("best predicted" in lists and "predicted" not in lists for _, _, lists in subjects)
    wanted = "best predicted" if best else "predicted"
    spelt = {name: _composite_subject(name) for _, name, _ in subjects}
    composite = None not in spelt.values() and len(set(spelt.values())) > 1
    rows: list[Row] = []
    for where, name, lists in subjects:
        for kind in (wanted, "ground truth"):
            if kind not in lists:
                shown = kind.title()
                raise OutsideError(
                    f"{path}, {where}: subject {name} has no list '{shown}: [...]'; is the log cut short?"
                )
        predicted, true = lists[wanted], lists["ground truth"]
        if len(predicted) != len(true):
            raise OutsideError(f"{path}, {where}: subject {name} has {len(predicted)} predictions, {len(true)} labels")
        check_count(path, len(rows) + len(true), MAX_ROWS, "clips")
        dataset = spelt[name] if composite else None
        rows += [Row(where, dataset, name, None, a, b) for a, b in zip(predicted, true, strict=True)]
    if wanted == "best predicted":
        notes.append(
            "the log calls its predictions 'Best Predicted': the code that prints so keeps the epoch that does best on "
            "the test subject"
        )
    return rows


def _subjects(path: Path, text: str) -> list[tuple[str, str, dict[str, list[str]]]]:
    """Each subject's place, name and lists by kind: predicted, best predicted, ground truth."""
    found: list[tuple[str, str, dict[str, list[str]]]] = []
    names: set[str] = set()
    lines = _lines(text)
    for number, line in lines:
        where, head, match = f"line {number}", SUBJECT.fullmatch(line), LIST.match(line)
        if head:
            name = head.group(1)
            _check_length(path, where, name)
            if name in names:
                raise OutsideError(f"{path}, {where}: subject {name[:80]} comes twice; a log holds one run")
            names.add(name)
            check_count(path, len(names), MAX_SUBJECTS, "subjects")
            found.append((where, name, {}))
        elif match:
            kind = " ".join(filter(None, ("best" if match.group(1) else "", match.group(2).lower())))
            kind = "ground truth" if kind.startswith("ground") else kind
            if not found:
                raise OutsideError(f"{path}, {where}: {line[:80]!r} stands before any line 'Subject: ...'")
            if kind in found[-1][2]:
                raise OutsideError(f"{path}, {where}: subject {found[-1][1]} has two lists '{kind.title()}'")
            found[-1][2][kind] = _list(path, where, match.group(3), lines)
    return found


def _list(path: Path, where: str, text: str, lines: Iterator[tuple[int, str]]) -> list[str]:
    """Items of a list such as ``[0, 1]``, ``[0 1]`` or ``tensor([0, 1])``, which may go on over several lines."""
    parts = [text]
    while "]" not in parts[-1]:
        _, line = next(lines, (0, None))
        if line is None or SUBJECT.fullmatch(line) or LIST.match(line):
            raise OutsideError(f"{path}, {where}: the list {text[:80]!r} does not end; is the log cut short?")
        parts.append(line)
    match = re.fullmatch(r"(?:tensor\(|array\()?\[([0-9.,\s]*)\](?:,[^\]]*)?\)?", " ".join(parts))
    if match is None:
        raise OutsideError(f"{path}, {where}: {text[:80]!r} is no list of classes such as [0, 1, 2]")
    items = match.group(1).replace(",", " ").split()
    if not items:
        raise OutsideError(f"{path}, {where}: {text[:80]!r} is no list of classes such as [0, 1, 2]")
    return items


def _check_length(path: Path, where: str, text: str) -> None:
    if len(text) > MAX_FIELD:
        raise OutsideError(f"{path}, {where}: {len(text):,} characters where a name is expected; at most {MAX_FIELD:,}")


def _composite(dataset: str, subject: str, clip: str) -> tuple[str, str, str] | None:
    bare = re.fullmatch(r"[0-9]+", subject)
    return composite_key(PREFIXES[dataset] + subject if bare else subject.lower(), clip, dataset)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Stripped lines that hold anything, and their numbers from 1."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            yield number, line.strip()
