"""Which action units show together, in which class: the sets that a corpus draws from, with their weights.

The emotions are those of the embedded release (`prep.demo.synth.plan.EMOTIONS`), the classes those of the MEGC2019
composite (See et al., FG 2019). The sets follow FACS (Ekman, Friesen and Hager 2002): the brow, the nose and the
raised upper lip for disgust, which stands for the negative expressions of the upper face; the lower face for
repression. Weights are relative within a class, and say roughly how often coders of spontaneous
micro-expressions note a set. They were written down by hand, from no release; sets counted from the sheet of
CAS(ME)^3 did no better in a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.composite import CLASS_OF, CLASSES, EMOTIONS
from fdpbench.prep.demo.synth.head import ACTION_UNITS, load_head

__all__ = [
    "CLASSES",
    "CLASS_OF",
    "EMOTIONS",
    "LEANING",
    "SIDED_UNITS",
    "UNIT_SETS",
    "UNITS",
    "UnitSet",
    "sided_weights",
    "sides_of",
]

UNITS = tuple(ACTION_UNITS)


def sides_of(unit: str) -> tuple[str, ...]:
    """The parts of an action unit that move by themselves: ``AU12L`` and ``AU12R`` of ``AU12``, ``AU1`` alone."""
    return (unit + "L", unit + "R") if load_head().has_sides(unit) else (unit,)


SIDED_UNITS = tuple(part for unit in UNITS for part in sides_of(unit))


def sided_weights(weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Weights of action units, or of sides of them, as one number for each of `SIDED_UNITS`, shape (S,)."""
    every = np.zeros(len(SIDED_UNITS), np.float32)
    for unit, weight in weights.items():
        for part in (unit,) if unit in SIDED_UNITS else sides_of(unit):
            every[SIDED_UNITS.index(part)] = weight
    return every


# Units that faces are seen to move on one side more than on the other; those of brow and lids go together.
LEANING = frozenset({"AU2", "AU6", "AU9", "AU10", "AU12", "AU14", "AU15", "AU20"})


@dataclass(frozen=True)
class UnitSet:
    """Action units that show together, of what emotion, and how often within its class."""

    units: tuple[str, ...]
    emotion: str
    weight: float


def _sets(emotion: str, weights: dict[str, float]) -> tuple[UnitSet, ...]:
    """Sets written as in sheets: ``4+7`` for AU4 and AU7."""
    return tuple(UnitSet(tuple(f"AU{n}" for n in text.split("+")), emotion, w) for text, w in weights.items())


UNIT_SETS: dict[str, tuple[UnitSet, ...]] = {
    "negative": _sets(
        "disgust",
        {
            "4": 5, "4+7": 5, "4+9": 2, "4+7+9": 2, "9+10": 1.5, "4+7+10": 1, "7": 1.5, "10": 1, "1+4": 1,
            "1+4+15": 0.5, "4+17": 1, "4+14": 0.7,
        },
    )
    + _sets(
        "repression",
        {"14": 2, "15": 1.5, "17": 1.5, "15+17": 1.5, "17+24": 1, "14+24": 0.7, "20": 0.7, "24": 0.5},
    ),
    "positive": _sets(
        "happiness",
        {
            "12": 5, "6+12": 5, "6+7+12": 1, "12+25": 1, "6+12+25": 0.7, "12+14": 0.7, "12+24": 0.4, "12+17": 0.3,
            "6": 0.3,
        },
    ),
    "surprise": _sets(
        "surprise",
        {
            "1+2": 5, "1+2+5": 3, "1+2+25": 1.5, "5": 0.8, "2": 0.7, "1": 0.7, "5+25": 0.7, "1+2+5+25": 0.7,
            "25": 0.4,
        },
    ),
}  # fmt: skip
