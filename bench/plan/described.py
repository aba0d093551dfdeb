"""`fdpbench describe`: what is guessed of a data set of one's own as section `releases`, and in params.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fdpbench.prep.releases import RELEASES, ReleaseError, is_described
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.settings.params import PARAMS_FILE, check_params, read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.release import FolderRelease
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.yaml_edit import append_to_mapping, block, replace_section

__all__ = ["add_described", "as_mapping", "check_described", "releases_with"]


def check_described(name: str, settings: dict[str, Any]) -> None:
    """Check a description before it is shown.

    Raises
    ------
    ReleaseError
        If a release that has a reader has this name.
    ParamsError
        If the settings lack something that could not be guessed.
    """
    if name in RELEASES and not is_described(name):
        raise ReleaseError(f"{name!r} is the name of a release that has a reader; choose another with --name")
    section(FolderRelease, settings, f"releases.{name}")


def releases_with(name: str, settings: dict[str, Any], params: Path = PARAMS_FILE) -> str:
    """Section `releases` as text: what params.yaml has there, if there is one, and this data set."""
    listed = read_params(params)["releases"] if params.is_file() else {}
    return block({"releases": as_mapping(listed) | {name: settings}})


def as_mapping(listed: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Section `releases` as name -> settings, also where it is a list of names."""
    return dict(listed) if isinstance(listed, Mapping) else {name: {} for name in listed}


def add_described(name: str, settings: dict[str, Any], params: Path = PARAMS_FILE) -> None:
    """Write a data set into section `releases` of params.yaml; nothing else in it changes.

    Raises
    ------
    ParamsError
        If params.yaml cannot be read or changed, or describes a data set of this name already.
    """
    content = read_params(params)
    listed = content["releases"]
    if name in listed:
        raise ParamsError(f"{params}: releases has {name!r} already; take it out first, or choose another with --name")
    text = params.read_text(encoding="utf-8")
    if isinstance(listed, dict) and listed:
        text = append_to_mapping(text, "releases", name, settings)
    else:
        text = replace_section(text, "releases", releases_with(name, settings, params))
    wanted = content["releases"] | {name: settings} if isinstance(listed, dict) else None
    changed = parse_yaml(text, params)
    if wanted is not None and changed["releases"] != wanted:
        raise ParamsError(f"{params}: cannot be added to; write by hand under releases: {block({name: settings})}")
    check_params(changed, params)
    write_durably(params, text)
