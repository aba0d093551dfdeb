"""FDP-Bench: benchmark suite and data-prep toolkit for facial micro-expression recognition.

`fdpbench.prep` prepares data, `fdpbench.models` holds the models, `fdpbench.bench` trains and evaluates them. Nothing
is imported before it is used. Commands pin their arithmetic first (`fdpbench.arithmetic`); who imports the package
calls `pin_arithmetic` before numpy is imported, where bytes are to repeat.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

# In a clone the three packages lie beside this one.
_TREE = Path(__file__).resolve().parent.parent
if (_TREE / "pyproject.toml").is_file() and (_TREE / "prep").is_dir():
    __path__.append(str(_TREE))


def __getattr__(name: str) -> Any:
    if name in ("bench", "models", "prep"):
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("fdpbench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
