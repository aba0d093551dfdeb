"""Records of what a stage wrote: a hash of each clip's values, a checksum of each file.

The first stands in ``clips.parquet`` beside the aligned frames and names the clip that changed, the
second in ``SHA256SUMS`` (as ``sha256sum`` writes it, so that ``sha256sum -c SHA256SUMS`` reads it) and
finds a change that no value shows.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.store import shards
from fdpbench.prep.store.schema import CONTENTS

__all__ = ["CLIPS", "SUMS", "clip_record", "content_hash", "write_clips", "write_sums"]

CLIPS = "clips.parquet"
SUMS = "SHA256SUMS"


def content_hash(table: pa.Table) -> str:
    """Hash the values of a table, row by row and within a row column by column.

    Each value is written as one letter for its kind (n null, i whole number, f float, s text, b bytes,
    l list), then a whole number as 8 bytes, a float as a double, both little-endian, the rest as the
    length in 8 bytes and the content. So no two tables of one schema are written alike, and neither the
    file format, nor its version, nor the pages and chunks of the rows have a part in it.

    Parameters
    ----------
    table
        Columns of whole numbers, floats, text, bytes, and lists of those.

    Returns
    -------
    SHA-256, 64 hexadecimal digits.

    Raises
    ------
    TypeError
        If a value is of another kind.
    """
    digest = hashlib.sha256()
    for row in table.to_pylist():
        for name in table.column_names:
            _feed(digest.update, row[name])
    return digest.hexdigest()


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    match value:
        case None:
            update(b"n")
        case bytes():
            update(b"b" + struct.pack("<q", len(value)))
            update(value)
        case str():
            content = value.encode()
            update(b"s" + struct.pack("<q", len(content)) + content)
        case bool():
            raise TypeError(f"no rule to hash {value!r}")
        case int():
            update(b"i" + struct.pack("<q", value))
        case float():
            update(b"f" + struct.pack("<d", value))
        case list():
            update(b"l" + struct.pack("<q", len(value)))
            for item in value:
                _feed(update, item)
        case _:
            raise TypeError(f"no rule to hash {value!r}")


def clip_record(table: pa.Table, shard: str) -> dict[str, Any]:
    """Row of `prep.store.schema.CONTENTS` for the rows of one clip, which are stored in a shard."""
    return {
        "clip_id": table.column("clip_id")[0].as_py(),
        "subject": table.column("subject")[0].as_py(),
        "shard": shard,
        "frames": table.num_rows,
        "sha256": content_hash(table),
    }


def write_clips(records: list[dict[str, Any]], folder: Path) -> None:
    """Write the records of a release's clips, in the order of the shards."""
    shards.write_table(pa.Table.from_pylist(records, schema=CONTENTS), folder / CLIPS)


def write_sums(folder: Path) -> None:
    """Write the checksum of each file of a folder; call it last."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    text = "".join(f"{hash_file(path)}  {path.name}\n" for path in files)
    (folder / SUMS).write_bytes(text.encode())
