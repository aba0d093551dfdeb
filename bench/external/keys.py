"""Which clip or subject of those known is meant, however it is written: ``samm/43/043_1_1``, ``SUB01``, ``CASME II``.

A name that is written as the known one is that one; otherwise case, zeros before a number and what stands before a
subject's number are passed over, and it must fit one known name and no other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fdpbench.bench.external.text import OutsideError

__all__ = ["Finder"]


class Finder:
    """Finds the known clip or subject that is meant.

    Parameters
    ----------
    clips
        Subject, as ``dataset/subject``, of each known clip, as ``dataset/subject/clip``.
    """

    def __init__(self, clips: Mapping[str, str]) -> None:
        self.subjects = frozenset(clips.values())
        self.datasets = sorted({subject.partition("/")[0] for subject in self.subjects})
        self._clips = frozenset(clips)
        self._folded = _grouped((_fold_clip(subject, clip), clip) for clip, subject in clips.items())
        # a subject by its data set and number, by its name alone, and by its name with zeros passed over
        pairs = [(*subject.partition("/")[::2], subject) for subject in sorted(self.subjects)]
        self._in_dataset = _grouped(((_fold_dataset(one), _fold_subject(name)), key) for one, name, key in pairs)
        self._exact = _grouped((name, key) for _, name, key in pairs)
        self._alone = _grouped((_without_zeros(name), key) for _, name, key in pairs)

    def clip(self, dataset: str, subject: str, clip: str, where: str) -> str | None:
        """The known clip's id; None if there is none.

        Raises
        ------
        OutsideError
            If several fit.
        """
        written = f"{dataset}/{subject}/{clip}"
        if written in self._clips:
            return written
        found = self._folded.get((_fold_dataset(dataset), _fold_subject(subject), _without_zeros(clip)), ())
        return _only(found, written, where)

    def subject(self, dataset: str | None, subject: str, where: str) -> str | None:
        """The known subject, as ``dataset/subject``; None if there is none.

        Raises
        ------
        OutsideError
            If several fit.
        """
        written = subject if dataset is None else f"{dataset}/{subject}"
        if written in self.subjects:
            return written
        if dataset is None and "/" in subject:
            dataset, _, subject = subject.partition("/")
        if dataset is None and len(self.datasets) == 1:
            dataset = self.datasets[0]
        if dataset is not None:
            return _only(self._in_dataset.get((_fold_dataset(dataset), _fold_subject(subject)), ()), written, where)
        # without a data set what stands before the number tells it: sub06, s06 and 006 are three people
        found = self._exact.get(subject, ())
        return _only(found or self._alone.get(_without_zeros(subject), ()), written, where)


def _fold_clip(subject: str, clip: str) -> tuple[str, str, str]:
    """A clip's id, ``dataset/subject/clip``, in the form in which ids are compared."""
    dataset, _, name = subject.partition("/")
    return _fold_dataset(dataset), _fold_subject(name), _without_zeros(clip.removeprefix(f"{subject}/"))


def _fold_dataset(name: str) -> str:
    """A data set's name in the form in which names are compared: ``CASME II`` is ``casme2``."""
    folded = re.sub(r"[\W_]", "", name).casefold()
    return re.sub(r"ii$", "2", folded)


def _fold_subject(name: str) -> str:
    """A subject without what stands before its number: sub01, s01 and 01 are 1."""
    return re.sub(r"^(?:subject|subj|sub|spno\.?|s)?\s*(?=[0-9]+$)", "", _without_zeros(name))


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", name.strip().casefold())


def _grouped(pairs: Iterable[tuple[object, str]]) -> Mapping[object, Sequence[str]]:
    groups: dict[object, list[str]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def _only(found: Sequence[str], written: str, where: str) -> str | None:
    if len(found) > 1:
        raise OutsideError(f"{where}: {written!r} may be {' or '.join(found[:3])}; write it as one of them")
    return found[0] if found else None
