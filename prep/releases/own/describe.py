"""`fdpbench describe`: guess, from a folder and the sheet in it, how params.yaml describes a data set of one's own.

What is guessed is tried: the pattern of files is the one that leads from most rows of the sheet to files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.releases.common.frames import FolderProblem
from fdpbench.prep.releases.own.files import Claims, Finder, numbered_files
from fdpbench.prep.releases.own.sheet import MARKS, decimal
from fdpbench.prep.releases.own.tree import best_pattern, places_below
from fdpbench.prep.sheets.columns import ALIASES, fold
from fdpbench.prep.sheets.tables import HEADER_ROWS, is_unknown, read_grids
from fdpbench.prep.sheets.workbooks import KINDS
from fdpbench.prep.store.videos import SUFFIXES, VideoError, video_info

__all__ = ["Description", "describe_folder"]

# Names of columns beside those of the releases (`prep.sheets.columns`), compared as `fold` writes them, units left out.
WORDS = {
    "subject": ("id", "code", "vp", "vpnr", "proband", "probandin", "versuchsperson", "teilnehmer", "teilnehmerin",
                "subjectcode", "participantid", "name", "person", "prüfling", "pruefling", "sujet", "sujeto"),
    "clip": ("datei", "dateiname", "aufnahme", "sequence", "sequenz", "szene", "clipid", "videoid", "videofile",
             "trial", "recording", "nr", "nummer", "number"),
    "onset": ("beginn", "anfang", "begin", "von", "from", "onsettime", "starttime", "startzeit"),
    "apex": ("höhepunkt", "hoehepunkt", "maximum", "max", "gipfel", "scheitel", "apextime", "peaktime"),
    "offset": ("ende", "bis", "to", "stop", "offsettime", "endtime", "endzeit"),
    "emotion": ("gefühl", "gefuehl", "klasse", "ausdruck", "expression", "kategorie", "category", "affect", "affekt"),
    "action_units": ("facs", "aktionseinheiten"),
    "fps": ("bildrate", "framerate", "bilderprosekunde", "hz"),
}  # fmt: skip

_UNITS = {"ms": "milliseconds", "msec": "milliseconds", "millisekunden": "milliseconds", "milliseconds": "milliseconds"}
_UNITS |= dict.fromkeys(("s", "sec", "sek", "sekunden", "seconds"), "seconds")

LOOKED_AT = 40  # clips whose frames are counted


@dataclass
class Description:
    """Settings of a data set, as they are guessed, and what was found on the way."""

    settings: dict[str, Any]
    found: list[str] = field(default_factory=list)


def describe_folder(root: Path, fps: float | None = None) -> Description:
    """Guess the settings of a data set.

    Parameters
    ----------
    root
        Its folder, with a sheet in it or in a folder in it.
    fps
        Frames per second, where they are known.

    Raises
    ------
    ReleaseError
        If there is no sheet, its columns are not known, or no pattern leads from its rows to files.
    """
    if not root.is_dir():
        raise ReleaseError(f"{root}: no such folder")
    sheet, columns, rows = _sheet(root)
    pairs = list(dict.fromkeys(map(_recording, rows)))
    places = places_below(root)
    if not places:
        kinds = f"no images that are numbered and no videos ({', '.join(SUFFIXES)})"
        raise ReleaseError(f"{root}: {kinds} in it or below; give the folder that holds them and the sheet")
    options = {video: best_pattern(root, places, pairs, video) for video in (False, True)}
    video = options[True][1] > options[False][1]
    pattern, count = options[video]
    if not pattern:
        shown = ", ".join("/".join(place.parts) + place.suffix for place in places[:3])
        raise ReleaseError(
            f"{root}: no file or folder is named as {sheet.name} names its clips ({', '.join(map(repr, pairs[:3]))}); "
            f"there are {shown}. Write into the sheet how files or folders are named, or write the pattern yourself"
        )
    result = Description({"kind": "folder", "sheet": sheet.relative_to(root).as_posix(), "columns": columns})
    result.found.append(f"{sheet.name}: {len(rows)} rows; the pattern finds files of {count} of {len(pairs)} clips")
    result.settings |= {"video" if video else "frames": pattern}
    claims = Claims(Finder(root), pattern, pairs)
    clips = _VideoClips(claims) if video else _ImageClips(claims)
    sample = rows[:: max(1, len(rows) // LOOKED_AT)]
    counted = [(row, found) for row in sample if (found := clips.frames(row))]
    rate = fps or (clips.rate if isinstance(clips, _VideoClips) and "fps" not in columns else None)
    unit = _unit(columns, counted, rate)
    if unit != "frames" and not rate and "fps" not in columns:
        raise ReleaseError(
            f"{root}: onset, apex and offset of {sheet.name} are {unit}: say how many frames a second there are, "
            "--fps 120"
        )
    if rate:
        result.settings["fps"] = int(rate) if rate == int(rate) else rate
        if not fps:
            result.found.append(f"fps: {rate:g} by the first video; write another if they were recorded otherwise")
    elif "fps" not in columns:
        result.found.append("fps: not known; durations are not known then (--fps says it)")
    if unit != "frames":
        result.settings["unit"] = unit
    result.settings |= _counting(columns, rows, counted, unit, video, result.found)
    result.settings["faces_may_be_published"] = False
    return result


def _sheet(root: Path) -> tuple[Path, dict[str, str], list[dict[str, str]]]:
    """The sheet with most columns that are known, theirs by our names, and its rows."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    sheets = [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in KINDS and path.is_file() and not path.name.startswith(("~", "."))
    ]
    if not sheets:
        raise ReleaseError(f"{root}: no sheet ({', '.join(KINDS)}) in it, or in a folder in it; put yours there")
    best: tuple[Path, dict[str, str], list[dict[str, str]]] | None = None
    headers, problems = [], []
    for path in sheets:
        try:
            grids = read_grids(path)
        except ReleaseError as error:
            problems.append(str(error))
            continue
        for grid in grids.values():
            filled = [[cell for cell in row if cell] for row in grid.head(HEADER_ROWS).to_numpy()]
            widest = max(map(len, filled), default=0)
            headers += [f"{path.name}: {', '.join(row)}" for row in filled if len(row) == widest][:1]
            for number, cells in grid.head(HEADER_ROWS).iterrows():
                names = {place: cell for place, cell in cells.items() if cell}
                places = _columns(names)
                if {"subject", "clip", "emotion"} <= places.keys() and (best is None or len(places) > len(best[1])):
                    below = grid.loc[grid.index > number]
                    rows = [{ours: row[place] for ours, place in places.items()} for _, row in below.iterrows()]
                    rows = [row for row in rows if row["subject"] and row["clip"]]
                    best = (path, {ours: names[place] for ours, place in places.items()}, rows)
    if best is None or not best[2]:
        raise ReleaseError(
            f"{root}: no sheet has columns that are known to name subject, clip and emotion; headers: "
            f"{'; '.join(headers[:3]) or 'none'}. Call them Subject, Clip and Emotion, or map them yourself under "
            f"`columns` in params.yaml{'. ' if problems else ''}{'; '.join(problems)}"
        )
    return best


