"""Action units as annotators write them: ``4+L12``, ``R14A or 17A``, ``ref(7B)+43``.

The notation is that of FACS (Ekman, Friesen, Hager 2002), as the sheets of CASME II, SAMM and CAS(ME)^3 have it:

======================  ================================================================================
``4+7``                 units that move together; commas and semicolons separate as well
``L12``, ``R12``        one side of the face: its own left or right
``A12``, ``A/L12``      both sides, one more than the other
``T18``, ``B23``        the upper lip alone, or the lower
``7B``, ``10A/B``       intensity from A (a trace) to E
``L12 or L14``          one of them, the annotator cannot tell which; parentheses hold such a group together
``ref(43)``             noted in reference to others by SAMM's coders, whose meaning no description says
``?``                   unknown
======================  ================================================================================
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ENOUGH", "ActionUnit", "parse_action_units", "unit_lines", "unit_report"]

ENOUGH = 10  # clips from which on a unit can be told from others at all

_SIDES = {"L": "left", "R": "right", "A": "asymmetric", "A/L": "asymmetric", "A/R": "asymmetric"}
_LIPS = {"T": "upper", "B": "lower"}
_UNIT = re.compile(r"(?:AU\s*)?(A/L|A/R|[LRTBA])?\s*([1-9][0-9]?)\s*([A-E](?:/[A-E])?)?")
_REFERENCE = re.compile(r"REF\s*\((.*)\)")
_SEPARATORS = re.compile(r"[+,;&、]")


@dataclass(frozen=True)
class ActionUnit:
    """One unit of an annotation.

    Attributes
    ----------
    number
        Of FACS, 1 to 99.
    side
        ``left``, ``right`` or ``asymmetric``; empty: both sides alike.
    lip
        ``upper`` or ``lower``, where one lip alone moves; else empty.
    intensity
        ``A`` to ``E``, ``A/B`` between two; empty: not given.
    certain
        Whether the annotator says that it moves: not one of several, and not in reference.
    """

    number: int
    side: str = ""
    lip: str = ""
    intensity: str = ""
    certain: bool = True

    @property
    def name(self) -> str:
        """``AU12``."""
        return f"AU{self.number}"


def parse_action_units(text: str | None) -> tuple[tuple[ActionUnit, ...], tuple[str, ...]]:
    """Read a cell of a sheet.

    Parameters
    ----------
    text
        The cell; None, an empty one and ``?`` name no unit.

    Returns
    -------
    The units in the order of the cell, and the parts of it that name none.
    """
    if text is None:
        return (), ()
    whole = unicodedata.normalize("NFKC", text).strip()
    units: list[ActionUnit] = []
    unread: list[str] = []
    if whole in ("", "?", "-", "/"):
        return (), ()
    for part in _parts(whole):
        bare = part.upper()
        reference = _REFERENCE.fullmatch(bare)
        inside = reference[1] if reference else bare.removeprefix("(").removesuffix(")")
        alternatives = [each.strip() for each in re.split(r"\bOR\b", inside)]
        found = [_UNIT.fullmatch(each) for each in alternatives]
        if not all(found):
            unread.append(part)
            continue
        certain = reference is None and len(alternatives) == 1
        for match in filter(None, found):
            before, number, intensity = match.groups()
            units.append(
                ActionUnit(int(number), _SIDES.get(before, ""), _LIPS.get(before, ""), intensity or "", certain)
            )
    return tuple(units), tuple(unread)


def _parts(text: str) -> list[str]:
    """What separators part outside parentheses."""
    parts, depth, begun = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth <= 0 and _SEPARATORS.match(sign):
            parts.append(text[begun:place])
            begun = place + 1
    return [part.strip() for part in (*parts, text[begun:]) if part.strip()]


def unit_report(annotations: Mapping[str, str | None]) -> dict[str, Any]:
    """Count the clips of each unit.

    Parameters
    ----------
    annotations
        The cell of each clip, by its name.

    Returns
    -------
    A JSON-able mapping: ``units``, by name such as ``AU4`` in order of number, with the number of ``clips`` in which it
    moves for certain, of those on the ``left`` or ``right`` alone, and of the clips in which it may move
    (``uncertain``); ``unread``, parts of cells that name no unit, with their clips; ``without``, how many clips have
    no unit.
    """
    clips, left, right, uncertain = (Counter[int]() for _ in range(4))
    unread, without = [], 0
    for clip, text in annotations.items():
        units, rest = parse_action_units(text)
        unread += [{"clip": clip, "text": part} for part in rest]
        without += not units
        certain = {unit.number for unit in units if unit.certain}
        clips.update(certain)
        uncertain.update({unit.number for unit in units} - certain)
        for side, count in (("left", left), ("right", right)):
            count.update(_alone(units, certain, side))
    return {
        "units": {
            f"AU{number}": {
                "clips": clips[number],
                "left": left[number],
                "right": right[number],
                "uncertain": uncertain[number],
            }
            for number in sorted(clips.keys() | uncertain.keys())
        },
        "unread": unread,
        "without": without,
    }


def _alone(units: Iterable[ActionUnit], certain: Iterable[int], side: str) -> Iterable[int]:
    for number in certain:
        if {unit.side for unit in units if unit.number == number and unit.certain} == {side}:
            yield number


def unit_lines(report: Mapping[str, Any]) -> list[str]:
    """Lines of a terminal for what `unit_report` gives; none where no clip has a unit."""
    units = report["units"]
    if not units:
        return []
    often = {name: found for name, found in units.items() if found["clips"] >= ENOUGH}
    listed = [
        f"{name} {found['clips']}" + (f" ({', '.join(sides)})" if (sides := _sides(found)) else "")
        for name, found in sorted(often.items(), key=lambda item: (-item[1]["clips"], int(item[0][2:])))
    ]
    seldom = ", ".join(f"{name} {found['clips']}" for name, found in units.items() if name not in often)
    lines = [f"action units of {ENOUGH} clips and more: {', '.join(listed) or 'none'}"]
    lines += [f"of fewer: {seldom}"] if seldom else []
    doubtful = {name: found["uncertain"] for name, found in units.items() if found["uncertain"]}
    if doubtful:
        lines.append(f"perhaps, in further clips: {', '.join(f'{name} {count}' for name, count in doubtful.items())}")
    if report["without"]:
        lines.append(f"{report['without']} clips without an action unit")
    for row in report["unread"]:
        lines.append(f"{row['clip']}: {row['text']!r} is no action unit, and is left out")
    return lines


def _sides(found: Mapping[str, int]) -> list[str]:
    return [f"{side} alone {found[side]}" for side in ("left", "right") if found[side]]
