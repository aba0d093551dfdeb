"""Parquet tables with pixels: the only module that writes or reads them.

One row group for each subject, rows of a clip adjacent, pinned writer settings: the same rows give
the same bytes under one version of pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "ShardError",
    "frame_shards",
    "read_rows",
    "read_subjects",
    "read_table",
    "subjects_of",
    "write_subjects",
    "write_table",
]

# Images are compressed already; a fixed version and codec keep the bytes.
WRITER: dict[str, Any] = {"version": "2.6", "compression": "zstd", "use_dictionary": False, "write_statistics": True}


class ShardError(ValueError):
    """A Parquet file is missing, damaged, or not in the form its stage writes."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write a small table, such as a manifest, as one row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **WRITER)


def write_subjects(path: Path, schema: pa.Schema, subjects: Iterable[pa.Table]) -> int:
    """Write a table with one row group for each subject.

    Parameters
    ----------
    path
        The Parquet file.
    schema
        Its schema, with a ``subject`` column.
    subjects
        One table for each subject; one is held in memory at a time. Empty tables are skipped.

    Returns
    -------
    Number of rows written.

    Raises
    ------
    ShardError
        If a table holds rows of more than one subject, or a subject comes twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    count = 0
    with pq.ParquetWriter(path, schema, **WRITER) as writer:
        for table in subjects:
            if not table.num_rows:
                continue
            names = set(table.column("subject").to_pylist())
            if len(names) != 1 or names & seen:
                raise ShardError(f"{path}: expected one new subject for each row group, got {sorted(names)}")
            seen |= names
            writer.write_table(table, row_group_size=table.num_rows)
            count += table.num_rows
    return count


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a whole table and check its columns.

    Raises
    ------
    ShardError
        If the file is missing, is no Parquet file, or has other columns.
    """
    with _open(path) as file:
        if not file.schema_arrow.equals(schema):
            raise ShardError(f"{path}: columns {file.schema_arrow.names}, expected {schema.names}")
        return _guard(path, file.read)


def frame_shards(folder: Path) -> list[Path]:
    """Shards of an aligned release, in order.

    Raises
    ------
    ShardError
        If there is none.
    """
    files = sorted(folder.glob("frames-*.parquet"))
    if not files:
        raise ShardError(f"{folder}: no frames-*.parquet; run `dvc repro`")
    return files


def subjects_of(path: Path) -> list[str]:
    """Subjects of a table, in file order: read from row-group statistics, not from rows."""
    with _open(path) as file:
        return _row_group_subjects(path, file)


def read_subjects(
    path: Path, schema: pa.Schema, keep: Callable[[str], bool] = lambda subject: True, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Read the row groups of some subjects; the bytes of the others are not touched.

    Parameters
    ----------
    path
        A file written by `write_subjects`.
    schema
        Its schema, checked.
    keep
        Says of each subject whether to read it.
    columns
        Columns to read, all if not given.

    Yields
    ------
    One table for each subject kept, in file order.
    """
    with _open(path) as file:
        if not file.schema_arrow.equals(schema):
            raise ShardError(f"{path}: columns {file.schema_arrow.names}, expected {schema.names}")
        for index, subject in enumerate(_row_group_subjects(path, file)):
            if keep(subject):
                yield _guard(path, file.read_row_group, index, columns=columns)


def read_rows(
    path: Path, schema: pa.Schema, keep: Callable[[str], bool] = lambda subject: True, columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Read the rows of some subjects as dicts; see `read_subjects`."""
    for table in read_subjects(path, schema, keep, columns):
        yield from table.to_pylist()


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise ShardError(f"{path} not found: the stage before has not run; run `dvc repro`")
    # no memory map and no pre-buffering: what is not asked for is not read
    return _guard(path, pq.ParquetFile, path, memory_map=False, pre_buffer=False)


def _guard(path: Path, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: damaged Parquet file ({error}); delete it and run `dvc repro`") from error


def _row_group_subjects(path: Path, file: pq.ParquetFile) -> list[str]:
    column = file.schema_arrow.get_field_index("subject")
    if column < 0:
        raise ShardError(f"{path}: no subject column")
    subjects = []
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        statistics = next(
            group.column(k).statistics for k in range(group.num_columns) if group.column(k).path_in_schema == "subject"
        )
        if statistics is None or statistics.min != statistics.max:
            raise ShardError(f"{path}: row group {index} does not hold exactly one subject")
        subjects.append(statistics.min)
    return subjects
