"""How releases write their subjects and clips: it tells one release's sheet from another's.

Several releases name the columns of their sheets alike, so that the columns do not tell whose sheet it is.
What stands in them does: `EP02_01f` is a clip of CASME II, `006_1_2` one of SAMM. A row is another
release's if it is named as that one names its clips and not as its own does. A row that is named like
none is kept: sheets in circulation differ, and whether its folder is there decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["NAMES", "Names", "named_subject", "release_of"]


@dataclass(frozen=True)
class Names:
    """How the sheet of a release writes a subject and a clip: patterns for whole cells, in either case.

    Group ``subject`` of the clip's pattern is the number of the subject, where the clip's name carries it.
    """

    subject: str
    clip: str
    example: str

    def fit(self, subject: str, clip: str) -> bool:
        """Whether the two cells are written like this."""
        return all(
            re.fullmatch(pattern, cell, re.IGNORECASE | re.ASCII)
            for pattern, cell in ((self.subject, subject), (self.clip, clip))
        )


_SMIC = Names(r"s?\d+", r"s(?P<subject>\d+)_(ne|po|sur)_\d+", "subject 1, clip s01_ne_01")

# Releases whose sheets can be taken for one another; the others' have columns of their own.
NAMES = {
    "synthetic": Names(r"s\d+", r"[a-z]+_\d+", "subject s01, clip happiness_1"),
    "casme2": Names(r"(sub)?\d+", r"EP\d+\w*", "subject 01, clip EP02_01f"),
    "samm": Names(r"\d+", r"(?P<subject>\d{3})_\d+_\d+", "subject 006, clip 006_1_2"),
    "smic_hs": _SMIC,
    "smic_vis": _SMIC,
    "smic_nir": _SMIC,
    "casme3_a": Names(r"spNO\.\d+", r"[a-z]", "subject spNO.1, clip a"),
    "mmew": Names(r"S?\d+", r"S(?P<subject>\d+)-\d+-\d+", "subject S01, clip S01-70-001"),
    "dfme": Names(r"sub\d{4}", r".+", "subject sub0003"),
}


def release_of(subject: str, clip: str, release: str) -> str | None:
    """Name the release whose row this is.

    Parameters
    ----------
    subject, clip
        Cells, as the sheet has them.
    release
        The release that is being read: where the row is named as its own are, it is its own.

    Returns
    -------
    ``release``, or the first other one that names its clips like this; None if none does.
    """
    own = [release] if release in NAMES else []
    return next((name for name in (*own, *NAMES) if NAMES[name].fit(subject, clip)), None)


def named_subject(clip: str, release: str) -> int | None:
    """Return the number of the subject that a clip's name carries; None where it carries none."""
    names = NAMES.get(release)
    match = re.fullmatch(names.clip, clip, re.IGNORECASE | re.ASCII) if names is not None else None
    return int(match["subject"]) if match is not None and "subject" in match.groupdict() else None
