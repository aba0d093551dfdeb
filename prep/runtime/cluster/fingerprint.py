"""What has to be the same on every node for the same bytes: our code, packages, Python, the arithmetic.

Each is a line of a fingerprint, so that what differs is refused by its name. Imports nothing that computes: a worker
takes its fingerprint before anything else is imported.
"""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import fdpbench
from fdpbench.arithmetic import arithmetic
from fdpbench.prep.runtime.scratch import hash_file

__all__ = ["differences", "fingerprint", "in_package", "needed_packages"]

ROOMS = ("bench", "models", "prep", "fdpbench")
MOST_NAMED = 5
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:.*extra == ['\"]([^'\"]+)['\"])?")


def fingerprint(files: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """What this machine has.

    Parameters
    ----------
    files
        Files beside our Python code that count: data files of the package, code of other distributions and absolute
        paths, by the names that stage `plan` gives them.
    packages
        Packages that count, by the names that they are imported or installed by.

    Returns
    -------
    Hashes and versions by name; empty text of what is not there.
    """
    found = {"Python": platform.python_version(), "arithmetic": arithmetic()}
    distributions = metadata.packages_distributions()
    found |= {f"package {name}": _version(name, distributions) for name in packages}
    found |= {name: _hash(path) for name, path in _python_files().items()}
    return found | {name: _hash(_place(name)) for name in files}


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """What differs between this machine and another, in words; the first ones, and how many more."""
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(name, ""), theirs.get(name, "")
        if mine == other:
            continue
        if name.startswith("package ") or name in ("Python", "arithmetic"):
            lines.append(f"{name.removeprefix('package ')} {other or 'missing'} there, {mine or 'missing'} here")
        else:
            lines.append(f"{name} " + ("is not there" if not other else "is not here" if not mine else "differs"))
    more = len(lines) - MOST_NAMED
    return lines if more <= 1 else [*lines[:MOST_NAMED], f"{more} more"]


def in_package(name: str) -> Path | None:
    """A file of our package by its name, such as ``prep/store/shards.py``; None if there is none."""
    for root in map(Path, fdpbench.__path__):
        path = root / name.removeprefix("fdpbench/")
        if name.partition("/")[0] in ROOMS and path.is_file():
            return path
    return None


def needed_packages() -> list[str]:
    """Names of the distributions that ours requires, those of its extra `dlib` among them."""
    try:
        required = metadata.requires("fdpbench") or []
    except metadata.PackageNotFoundError:
        return []
    found = [match for text in required if (match := REQUIREMENT.match(text))]
    return sorted({match[1] for match in found if match[2] in (None, "dlib")})


def _python_files() -> dict[str, Path]:
    """Every Python file of ours by its name, the same in a clone and in an installed package."""
    found: dict[str, Path] = {}
    for root in map(Path, fdpbench.__path__):
        inside = root.name == "fdpbench"
        for room in ROOMS[:3]:
            found |= {path.relative_to(root).as_posix(): path for path in (root / room).rglob("*.py")}
        if inside:
            own = (path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ROOMS[:3])
            found |= {f"fdpbench/{path.relative_to(root).as_posix()}": path for path in own}
    return found


def _place(name: str) -> Path | None:
    """Where a file of a name of stage `plan` is on this machine."""
    if path := in_package(name):
        return path
    if Path(name).is_absolute():
        return Path(name)
    package, _, rest = name.partition("/")
    spec = importlib.util.find_spec(package.removesuffix(".py")) if package.isidentifier() or not rest else None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    places = [Path(root) / rest for root in spec.submodule_search_locations or ()]
    return next((path for path in places if path.is_file()), None)


def _hash(path: Path | None) -> str:
    if path is None or not path.is_file():
        return ""
    return hash_file(path)[:16]


def _version(name: str, distributions: Mapping[str, list[str]]) -> str:
    """Version without its build (``2.13.0+cpu``); OpenCV is the same with and without windows."""
    for known in dict.fromkeys((*distributions.get(name, ())[:1], name, f"{name}-headless")):
        try:
            return metadata.version(known).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return ""
