"""What the checks share: how a broken promise is reported, and the shapes and options that models are built with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fdpbench.models.common.registry import ModelOptionError, check_options
from fdpbench.prep.task.inputs import INPUTS, LANDMARKS

__all__ = ["SHAPES", "ConformanceError", "expect", "expect_refusal", "smallest_options"]

LENGTHS = {"T": 8, "H": 48, "W": 48, "h": 28, "w": 28, "K": LANDMARKS["dlib"]}
SHAPES = {name: entry.shape(LENGTHS) for name, entry in INPUTS.items()}  # of one clip, by input


class ConformanceError(ValueError):
    """A model breaks a promise; the message says what was expected, what was found, and what to do."""


def expect(held: bool, expected: str, found: object, cure: str) -> None:
    """Raise unless a promise holds.

    Parameters
    ----------
    held
        Whether it does.
    expected, found
        What was expected and what was found.
    cure
        What to do, as a sentence.

    Raises
    ------
    ConformanceError
        If it does not.
    """
    if not held:
        raise ConformanceError(f"expected {expected}; found {found}. {cure}")


@contextmanager
def expect_refusal(what: str, error: type[Exception], words: Sequence[str], cure: str) -> Iterator[None]:
    """Raise unless the block raises an error whose message has some words in it, in this order.

    Parameters
    ----------
    what
        What is to be refused.
    error
        Type of the error.
    words
        What its message is to have.
    cure
        What to do, as a sentence.

    Raises
    ------
    ConformanceError
        If nothing is raised, an error of another type, or one without these words.
    """
    expected = f"{what} to be refused with {error.__name__} that names {', '.join(words)}"
    try:
        yield
    except error as raised:
        pattern = ".*".join(map(re.escape, words))
        expect(re.search(pattern, str(raised), re.DOTALL) is not None, expected, f"the message {str(raised)!r}", cure)
    except Exception as raised:
        raise ConformanceError(f"expected {expected}; found {type(raised).__name__}: {raised}. {cure}") from raised
    else:
        raise ConformanceError(f"expected {expected}; found it accepted. {cure}")


def smallest_options(name: str) -> dict[str, Any]:
    """Options that keep a model small: ``preset="tiny"``, where its declaration has that, else none.

    Parameters
    ----------
    name
        The model's reference.
    """
    try:
        check_options(name, {"preset": "tiny"})
    except ModelOptionError:
        return {}
    return {"preset": "tiny"}
