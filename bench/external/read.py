"""Predictions from anywhere: our Parquet files, arrays of numpy, CSV files, logs of released code.

Whatever the file, it is joined with what is known of the clips: a task of this project, the MEGC2019 challenge's
official list, or, where the file brings its own labels, itself. A clip that is doubled, unknown, missing or labelled
otherwise is an error that names it. A file that names subjects but no clips is scored over subjects, after its labels
of each subject were compared with the known ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fdpbench.bench.evaluate.predictions import FOLDS, check_row, read_predictions
from fdpbench.bench.external.arrays import looks_like_npz, npz_rows
from fdpbench.bench.external.csv_files import csv_rows, first_line_splits, looks_like_csv
from fdpbench.bench.external.join import Known, Said, join
from fdpbench.bench.external.keys import Finder
from fdpbench.bench.external.logs import LoggedClip, clip_log, looks_like_clip_log, looks_like_subject_log, subject_log
from fdpbench.bench.external.text import MAX_CLASSES, OutsideError, Row, check_count, read_text
from fdpbench.bench.train.data import load_index, load_task_info
from fdpbench.prep.releases.common.composite import EMOTIONS, composite_key, official_labels
from fdpbench.prep.store import paths, shards

__all__ = [
    "Known",
    "OutsideError",
    "Said",
    "known_of_official_list",
    "known_of_task",
    "read_said",
    "refuse_twice",
    "write_megc_log",
]

Order = Literal["gt-pred", "pred-gt"]

PARQUET = b"PAR1"
LEFT_OUT = "leave one subject out"


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
        A file of one of these forms, told by its content and not by its name: Parquet as `fdpbench train` writes it;
        arrays as `numpy.savez` writes them (`bench.external.arrays`);
        CSV with a column for the prediction, one or three for the clip or one for the subject, and maybe one for the
        label (names or indices of classes); a log of the MEGC2019 challenge (a line ``casme2 sub01``, then
        ``clip gt pred`` for each of its clips); a log with lists for each subject (`bench.external.logs`).
    known
        What is known of the clips. Without it the file's own labels stand.
    order
        Which of a challenge log's two columns is the label. If not given, the order whose labels are the known ones.

    Raises
    ------
    OutsideError
        If the file cannot be read, or its clips are not exactly the known ones, each once, labelled alike.
    """
    if not path.is_file():
        raise OutsideError(f"{path}: no such file")
    if path.suffix == ".parquet" or _begins_as_parquet(path):
        return _own(path, known)
    notes = list[str]()
    if looks_like_npz(path):
        return join(path, npz_rows(path, notes), known, notes)
    text = read_text(path)
    if not text.strip():
        raise OutsideError(f"{path}: the file is empty")
    if looks_like_csv(text):
        return join(path, [csv_rows(path, text)], known, notes)
    if looks_like_clip_log(text):
        logged = clip_log(path, text)
        rows = _ordered(path, logged, known, order, notes)
        return join(path, [rows], known, notes, classes=tuple(EMOTIONS.values()))
    if looks_like_subject_log(text):
        return join(path, [subject_log(path, text, notes)], known, notes)
    if first_line_splits(text):
        csv_rows(path, text)  # says which column is missing
    raise OutsideError(
        f"{path}: neither a CSV file with a header (clip_id, y_pred) nor a log: no line such as 'casme2 sub01' with "
        "lines 'clip gt pred' below it, none such as 'Subject: 006'"
    )


def refuse_twice(files: Sequence[Path]) -> None:
    """Refuse files of which two are one, or hold the same run: its repetitions would be resampled as those of two.

    Parameters
    ----------
    files
        What `read_said` reads. Of our Parquet files run, seeds and scores are looked at, since there may be copies.

    Raises
    ------
    OutsideError
        Naming both files.
    """
    seen: dict[object, Path] = {}
    for path in filter(Path.is_file, files):  # `read_said` says which are not there
        status = path.stat()
        found: list[object] = [(status.st_dev, status.st_ino)]
        if _begins_as_parquet(path):
            rows = [(row["run"], row["repetition"], row["seed"], row["clip_id"], *row["scores"]) for row in _rows(path)]
            found.append(tuple(sorted(rows)))
        for what in found:
            if other := seen.get(what):
                names = f"{path} is given twice" if other == path else f"{other} and {path} are the same run"
                raise OutsideError(
                    f"{names}: its repetitions would count as those of two models; give each run once, as in "
                    "`fdpbench compare A B --with C --with D`"
                )
            seen[what] = path


