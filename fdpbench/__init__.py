"""FDP-Bench: benchmark suite and data-prep toolkit for facial micro-expression recognition.

`import fdpbench as fb` offers what `fdpbench.api` lists: `fb.align_face`, `fb.optical_flow`, `fb.dynamic_image`,
`fb.load_task`, `fb.evaluate` and others (docs/python.md). Behind them `fdpbench.prep` prepares data, `fdpbench.models`
holds the models, `fdpbench.bench` trains and evaluates them. Nothing is imported before it is used. Commands pin their
arithmetic first (`fdpbench.arithmetic`), and so does the first of these names that is used; who imports the packages
themselves calls `pin_arithmetic` before numpy is imported, where bytes are to repeat.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdpbench.api import (
        Evaluation,
        RenderedClip,
        align_face,
        create_model,
        dynamic_image,
        evaluate,
        list_models,
        load_task,
        optical_flow,
        predict,
        rank_pooling_weights,
        rendered_clip,
    )

__all__ = [
    "Evaluation",
    "RenderedClip",
    "align_face",
    "create_model",
    "dynamic_image",
    "evaluate",
    "list_models",
    "load_task",
    "optical_flow",
    "predict",
    "rank_pooling_weights",
    "rendered_clip",
]

# In a clone the three packages lie beside this one.
_TREE = Path(__file__).resolve().parent.parent
if (_TREE / "pyproject.toml").is_file() and (_TREE / "prep").is_dir():
    __path__.append(str(_TREE))


def __getattr__(name: str) -> Any:
    if name in ("bench", "models", "prep"):
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        return getattr(import_module(f"{__name__}.api"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("fdpbench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "bench", "models", "prep"})
