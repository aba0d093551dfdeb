"""Parquet tables with pixels: the only module that writes or reads them.

One row group for each subject, rows of a clip adjacent, pinned writer settings: the same rows give
the same bytes under one version of pyarrow.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prep.arithmetic import arithmetic

__all__ = [
    "ShardError",
    "frame_shards",
    "is_native",
    "marked",
    "read_groups",
    "read_notes",
    "read_rows",
    "read_subjects",
    "read_table",
    "size_of",
    "subjects_of",
    "write_subjects",
    "write_table",
]

# Images are compressed already; a fixed version and codec keep the bytes.
WRITER: dict[str, Any] = {"version": "2.6", "compression": "zstd", "use_dictionary": False, "write_statistics": True}

ARITHMETIC = "arithmetic"  # key of a note: see `marked`

MAGIC = b"PAR1"  # begins and ends every Parquet file


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
        _guard(path, _check_schema, path, file, schema)
        return _guard(path, _validated, file.read)


def read_notes(path: Path) -> dict[str, str]:
    """Read what the writer of a file noted in its schema; no row is read.

    Raises
    ------
    ShardError
        If the file is missing or is no Parquet file.
    """
    with _open(path) as file:
        return {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}


def is_native(path: Path) -> bool:
    """Whether a file, or one that it was made of, was written with arithmetic that was not pinned."""
    return read_notes(path).get(ARITHMETIC) == "native"


def marked(schema: pa.Schema, *sources: Path) -> pa.Schema:
    """Note in a schema that what is written under it is not the same bytes on every machine, where that is so.

    Parameters
    ----------
    schema
        Of the table to write.
    sources
        The Parquet files that it is made of: one that carries the note hands it on.

    Returns
    -------
    The schema itself where this process and the sources are pinned (`prep.arithmetic`).
    """
    if arithmetic() == "pinned" and not any(is_native(path) for path in sources):
        return schema
    return schema.with_metadata({**(schema.metadata or {}), ARITHMETIC: "native"})


def size_of(path: Path) -> tuple[int, int]:
    """Tell how large a table is, by its footer; no row is read.

    Returns
    -------
    int, int
        Rows, and bytes of its columns when unpacked.

    Raises
    ------
    ShardError
        If the file is missing or is no Parquet file.
    """
    with _open(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        return file.metadata.num_rows, sum(group.total_byte_size for group in groups)


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
        _guard(path, _check_schema, path, file, schema)
        for index, subject in enumerate(_row_group_subjects(path, file)):
            if keep(subject):
                yield _guard(path, file.read_row_group, index, columns=columns)


def read_rows(
    path: Path, schema: pa.Schema, keep: Callable[[str], bool] = lambda subject: True, columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Read the rows of some subjects as dicts; see `read_subjects`."""
    for table in read_subjects(path, schema, keep, columns):
        yield from table.to_pylist()


def read_groups(path: Path, schema: pa.Schema) -> Iterator[tuple[str | None, pa.Table | ShardError]]:
    """Read a file that may be damaged: every row group in turn, the values checked, on behind a bad one.

    Parameters
    ----------
    path
        A file written by `write_subjects`.
    schema
        Its schema, checked.

    Yields
    ------
    For each row group the one subject that its statistics name, by which a fold picks what it reads
    (None if they name none), and its table, or the error met in reading it.

    Raises
    ------
    ShardError
        If the file cannot be opened or has other columns.
    """
    with _open(path) as file:
        _guard(path, _check_schema, path, file, schema)
        for index in range(file.metadata.num_row_groups):
            yield _guard(path, _group_subject, file, index), _group_or_error(path, file, index)


def _group_or_error(path: Path, file: pq.ParquetFile, index: int) -> pa.Table | ShardError:
    try:
        return _guard(path, _validated, file.read_row_group, index)
    except ShardError as error:
        return error


def _validated(read: Callable[..., pa.Table], *args: Any) -> pa.Table:
    """Read and check the values: damage can leave text that is no UTF-8 and lists that reach too far."""
    table = read(*args)
    table.validate(full=True)
    return table


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise ShardError(f"{path} not found: the stage before has not run; run `dvc repro`")
    # no memory map and no pre-buffering: what is not asked for is not read
    metadata = _guard(path, _read_footer, path)
    return _guard(path, pq.ParquetFile, path, metadata=metadata, memory_map=False, pre_buffer=False)


def _read_footer(path: Path) -> pq.FileMetaData:
    """Read the footer and not a byte more; pyarrow takes the last 64 kB, and with them rows of any subject."""
    with path.open("rb", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        if end < 12:
            raise pa.ArrowInvalid(f"{end} bytes are too few")
        stream.seek(-8, os.SEEK_END)
        length, magic = struct.unpack("<I4s", stream.read(8))
        if magic != MAGIC or length > end - 12:
            raise pa.ArrowInvalid("no footer at its end")
        stream.seek(-8 - length, os.SEEK_END)
        return pq.read_metadata(pa.BufferReader(MAGIC + stream.read(length + 8)))


def _guard(path: Path, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: damaged Parquet file ({error}); delete it and run `dvc repro`") from error


def _check_schema(path: Path, file: pq.ParquetFile, schema: pa.Schema) -> None:
    if not file.schema_arrow.equals(schema):
        raise ShardError(f"{path}: columns {file.schema_arrow.names}, expected {schema.names}")


def _row_group_subjects(path: Path, file: pq.ParquetFile) -> list[str]:
    if file.schema_arrow.get_field_index("subject") < 0:
        raise ShardError(f"{path}: no subject column")
    subjects = []
    for index in range(file.metadata.num_row_groups):
        subject = _group_subject(file, index)
        if subject is None:
            raise ShardError(f"{path}: row group {index} does not hold exactly one subject")
        subjects.append(subject)
    return subjects


def _group_subject(file: pq.ParquetFile, index: int) -> str | None:
    """Subject of a row group by its statistics, None where they do not name exactly one."""
    group = file.metadata.row_group(index)
    for k in range(group.num_columns):
        column = group.column(k)
        # of a footer that contradicts itself the statistics must not be asked: pyarrow ends the process
        if column.path_in_schema == "subject" and column.physical_type == file.schema.column(k).physical_type:
            statistics = column.statistics
            if statistics is not None and statistics.min == statistics.max:
                return str(statistics.min)
    return None
