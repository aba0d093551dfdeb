"""Known faults of annotation sheets: `corrections.csv`, applied by cell value and reported, never by row number.

A line says: in ``release``, in sheets whose file name matches ``version`` (``*``: all), for ``clip``
(subject/clip as the reader names it before any correction), ``column`` holds ``sheet_value`` and should
hold ``value`` (empty: unknown), because of ``source``. Where the sheet holds something else, another
version has been mended or differs otherwise: nothing is changed, and that is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pandas as pd

__all__ = ["COLUMNS", "Correction", "known_corrections"]

TABLE = Path(__file__).parent / "corrections.csv"

# Columns that a correction may change.
COLUMNS = ("onset", "apex", "offset", "emotion", "action_units")


@dataclass(frozen=True)
class Correction:
    """One known fault of a sheet; see this module."""

    release: str
    version: str
    clip: str
    column: str
    sheet_value: str
    value: str
    source: str

    def report(self, found: str | None) -> dict[str, str | bool | None]:
        """Row of the report: what the sheet holds (None: it has no such clip), and whether it was changed."""
        return {**asdict(self), "found": found, "applied": found == self.sheet_value}


def known_corrections(release: str, sheet: str, table: Path = TABLE) -> list[Correction]:
    """Corrections for one release and one sheet's file name.

    Raises
    ------
    ValueError
        If a line of the table has an empty source or clip, or a column that cannot be corrected.
    """
    return [
        correction
        for correction in _read(table)
        if correction.release == release and fnmatch(sheet, correction.version)
    ]


@cache
def _read(table: Path) -> tuple[Correction, ...]:
    rows = pd.read_csv(table, dtype=str, keep_default_na=False).to_dict("records")
    corrections = tuple(Correction(**row) for row in rows)
    for correction in corrections:
        if correction.column not in COLUMNS or not correction.clip or not correction.source:
            raise ValueError(f"{table}: {correction} needs a clip, a source and a column of {', '.join(COLUMNS)}")
    return corrections
