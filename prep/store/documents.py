"""JSON files that stages leave for one another, read so that a damaged one is an error in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["DocumentError", "read_json", "read_object"]

MOST_BYTES = 64_000_000  # the longest written, the report of a release of thousands of clips, has about one million


class DocumentError(ValueError):
    """A JSON file cannot be used; the message names it, what is wrong and what to do."""


def read_json(path: Path, cure: str) -> Any:
    """Read a JSON file, strictly: no NaN or infinite number, no key twice, no nesting without end.

    Parameters
    ----------
    path
        The file, UTF-8.
    cure
        What to do where it is damaged, as the end of the message.

    Returns
    -------
    What it holds.

    Raises
    ------
    DocumentError
        If it cannot be read, or is no such file.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DocumentError(f"{path}: {size:,} bytes, expected at most {MOST_BYTES:,}; {cure}")
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_float=_finite, parse_constant=_refuse, object_pairs_hook=_unique)
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror}); {cure}") from None
    except RecursionError:
        raise DocumentError(f"{path}: damaged (nested too deeply); {cure}") from None
    except DocumentError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, a number of too many digits
        raise DocumentError(f"{path}: damaged ({error}); {cure}") from None


def read_object(path: Path, cure: str) -> dict[str, Any]:
    """Read a JSON file that holds an object; see `read_json`.

    Raises
    ------
    DocumentError
        If it holds anything else.
    """
    content = read_json(path, cure)
    if not isinstance(content, dict):
        raise DocumentError(f"{path}: expected a JSON object, found {type(content).__name__}; {cure}")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
    return found
