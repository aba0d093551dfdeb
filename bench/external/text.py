"""Text files of predictions as they come: bounded in size, decoded, and what kind each is by its content."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MAX_BYTES",
    "MAX_CLASSES",
    "MAX_COLUMNS",
    "MAX_DATASETS",
    "MAX_FIELD",
    "MAX_ROWS",
    "MAX_SUBJECTS",
    "OutsideError",
    "Row",
    "check_count",
    "read_text",
    "whole",
]

# Far above any real file of predictions (DFME, the largest release, has 7,526 clips), and small enough to be read
# within seconds: a file beyond them is another file, or made to exhaust memory.
MAX_BYTES = 32 * 2**20
MAX_ROWS = 100_000
MAX_COLUMNS = 200
MAX_FIELD = 1_000
MAX_CLASSES = 64
MAX_SUBJECTS = 5_000
MAX_DATASETS = 50

# The longer marks first: that of UTF-32 begins with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class OutsideError(ValueError):
    """A file of predictions cannot be scored; the message names file, line and clip."""


@dataclass(frozen=True)
class Row:
    """One prediction as a file has it.

    Attributes
    ----------
    where
        Its place in the file, such as ``line 3``.
    dataset, subject, clip
        As they are written; None where the file does not say.
    predicted, true
        Names or numbers of classes as they are written; ``true`` is None where the file has no labels.
    column
        Name of the column that holds ``clip``, for messages.
    """

    where: str
    dataset: str | None
    subject: str | None
    clip: str | None
    predicted: str
    true: str | None
    column: str = "clip"


def read_text(path: Path) -> str:
    """Read a text file of predictions.

    Parameters
    ----------
    path
        A file in UTF-8, or in UTF-8, UTF-16 or UTF-32 with a byte order mark.

    Returns
    -------
    str
        Its text, every line end as it is.

    Raises
    ------
    OutsideError
        If it is larger than `MAX_BYTES`, or not text in one of these encodings.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise OutsideError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, the limit for predictions as text")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise OutsideError(
            f"{path}: not a text file in UTF-8, nor in UTF-16 with a byte order mark ({error.reason} at byte "
            f"{error.start}); save it as UTF-8"
        ) from error
    if "\x00" in text:
        raise OutsideError(f"{path}: not a text file (it holds NUL characters); save it as UTF-8")
    return text


def check_count(path: Path, count: int, limit: int, what: str, advice: str = "") -> None:
    """Refuse a file that holds more of something than the limit.

    Raises
    ------
    OutsideError
        Naming the limit.
    """
    if count > limit:
        raise OutsideError(f"{path}: more than {limit:,} {what}, the limit for predictions{advice}")


def whole(text: str) -> int | None:
    """Return the number of a class written as ``2`` or ``2.0``; None for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})(\.0*)?", text)
    return int(match.group(1)) if match else None
