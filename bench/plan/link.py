"""`fdpbench link`: point the project at a release on disk, and name it in params.yaml, with a task and runs."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fdpbench.bench.plan.described import as_mapping
from fdpbench.bench.plan.params import errors_of_run, parse_task
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.index.class_maps import maps_of
from fdpbench.prep.index.sheet_report import report_lines, report_of_listing
from fdpbench.prep.releases import RELEASES, Release, ReleaseError, is_described, read_release, release_info
from fdpbench.prep.releases.own.advice import advice
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.params import PARAMS_FILE, check_params, read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml
from fdpbench.prep.settings.problems import NAME, ParamsError, Problems, near
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import EMBEDDED
from fdpbench.prep.settings.yaml_edit import (
    append_section,
    append_to_list,
    append_to_mapping,
    block,
    inline,
    replace_section,
    section_text,
)
from fdpbench.prep.store import paths

__all__ = ["activated", "check_links", "link_release", "standard_task", "study_file"]

STUDY_HEAD = """\
# A study of your own (git-ignored): `make study NAME=...` runs it in build/, apart from the project's own results.
# Each section stands in place of that of params.yaml; all others are those of params.yaml.
"""

_FRAMES = {"sampling": {"rule": "uniform", "frames": 8}, "rank_pooling": "harmonic"}
_FLOW = {"flow": {"size": 28, "scaling": "per_image"}}


def standard_task(
    release: Release, classes: str | None = None, emotions: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """Name and definition of the task that goes with a release and a class map of the literature.

    A data set of one's own has no class map: its task has its name, and a class for each emotion.

    Parameters
    ----------
    release
        A release that is linked.
    classes
        Name of one of its class maps; None: the first.
    emotions
        Emotions of its clips, in order of class index: classes of the task of a release that has no class map.

    Raises
    ------
    ParamsError
        If the release has no such class map, or a data set of one's own has one emotion alone.
    """
    known = [class_map.name for class_map in maps_of(release.name)]
    if classes is not None and classes not in known:
        raise ParamsError(
            f"release {release.name!r} has no class map {classes!r}{near(classes, known)}; it has "
            f"{', '.join(known) or 'none, but a class for each emotion: write others under tasks'}"
        )
    if known:
        gathered: Any = classes or known[0]
        name = f"{gathered}_frames" if release.name == "megc2019" else gathered  # its flow images were here first
    elif len(set(emotions)) < 2:
        raise ParamsError(f"release {release.name!r}: its clips have one emotion alone: {', '.join(emotions)}")
    else:
        name, gathered = release.name, {emotion: [emotion] for emotion in emotions}
    frames = _FRAMES if release.kind == "frames" else {}
    flow = {} if release.without_apex else _FLOW
    return name, {"releases": [release.name], "classes": gathered, **frames, **flow}


def link_release(
    name: str,
    folder: Path,
    params: Path = PARAMS_FILE,
    study: str | None = None,
    classes: str | None = None,
    models: Sequence[str] = (),
) -> Path:
    """Link ``data/raw/<release>`` to a folder and name the release, a task and runs of it in params.yaml.

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
    classes
        Name of the class map of the task; None: the release's first.
    models
        Models of which a run on the task is added.

    Returns
    -------
    The link, which git ignores and which DVC hashes through.

    Raises
    ------
    ReleaseError
        If the folder is not that release, or something other than a link is in the way.
    ParamsError
        If params.yaml, or the study's, is missing or cannot be read, or a model cannot be run on the task.
    """
    file = params if study is None else study_file(study, params)
    content = _whole(params, file, name)
    release = release_info(name)
    if name == EMBEDDED:
        raise ReleaseError(f"release {name!r} is {release.expects}; there is nothing to link")
    target = folder.expanduser().resolve()
    lost_frames = section(IndexParams, content["index"], "index").lost_frames
    crops = section(AlignParams, content["align"], "align").mode == "given"
    emotions: list[str] = []
    if release.class_maps:
        text, changes = activated(release, params, file, classes, models)  # refuses before the folder is read
        listing = read_release(name, target, lost_frames, crops)
    else:  # its task follows from what is there
        listing = read_release(name, target, lost_frames, crops)
        emotions = list(dict.fromkeys(str(clip["emotion"]) for clip in listing.clips))
        if is_described(name):
            emotions.sort()
            release = replace(release, without_apex=any(clip["apex"] is None for clip in listing.clips))
        text, changes = activated(release, params, file, classes, models, emotions)
    link = paths.raw(name)
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} is a folder of its own, not a link; move it away first")
    before = link.readlink() if link.is_symlink() else target
    _write_both(link, target, file, text if changes else None)
    console.print(f"{link} -> {target}" + (f" (was {before})" if before != target else ""))
    for line in report_lines(report_of_listing(name, listing)):
        console.print(f"  {line}")
    if is_described(name):
        for line in advice(listing):
            console.print(f"  {line}")
    task, definition = standard_task(release, classes, emotions)
    console.print(f"{file}: {', '.join(changes) or f'{name} and task {task} are there already'}")
    others = [class_map.name for class_map in maps_of(name) if class_map.name != definition["classes"]]
    if others:
        console.print(f"Other class maps of {name}, each a task by --classes: {', '.join(others)}")
    if not any(change.startswith("run ") for change in changes):
        console.print(f"Next: add runs of the task under `runs` in {file}, or by --runs majority,ststnet,fdp")
        console.print("(`fdpbench models` lists the models).")
    made = f"make study NAME={study}" if Path("Makefile").is_file() else f"fdpbench new ../{study} --profile {file}"
    console.print(f"Then: {'dvc repro' if study is None else made}")
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


def _whole(params: Path, file: Path, release: str) -> dict[str, Any]:
    """The sections that hold for a file of settings: those of params.yaml, and those of a study in place of them.

    A release that params.yaml describes and the study does not name is among them.
    """
    content = read_params(params)
    if file == params or not file.is_file():
        return content
    described = content["releases"]
    content = check_params(parse_yaml(overlay(file, params), file), file)
    if isinstance(described, dict) and described.get(release) and release not in content["releases"]:
        listed = as_mapping(content["releases"])
        content = check_params(content | {"releases": listed | {release: described[release]}}, file)
    return content


def activated(
    release: Release,
    params: Path,
    file: Path,
    classes: str | None = None,
    models: Sequence[str] = (),
    emotions: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Text of a file of settings that names a release, a task and runs of it; all else in it stays as it is.

    Parameters
    ----------
    release, classes, models
        See `link_release`.
    emotions
        See `standard_task`.
    params
        The project's params.yaml.
    file
        The file to change: params.yaml itself, or that of a study, whose sections stand in place of those of
        params.yaml. A new study has nothing of params.yaml in these sections, and a run of `majority` if no model is
        named; one that is there keeps what it takes from params.yaml.

    Returns
    -------
    The text, and what was added, in words; empty if all was there.

    Raises
    ------
    ParamsError
        If a file is missing or wrong, a model cannot be run on the task, or the addition would change anything else.
    """
    whole = _whole(params, file, release.name)
    if file == params or file.is_file():
        text, changes = file.read_text(encoding="utf-8"), []
    else:
        text, changes, models = STUDY_HEAD, ["written"], models or ["majority"]
    if file != params and file.is_file():
        there = parse_yaml(text, file) or {}
        for key in ("releases", "tasks", *(["runs"] if models else [])):
            if key not in there:
                text = append_section(text, section_text(params.read_text(encoding="utf-8"), key))
    parsed = parse_yaml(text, file) or {}
    content = {key: copy.deepcopy(value) for key, value in parsed.items()}  # sections share nothing by aliases
    task, definition = standard_task(release, classes, emotions)
    definition = content.get("tasks", {}).get(task, definition)
    entries = {f"{task}-{model}": {"task": task, "model": model} for model in models}
    _check_runs(task, definition, entries, whole)
    described = whole["releases"].get(release.name) if isinstance(whole["releases"], dict) else None
    for key, name, value in (
        ("releases", release.name, described or ({} if isinstance(content.get("releases"), dict) else None)),
        ("tasks", task, definition),
        *(("runs", run, entry) for run, entry in entries.items()),
    ):
        if name in content.get(key, ()):
            continue
        if key not in content:
            content[key] = [name] if value is None else {name: value}
            text = append_section(text, block({key: content[key]}))
        elif value is not None and isinstance(content[key], list):
            content[key] = as_mapping(content[key]) | {name: value}
            text = replace_section(text, key, block({key: content[key]}))
        elif value is None:
            content[key].append(name)
            text = append_to_list(text, key, name)
        else:
            content[key][name] = value
            text = append_to_mapping(text, key, name, value)
        changes.append(f"{key.removesuffix('s')} {name} added")
    if repr(parse_yaml(text, file)) != repr(content):  # YAML in a way that `prep.settings.yaml_edit` does not know
        raise ParamsError(
            f"{file}: cannot be added to without changing what it says; add by hand {release.name} under releases, "
            f"under tasks {inline({task: definition})}" + (f", under runs {inline(entries)}" if entries else "")
        )
    return text, changes


def _check_runs(task: str, definition: Any, entries: dict[str, dict[str, str]], params: dict[str, Any]) -> None:
    """Refuse runs of models that do not exist, or that the task gives too little."""
    task_params = parse_task(task, definition)
    problems = Problems()
    for run, entry in entries.items():
        checked = section(RunEntry, entry, f"runs.{run}")
        problems.add(*errors_of_run(run, checked, {task: task_params}, params | {"tasks": {task: definition}}))
    problems.refuse()


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
    """Check that every release that params.yaml names is known, and there.

    Raises
    ------
    ParamsError
        Naming each release that is not, and the command that links it.
    """
    problems = Problems()
    for name in params["releases"]:
        if name not in RELEASES:
            problems.add(
                f"params.yaml, releases: unknown release {name!r}{near(name, RELEASES)}; known releases: "
                f"{', '.join(RELEASES)}. A data set of your own needs its settings here: fdpbench describe DIR"
            )
        elif name != EMBEDDED and not paths.raw(name).is_dir():
            problems.add(
                f"params.yaml, releases: {name!r} is named, but {paths.raw(name)} is not there. "
                f"Point the project at it: fdpbench link {name} /path/to/the/release"
            )
    problems.refuse()
