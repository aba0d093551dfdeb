"""How many clips a release holds, of each class and against what its sheets are known to hold.

A release that holds something else is not refused, but the difference is shown emotion by emotion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fdpbench.prep.index.class_maps import ClassMap
from fdpbench.prep.releases import RELEASES, KnownCounts

__all__ = ["class_counts", "compare_counts"]


def class_counts(class_map: ClassMap, emotions: Iterable[str]) -> dict[str, int]:
    """Count the clips of each class, in order of class index; clips of no class are not counted.

    Parameters
    ----------
    class_map
        The class map.
    emotions
        The emotion of each clip.
    """
    found = Counter(emotions)
    return {name: sum(found[emotion] for emotion in group) for name, group in class_map.classes.items()}


def compare_counts(
    release: str, clips: Mapping[str, str], subjects: int, rejected: Iterable[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Hold the clips found against what the release is known to have.

    Of several versions of a sheet, the one that differs least is meant.

    Parameters
    ----------
    release
        Name of the release.
    clips
        The emotion of each clip that can be used, by clip.
    subjects
        How many subjects they have.
    rejected
        Rows with ``clip_id`` and ``detail``: where clips are missing, these are the ones to look at.

    Returns
    -------
    A row for each emotion whose count differs, and one named ``(subjects)`` if theirs does: ``version``,
    ``emotion``, ``expected``, ``found``, and ``clips``, those left out that show the emotion or of which
    that is not known. Empty if all is as known, or nothing is known of the release.
    """
    found = Counter(clips.values())
    versions = RELEASES[release].known_counts if release in RELEASES else ()
    if not versions:
        return []

    def differences(known: KnownCounts) -> dict[str, tuple[int, int]]:
        names = sorted({*known.emotions, *found})
        pairs = {name: (known.emotions.get(name, 0), found[name]) for name in names}
        pairs["(subjects)"] = (known.subjects, subjects)
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    nearest = min(versions, key=lambda known: sum(abs(a - b) for a, b in differences(known).values()))
    left_out = list(rejected)
    return [
        {
            "version": nearest.version,
            "emotion": emotion,
            "expected": expected,
            "found": number,
            "clips": [row["clip_id"] for row in left_out if row.get("emotion", "") in (emotion, "")],
        }
        for emotion, (expected, number) in differences(nearest).items()
    ]
