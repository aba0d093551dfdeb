"""Predictions from anywhere: our Parquet files, CSV files, logs of the MEGC2019 challenge.

Whatever the file, it is joined by clip with what is known of the clips: a task of this project, the
challenge's official list, or, for our own files and files that bring their own labels, itself. A clip that
is doubled, unknown, missing or labelled otherwise is an error that names it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data import load_index, load_task_info
from bench.predictions import read_predictions
from prep import paths
from prep.releases.megc2019_flow import EMOTIONS, composite_key, official_labels

__all__ = ["Known", "OutsideError", "Said", "known_of_official_list", "known_of_task", "read_said", "write_megc_log"]

Order = Literal["gt-pred", "pred-gt"]

# Names under which the columns of a CSV file are seen, in lower case.
CLIP = ("clip_id", "clip", "filename")
PREDICTED = ("y_pred", "prediction", "predicted", "pred")
TRUE = ("y_true", "label", "truth", "gt", "true")

HEAD = re.compile(r"(casme2|smic|samm)[ \t]+(\S+)")


class OutsideError(ValueError):
    """A file of predictions cannot be scored; the message names file, line and clip."""


@dataclass(frozen=True)
class Known:
    """What is known of the clips that are to be predicted: data set, subject and label of each, and the classes."""

    name: str
    classes: tuple[str, ...]
    clips: dict[str, tuple[str, str, int]]


@dataclass(frozen=True)
class Said:
    """Predictions joined with what is known, clips in sorted order.

    Attributes
    ----------
    clip_ids, datasets, subjects
        Of each of N clips.
    y_true
        (N,).
    y_pred
        (R, N) for R repetitions.
    notes
        What the reader found out by itself, such as the column order of a log.
    """

    name: str
    classes: tuple[str, ...]
    clip_ids: tuple[str, ...]
    datasets: tuple[str, ...]
    subjects: tuple[str, ...]
    y_true: NDArray[np.int64]
    y_pred: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def known_of_task(task: str) -> Known:
    """Clips of a task under data/task."""
    folder = paths.task(task)
    clips = {row["clip_id"]: (row["dataset"], row["subject"], row["label"]) for row in load_index(folder)}
    return Known(f"task {task}", load_task_info(folder).classes, clips)


def known_of_official_list(path: Path) -> Known:
    """Clips of the MEGC2019 challenge's official list (dataset, subject, clip, label; no header)."""
    clips = {"/".join(key): (key[0], "/".join(key[:2]), int(label)) for key, label in official_labels(path).items()}
    return Known(path.name, tuple(EMOTIONS.values()), clips)


def read_said(path: Path, known: Known | None = None, order: Order | None = None) -> Said:
    """Read predictions, of whatever form, and join them with what is known of the clips.

    Parameters
    ----------
    path
        ``.parquet`` as `bench train` writes it; ``.csv`` with a column for the clip, one for the
        prediction and maybe one for the label (names or indices of classes); anything else is read as a
        log of the MEGC2019 challenge: a line ``casme2 sub01``, then ``clip gt pred`` for each of its clips.
    known
        What is known of the clips. Needed for a CSV file, and for a log unless ``order`` is given.
    order
        Which of a log's two columns is the label. If not given, the order whose labels are the known ones.

    Raises
    ------
    OutsideError
        If the file cannot be read, or its clips are not exactly the known ones, each once, labelled alike.
    """
    if not path.is_file():
        raise OutsideError(f"{path}: no such file")
    if path.suffix == ".parquet":
        return _own(path, known)
    notes: list[str] = []
    if path.suffix.lower() == ".csv":
        if known is None:
            raise OutsideError(f"{path}: say what its clips are: --task NAME, or --official LIST for MEGC2019")
        rows = _csv_rows(path, known)
    else:
        rows = _log_rows(path, known, order, notes)
        known = known or _known_of_log(path, rows)
    return _join(path, [rows], known, tuple(notes))


