"""Writes that outlast a power cut, and hashes that show one that did not: of units of work, of outputs as DVC has them.

A file system may keep a rename and lose what was written before it. So a finished unit's files are forced
to disk before it is renamed into place, and their hashes are kept beside it for the run that goes on.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Recorded", "dvc_hash", "flush", "flush_folder", "hashes_of", "write_durably"]

DVC_LOCK = Path("dvc.lock")
DVC_CONFIGS = (Path(".dvc/config"), Path(".dvc/config.local"))


def flush(path: Path) -> None:
    """Force a file, or a folder with all that is in it, to disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder))
    if not path.is_dir():
        _sync(path)


def flush_folder(folder: Path) -> None:
    """Force the entries of one folder to disk: what was renamed or created in it."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: str) -> None:
    """Write a small file beside its place, force it to disk and rename it there."""
    staging = path.with_name(f".staging-{path.name}")
    staging.write_text(content, encoding="utf-8")
    _sync(staging)
    staging.replace(path)
    _sync(path.parent)


def hashes_of(path: Path) -> dict[str, str]:
    """MD5 of each file of a folder by its path in there, or of one file under the name "": damage, not malice."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {"" if file == path else file.relative_to(path).as_posix(): _md5(file) for file in files}


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def dvc_hash(path: Path) -> str:
    """Hash of an output as ``dvc.lock`` has it: a file's MD5; of a folder, that of the JSON list of its files."""
    hashes = hashes_of(path)
    if not path.is_dir():
        return hashes[""]
    listing = sorted(({"md5": value, "relpath": name} for name, value in hashes.items()), key=lambda f: f["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


class Recorded:
    """What DVC has recorded: hashes of outputs in ``dvc.lock`` whose content lies in its cache.

    A committed ``dvc.lock`` holds the hashes of outputs that were never made here, hence the cache. An empty or
    torn ``dvc.lock`` records nothing.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, str] | None = None

    def holds(self, outputs: dict[str, str]) -> bool:
        """Whether every output is recorded with this hash; False of none."""
        if not outputs:
            return False
        if self._hashes is None:
            self._hashes = _lock_hashes(DVC_LOCK)
        mine = self._hashes
        return all(mine.get(path) == value and _cached(value) for path, value in outputs.items())


def _lock_hashes(path: Path) -> dict[str, str]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError):  # missing, or cut short; ValueError: not UTF-8, a date that is none
        return {}
    stages: Any = content.get("stages") if isinstance(content, dict) else None
    found = {}
    for stage in stages.values() if isinstance(stages, dict) else ():
        outs = stage.get("outs") if isinstance(stage, dict) else None
        for out in outs if isinstance(outs, list) else ():
            if isinstance(out, dict) and isinstance(out.get("path"), str) and isinstance(out.get("md5"), str):
                found[out["path"]] = out["md5"]
    return found


def _cached(value: str) -> bool:
    return any((cache / "files/md5" / value[:2] / value[2:]).is_file() for cache in _caches())


def _caches() -> Iterable[Path]:
    yield Path(".dvc/cache")
    for config in DVC_CONFIGS:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(config, encoding="utf-8")
        except (configparser.Error, ValueError):
            continue
        if parser.has_option("cache", "dir"):
            yield config.parent / parser.get("cache", "dir")
