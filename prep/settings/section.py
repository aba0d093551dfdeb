"""A section of params.yaml as a typed, frozen object: an unknown key or a value of the wrong type is refused."""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from fdpbench.prep.settings.problems import ParamsError, near, shown

__all__ = ["Section", "section"]

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A part of params.yaml: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def section(cls: type[S], content: Any, where: str) -> S:
    """Check one part of params.yaml against its type.

    Parameters
    ----------
    cls
        The type of the section.
    content
        What `read_params` gave for it.
    where
        Its path in the file, such as ``tasks.synthetic``, for error messages.

    Raises
    ------
    ParamsError
        Naming every key that is unknown, missing or of the wrong type, and what was expected.
    """
    try:
        return cls.model_validate(content)
    except ValidationError as error:
        raise ParamsError(*(f"params.yaml: {_problem(cls, where, found)}" for found in error.errors())) from error


def _problem(cls: type[Section], where: str, found: Any) -> str:
    """One problem that pydantic found in a section, in words."""
    key = ".".join([where, *(str(part) for part in found["loc"])])
    value = found["input"]
    if found["type"] == "extra_forbidden":
        known = _known_keys(cls, found["loc"][:-1])
        return f"{key}: unknown key{near(found['loc'][-1], known)}; known keys here: {', '.join(known)}"
    if found["type"] == "missing":
        return f"{key}: missing"
    hint = ""
    if found["type"] == "literal_error":
        hint = near(value, re.findall(r"'([^']*)'", found["ctx"]["expected"]))
    elif found["type"] == "int_type" and isinstance(value, float) and value.is_integer():
        hint = f"; write {int(value)}"
    elif found["type"] == "bool_type":
        hint = "; write true or false"
    return f"{key}: {found['msg']} (found {shown(value)}){hint}"


def _known_keys(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are known at a place inside a section: follows the names into nested sections."""
    for name in location:
        annotation = cls.model_fields[str(name)].annotation
        nested = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        cls = next(kind for kind in nested if issubclass(kind, BaseModel))
    return list(cls.model_fields)
