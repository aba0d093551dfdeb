"""Faults of the disk, such as a full one, as one line that says where and what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

__all__ = ["disk_fault"]

ADVICE = {
    errno.ENOSPC: "the disk is full ({free} free): free some space",
    errno.EDQUOT: "your disk quota is used up ({free} free on the disk): free some space",
    errno.EFBIG: "the file is larger than the system allows ({free} free): raise the limit (`ulimit -f`)",
    errno.EROFS: "the file system is read-only ({free} free): mount it writable, or work in a copy elsewhere",
    errno.EACCES: "no permission ({free} free): give yourself the right to read and write there (`ls -ld` shows it)",
    errno.EPERM: "not permitted ({free} free): give yourself the right to read and write there (`lsattr -d`, `ls -ld`)",
    errno.EIO: "the disk fails to read or write ({free} free): look at the system's log (`dmesg`)",
}

# safetensors and others written in Rust have an error class of their own
RUST = re.compile(r"\(os error (\d+)\)")


def disk_fault(error: BaseException, place: Path | None = None) -> str | None:
    """Describe an error of the disk in one line: path, free space, what to do.

    Parameters
    ----------
    error
        What was raised.
    place
        Where was being written, for an error that names no file. Default: the current folder.

    Returns
    -------
    The line; None if the error is of another kind.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := RUST.search(str(error))):
        number = int(match[1])
    if number not in ADVICE:
        return None
    name = getattr(error, "filename", None)
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else place or Path()
    advice = ADVICE[number].format(free=_free(path))
    return f"{path.absolute()}: {advice}, then run the same command again; what was finished is kept"


def _free(path: Path) -> str:
    for folder in (path, *path.absolute().parents):
        try:
            return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB"
        except OSError:
            continue
    return "unknown space"
