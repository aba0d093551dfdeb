"""Profiles: a file that says what differs from params.yaml, section by section."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from fdpbench.prep.settings.params import problems_of_keys, read_params
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError

__all__ = ["overlay"]


def overlay(profile: Path, params: Path) -> str:
    """Text of params.yaml with each section that a profile names in place of its own; comments are kept.

    Parameters
    ----------
    profile
        YAML file with some sections of params.yaml, each whole.
    params
        The file whose other sections stay.

    Raises
    ------
    ParamsError
        If a file is missing or cannot be read, or the profile names a section that params.yaml cannot have.
    """
    read_params(params)
    if not profile.is_file():
        raise ParamsError(f"{profile} not found; profiles lie beside params.yaml, such as params.full.yaml")
    named = read_yaml(profile) or {}  # an error that names the file and the line
    if not isinstance(named, dict):
        raise ParamsError(f"{profile}: expected a mapping of sections, found {type(named).__name__}")
    problems = [f"{profile}: {problem}" for problem in problems_of_keys(named)]
    if problems:
        raise ParamsError(*problems)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    changed = yaml.load(profile.read_text(encoding="utf-8"))
    content = yaml.load(params.read_text(encoding="utf-8"))
    for section in named:
        content[section] = changed[section]
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()
