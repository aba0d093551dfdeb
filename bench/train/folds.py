"""Leave-one-subject-out folds: a table of clip ids, no data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from fdpbench.bench.train.seeds import seed_of

__all__ = ["Fold", "drawn_subjects", "leave_one_subject_out"]


@dataclass(frozen=True)
class Fold:
    """One fold: named by the subject that is held out."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def leave_one_subject_out(subject_of: Mapping[str, str]) -> list[Fold]:
    """One fold for each subject: its clips are tested, all others trained on.

    Parameters
    ----------
    subject_of
        Subject of each clip id. Subjects carry their release, so that equal names in two releases
        are two subjects.

    Returns
    -------
    Folds in order of subject, clip ids sorted: independent of the order of the mapping.

    Raises
    ------
    ValueError
        If there are fewer than two subjects.
    """
    subjects = sorted(set(subject_of.values()))
    if len(subjects) < 2:
        raise ValueError(f"leave-one-subject-out needs at least two subjects, found {subjects}")
    clips = sorted(subject_of)
    return [
        Fold(
            subject,
            tuple(clip for clip in clips if subject_of[clip] != subject),
            tuple(clip for clip in clips if subject_of[clip] == subject),
        )
        for subject in subjects
    ]


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
    ValueError
        If there are fewer.
    """
    names = sorted(set(subjects))
    if count > len(names):
        raise ValueError(f"training_subjects is {count}, but fold {fold} has {len(names)} training subjects")
    rng = np.random.default_rng(seed_of(seed, task, "training_subjects", fold, repetition))
    order = rng.permutation(len(names))
    return tuple(sorted(names[k] for k in order[:count]))
