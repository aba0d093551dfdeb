"""Files of a clip by a pattern such as ``{subject}/{clip}/img*.png``, written as the sheet has subject and clip."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fdpbench.prep.releases.common.frames import IMAGES, FolderProblem, Frames
from fdpbench.prep.sheets.tables import whole_number
from fdpbench.prep.store.schema import Reason

__all__ = ["Claims", "Finder", "alike", "matched", "numbered_files"]

_TOKEN = re.compile(r"\{(?P<field>\w+)(?::0(?P<digits>\d))?\}|(?P<wild>[*?]+)")

Recording = tuple[str, str]  # cells: subject, clip


class _Part(NamedTuple):
    """A part of a pattern between two slashes: as a name, and as an expression that names alike match."""

    name: str
    like: re.Pattern[str]
    wild: bool


class Finder:
    """Finds files below a folder; lists each folder once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._home = root.resolve()
        self._listed = cache(_entries)

    def find(self, pattern: str, values: Mapping[str, str]) -> list[tuple[Path, str]]:
        """Find the files of a pattern.

        Parameters
        ----------
        pattern
            Parts between slashes. ``{subject}``, ``{clip}`` stand for ``values``, ``{subject:03}`` for a number of
            three digits, ``*`` for any characters of a name, ``?`` for one, a part ``**`` for any folders. In a cell
            all three are characters like others.
        values
            Cells of the sheet. One may hold slashes itself.

        Returns
        -------
        Each file, in order of names, and what the last ``*`` of its name stands for, with the ``?`` beside it; nothing
        where it has no ``*``. A part without either is taken as it is written, else as the only name that is alike but
        for case and Unicode form.

        Raises
        ------
        FolderProblem
            If a folder is not there or cannot be listed, several names are alike, or a link leads out of the root.
        """
        places = [self.root]
        parts = [part for text in pattern.split("/") for part in _split(text, values)]
        for part in parts[:-1]:
            places = [below for place in places for below in self._below(place, part)]
            if not places:
                raise FolderProblem(Reason.MISSING_FOLDER, f"no folder {part.name} {_of(parts)}")
        found = []
        for place in places:
            for path in self._named(place, parts[-1], folders=False):
                if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(self._home):
                    raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{path.name} is a link that leads out of the folder")
                stands_for = parts[-1].like.fullmatch(alike(path.name))
                found.append((path, (stands_for.groups() or ("",))[-1] if stands_for else ""))
        return found

    def _below(self, place: Path, part: _Part) -> Iterator[Path]:
        if part.wild and part.name == "**":
            yield place
            for path in self._listed(place):
                if path.is_dir() and not path.is_symlink():
                    yield from self._below(path, part)
            return
        for path in self._named(place, part, folders=True):
            if not path.resolve().is_relative_to(self._home):
                raise FolderProblem(Reason.OUTSIDE_RELEASE, f"{path.name} is a link that leads out of the folder")
            yield path

    def _named(self, place: Path, part: _Part, *, folders: bool) -> list[Path]:
        """Folders, or files, of a folder that a part names."""
        named = [path for path in self._listed(place) if part.like.fullmatch(alike(path.name))]
        named = [path for path in named if path.is_dir() == folders]
        if part.wild or len(named) < 2:
            return named
        exact = [path for path in named if path.name == part.name]
        if not exact:
            names = ", ".join(path.name for path in named)
            raise FolderProblem(Reason.DUPLICATE, f"{names} are alike: which is {part.name}?")
        return exact


