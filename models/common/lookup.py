"""Where a model is found by its reference, which stands in a run as ``model:``.

A reference is one of

* ``fdp``: the file ``models/fdp.py``, which holds one class declared with `models.common.registry.register_model`;
* a name in the entry-point group ``fdpbench.models`` of another installed distribution, ``acme = "acme.net:AcmeNet"``;
* ``path/to/file.py:AcmeNet``: a class of a file anywhere, relative to the project's root. The file stands alone: it
  imports ``fdpbench`` and installed packages.

Names come from listings, and a model's file is imported when it is asked for: one that cannot be imported breaks itself
alone, and the majority baseline never waits for torch.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["GROUP", "PACKAGE", "UnknownModelError", "find_class", "list_models", "name_of", "source_of"]

PACKAGE = "fdpbench.models"
GROUP = "fdpbench.models"  # of entry points
EXAMPLE = "path/to/file.py:Class"


class UnknownModelError(ValueError):
    """No model is found by a reference, or its file cannot be used; the message says what there is or what to do."""


def list_models() -> list[str]:
    """Names of all models, sorted: files of this folder, entry points of other distributions. Imports none of them."""
    return sorted({*_listed(), *(point.name for point in _points())})


def source_of(reference: str) -> str | Path:
    """Where a model's code is: the dotted name of its module, or the path of its file. Imports nothing.

    Raises
    ------
    UnknownModelError
        If there is no such model, or two have its name.
    """
    if _is_file(reference):
        return _split(reference)[0]
    point = _point(reference)
    return point.module if point else f"{PACKAGE}.{reference}"


def name_of(reference: str) -> str:
    """What a model is called: its name, or ``file:Class``, whatever folder the file lies in."""
    if not _is_file(reference):
        return reference
    path, class_name = _split(reference)
    return f"{path.stem}:{class_name}"


def find_class(reference: str) -> Any:
    """The class of a model; imports its file.

    Raises
    ------
    UnknownModelError
        If there is no such model, or its file is not there, cannot be imported, or does not hold the class.
    """
    if _is_file(reference):
        path, wanted = _split(reference)
        module = _module_at(path)
    elif point := _point(reference):
        wanted = point.attr
        try:
            module = importlib.import_module(point.module)
        except Exception as error:  # it is not ours: whatever it raises is its own fault
            raise UnknownModelError(
                f"model {reference!r}: its module {point.module} cannot be imported ({error})"
            ) from error
    else:
        module, wanted = importlib.import_module(f"{PACKAGE}.{reference}"), ""
    declared = dict(_declared(module))
    if wanted:
        if wanted not in declared:
            held = ", ".join(declared) or "none"
            raise UnknownModelError(
                f"model {reference!r}: {module.__file__} holds no class {wanted} declared with @register_model; "
                f"it holds {held}"
            )
        return declared[wanted]
    if len(declared) != 1:
        message = f"{module.__file__} holds {len(declared)} classes with @register_model, expected one"
        raise UnknownModelError(f"model {reference!r}: {message}")
    return next(iter(declared.values()))


def _listed() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(sys.modules[PACKAGE].__path__) if not module.ispkg}


@cache
def _points() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)


def _point(name: str) -> metadata.EntryPoint | None:
    """The entry point of a model; None of a file of this folder."""
    points = [point for point in _points() if point.name == name]
    known = [f"{PACKAGE}.{name}"] * (name in _listed()) + [point.value for point in points]
    if not known:
        raise UnknownModelError(
            f"unknown model {name!r}; known models: {', '.join(list_models())}; one of your own is named by its file, "
            f"{EXAMPLE}"
        )
    if len(known) > 1:
        raise UnknownModelError(
            f"two models have the name {name!r}: {' and '.join(known)} (entry points of the group {GROUP}); "
            "uninstall the distribution that one of them comes with"
        )
    return points[0] if points else None


def _is_file(reference: str) -> bool:
    return ":" in reference or "/" in reference or reference.endswith(".py")


def _split(reference: str) -> tuple[Path, str]:
    path, _, class_name = reference.rpartition(":")
    if not (path.endswith(".py") and class_name.isidentifier()):
        raise UnknownModelError(f"model {reference!r}: expected a file and its class, {EXAMPLE}")
    return Path(path), class_name


class _Uncompiled(importlib.machinery.SourceFileLoader):
    """Neither reads nor writes a compiled file: Python takes an old one for a file that was edited within a second."""

    def path_stats(self, path: Any) -> Any:
        raise OSError(f"{path}: not to be looked at")


def _module_at(path: Path) -> Any:
    """The module of a file, imported anew when its content has changed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnknownModelError(
            f"{path}: no file of a model ({error.strerror}); relative paths start at the project's "
            f"root, here {Path.cwd()}"
        ) from None
    digest = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]
    name = f"fdpbench_file_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _Uncompiled(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module  # annotations of its classes are looked up there
    try:
        loader.exec_module(module)
    except Exception as error:  # whatever it raises is the file's own fault
        del sys.modules[name]
        alone = "; it may import fdpbench and installed packages, no file beside it"
        raise UnknownModelError(
            f"{path}: cannot be imported ({type(error).__name__}: {error})"
            f"{alone if isinstance(error, ImportError) else ''}"
        ) from error
    return module


def _declared(module: Any) -> Iterator[tuple[str, Any]]:
    """Classes that a module itself declares to be models."""
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__ and "info" in vars(value):
            yield name, value
