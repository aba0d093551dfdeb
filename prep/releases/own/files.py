"""Files of a clip by a pattern such as ``{subject}/{clip}/img*.png``, written as the sheet has subject and clip."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fdpbench.prep.releases.common.frames import IMAGES, FolderProblem, Frames
from fdpbench.prep.sheets.tables import whole_number
from fdpbench.prep.store.schema import Reason

__all__ = ["Finder", "alike", "matched", "numbered_files"]

_TOKEN = re.compile(r"\{(?P<field>\w+)(?::0(?P<digits>\d))?\}|(?P<any>\*)|(?P<one>\?)")


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
            three digits, ``*`` for any characters of a name, ``?`` for one, a part ``**`` for any folders.
        values
            Cells of the sheet. One may hold slashes itself.

        Returns
        -------
        Each file, in order of names, and what the last ``*`` of its name stands for. A part without ``*`` is taken as
        it is written, else as the only name that is alike but for case and Unicode form.

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
        if part.name == "**":
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


def matched(pattern: str, values: Mapping[str, str]) -> str:
    """A pattern with its fields filled in, for messages."""
    return "/".join(part.name for text in pattern.split("/") for part in _split(text, values))


def numbered_files(found: list[tuple[Path, str]]) -> Frames:
    """Image files by frame number: the digits at the end of what ``*`` stands for.

    Raises
    ------
    FolderProblem
        If two files are the same frame.
    """
    frames = Frames()
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
    return frames


def _split(text: str, values: Mapping[str, str]) -> Iterator[_Part]:
    """Parts of a piece of a pattern: more than one where a value holds slashes."""
    names, likes = [""], [""]
    wild, end = False, 0
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
        else:
            wild = True
            names[-1] += token.group()
            likes[-1] += "([^/]*)" if token["any"] else "([^/])"
    for name, like in zip(names, likes, strict=True):
        if name in ("", ".", ".."):
            raise FolderProblem(Reason.BAD_ROW, f"{text!r} with {dict(values)} names no folder or file")
        yield _Part(name, re.compile(like), wild)


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