def _columns(names: Mapping[Any, str]) -> dict[str, Any]:
    """The place of each column that a header names, by our name; the first name of a column counts most."""
    folded = {place: _bare(name)[0] for place, name in names.items()}
    found: dict[str, Any] = {}
    for ours, words in WORDS.items():
        for word in [*map(fold, ALIASES[ours]), *words]:
            place = next(
                (place for place, name in folded.items() if name == word and place not in found.values()), None
            )
            if place is not None:
                found[ours] = place
                break
    return found


def _bare(name: str) -> tuple[str, str | None]:
    """A column's name as `fold` writes it, without the unit that stands behind it, and that unit."""
    match = re.fullmatch(r"(.*?)[\s_]*[\[(/]?\s*(?:in\s+)?([A-Za-z]+)\s*[\])]?", name.strip())
    if match and match[1] and match[2].lower() in _UNITS and not name.isalpha():
        return fold(match[1]), _UNITS[match[2].lower()]
    return fold(name), None


def _recording(row: Mapping[str, str]) -> tuple[str, str]:
    return row["subject"], row["clip"].replace("\\", "/")


class _ImageClips:
    """Frame numbers of clips that are image files."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def frames(self, row: Mapping[str, str]) -> list[int]:
        """Numbers of a clip's frames, rising; none where there are none."""
        try:
            return sorted(numbered_files(self._claims.files_of(_recording(row))).files)
        except FolderProblem:
            return []


