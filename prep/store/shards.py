"""Parquet tables with pixels: the only module that writes or reads them.

One row group for each subject, rows of a clip adjacent, pinned writer settings: the same rows give
the same bytes under one version of pyarrow.

A changed bit never passes as another value. Parquet's own page checksums are written and verified, but
cover neither page headers nor the footer, so each file also carries a seal, in the gap that the format
allows before the footer: a CRC-32 of every column chunk and of the footer. A reader verifies the footer
before parsing it, and of the chunks those that it reads; other readers of Parquet skip the gap.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fdpbench.arithmetic import arithmetic

__all__ = [
    "ShardError",
    "frame_shards",
    "is_native",
    "marked",
    "read_notes",
    "read_rows",
    "read_subjects",
    "read_table",
    "seal",
    "size_of",
    "subjects_of",
    "write_subjects",
    "write_table",
]

# Images are compressed already; a fixed version and codec keep the bytes.
WRITER: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",
    "use_dictionary": False,
    "write_statistics": True,
    "write_page_checksum": True,
}

ARITHMETIC = "arithmetic"  # key of a note: see `marked`

MAGIC = b"PAR1"  # begins and ends every Parquet file
# Behind one CRC-32 for each chunk, in order of row groups and columns: CRC-32 of those, of the footer, and a mark.
SEAL = struct.Struct("<II4s")
SEAL_MARK = b"FDPC"
BLOCK = 1 << 20  # bytes read at a time for a checksum


class ShardError(ValueError):
    """A Parquet file is missing, damaged, or not in the form its stage writes."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write a small table, such as a manifest, as one row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **WRITER)
    seal(path)


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
    seal(path)
    return count


def seal(path: Path) -> None:
    """Add the checksums to a Parquet file that was just written, before its footer."""
    metadata = pq.read_metadata(path)
    with path.open("r+b") as stream:
        tail = _read_tail(stream)
        chunks = b"".join(
            struct.pack("<I", _checksum(stream, start, length))
            for group in range(metadata.num_row_groups)
            for start, length in _chunks(metadata, group)
        )
        stream.seek(-len(tail), os.SEEK_END)
        stream.write(chunks + SEAL.pack(zlib.crc32(chunks), zlib.crc32(tail), SEAL_MARK) + tail)


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
    The schema itself where this process and the sources are pinned (`fdpbench.arithmetic`).
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


def _validated(read: Callable[..., pa.Table], *args: Any) -> pa.Table:
    """Read and check the values: damage can leave text that is no UTF-8 and lists that reach too far."""
    table = read(*args)
    table.validate(full=True)
    return table


class _File(pq.ParquetFile):
    """A Parquet file whose row groups are verified against its seal before they are parsed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        metadata, self._seal = _read_footer(path)
        # no memory map and no pre-buffering: what is not asked for is not read
        super().__init__(path, metadata=metadata, memory_map=False, pre_buffer=False, page_checksum_verification=True)

    def read_row_group(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Read some columns of a row group, all if not given."""
        self._check(index, columns)
        return super().read_row_group(index, columns=columns)

    def _check(self, index: int, columns: list[str] | None) -> None:
        with self._path.open("rb", buffering=0) as stream:
            for k, (start, length) in enumerate(_chunks(self.metadata, index)):
                name = self.metadata.row_group(index).column(k).path_in_schema
                wanted = columns is None or name.partition(".")[0] in columns
                if wanted and _checksum(stream, start, length) != self._seal[index * self.metadata.num_columns + k]:
                    raise pa.ArrowInvalid(f"column {name} of row group {index} does not match its checksum")

    def read(self) -> pa.Table:
        """Read all rows."""
        groups = [self.read_row_group(index) for index in range(self.metadata.num_row_groups)]
        return pa.concat_tables(groups) if groups else self.schema_arrow.empty_table()


def _open(path: Path) -> _File:
    if not path.is_file():
        raise ShardError(f"{path} not found: the stage before has not run; run `dvc repro`")
    file: _File = _guard(path, _File, path)
    return file


def _read_footer(path: Path) -> tuple[pq.FileMetaData, tuple[int, ...]]:
    """Read and verify the seal and the footer, and not a byte more: pyarrow takes the last 64 kB, rows among them."""
    with path.open("rb", buffering=0) as stream:
        tail = _read_tail(stream)
        # a footer that is damaged must not be parsed: it can end the process
        end = stream.seek(-len(tail), os.SEEK_END)
        if end < SEAL.size + len(MAGIC):
            raise pa.ArrowInvalid("too short")
        stream.seek(end - SEAL.size)
        of_chunks, of_tail, mark = SEAL.unpack(stream.read(SEAL.size))
        if mark != SEAL_MARK:
            raise pa.ArrowInvalid("no checksums before its footer, as another program or an older version writes it")
        if zlib.crc32(tail) != of_tail:
            raise pa.ArrowInvalid("the footer does not match its checksum")
        metadata = pq.read_metadata(pa.BufferReader(MAGIC + tail))
        count = metadata.num_row_groups * metadata.num_columns
        stream.seek(end - SEAL.size - 4 * count)
        chunks = stream.read(4 * count)
        if zlib.crc32(chunks) != of_chunks:
            raise pa.ArrowInvalid("the checksums do not match their own checksum")
        return metadata, struct.unpack(f"<{count}I", chunks)


def _read_tail(stream: BinaryIO) -> bytes:
    """Read the footer, its length and the magic bytes that end the file."""
    end = stream.seek(0, os.SEEK_END)
    if end < 12:
        raise pa.ArrowInvalid(f"{end} bytes are too few")
    stream.seek(-8, os.SEEK_END)
    length, magic = struct.unpack("<I4s", stream.read(8))
    if magic != MAGIC or length > end - 12:
        raise pa.ArrowInvalid("no footer at its end")
    stream.seek(-8 - length, os.SEEK_END)
    return stream.read(length + 8)


def _chunks(metadata: pq.FileMetaData, group: int) -> Iterator[tuple[int, int]]:
    """First byte and length of each column's pages in a row group."""
    for k in range(metadata.num_columns):
        column = metadata.row_group(group).column(k)
        start = column.data_page_offset if column.dictionary_page_offset is None else column.dictionary_page_offset
        yield start, column.total_compressed_size


def _checksum(stream: BinaryIO, start: int, length: int) -> int:
    """CRC-32 of a part of a file; of a shorter one, where the file ends before."""
    stream.seek(start)
    value = 0
    while length > 0 and (block := stream.read(min(length, BLOCK))):
        value, length = zlib.crc32(block, value), length - len(block)
    return value


def _guard(path: Path, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the content
            raise ShardError(f"{path}: cannot be read ({error})") from error
        raise ShardError(f"{path}: damaged Parquet file ({error}); delete it and run `dvc repro`") from error


def _check_schema(path: Path, file: _File, schema: pa.Schema) -> None:
    if not file.schema_arrow.equals(schema):
        raise ShardError(f"{path}: columns {file.schema_arrow.names}, expected {schema.names}")


def _row_group_subjects(path: Path, file: _File) -> list[str]:
    if file.schema_arrow.get_field_index("subject") < 0:
        raise ShardError(f"{path}: no subject column")
    subjects = []
    for index in range(file.metadata.num_row_groups):
        subject = _group_subject(file, index)
        if subject is None:
            raise ShardError(f"{path}: row group {index} does not hold exactly one subject")
        subjects.append(subject)
    return subjects


def _group_subject(file: _File, index: int) -> str | None:
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
