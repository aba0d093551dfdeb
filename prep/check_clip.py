"""What is wrong with the rows of one aligned clip: against the manifest, its record, and in its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from prep import contents, images
from prep.schema import FRAMES

__all__ = ["Fault", "frame_faults", "image_faults", "record_faults", "value_faults"]

# The number of the frame, where one frame is at fault, and what is wrong.
Fault = tuple[int | None, str]


def frame_faults(table: pa.Table, listed: dict[str, Any]) -> Iterator[Fault]:
    """Compare a clip's subject, frame numbers, their order and source paths with its row of the manifest."""
    subjects = {str(name) for name in table.column("subject").to_pylist()} - {str(listed["subject"])}
    if subjects:
        yield None, f"is stored as of subject {', '.join(sorted(subjects))}, the manifest says {listed['subject']}"
    found = [number for number in table.column("frame").to_pylist() if number is not None]
    sources = dict(zip(listed["frame_numbers"], listed["frames"], strict=True))
    counts = Counter(found)
    if len(counts) and set(counts.values()) == {min(counts.values())} != {1}:
        yield None, f"stands {min(counts.values())} times, one behind the other"
        counts = Counter(list(counts))
    for number, count in counts.items():
        if number not in sources:
            yield number, "is a frame that the manifest does not have in this clip"
        elif count > 1:
            yield number, f"stands {count} times"
    missing = [number for number in sources if number not in counts]
    if missing:
        yield missing[0], f"is missing, the first of {len(missing)} missing of {len(sources)} frames"
    shared = [number for number in counts if number in sources]
    for number, other in zip(shared, (number for number in sources if number in counts), strict=True):
        if number != other:
            yield number, f"is out of order: it stands where the manifest has frame {other}"
            break
    pairs = zip(table.column("frame").to_pylist(), table.column("source").to_pylist(), strict=True)
    others = [(number, source) for number, source in pairs if number in sources and source != sources[number]]
    if others:
        number, source = others[0]
        text = f"comes from {source!r}, the manifest says {sources[number]!r}"
        yield number, text + f"; the first of {len(others)} frames with another source" * (len(others) > 1)


def record_faults(table: pa.Table, record: dict[str, Any]) -> Iterator[Fault]:
    """Compare a clip's number of frames and content with its row of ``clips.parquet``."""
    if table.num_rows != record["frames"]:
        yield None, f"has {table.num_rows} rows, clips.parquet says {record['frames']}"
    found = contents.content_hash(table)
    if found != record["sha256"]:
        yield None, f"is not what was stored: its content has SHA-256 {found}, clips.parquet says {record['sha256']}"


def value_faults(table: pa.Table) -> Iterator[Fault]:
    """Find values that no aligned frame has: nulls, a transform or landmarks that are no numbers."""
    absent = table.column("image").is_null().to_pylist()
    for row, no_image in zip(table.drop_columns(["image"]).to_pylist(), absent, strict=True):
        empty = [name for name in FRAMES.names if name in row and name != "landmarks" and row[name] is None]
        empty += ["image"] * no_image
        if empty:
            yield row["frame"], f"has no {' and no '.join(empty)}"
        if row["transform"] is not None and not (len(row["transform"]) == 6 and _finite(row["transform"])):
            yield row["frame"], "has a transform that is not of 6 finite numbers"
        if row["landmarks"] is not None and not (len(row["landmarks"]) % 2 == 0 and _finite(row["landmarks"])):
            yield row["frame"], "has landmarks that are not pairs of finite numbers"


def _finite(values: list[float | None]) -> bool:
    return None not in values and bool(np.isfinite(values).all())  # type: ignore[arg-type]  # no None is left


def image_faults(table: pa.Table, sizes: dict[tuple[int, ...], int | None]) -> Iterator[Fault]:
    """Decode every image of a clip, checksums checked.

    Parameters
    ----------
    table
        Rows of the clip.
    sizes
        Gets for each shape met, (H, W) or (H, W, 3), the number of the first frame that has it.

    Yields
    ------
    A fault for each image that cannot be decoded.
    """
    for number, png in zip(table.column("frame").to_pylist(), table.column("image"), strict=True):
        if not png.is_valid:
            continue
        try:
            sizes.setdefault(images.decode_png(png.as_py()).shape, number)
        except images.ImageError as error:
            yield number, f"has an image that cannot be decoded ({error.reason})"
