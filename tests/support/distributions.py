"""Distributions of other people, which bring a model or a reader by an entry point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

# Group of entry points, name in it, module or ``module:Class``, content of the module -> the module's file.
Distribution = Callable[[str, str, str, str], Path]


def write_distribution(folder: Path, group: str, name: str, target: str, content: str) -> Path:
    """Write a module, and the metadata that name it, as an installation does into site-packages."""
    module = target.partition(":")[0]
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    path = folder / f"{module}.py"
    path.write_text(content, encoding="utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n", encoding="utf-8")
    return path