class _VideoClips:
    """Frame numbers of clips that are videos, from 0, by their headers."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.rate: float | None = None

    def frames(self, row: Mapping[str, str]) -> list[int]:
        """Numbers of a clip's frames; none where there are none, or the header does not say."""
        try:
            files = self._claims.files_of(_recording(row))
            info = video_info(files[0][0]) if files else None
        except (FolderProblem, VideoError):
            return []
        if info is None:
            return []
        self.rate = self.rate or (info.rate and round(info.rate, 3))
        return list(range(info.frames or 0))


_Counted = Sequence[tuple[Mapping[str, str], list[int]]]


def _unit(columns: Mapping[str, str], counted: _Counted, rate: float | None) -> str:
    """What marks count: as the header says, else seconds where they have decimals, else what fits the frames."""
    for mark in MARKS:
        if unit := _bare(columns.get(mark, ""))[1]:
            return unit
    marks = [value for row, _ in counted for value in _marks(row)]
    if any(value.denominator > 1 for value in marks):
        return "seconds"
    beyond = [max(_marks(row), default=0) > frames[-1] + 1 for row, frames in counted if _marks(row)]
    if rate and beyond and all(beyond):
        fits = [max(_marks(row)) / 1000 * rate <= frames[-1] + 1 for row, frames in counted if _marks(row)]
        return "milliseconds" if all(fits) else "frames"
    return "frames"


def _counting(
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    counted: _Counted,
    unit: str,
    video: bool,
    found: list[str],
) -> dict[str, Any]:
    """Settings of how frames are counted: the first one's number, and whether some are lost."""
    settings: dict[str, Any] = {}
    firsts = {frames[0] for _, frames in counted}
    if video and unit == "frames":
        if any(decimal(row.get(mark, "")) == 0 for row in rows for mark in ("onset", "offset")):  # apex 0: unknown
            settings["first_frame"] = 0
            found.append("first_frame: 0, since a mark is 0")
        else:
            found.append("frames of videos are taken to count from 1; write first_frame: 0 if your sheet counts from 0")
    elif unit != "frames" and not video and firsts == {0}:
        settings["first_frame"] = 0
    gaps = 0
    for row, frames in counted if not video else ():
        marks = [int(value) for value in _marks(row)] if unit == "frames" else []
        inside = [number for number in frames if not marks or min(marks) <= number <= max(marks)]
        if len(inside) > 1 and len(inside) < inside[-1] - inside[0] + 1:
            gaps += 1
    if gaps:
        settings["lost_frames"] = "keep"
        found.append(
            f"lost_frames: keep, since the numbers of {gaps} of {len(counted)} clips that were looked at have gaps; "
            "such clips are used with the frames that are there, and tables say how many there are"
        )
    for mark in MARKS:
        if mark not in columns:
            what = {"onset": "a clip starts with its first frame", "offset": "a clip ends with its last frame"}
            found.append(f"{mark}: no such column; {what.get(mark, 'no flow without flow.missing_apex: estimate')}")
    return settings


def _marks(row: Mapping[str, str]) -> list[Any]:
    cells = (row.get(mark, "") for mark in MARKS)
    return [value for cell in cells if not is_unknown(cell) and (value := decimal(cell)) is not None]
