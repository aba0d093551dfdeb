"""Profiles: a file that says what differs from params.yaml, section by section."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from prep.params import ParamsError, read_params, read_yaml

__all__ = ["laid_over"]


def laid_over(profile: Path, params: Path) -> str:
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
        If a file is missing or cannot be read, or the profile names a section that params.yaml does not have.
    """
    base = read_params(params)
    if not profile.is_file():
        raise ParamsError(f"{profile} not found; profiles lie beside params.yaml, such as params.full.yaml")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    read_yaml(profile)  # an error that names the file and the line
    changed = yaml.load(profile.read_text(encoding="utf-8"))
    content = yaml.load(params.read_text(encoding="utf-8"))
    for section in changed or {}:
        if section not in base:
            raise ParamsError(f"{profile}: unknown section {section!r}; {params} has {', '.join(base)}")
        content[section] = changed[section]
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()
