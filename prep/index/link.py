"""`fdpbench link`: point the project at a release on disk, and name it in params.yaml."""

from __future__ import annotations

import copy
import os
import re
import shutil
from pathlib import Path
from typing import Any

from fdpbench.prep.index.class_maps import maps_of
from fdpbench.prep.index.sheet_report import report_lines, report_of_listing
from fdpbench.prep.releases import RELEASES, Release, ReleaseError, read_release, release_info
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.params import PARAMS_FILE, read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml
from fdpbench.prep.settings.problems import NAME, ParamsError, Problems, near
from fdpbench.prep.settings.profile import laid_over
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.settings.yaml_edit import append_section, append_to_list, append_to_mapping, section_text
from fdpbench.prep.store import paths

__all__ = ["activated", "check_links", "link_release", "standard_task", "study_file"]

STUDY_HEAD = """\
# A study of your own (git-ignored): `make study NAME=...` runs it in build/, apart from the project's own results.
# Each section stands in place of that of params.yaml; all others are those of params.yaml.
"""

_FRAMES = {"sampling": {"rule": "uniform", "frames": 8}, "rank_pooling": "harmonic"}
_FLOW = {"flow": {"size": 28, "scaling": "per_image"}}


def standard_task(release: Release) -> tuple[str, dict[str, Any]] | None:
    """Name and definition of the task that goes with a release: the first class map of the literature.

    Returns
    -------
    None for the embedded release, which needs no link.
    """
    maps = maps_of(release.name)
    if not maps:
        return None
    classes = {name: list(emotions) for name, emotions in maps[0].classes.items()}
    name = "megc2019_frames" if release.name == "megc2019" else maps[0].name  # its flow images were here first
    frames = _FRAMES if release.kind == "frames" else {}
    flow = {} if release.without_apex else _FLOW
    return name, {"releases": [release.name], "classes": classes, **frames, **flow}


def link_release(name: str, folder: Path, params: Path = PARAMS_FILE, study: str | None = None) -> Path:
    """Link ``data/raw/<release>`` to a folder and name the release and its standard task in params.yaml.

    The folder is read first, so that a wrong one is found here and not after hours; nothing is written unless all
    can be.

    Parameters
    ----------
    name
        Name of the release.
    folder
        Where it is.
    params
        The project's params.yaml.
    study
        Name of a study: its ``params.<study>.yaml`` is written instead, and made if it is not there.

    Returns
    -------
    The link, which git ignores and which DVC hashes through.

    Raises
    ------
    ReleaseError
        If the folder is not that release, or something other than a link is in the way.
    ParamsError
        If params.yaml, or the study's, is missing or cannot be read.
    """
    release = release_info(name)
    task = standard_task(release)
    if task is None:
        raise ReleaseError(f"release {name!r} is {release.expects}; there is nothing to link")
    file = params if study is None else study_file(study, params)
    text, changes = activated(release, params, file)
    target = folder.expanduser().resolve()
    index = section(IndexParams, read_params(params)["index"], "index")
    listing = read_release(name, target, index.lost_frames)
    link = paths.raw(name)
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} is a folder of its own, not a link; move it away first")
    before = link.readlink() if link.is_symlink() else target
    _write_both(link, target, file, text if changes else None)
    console.print(f"{link} -> {target}" + (f" (was {before})" if before != target else ""))
    for line in report_lines(report_of_listing(name, listing)):
        console.print(f"  {line}")
    console.print(f"{file}: {', '.join(changes) or f'{name} and task {task[0]} are there already'}")
    console.print(f"Next: add a run to {file}, for example `{task[0]}-majority: {{task: {task[0]}, model: majority}}`")
    run = "dvc repro" if study is None else f"make study NAME={study}"
    console.print(f"under `runs`, then `{run}` (`fdpbench models` lists the models).")
    return link


def study_file(study: str, params: Path = PARAMS_FILE) -> Path:
    """The file of a study's settings, beside params.yaml.

    Raises
    ------
    ParamsError
        If the name does not suit a file.
    """
    if not re.fullmatch(NAME, study):
        raise ParamsError(f"study {study!r}: a name may hold letters, digits, - and _ only")
    return params.with_name(f"params.{study}.yaml")