class Claims:
    """Which files belong to which recording of a sheet, where the pattern leads from several to one file.

    ``happy_*`` also fits the frames of a clip ``happy_b``: a file belongs to the recording of which the longest part of
    its path is written, if that is one.
    """

    def __init__(self, finder: Finder, pattern: str, recordings: Iterable[Recording]) -> None:
        self._found: dict[Recording, list[tuple[Path, str]] | FolderProblem] = {}
        self._written: dict[Recording, int] = {}  # how many characters of a path are not left open
        self._several: dict[Path, dict[Recording, str]] = {}  # files that more than one leads to
        first: dict[Path, tuple[Recording, str]] = {}
        for recording in dict.fromkeys(recordings):
            values = dict(zip(("subject", "clip"), recording, strict=True))
            try:
                self._written[recording] = len(alike(matched(pattern, values)))
                self._found[recording] = found = finder.find(pattern, values)
            except FolderProblem as problem:
                self._found[recording] = problem
                continue
            for path, text in found:
                other, its_text = first.setdefault(path, (recording, text))
                if other != recording:
                    self._several.setdefault(path, {other: its_text})[recording] = text

    def files_of(self, recording: Recording) -> list[tuple[Path, str]]:
        """Files of a recording, as `Finder.find` gives them, without those of others.

        Raises
        ------
        FolderProblem
            As `Finder.find`, and if nothing tells whose a file is.
        """
        found = self._found[recording]
        if isinstance(found, FolderProblem):
            raise found
        return [(path, text) for path, text in found if self._belongs(path, text, recording)]

    def _belongs(self, path: Path, text: str, recording: Recording) -> bool:
        for other, its_text in self._several.get(path, {}).items():
            more = self._written[recording] - self._written[other]
            # 11001.png of {clip}*.png is frame 1001 of clip 1, or frame 1 of clip 11
            numbers = text != its_text and text.isdecimal() and its_text.isdecimal()
            if other != recording and (more == 0 or numbers):
                raise FolderProblem(
                    Reason.DUPLICATE,
                    f"{path.name} is a file of {' / '.join(recording)} and of {' / '.join(other)}; write the pattern, "
                    "or the sheet, so that it leads from each to files of its own",
                )
            if more < 0:
                return False
        return True


def matched(pattern: str, values: Mapping[str, str]) -> str:
    """A pattern with its fields filled in, for messages."""
    return "/".join(part.name for text in pattern.split("/") for part in _split(text, values))


def numbered_files(found: list[tuple[Path, str]]) -> Frames:
    """Image files by frame number: the digits at the end of what ``*`` stands for.

    Raises
    ------
    FolderProblem
        If two files are the same frame, or differ in more than numbers.
    """
    frames = Frames()
    series: dict[str, Path] = {}
    for path, stands_for in found:
        digits = re.search(r"[0-9]+$", stands_for)
        if digits is None or path.suffix.lower() not in IMAGES:
            frames.others.append(path.name)
            continue
        other = frames.files.setdefault(int(digits.group()), path)
        if other is not path:
            raise FolderProblem(
                Reason.DUPLICATE,
                f"{other.name} and {path.name} are the same frame; remove one, or write the pattern "
                "so that it takes one of them",
            )
        series.setdefault(re.sub(r"[0-9]+", "0", stands_for[: digits.start()]), path)
    if len(series) > 1:
        one, other, *_ = series.values()
        raise FolderProblem(
            Reason.DUPLICATE,
            f"{one.name} and {other.name} are of two series of frames; write the pattern so that it takes one of them",
        )
    return frames


def _split(text: str, values: Mapping[str, str]) -> Iterator[_Part]:
    """Parts of a piece of a pattern: more than one where a value holds slashes."""
    names, likes, wild = [""], [""], [False]
    end = 0
    for token in [*_TOKEN.finditer(text), None]:
        literal = text[end : token.start() if token else None]
        names[-1] += literal
        likes[-1] += re.escape(alike(literal))
        if token is None:
            break
        end = token.end()
        if token["field"]:
            value = values[token["field"]]
            number = whole_number(value) if token["digits"] else None
            value = value if number is None else f"{number:0{token['digits']}d}"
            first, *more = value.strip("/").split("/")
            names[-1] += first
            likes[-1] += re.escape(alike(first))
            names += more
            likes += [re.escape(alike(name)) for name in more]
            wild += [False] * len(more)
        else:
            wild[-1] = True
            names[-1] += token["wild"]
            least = token["wild"].count("?")
            likes[-1] += rf"([^/]{{{least},}})" if "*" in token["wild"] else rf"[^/]{{{least}}}"
    for name, like, is_wild in zip(names, likes, wild, strict=True):
        if name in ("", ".", ".."):
            raise FolderProblem(Reason.BAD_ROW, f"{text!r} with {dict(values)} names no folder or file")
        yield _Part(name, re.compile(like), is_wild)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FolderProblem(Reason.UNREADABLE_FILE, f"{folder.name}: {error.strerror}") from error


def _of(parts: list[_Part]) -> str:
    return f"of {'/'.join(part.name for part in parts)}" if len(parts) > 2 else ""


def alike(name: str) -> str:
    """A name without case and in one form of Unicode: names that people take for the same."""
    return unicodedata.normalize("NFKC", name).casefold()