def write_megc_log(said: Said, repetition: int, path: Path) -> None:
    """Write predictions in the challenge's log format, ``clip gt pred``.

    Raises
    ------
    OutsideError
        If the clips are not those of MEGC2019's data sets, or there is no such repetition.
    """
    if not 0 <= repetition < len(said.y_pred):
        raise OutsideError(f"{said.name} has repetitions 0 to {len(said.y_pred) - 1}, not {repetition}")
    lines: list[str] = []
    head = None
    for clip_id, true, predicted in zip(said.clip_ids, said.y_true, said.y_pred[repetition], strict=True):
        parts = clip_id.split("/")
        if len(parts) != 3 or composite_key(parts[1], parts[2], parts[0]) is None:
            raise OutsideError(
                f"{said.name}: {clip_id} is no clip of MEGC2019 (casme2, smic, samm): no log of it exists"
            )
        if parts[:2] != head:
            head = parts[:2]
            lines.append(" ".join(head))
        lines.append(f"{parts[2]} {true} {predicted}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Row:
    where: str
    clip_id: str
    predicted: int
    true: int | None


def _own(path: Path, known: Known | None) -> Said:
    rows = read_predictions(path)
    repetitions = sorted({row["repetition"] for row in rows})
    if not rows:
        raise OutsideError(f"{path}: no predictions")
    if known is None:
        count = len(rows[0]["scores"])
        clips = {row["clip_id"]: (row["dataset"], row["subject"], row["y_true"]) for row in rows}
        known = Known(path.name, tuple(f"class {k}" for k in range(count)), clips)
    parts = [
        [
            _Row(f"repetition {k}", row["clip_id"], row["y_pred"], row["y_true"])
            for row in rows
            if row["repetition"] == k
        ]
        for k in repetitions
    ]
    return _join(path, parts, known, ())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise OutsideError(f"{path}: not a text file in UTF-8 ({error})") from error


def _csv_rows(path: Path, known: Known) -> list[_Row]:
    reader = csv.DictReader(_lines(path))
    found = {name.strip().lower(): name for name in reader.fieldnames or () if name}

    def column(names: tuple[str, ...]) -> str | None:
        return next((found[name] for name in names if name in found), None)

    clip, predicted, true = column(CLIP), column(PREDICTED), column(TRUE)
    if clip is None or predicted is None:
        raise OutsideError(
            f"{path}: expected a column {CLIP[0]} (dataset/subject/clip) and a column {PREDICTED[0]}; "
            f"it has {', '.join(found) or 'none'}"
        )

    def label(row: dict[str, str], name: str, where: str) -> int:
        text = (row[name] or "").strip()
        if text in known.classes:
            return known.classes.index(text)
        if text.isdigit() and int(text) < len(known.classes):
            return int(text)
        raise OutsideError(f"{path}, {where}: {name} {text!r} is no class; classes: {', '.join(known.classes)}")

    rows = []
    for number, row in enumerate(reader, start=2):
        where = f"line {number}"
        rows.append(
            _Row(
                where,
                (row[clip] or "").strip(),
                label(row, predicted, where),
                label(row, true, where) if true else None,
            )
        )
    return rows


def _log_rows(path: Path, known: Known | None, order: Order | None, notes: list[str]) -> list[_Row]:
    found: list[tuple[str, str, int, int]] = []
    head: tuple[str, str] | None = None
    for number, line in enumerate(_lines(path), start=1):
        where, words = f"line {number}", line.split()
        match = HEAD.fullmatch(line.strip())
        if match:
            head = (match.group(1), match.group(2))
        elif len(words) == 3 and head is not None and all(word in EMOTIONS for word in words[1:]):
            key = composite_key(head[1], words[0], head[0])
            if key is None:
                raise OutsideError(f"{path}, {where}: {' '.join(head)} {words[0]} is no clip of MEGC2019")
            found.append((where, "/".join(key), int(words[1]), int(words[2])))
        elif words:
            raise OutsideError(
                f"{path}, {where}: {line!r}; expected a line such as 'casme2 sub01', then lines 'clip gt pred' "
                "with labels 0, 1, 2"
            )
    if order is None:
        order = _order_of(path, found, known)
        notes.append(f"columns found to be clip, {', '.join(order.split('-'))}: these labels are the known ones")
    first_is_true = order == "gt-pred"
    return [_Row(w, clip, b if first_is_true else a, a if first_is_true else b) for w, clip, a, b in found]


def _order_of(path: Path, found: list[tuple[str, str, int, int]], known: Known | None) -> Order:
    if known is None:
        raise OutsideError(
            f"{path}: a log does not say which column is the label; give --official LIST or --task NAME, "
            "or --order gt-pred or pred-gt"
        )
    wrong = {
        "gt-pred": [row for row in found if row[1] in known.clips and known.clips[row[1]][2] != row[2]],
        "pred-gt": [row for row in found if row[1] in known.clips and known.clips[row[1]][2] != row[3]],
    }
    fitting = [order for order, rows in wrong.items() if not rows]
    if len(fitting) != 1:
        counts = ", ".join(f"{len(rows)} labels differ as {order}" for order, rows in wrong.items())
        reason = (
            "both columns are the labels" if fitting else f"neither column holds the labels of {known.name} ({counts})"
        )
        raise OutsideError(f"{path}: {reason}; give --order if you know it")
    return "gt-pred" if fitting[0] == "gt-pred" else "pred-gt"


def _known_of_log(path: Path, rows: list[_Row]) -> Known:
    clips = {}
    for row in rows:
        dataset, subject, _ = row.clip_id.split("/")
        assert row.true is not None  # a log has both columns
        clips[row.clip_id] = (dataset, f"{dataset}/{subject}", row.true)
    return Known(path.name, tuple(EMOTIONS.values()), clips)


def _join(path: Path, repetitions: list[list[_Row]], known: Known, notes: tuple[str, ...]) -> Said:
    order = sorted(known.clips)
    said = []
    for rows in repetitions:
        for clip_id, count in Counter(row.clip_id for row in rows).items():
            if count > 1:
                raise OutsideError(f"{path}: {clip_id} is predicted {count} times")
        for row in rows:
            if row.clip_id not in known.clips:
                raise OutsideError(f"{path}, {row.where}: {row.clip_id!r} is no clip of {known.name}")
            label = known.clips[row.clip_id][2]
            if row.true is not None and row.true != label:
                raise OutsideError(
                    f"{path}, {row.where}: {row.clip_id} is labelled {row.true}, in {known.name} {label}"
                )
        predicted = {row.clip_id: row.predicted for row in rows}
        missing = [clip_id for clip_id in order if clip_id not in predicted]
        if missing:
            raise OutsideError(
                f"{path}: {len(missing)} of {len(order)} clips of {known.name} are not predicted, first {missing[0]}"
            )
        said.append([predicted[clip_id] for clip_id in order])
    return Said(
        name=path.stem,
        classes=known.classes,
        clip_ids=tuple(order),
        datasets=tuple(known.clips[clip_id][0] for clip_id in order),
        subjects=tuple(known.clips[clip_id][1] for clip_id in order),
        y_true=np.array([known.clips[clip_id][2] for clip_id in order], dtype=np.int64),
        y_pred=np.array(said, dtype=np.int64),
        notes=notes,
    )


def as_dict(said: Said) -> dict[str, Any]:
    """Counts of what was read, for machines."""
    return {
        "name": said.name,
        "clips": len(said.clip_ids),
        "subjects": len(set(said.subjects)),
        "repetitions": len(said.y_pred),
        "classes": list(said.classes),
        "notes": list(said.notes),
    }