def activated(release: Release, params: Path, file: Path) -> tuple[str, list[str]]:
    """Text of a file of settings that names a release and its standard task; all else in it stays as it is.

    Parameters
    ----------
    release
        The release.
    params
        The project's params.yaml.
    file
        The file to change: params.yaml itself, or that of a study, whose sections stand in place of those of
        params.yaml; those that it needs and lacks are taken from there.

    Returns
    -------
    The text, and what was added, in words; empty if all was there.

    Raises
    ------
    ParamsError
        If a file is missing or wrong, or the addition would change anything else.
    """
    read_params(params)
    base, changes = params.read_text(encoding="utf-8"), []
    needed = ["releases", "flow_releases", "tasks", "runs", "feature_runs"]
    text = base
    if file != params:
        if file.is_file():
            laid_over(file, params)  # an error that names the file
            text, needed = file.read_text(encoding="utf-8"), needed[:3]
        else:
            text = STUDY_HEAD
            changes.append("written, with sections of params.yaml")
        for key in needed:
            if key not in (parse_yaml(text, file) or {}):
                text = append_section(text, section_text(base, key))
    content = {key: copy.deepcopy(value) for key, value in parse_yaml(text, file).items()}  # shares nothing by aliases
    listed = "flow_releases" if release.kind == "flow" else "releases"
    if release.name not in content[listed]:
        text = append_to_list(text, listed, release.name)
        content[listed].append(release.name)
        changes.append(f"{release.name} added to {listed}")
    standard = standard_task(release)
    assert standard is not None, release.name  # link_release has asked
    task, definition = standard
    section(TaskParams, definition, f"tasks.{task}")
    if task not in content["tasks"]:
        text = append_to_mapping(text, "tasks", task, definition)
        content["tasks"][task] = definition
        changes.append(f"task {task} added")
    if repr(parse_yaml(text, file)) != repr(
        content
    ):  # a way to write YAML that `prep.settings.yaml_edit` does not know
        raise ParamsError(
            f"{file}: cannot be added to without changing what it says; add {release.name} to {listed} and this task "
            f"by hand: {task}: {definition}"
        )
    return text, changes


def _write_both(link: Path, target: Path, file: Path, text: str | None) -> None:
    """Put link and text in place by renaming, when both are written: a full disk leaves what was there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new_link = link.with_name(f".{link.name}.new")
    place = file.resolve()  # of a link to a file, the file
    new_file = place.with_name(f".{place.name}.new")
    try:
        if text is not None:
            with new_file.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            if place.is_file():
                shutil.copymode(place, new_file)
        new_link.unlink(missing_ok=True)
        os.symlink(target, new_link, target_is_directory=True)
        os.replace(new_link, link)
        if text is not None:
            os.replace(new_file, place)
    finally:
        new_link.unlink(missing_ok=True)
        new_file.unlink(missing_ok=True)


def check_links(params: dict[str, Any]) -> None:
    """Check that every release that params.yaml names is known, of its kind, and there.

    Raises
    ------
    ParamsError
        Naming each release that is not, and the command that links it.
    """
    problems = Problems()
    for key, kind in (("releases", "frames"), ("flow_releases", "flow")):
        for name in params[key]:
            if name not in RELEASES:
                problems.add(
                    f"params.yaml, {key}: unknown release {name!r}{near(name, RELEASES)}; known releases: "
                    f"{', '.join(RELEASES)}"
                )
                continue
            release = release_info(name)
            if release.kind != kind:
                problems.add(f"params.yaml, {key}: {name!r} is a release of kind {release.kind!r}, not {kind!r}")
            elif standard_task(release) is not None and not paths.raw(name).is_dir():
                problems.add(
                    f"params.yaml, {key}: {name!r} is named, but {paths.raw(name)} is not there. "
                    f"Point the project at it: fdpbench link {name} /path/to/the/release"
                )
    problems.refuse()
