"""The class maps of the literature and the counts that releases are known to have.

A class map gathers annotated emotions into the classes of a task, which may name it (`classes: casme2_5`). The
counts are what sheets of a release hold (not what papers say in passing); a release that holds something else is not
refused, but the difference is shown class by class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fdpbench.prep.settings.problems import near

__all__ = [
    "CLASS_MAPS",
    "COMPOSITE",
    "EMBEDDED_MAP",
    "KNOWN_COUNTS",
    "ClassMap",
    "KnownCounts",
    "class_counts",
    "classes_named",
    "compare_counts",
    "known_emotions",
    "maps_of",
]


@dataclass(frozen=True)
class ClassMap:
    """Classes of a task: class -> the annotated emotions it gathers, in order of class index."""

    name: str
    releases: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class KnownCounts:
    """Clips that a version of a release's sheet holds: how many of each emotion, and of how many subjects."""

    version: str
    subjects: int
    emotions: Mapping[str, int]


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


_THREE = _same("negative", "positive", "surprise")

CLASS_MAPS = {
    class_map.name: class_map
    for class_map in (
        ClassMap("casme2_5", ("casme2",), _same("disgust", "happiness", "others", "repression", "surprise")),
        ClassMap(
            "casme2_3",
            ("casme2",),
            {"negative": ("disgust", "repression"), "positive": ("happiness",), "surprise": ("surprise",)},
        ),
        ClassMap("samm_5", ("samm",), _same("anger", "contempt", "happiness", "other", "surprise")),
        ClassMap(
            "samm_3",
            ("samm",),
            {
                "negative": ("anger", "contempt", "disgust", "fear", "sadness"),
                "positive": ("happiness",),
                "surprise": ("surprise",),
            },
        ),
        ClassMap("smic_hs_3", ("smic_hs",), _THREE),
        ClassMap("smic_vis_3", ("smic_vis",), _THREE),
        ClassMap("smic_nir_3", ("smic_nir",), _THREE),
        ClassMap("casme_sq_4", ("casme_sq",), _same("negative", "others", "positive", "surprise")),
        ClassMap(
            "casme3_4",
            ("casme3_a",),
            {
                "negative": ("anger", "disgust", "fear", "sad"),
                "others": ("others",),
                "positive": ("happy",),
                "surprise": ("surprise",),
            },
        ),
        ClassMap("casme3_7", ("casme3_a",), _same("anger", "disgust", "fear", "happy", "others", "sad", "surprise")),
        ClassMap("casme3_c_4", ("casme3_c",), _same("negative", "others", "positive", "surprise")),
        ClassMap("mmew_6", ("mmew",), _same("anger", "disgust", "fear", "happiness", "sadness", "surprise")),
        ClassMap("fourdme_5", ("fourdme",), _same("negative", "others", "positive", "repression", "surprise")),
        ClassMap(
            "dfme_7", ("dfme",), _same("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
        ),
        ClassMap("megc2019", ("megc2019", "megc2019_flow"), _THREE),
    )
}

# That of the embedded release, which is none of the literature.
EMBEDDED_MAP = ClassMap("synthetic", ("synthetic",), _same("disgust", "happiness", "repression", "surprise"))

# Clips of each data set of the MEGC2019 composite when complete (See et al., MEGC 2019).
COMPOSITE = {"casme2": 145, "samm": 133, "smic": 164}

_CASME2 = {"disgust": 63, "fear": 2, "happiness": 32, "others": 99, "repression": 27}

KNOWN_COUNTS: dict[str, tuple[KnownCounts, ...]] = {
    "casme2": (
        KnownCounts("2014", 26, _CASME2 | {"sadness": 7, "surprise": 25}),
        KnownCounts("2019", 26, _CASME2 | {"sadness": 4, "surprise": 28}),
    ),
    "samm": (
        KnownCounts(
            "v2",
            29,
            {
                "anger": 57,
                "contempt": 12,
                "disgust": 9,
                "fear": 8,
                "happiness": 26,
                "other": 26,
                "sadness": 6,
                "surprise": 15,
            },
        ),
    ),
    "smic_hs": (KnownCounts("HS-E", 16, {"negative": 70, "positive": 51, "surprise": 43}),),
    "casme_sq": (KnownCounts("final", 14, {"negative": 21, "others": 19, "positive": 8, "surprise": 9}),),
    "casme3_a": (
        KnownCounts(
            "v2",
            94,
            {"anger": 64, "disgust": 250, "fear": 86, "happy": 55, "others": 161, "sad": 57, "surprise": 187},
        ),
    ),
    "mmew": (
        KnownCounts(
            "paper",
            30,
            {
                "anger": 8,
                "disgust": 72,
                "fear": 16,
                "happiness": 36,
                "others": 66,
                "sadness": 13,
                "surprise": 89,
            },
        ),
    ),
    "megc2019": (KnownCounts("official list", 68, {"negative": 250, "positive": 109, "surprise": 83}),),
    "megc2019_flow": (KnownCounts("official list", 68, {"negative": 250, "positive": 109, "surprise": 83}),),
}


def maps_of(release: str) -> list[ClassMap]:
    """Class maps that the literature uses for a release."""
    return [class_map for class_map in CLASS_MAPS.values() if release in class_map.releases]


def classes_named(name: str) -> dict[str, list[str]]:
    """Classes of the class map of a name, in order of class index.

    Raises
    ------
    ValueError
        Naming the class maps there are.
    """
    known = CLASS_MAPS | {EMBEDDED_MAP.name: EMBEDDED_MAP}
    if name not in known:
        raise ValueError(
            f"unknown class map{near(name, known)}; class maps: {', '.join(known)}; or write out each class with the "
            "emotions it gathers"
        )
    return {label: list(emotions) for label, emotions in known[name].classes.items()}


def known_emotions(release: str) -> set[str] | None:
    """Every emotion that clips of a release are known to show; None where its counts are not known."""
    if release not in KNOWN_COUNTS:
        return None
    counted = {emotion for version in KNOWN_COUNTS[release] for emotion in version.emotions}
    return counted | {emotion for found in maps_of(release) for group in found.classes.values() for emotion in group}


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
    versions = KNOWN_COUNTS.get(release, ())
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