def write_megc_log(said: Said, repetition: int, path: Path) -> None:
    """Write predictions in the challenge's log format, ``clip gt pred``.

    Raises
    ------
    OutsideError
        If the clips are not named, or not those of MEGC2019's data sets, or there is no such repetition.
    """
    if not said.named:
        raise OutsideError(f"{said.name}: the file does not name its clips: no log of them can be written")
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


def _begins_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = read_predictions(path)
    if not rows:
        raise OutsideError(f"{path}: no predictions")
    return rows


def _own(path: Path, known: Known | None) -> Said:
    rows = _rows(path)
    count = len(rows[0]["scores"])
    check_count(path, count, MAX_CLASSES, "classes")
    clips: dict[str, tuple[str, str, int]] = {}
    for row in rows:
        check_row(f"{path}, repetition {row['repetition']}, clip {row['clip_id']}", row, count)
        clip = row["dataset"], row["subject"], row["y_true"]
        if clips.setdefault(row["clip_id"], clip) != clip:
            raise OutsideError(
                f"{path}: {row['clip_id']} is {clip} and {clips[row['clip_id']]} (data set, subject, label)"
            )
    if known is None:
        known = Known(path.name, tuple(f"class {k}" for k in range(count)), clips)
    parts: dict[int, list[Row]] = {row["repetition"]: [] for row in sorted(rows, key=lambda row: row["repetition"])}
    for row in rows:
        where = f"repetition {row['repetition']}"
        one = Row(where, None, None, row["clip_id"], str(row["y_pred"]), str(row["y_true"]))
        parts[row["repetition"]].append(one)
    return replace(join(path, list(parts.values()), known, [], indices=True), folds=_folds(path, rows))


def _folds(path: Path, rows: Sequence[dict[str, Any]]) -> str | None:
    """What a file of ours tells of its folds: what it notes, or that each subject is one."""
    noted = shards.read_notes(path).get(FOLDS)
    return noted or (LEFT_OUT if all(row["fold"] == row["subject"] for row in rows) else None)


def _ordered(
    path: Path, logged: Sequence[LoggedClip], known: Known | None, order: Order | None, notes: list[str]
) -> list[Row]:
    """Rows of a challenge log, whose label is one of two columns."""
    if order is None:
        order = _order_of(path, logged, known)
        notes.append(f"columns found to be clip, {', '.join(order.split('-'))}: these labels are the known ones")
    true = 0 if order == "gt-pred" else 1
    return [
        Row(one.where, one.dataset, one.subject, one.clip, one.columns[1 - true], one.columns[true]) for one in logged
    ]


def _order_of(path: Path, logged: Sequence[LoggedClip], known: Known | None) -> Order:
    if known is None:
        raise OutsideError(
            f"{path}: a log does not say which column is the label; give --official LIST or --task NAME, "
            "or --order gt-pred or pred-gt"
        )
    finder = Finder({clip: subject for clip, (_, subject, _) in known.clips.items()})
    labels = [
        (str(known.clips[clip][2]), one.columns)
        for one in logged
        if (clip := finder.clip(one.dataset, one.subject, one.clip, f"{path}, {one.where}")) is not None
    ]
    wrong = {
        "gt-pred": sum(label != columns[0] for label, columns in labels),
        "pred-gt": sum(label != columns[1] for label, columns in labels),
    }
    fitting = [order for order, count in wrong.items() if not count]
    if not fitting:
        counts = ", ".join(f"{count} labels differ as {order}" for order, count in wrong.items())
        raise OutsideError(
            f"{path}: neither column holds the labels of {known.name} ({counts}); give --order if you know it"
        )
    return "gt-pred" if "gt-pred" in fitting else "pred-gt"  # where both fit, the columns are equal


def as_dict(said: Said) -> dict[str, Any]:
    """Counts of what was read, for machines."""
    return {
        "name": said.name,
        "clips": len(said.clip_ids),
        "subjects": len(set(said.subjects)),
        "repetitions": len(said.y_pred),
        "classes": list(said.classes),
        "clips_named": said.named,
        "folds": said.folds,
        "notes": list(said.notes),
    }
