"""The class maps of the literature by name: which annotated emotions the classes of a task gather.

A release's own module declares them (`prep.releases.Release`), for itself: two releases may share one. A task of
params.yaml may name one (`classes: casme2_5`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fdpbench.prep.releases import RELEASES, ReleaseError
from fdpbench.prep.settings.problems import near

__all__ = ["COMPOSITE", "ClassMap", "all_class_maps", "classes_named", "known_emotions", "maps_of"]

# Clips of each data set of the MEGC2019 composite when complete (See et al., MEGC 2019).
COMPOSITE = {"casme2": 145, "samm": 133, "smic": 164}


@dataclass(frozen=True)
class ClassMap:
    """Classes of a task: class -> the annotated emotions it gathers, in order of class index."""

    name: str
    classes: Mapping[str, tuple[str, ...]]


def maps_of(release: str) -> list[ClassMap]:
    """Class maps of a release, the usual one first; none of a release that is not known."""
    declared = RELEASES[release].class_maps if release in RELEASES else {}
    return [ClassMap(name, classes) for name, classes in declared.items()]


def all_class_maps() -> dict[str, ClassMap]:
    """Every class map by name; imports the module of every release.

    Raises
    ------
    ReleaseError
        If two releases declare different class maps under one name.
    """
    found: dict[str, ClassMap] = {}
    declared_by: dict[str, str] = {}
    for release in RELEASES:
        for class_map in maps_of(release):
            other = declared_by.setdefault(class_map.name, release)
            if found.setdefault(class_map.name, class_map) != class_map:
                raise ReleaseError(
                    f"releases {other!r} and {release!r} declare different class maps {class_map.name!r}; rename one"
                )
    return found


def classes_named(name: str) -> dict[str, list[str]]:
    """Classes of the class map of a name, in order of class index.

    Raises
    ------
    ValueError
        Naming the class maps there are.
    """
    known = all_class_maps()
    if name not in known:
        raise ValueError(
            f"unknown class map{near(name, known)}; class maps: {', '.join(known)}; or write out each class with the "
            "emotions it gathers"
        )
    return {label: list(emotions) for label, emotions in known[name].classes.items()}


def known_emotions(release: str) -> set[str] | None:
    """Every emotion that clips of a release are known to show; None where its counts are not known."""
    versions = RELEASES[release].known_counts if release in RELEASES else ()
    if not versions:
        return None
    counted = {emotion for version in versions for emotion in version.emotions}
    return counted | {emotion for found in maps_of(release) for group in found.classes.values() for emotion in group}
