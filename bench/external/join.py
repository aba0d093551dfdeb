"""Predictions of a file joined with what is known of the clips, clip by clip, or subject by subject."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fdpbench.bench.evaluate.prediction_set import PredictionSet
from fdpbench.bench.external.keys import Finder
from fdpbench.bench.external.text import MAX_CLASSES, MAX_DATASETS, MAX_SUBJECTS, OutsideError, Row, check_count, whole

__all__ = ["Known", "Said", "join"]


@dataclass(frozen=True)
class Known:
    """What is known of the clips that are to be predicted: data set, subject and label of each, and the classes."""

    name: str
    classes: tuple[str, ...]
    clips: dict[str, tuple[str, str, int]]


@dataclass(frozen=True)
class Said(PredictionSet):
    """Predictions joined with what is known, clips in sorted order.

    Attributes
    ----------
    name
        Of the file, without its suffix.
    notes
        What the reader found out by itself, such as the column order of a log.
    named
        Whether the file names its clips. If not, ``clip_ids`` number those of each subject, and say no more.
    folds
        How the clips were split into folds, in words; None where the file does not tell.
    """

    name: str
    notes: tuple[str, ...] = ()
    named: bool = True
    folds: str | None = None


def join(
    path: Path,
    repetitions: Sequence[Sequence[Row]],
    known: Known | None,
    notes: list[str],
    *,
    classes: tuple[str, ...] | None = None,
    indices: bool = False,
) -> Said:
    """Join predictions with what is known of the clips.

    Parameters
    ----------
    path
        The file, for messages.
    repetitions
        Its rows, for each repetition; none is empty.
    known
        What is known; None: the file's own labels stand.
    notes
        What is to be said of the file; lines are added.
    classes
        Names of the classes where nothing is known; None: found by the values.
    indices
        Whether rows name classes by their index alone.

    Raises
    ------
    OutsideError
        Naming file, line and clip or subject, if the two do not fit.
    """
    first = repetitions[0]
    if known is None and any(row.true is None for row in first):
        raise OutsideError(
            f"{path}: it has no labels (column y_true): say what its clips are: --task NAME, or --official LIST for "
            "MEGC2019"
        )
    if known is None and classes is None:
        classes = _classes_of(path, _flat(repetitions), notes)
    if first[0].clip is None:
        return _over_subjects(path, repetitions, known, notes, classes or ())
    if known is None:
        known = _known_of_rows(path, first, classes or ())
        locate = partial(_own_id, path)
    else:
        locate = partial(_locate, path, known, _finder(known))
    read = _class_reader(path, known.classes, indices)
    order = sorted(known.clips)
    otherwise: dict[str, str] = {}
    said = []
    for rows in repetitions:
        predicted: dict[str, int] = {}
        found = [locate(row) for row in rows]
        for clip, count in Counter(found).items():
            if count > 1:
                raise OutsideError(f"{path}: {clip} is predicted {count} times")
        for row, clip in zip(rows, found, strict=True):
            label = known.clips[clip][2]
            if row.true is not None and (true := read(row.true, f"{row.where}: label")) != label:
                raise OutsideError(f"{path}, {row.where}: {clip} is labelled {true}, in {known.name} {label}")
            predicted[clip] = read(row.predicted, f"{row.where}: prediction")
            if (written := _written(row)) not in (clip, None):
                otherwise[clip] = written
        missing = [clip for clip in order if clip not in predicted]
        if missing:
            raise OutsideError(
                f"{path}: {len(missing)} of {len(order)} clips of {known.name} are not predicted, first {missing[0]}"
            )
        said.append([predicted[clip] for clip in order])
    if otherwise:
        clip = min(otherwise)
        notes.append(
            f"written otherwise than in {known.name}: {len(otherwise)} of {len(order)} clips, such as "
            f"{otherwise[clip]} for {clip}"
        )
    return Said(
        name=path.stem,
        classes=known.classes,
        clip_ids=tuple(order),
        datasets=tuple(known.clips[clip][0] for clip in order),
        subjects=tuple(known.clips[clip][1] for clip in order),
        y_true=np.array([known.clips[clip][2] for clip in order], dtype=np.int64),
        y_pred=np.array(said, dtype=np.int64),
        notes=tuple(notes),
    )


def _over_subjects(
    path: Path, repetitions: Sequence[Sequence[Row]], known: Known | None, notes: list[str], classes: tuple[str, ...]
) -> Said:
    """Predictions of clips that are not named: the labels of each subject must be the known ones, in any order.

    Repetitions hold the same clips in the same order.
    """
    rows = repetitions[0]
    written: dict[tuple[str | None, str], str] = {}  # where each subject stands first
    for row in rows:
        written.setdefault((row.dataset, row.subject or ""), row.where)
    names: dict[tuple[str | None, str], str] = {}
    if known is not None and any(row.true is None for row in rows):
        raise OutsideError(
            f"{path}: it names no clips and has no labels: add a column clip_id (dataset/subject/clip), or y_true"
        )
    if known is not None:
        finder = _finder(known)
        names = {
            one: found
            for one, where in written.items()
            if (found := finder.subject(*one, f"{path}, {where}")) is not None
        }
        lost = next((one for one in written if one not in names), None)
        if names and lost is not None:
            raise OutsideError(f"{path}, {written[lost]}: subject {_subject(*lost)!r} is none of {known.name}")
        if not names:
            notes.append(f"none of its subjects is in {known.name}: its labels stand, UNCHECKED")
            known = None
    if known is None:
        names = {one: _subject(*one) for one in written}
    classes = known.classes if known is not None else classes or _classes_of(path, _flat(repetitions), notes)
    read = _class_reader(path, classes)
    clips = sorted(
        (
            names[row.dataset, row.subject or ""],
            read(row.true or "", f"{row.where}: label"),
            [read(each[k].predicted, f"{row.where}: prediction") for each in repetitions],
        )
        for k, row in enumerate(rows)
    )
    if known is not None:
        _same_labels(path, clips, known)
    subjects = tuple(subject for subject, *_ in clips)
    of_subject = {subject: dataset or "" for (dataset, _), subject in names.items()}
    if known is not None:
        of_subject = {subject: dataset for dataset, subject, _ in known.clips.values()}
    datasets = tuple(of_subject[subject] for subject in subjects)
    check_count(path, len(set(subjects)), MAX_SUBJECTS, "subjects", "; is it the right column?")
    check_count(path, len(set(datasets)), MAX_DATASETS, "data sets", "; is it the right column?")
    notes.append("the file does not name its clips: scored over subjects")
    numbers: dict[str, int] = defaultdict(int)
    clip_ids = []
    for subject in subjects:
        numbers[subject] += 1
        clip_ids.append(f"{subject}/{numbers[subject]}")
    return Said(
        name=path.stem,
        classes=classes,
        clip_ids=tuple(clip_ids),
        datasets=datasets,
        subjects=subjects,
        y_true=np.array([true for _, true, _ in clips], dtype=np.int64),
        y_pred=np.array([predicted for _, _, predicted in clips], dtype=np.int64).T,
        notes=tuple(notes),
        named=False,
    )


def _same_labels(path: Path, clips: Iterable[tuple[str, int, list[int]]], known: Known) -> None:
    """Compare the labels of each subject, as many of each class, with the known ones."""
    theirs: dict[str, Counter[int]] = defaultdict(Counter)
    ours: dict[str, Counter[int]] = defaultdict(Counter)
    for subject, true, _ in clips:
        theirs[subject][true] += 1
    for _, subject, label in known.clips.values():
        ours[subject][label] += 1
    missing = sorted(ours.keys() - theirs.keys())
    if missing:
        raise OutsideError(
            f"{path}: {len(missing)} of {len(ours)} subjects of {known.name} are not predicted, first {missing[0]}"
        )

    def shown(labels: Counter[int]) -> str:
        return ", ".join(f"{labels[k]} of {known.classes[k]}" for k in sorted(labels))

    for subject in sorted(ours):
        if theirs[subject] != ours[subject]:
            raise OutsideError(
                f"{path}: subject {subject} has {shown(theirs[subject])} as labels, "
                f"in {known.name} {shown(ours[subject])}"
            )


def _finder(known: Known) -> Finder:
    return Finder({clip: subject for clip, (_, subject, _) in known.clips.items()})


def _locate(path: Path, known: Known, finder: Finder, row: Row) -> str:
    """Id of the known clip that a row is of."""
    written = row.clip or ""
    if written in known.clips:
        return written
    parts = [part.strip() for part in written.replace("\\", "/").split("/")]
    dataset = row.dataset or (finder.datasets[0] if len(finder.datasets) == 1 else None)
    lacking = []
    if len(parts) < 3 and dataset is None:
        lacking.append("data set")
    if len(parts) < 2 and row.subject is None:
        lacking.append("subject")
    if lacking:
        raise OutsideError(
            f"{path}, {row.where}: column {row.column} holds {written!r}, short of {' and '.join(lacking)}: write it "
            f"as dataset/subject/clip, such as {min(known.clips)}, or add columns dataset and subject"
        )
    if len(parts) > 3:
        raise OutsideError(f"{path}, {row.where}: {written!r} has more parts than dataset/subject/clip")
    key = (dataset or "", row.subject or "", parts[-1])
    key = key if len(parts) == 1 else (key[0] if len(parts) == 2 else parts[0], parts[-2], parts[-1])
    found = finder.clip(*key, f"{path}, {row.where}")
    if found is None:
        raise OutsideError(f"{path}, {row.where}: {'/'.join(key)!r} is no clip of {known.name}")
    return found


def _written(row: Row) -> str | None:
    parts = (row.dataset, row.subject, row.clip)
    return row.clip if row.clip is not None and "/" in row.clip else "/".join(filter(None, parts)) or None


def _subject(dataset: str | None, subject: str) -> str:
    return subject if dataset is None else f"{dataset}/{subject}"


def _own_id(path: Path, row: Row) -> str:
    """Id of a row's clip where nothing is known: dataset/subject/clip, or subject/clip."""
    written = (row.clip or "").replace("\\", "/")
    if "/" in written:
        return written
    if row.subject is None:
        raise OutsideError(
            f"{path}, {row.where}: column {row.column} holds {written!r}, short of data set and subject: write it "
            "as dataset/subject/clip, add a column subject, or say what its clips are (--task, --official)"
        )
    return f"{_subject(row.dataset, row.subject)}/{written}"


