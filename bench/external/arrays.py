"""Predictions as arrays, in the terms of scikit-learn: y_true, y_pred, groups; in memory or in a file of numpy (.npz).

No pickle is read: names of classes and subjects are arrays of text, not of Python objects.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdpbench.bench.external.text import MAX_BYTES, MAX_FIELD, MAX_ROWS, OutsideError, Row, check_count
from fdpbench.prep.settings.problems import near

__all__ = ["array_rows", "looks_like_npz", "npz_rows"]

KEYS = {
    "y_pred": "predicted class of each clip",
    "y_true": "true class of each clip",
    "groups": "subject of each clip",
    "clip_ids": "dataset/subject/clip",
}
ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"


def looks_like_npz(path: Path) -> bool:
    """Whether a file is an archive of arrays, or one array, by its first bytes or its name."""
    with path.open("rb") as file:
        return file.read(len(NPY)).startswith((ZIP, NPY)) or path.suffix in (".npz", ".npy")


def npz_rows(path: Path, notes: list[str]) -> list[list[Row]]:
    """Read predictions from a .npz file.

    Parameters
    ----------
    path
        The file: arrays ``y_pred``, and ``groups`` or ``clip_ids``; ``y_true`` where labels are not known otherwise;
        see `array_rows`.
    notes
        Names of arrays that are not read are added.

    Returns
    -------
    list of list of Row
        For each repetition, in the arrays' order.

    Raises
    ------
    OutsideError
        Naming file and array, if one is missing, damaged, too large, holds Python objects, or does not fit the others.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            others = [name for name in names if name not in KEYS]
            lacking = ["y_pred"] if "y_pred" not in names else []
            lacking += ["groups"] if not {"groups", "clip_ids"} & {*names} else []
            if lacking:
                said = " and ".join(f"{key!r} ({KEYS[key]}){near(key, others)}" for key in lacking)
                raise OutsideError(f"{path}: no array {said}; it has {', '.join(map(repr, names[:10])) or 'no array'}")
            arrays = {key: _array(path, archive, key) for key in KEYS if key in names}
    except zipfile.BadZipFile as error:
        raise OutsideError(
            f"{path}: not a whole archive of arrays ({error}); write it by np.savez(FILE, y_true=..., y_pred=..., "
            "groups=...)"
        ) from error
    if others:
        notes.append(f"arrays that are not read: {', '.join(others[:10])}")
    return array_rows(path, arrays)


def array_rows(path: Path, arrays: Mapping[str, ArrayLike]) -> list[list[Row]]:
    """Rows of predictions that are given as arrays.

    Parameters
    ----------
    path
        Where they come from, for messages.
    arrays
        ``y_pred``: indices or names of classes, (N,), or (R, N) of R repetitions. ``y_true``: the same of the labels,
        (N,); may be missing. ``groups``: subject of each clip, (N,), numbers or names. ``clip_ids``: text, (N,); may be
        missing.

    Returns
    -------
    list of list of Row
        For each repetition, in the arrays' order.

    Raises
    ------
    OutsideError
        Naming the array and what was expected, if shapes do not fit, a value is neither a whole number nor a name, or a
        limit is exceeded.
    """
    known = {key: np.asarray(value) for key, value in arrays.items()}
    predicted = known.pop("y_pred")
    if predicted.ndim not in (1, 2) or predicted.size == 0:
        raise OutsideError(
            f"{path}: y_pred has shape {predicted.shape}, expected (N,) classes, or (R, N) of R repetitions"
        )
    count = predicted.shape[-1]
    for key, array in known.items():
        if array.shape != (count,):
            raise OutsideError(
                f"{path}: {key} has shape {array.shape}, y_pred {predicted.shape}: expected ({count},), one a clip"
            )
    check_count(path, predicted.size, MAX_ROWS, "rows")
    texts = {key: _texts(path, key, array) for key, array in known.items()}
    absent: list[None] = [None] * count
    subjects, clips, true = (texts.get(key, absent) for key in ("groups", "clip_ids", "y_true"))
    return [
        [
            Row(f"item {k}", None, subjects[k], clips[k], one, true[k], "clip_ids")
            for k, one in enumerate(_texts(path, "y_pred", each))
        ]
        for each in np.atleast_2d(predicted)
    ]


def _array(path: Path, archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    try:
        with archive.open(f"{key}.npy") as member:
            content = member.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OutsideError(f"{path}: {key} is larger than {MAX_BYTES // 2**20} MiB, the limit for predictions")
        return np.load(io.BytesIO(content), allow_pickle=False)
    except OutsideError:
        raise
    except (OSError, EOFError, ValueError, TypeError, SyntaxError, RuntimeError, MemoryError, zlib.error) as error:
        objects = "allow_pickle" in str(error)
        said = "Python objects, which are not read; save it as text or numbers: np.array(names, dtype=str)"
        raise OutsideError(f"{path}: {key} holds {said if objects else f'no whole array ({error})'}") from error


def _texts(path: Path, key: str, array: NDArray[Any]) -> list[str]:
    """Values as they would be written in a text file: whole numbers without decimals, names as they are."""
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.tolist()):  # as pandas holds text
        array = array.astype(str)
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(array != np.round(array))  # NaN is not itself; infinity is refused below
        if len(wrong) or not np.isfinite(array).all():
            value = array[wrong[0]] if len(wrong) else array[~np.isfinite(array)][0]
            raise OutsideError(f"{path}: {key} holds {value}, expected whole numbers or names (not scores)")
        array = array.astype(np.int64)
    if array.dtype.kind in "iub":
        return [str(int(value)) for value in array]
    if array.dtype.kind not in "US":
        raise OutsideError(f"{path}: {key} holds {array.dtype}, expected whole numbers or names as text")
    try:
        texts = [(value.decode() if isinstance(value, bytes) else value).strip() for value in array.tolist()]
    except UnicodeDecodeError as error:
        raise OutsideError(f"{path}: {key} holds bytes that are not UTF-8 ({error.reason}); save it as text") from error
    for place, text in enumerate(texts):
        if not text or len(text) > MAX_FIELD:
            said = "is empty" if not text else f"has {len(text):,} characters; the limit is {MAX_FIELD:,}"
            raise OutsideError(f"{path}: {key}, item {place} {said}")
    return texts
