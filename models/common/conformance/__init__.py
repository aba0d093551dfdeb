"""The conformance suite: what every model promises, as checks of one model that is named by its reference.

It runs on any model that the registry finds, by the command ``fdpbench conformance`` and in the tests of this project.
A model is built for clips of 8 frames with sides of 48 pixels, flow of 28 x 28 pixels and 68 landmarks; one that is
slow to train at its defaults has an option ``preset`` that takes ``"tiny"``, and is built with that.

Nothing that a stage imports imports this package: an edit here retrains no model.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from fdpbench.models.common.conformance import declaration, estimators
from fdpbench.models.common.conformance.expectations import ConformanceError
from fdpbench.models.common.registry import model_info

__all__ = ["Check", "ConformanceError", "checks_of", "fault_of"]

# Takes a model's reference and raises ConformanceError; what the model itself raises passes through.
Check = Callable[[str], None]

LIBRARIES = {"numpy", "sklearn", "torch"}  # folders whose code is not the model's own


def checks_of(name: str) -> list[tuple[str, Check]]:
    """Checks that concern a model, with their names, in the order in which to run them; imports the model's file.

    Parameters
    ----------
    name
        The model's reference, as `models.common.registry.model_info` takes it.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    """
    info = model_info(name)
    checks: list[Check] = list(declaration.CHECKS)
    if info.kind == "module":
        from fdpbench.models.common.conformance import modules  # needs torch, which estimators do not

        checks += modules.CHECKS
    else:
        checks += estimators.CHECKS
        if info.hand_crafted:
            checks += estimators.FEATURE_CHECKS
    return [(check.__name__, check) for check in checks]


def fault_of(check: Check, name: str) -> str | None:
    """Run a check on a model; what is wrong in one line, or None where the check passes.

    Parameters
    ----------
    check
        One of `checks_of`.
    name
        The model's reference.

    Returns
    -------
    str or None
        The message of a ConformanceError. Of another error its type, and the line outside numpy, scikit-learn and
        torch that raised it.
    """
    try:
        check(name)
    except ConformanceError as error:
        message = str(error)
    except Exception as error:  # a model may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if not LIBRARIES & set(Path(frame.filename).parts)] or frames)[-1]
        message = f"{type(error).__name__} at {place.filename}:{place.lineno}: {error}"
    else:
        return None
    return " ".join(message.split())