def _known_of_rows(path: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> Known:
    """Clips of a file by itself: every row names its clip and its subject."""
    read = _class_reader(path, classes)
    clips: dict[str, tuple[str, str, int]] = {}
    for row in rows:
        clip = _own_id(path, row)
        subject = clip.rpartition("/")[0]
        dataset = subject.partition("/")[0] if "/" in subject else ""
        clips.setdefault(clip, (dataset, subject, read(row.true or "", f"{row.where}: label")))
    check_count(path, len({subject for _, subject, _ in clips.values()}), MAX_SUBJECTS, "subjects")
    check_count(path, len({dataset for dataset, _, _ in clips.values()}), MAX_DATASETS, "data sets")
    return Known(path.name, classes, clips)


def _flat(repetitions: Iterable[Iterable[Row]]) -> list[Row]:
    return [row for rows in repetitions for row in rows]


def _classes_of(path: Path, rows: Sequence[Row], notes: list[str]) -> tuple[str, ...]:
    """Classes that the values of a file name: numbers in order, or names in alphabetical order."""
    texts = sorted({text for row in rows for text in (row.true, row.predicted) if text is not None})
    numbers = {text: whole(text) for text in texts}
    found = {number for number in numbers.values() if number is not None}
    names = [text for text in texts if numbers[text] is None]
    if found and names:
        raise OutsideError(
            f"{path}: classes are written as numbers ({min(found)}) and as names ({names[0][:40]!r}); write them in "
            "one way, or say what its clips are (--task, --official)"
        )
    folded = {name.casefold(): name for name in reversed(names)}
    classes = tuple(str(number) for number in sorted(found)) or tuple(folded[key] for key in sorted(folded))
    check_count(path, len(classes), MAX_CLASSES, "classes", "; is it the right column?")
    notes.append(f"classes by the values of the file: {', '.join(classes)}")
    return classes


def _class_reader(path: Path, classes: tuple[str, ...], indices: bool = False) -> Callable[[str, str], int]:
    """Index of a class by its name, in any case, or by its index where no class is named by a number."""
    exact = {} if indices else {name: k for k, name in enumerate(classes)}
    folded: dict[str, list[int]] = defaultdict(list)
    for k, name in enumerate(classes):
        folded[name.casefold()].append(k)
    numbered = not indices and any(whole(name) is not None for name in classes)
    numbers = {whole(name): k for k, name in enumerate(classes)} if numbered else {}

    def read(text: str, where: str) -> int:
        if text in exact:
            return exact[text]
        number = whole(text)
        if number is not None and (number in numbers if numbered else number < len(classes)):
            return numbers[number] if numbered else number
        alike = [] if indices else folded.get(text.casefold(), [])
        if len(alike) == 1:
            return alike[0]
        raise OutsideError(f"{path}, {where} {text[:80]!r} is no class; classes: {', '.join(classes)}")

    return read
