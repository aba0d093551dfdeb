"""How releases write their subjects and clips: it tells one release's sheet from another's.

Several releases name the columns of their sheets alike, so that the columns do not tell whose sheet it is.
What stands in them does: `EP02_01f` is a clip of CASME II, `006_1_2` one of SAMM. A row is another
release's if it is named as that one names its clips and not as its own does. A row that is named like
none is kept: sheets in circulation differ, and whether its folder is there decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fdpbench.prep.sheets.columns import fold

__all__ = ["NAMES", "Names", "data_set", "named_emotion", "named_subject", "release_of"]


@dataclass(frozen=True)
class Names:
    """How the sheet of a release writes a subject and a clip: patterns for whole cells, in either case.

    Group ``subject`` of the clip's pattern is the number of the subject, group ``emotion`` a key of ``emotions``, where
    the clip's name carries them.
    """

    subject: str
    clip: str
    example: str
    emotions: Mapping[str, str] = field(default_factory=dict)

    def fit(self, subject: str, clip: str) -> bool:
        """Whether the two cells are written like this."""
        return all(
            re.fullmatch(pattern, cell, re.IGNORECASE | re.ASCII)
            for pattern, cell in ((self.subject, subject), (self.clip, clip))
        )


# A clip may be the second expression of its row: s01_ne_01_2.
_SMIC = Names(
    r"s?\d+",
    r"s(?P<subject>\d+)_(?P<emotion>ne|po|sur)_\d+(_\d)?",
    "subject 1, clip s01_ne_01",
    {"ne": "negative", "po": "positive", "sur": "surprise"},
)
_RENDERED = ("disgust", "happiness", "repression", "surprise")

# Releases whose sheets can be taken for one another; the others' have columns of their own.
NAMES = {
    "synthetic": Names(
        r"s\d+",
        r"(?P<emotion>[a-z]+)_\d+|c\d+",
        "subject s01, clip happiness_1 or c01",
        {name: name for name in _RENDERED},
    ),
    "casme2": Names(r"(sub)?\d+", r"EP\d+\w*", "subject 01, clip EP02_01f"),
    "samm": Names(r"\d+", r"(?P<subject>\d{3})_\d+_\d+", "subject 006, clip 006_1_2"),
    "smic_hs": _SMIC,
    "smic_vis": _SMIC,
    "smic_nir": _SMIC,
    "casme3_a": Names(r"spNO\.\d+", r"[a-z]", "subject spNO.1, clip a"),
    "casme3_c": Names(r"\d{1,2}", r"\d{1,3}", "subject 1, clip 1"),
    "mmew": Names(r"S?\d+", r"S(?P<subject>\d+)-\d+-\d+", "subject S01, clip S01-70-001"),
    "dfme": Names(r"sub\d{4}", r"(sub(?P<subject>\d{4})(?!\d))?.*", "subject sub0003"),
}

# What a column that names the data set of each row calls a release.
_DATA_SETS = {
    "casme2": ("casme2", "casmeii"),
    "samm": ("samm",),
    "smic_hs": ("smic", "smichs", "smichse"),
    "smic_vis": ("smic", "smicvis", "smicvise"),
    "smic_nir": ("smic", "smicnir", "smicnire"),
    "casme3_a": ("casme3", "casmeiii", "casme3a", "casme3parta"),
    "casme3_c": ("casme3c", "casme3partc"),
    "mmew": ("mmew",),
    "fourdme": ("4dme",),
    "dfme": ("dfme",),
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
    number = _carried("subject", clip, release)
    return None if number is None else int(number)


def named_emotion(clip: str, release: str) -> str | None:
    """Return the emotion that a clip's name carries; None where it carries none."""
    code = _carried("emotion", clip, release)
    return None if code is None else NAMES[release].emotions.get(code.lower())


def _carried(group: str, clip: str, release: str) -> str | None:
    names = NAMES.get(release)
    match = re.fullmatch(names.clip, clip, re.IGNORECASE | re.ASCII) if names is not None else None
    return match.groupdict().get(group) if match is not None else None


def data_set(cell: str, release: str) -> bool | None:
    """Whether a row's data set is the release's; None where the cell names no known one."""
    name = fold(cell)
    if name in _DATA_SETS.get(release, ()):
        return True
    return False if any(name in names for names in _DATA_SETS.values()) else None
