"""Leave-one-subject-out folds: a table of clip ids, no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Fold", "leave_one_subject_out"]


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
