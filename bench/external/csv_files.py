"""CSV files of predictions: the delimiter and the columns found by the header, rows read one by one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fdpbench.bench.external.text import MAX_COLUMNS, MAX_FIELD, MAX_ROWS, OutsideError, Row, check_count

__all__ = ["csv_rows", "first_line_splits", "looks_like_csv"]

DELIMITERS = ",;\t|"

# The role of a column -> the names under which it is seen, compared without case, spaces and punctuation.
ROLES = {
    "clip_id": ("clip_id",),
    "dataset": ("dataset", "database", "data"),
    "subject": ("subject", "subject_id", "sub"),
    "clip": ("clip", "filename", "filename_o", "video"),
    "y_pred": ("y_pred", "prediction", "predicted", "pred", "predicted_label", "predicted_class"),
    "y_true": ("y_true", "label", "truth", "gt", "true", "ground_truth", "true_label", "true_class"),
}


def looks_like_csv(text: str) -> bool:
    """Whether the first line that holds anything names a column of predictions."""
    return "y_pred" in _roles(_header(text))


def first_line_splits(text: str) -> bool:
    """Whether the first line that holds anything has a delimiter."""
    return len(_header(text)) > 1


def csv_rows(path: Path, text: str) -> list[Row]:
    """Read a CSV file of predictions.

    Parameters
    ----------
    path
        Its place, for messages.
    text
        Its content: a header, then one prediction a line; fields separated by comma, semicolon, tab or |.

    Returns
    -------
    list of Row
        In the file's order; of a file without a column for the clip, ``clip`` is None.

    Raises
    ------
    OutsideError
        If a column is missing or there twice, a row has another number of fields than the header, a field is
        empty, or a limit is exceeded.
    """
    header, delimiter = _header(text), _delimiter(text)
    check_count(path, len(header), MAX_COLUMNS, "columns")
    places = {role: _place(path, header, role) for role in ROLES}
    clip = places["clip"] if places["clip_id"] is None else places["clip_id"]
    if places["y_pred"] is None or (clip is None and places["subject"] is None):
        lacking = [] if clip is not None else ["clip_id (dataset/subject/clip)"]
        lacking += [] if places["y_pred"] is not None else ["y_pred (the predicted class)"]
        raise OutsideError(
            f"{path}: expected a column {' and a column '.join(lacking)}, or the columns subject, y_true, y_pred "
            f"alone; it has {', '.join(_shown(name) for name in header if name) or 'none'}"
        )
    taken = {"dataset": places["dataset"], "subject": places["subject"], "clip": clip}
    taken |= {"y_pred": places["y_pred"], "y_true": places["y_true"]}
    rows: list[Row] = []
    below_header = False
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            where = f"line {reader.line_num}"
            if not any(field.strip() for field in fields):
                continue
            if not below_header:
                below_header = True
                continue
            if len(fields) != len(header):
                raise OutsideError(f"{path}, {where}: {len(fields)} fields, the header has {len(header)}")
            longest = max(map(len, fields))
            if longest > MAX_FIELD:
                raise OutsideError(f"{path}, {where}: a field of {longest:,} characters; the limit is {MAX_FIELD:,}")
            cells = {role: None if place is None else fields[place].strip() for role, place in taken.items()}
            for role, cell in cells.items():
                if cell == "":
                    raise OutsideError(f"{path}, {where}: column {header[taken[role] or 0]} is empty")
            check_count(path, len(rows) + 1, MAX_ROWS, "rows")
            predicted = cells["y_pred"]
            assert predicted is not None
            key = cells["dataset"], cells["subject"], cells["clip"]
            rows.append(Row(where, *key, predicted, cells["y_true"], "clip" if clip is None else header[clip]))
    except csv.Error as error:
        limit = f"; a field may have {MAX_FIELD:,} characters" if "limit" in str(error) else ""
        raise OutsideError(f"{path}, line {reader.line_num}: not a readable CSV file ({error}{limit})") from error
    if not rows:
        raise OutsideError(f"{path}: a header, but no predictions")
    return rows


def _header(text: str) -> list[str]:
    """Names of the columns as they are written."""
    return _split(_first_line(text), _delimiter(text))


def _first_line(text: str) -> str:
    """The first line that holds anything; of a line beyond all limits, its beginning."""
    match = re.search(r"\S[^\r\n]*", text)
    return match.group()[: MAX_COLUMNS * MAX_FIELD] if match else ""


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return _tidy(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:  # a field beyond the limits of the csv module: no header of ours
        return []


def _tidy(fields: Sequence[str]) -> list[str]:
    return [field.strip() for field in fields]


def _delimiter(text: str) -> str:
    """The delimiter that finds most columns of ours in the header, else most columns."""
    line = _first_line(text)

    def found(delimiter: str) -> tuple[int, int]:
        names = _split(line, delimiter)
        return len(_roles(names)), len(names)

    return max(DELIMITERS, key=found)


def _roles(header: Sequence[str]) -> set[str]:
    names = {_fold(name) for name in header}
    return {role for role, seen in ROLES.items() if names & {_fold(name) for name in seen}}


def _place(path: Path, header: Sequence[str], role: str) -> int | None:
    """Place of the one column of a role, None if there is none."""
    seen = {_fold(name) for name in ROLES[role]}
    places = [place for place, name in enumerate(header) if _fold(name) in seen]
    if len(places) > 1:
        names = " and ".join(_shown(header[place]) for place in places[:3])
        raise OutsideError(
            f"{path}: the columns {names} mean the same ({role}): leave the one that is to be read, or "
            "rename the others"
        )
    return places[0] if places else None


def _fold(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _shown(name: str) -> str:
    return name if len(name) <= 40 else name[:40] + "..."
