"""Splits: from (clip, subject, release, class) of all clips to folds. Knows nothing of data, runs or models.

Whatever the split, a subject is never on both sides of a fold, and folds do not depend on the order of clips.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from fdpbench.bench.train.seeds import seed_of
from fdpbench.prep.settings.problems import near
from fdpbench.prep.settings.section import Section

__all__ = [
    "SUBJECT",
    "Clip",
    "Fold",
    "Split",
    "SplitError",
    "SubjectKFold",
    "clips_of",
    "drawn_subjects",
    "folds_of",
    "leave_one_subject_out",
    "least_training_subjects",
    "split_text",
    "fold_by_clip",
]

SUBJECT: Literal["subject"] = "subject"  # the default: leave one subject out


class SubjectKFold(Section):
    """Sets of whole subjects, alike in the shares of classes and releases; each is tested once."""

    subject_kfold: int = Field(ge=2, description="number of folds")


def _known(value: Any) -> Any:
    """Let through what is a split; pydantic's own messages would speak of each kind by itself."""
    if isinstance(value, SubjectKFold) or value == SUBJECT:
        return value
    if isinstance(value, Mapping) and set(value) == {"subject_kfold"}:
        count = value["subject_kfold"]
        if isinstance(count, int) and not isinstance(count, bool) and count >= 2:
            return value
    name = next(iter(value), None) if isinstance(value, Mapping) else value
    hint = near(name, [SUBJECT, "subject_kfold"]) if isinstance(name, str) else ""
    raise PydanticCustomError("split", "{said}", {"said": f"expected subject, or {{subject_kfold: 2 or more}}{hint}"})


Split = Annotated[Literal["subject"] | SubjectKFold, BeforeValidator(_known)]


class SplitError(ValueError):
    """The clips cannot be split in this way; the message says why."""


class Clip(NamedTuple):
    """What a split looks at."""

    clip_id: str
    subject: str
    release: str
    label: int


@dataclass(frozen=True)
class Fold:
    """One fold: its name, and ids of the clips on either side, sorted."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def clips_of(index: Iterable[Mapping[str, Any]]) -> list[Clip]:
    """Clips of a task's index rows (clip_id, dataset, subject, label)."""
    return [Clip(row["clip_id"], row["subject"], row["dataset"], row["label"]) for row in index]


def split_text(split: Split) -> str:
    """A split as tables print it; empty for the default, which they need not name."""
    return f"{split.subject_kfold} folds" if isinstance(split, SubjectKFold) else ""


def folds_of(split: Split, clips: Iterable[Clip], seed: int, untested: Collection[str] = ()) -> list[Fold]:
    """Folds of some clips, each of which is tested in one of them.

    Parameters
    ----------
    split
        How to split.
    clips
        In any order. Subjects carry their release, so that equal names in two releases are two subjects.
    seed
        ``train.seed`` of params.yaml. Task and repetition are no part: all runs of a study on the same clips have the
        same folds.
    untested
        Subjects that every fold trains on and none tests.

    Raises
    ------
    SplitError
        If a fold would train on no clip or test none.
    """
    ordered = sorted(clips)
    subjects = sorted({clip.subject for clip in ordered})
    if len(subjects) < 2:
        raise SplitError(f"folds need at least two subjects, found {subjects}")
    tested = [clip for clip in ordered if clip.subject not in untested]
    if isinstance(split, SubjectKFold):
        subjects_of = _subject_kfold(tested, split.subject_kfold, seed)
    else:
        subjects_of = {subject: {subject} for subject in subjects if subject not in untested}
    return [
        Fold(
            name,
            tuple(clip.clip_id for clip in ordered if clip.subject not in mine),
            tuple(clip.clip_id for clip in ordered if clip.subject in mine),
        )
        for name, mine in subjects_of.items()
    ]


def fold_by_clip(folds: Iterable[Fold]) -> dict[str, str]:
    """Name of the fold that tests each clip."""
    return {clip: fold.name for fold in folds for clip in fold.test}


def _subject_kfold(clips: Sequence[Clip], count: int, seed: int) -> dict[str, set[str]]:
    """Subjects by fold, by scikit-learn's StratifiedGroupKFold over the classes of each release."""
    from sklearn.model_selection import StratifiedGroupKFold  # costs a second: only where needed

    strata = [f"{clip.release}\0{clip.label}" for clip in clips]
    subjects = [clip.subject for clip in clips]
    if count > len(set(subjects)):
        raise SplitError(f"{count} folds, but {len(set(subjects))} subjects to test; set subject_kfold to less")
    if count > max(Counter(strata).values()):
        raise SplitError(f"{count} folds, but no class of a release has so many clips; set subject_kfold to less")
    names = sorted(set(subjects))
    shuffled = np.random.default_rng(seed_of(seed, "", "subject_kfold", "", 0)).permutation(len(names))
    place = {names[k]: number for number, k in enumerate(shuffled)}  # shuffled here: its own way depends on the version
    splitter = StratifiedGroupKFold(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer clips than folds: figures are pooled
        found = [
            {subjects[k] for k in test}
            for _, test in splitter.split(strata, strata, [place[subject] for subject in subjects])
        ]
    width = len(str(count))
    folds = {f"fold-{number:0{width}d}": mine for number, mine in enumerate(found, start=1)}
    empty = [name for name, mine in folds.items() if not mine]
    if empty:
        raise SplitError(f"{', '.join(empty)} of {count} would test nobody; set subject_kfold to less")
    return folds


def leave_one_subject_out(subject_of: Mapping[str, str]) -> list[Fold]:
    """Folds of the default split, for which the subject of each clip id is all that need be known.

    Raises
    ------
    SplitError
        If there are fewer than two subjects.
    """
    return folds_of(SUBJECT, [Clip(clip, subject, "", 0) for clip, subject in subject_of.items()], 0)


def least_training_subjects(split: Split, subjects: int) -> int:
    """An upper bound, by the number of subjects alone, of how many the fold with fewest training subjects has."""
    return subjects - (-(-subjects // split.subject_kfold) if isinstance(split, SubjectKFold) else 1)


def drawn_subjects(
    subjects: Collection[str], count: int, seed: int, task: str, fold: str, repetition: int
) -> tuple[str, ...]:
    """Draw some of a fold's training subjects.

    Nested: of the same fold and repetition, fewer subjects are among those of a larger ``count``. The model is no part
    of the seed, so that all models are trained on the same subjects.

    Parameters
    ----------
    subjects
        The fold's training subjects, in any order.
    count
        How many to draw.
    seed
        ``train.seed`` of params.yaml.
    task, fold, repetition
        What they are drawn for.

    Returns
    -------
    In order of name.

    Raises
    ------
    SplitError
        If there are fewer.
    """
    names = sorted(set(subjects))
    if count > len(names):
        raise SplitError(f"training_subjects is {count}, but fold {fold} has {len(names)} training subjects")
    rng = np.random.default_rng(seed_of(seed, task, "training_subjects", fold, repetition))
    order = rng.permutation(len(names))
    return tuple(sorted(names[k] for k in order[:count]))
