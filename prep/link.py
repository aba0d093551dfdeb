"""`prep link`: point the project at a release on disk, and name it in params.yaml."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from prep import paths
from prep.class_maps import maps_of
from prep.params import PARAMS_FILE, IndexParams, TaskParams, read_params, section
from prep.progress import console
from prep.releases import Release, ReleaseError, read_release, release_info
from prep.sheet_report import report_lines, report_of_listing

__all__ = ["activate", "check_links", "link_release", "standard_task"]

_FRAMES = {"sampling": {"rule": "uniform", "frames": 8}, "rank_pooling": "harmonic"}
_FLOW = {"flow": {"size": 28, "scaling": "per_image"}}

# Releases whose sheets give no apex for some or all clips: their task has no flow, which needs one, until
# params.yaml says `flow: {missing_apex: estimate}` and the task asks for flow.
_WITHOUT_APEX = {"smic_hs", "smic_vis", "smic_nir", "casme3_c", "megc2019"}


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
    flow = {} if release.name in _WITHOUT_APEX else _FLOW
    return name, {"releases": [release.name], "classes": classes, **frames, **flow}


def link_release(name: str, folder: Path, params: Path = PARAMS_FILE) -> Path:
    """Link ``data/raw/<release>`` to a folder and name the release and its standard task in params.yaml.

    The folder is read first, so that a wrong one is found here and not after hours.

    Returns
    -------
    The link, which git ignores and which DVC hashes through.

    Raises
    ------
    ReleaseError
        If the folder is not that release, or something other than a link is in the way.
    """
    release = release_info(name)
    task = standard_task(release)
    if task is None:
        raise ReleaseError(f"release {name!r} is {release.expects}; there is nothing to link")
    target = folder.expanduser().resolve()
    index = section(IndexParams, read_params(params)["index"], "index")
    listing = read_release(name, target, index.lost_frames)
    link = paths.raw(name)
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} is a folder of its own, not a link; move it away first")
    link.parent.mkdir(parents=True, exist_ok=True)
    before = link.readlink() if link.is_symlink() else target
    link.unlink(missing_ok=True)
    os.symlink(target, link, target_is_directory=True)
    console.print(f"{link} -> {target}" + (f" (was {before})" if before != target else ""))
    for line in report_lines(report_of_listing(name, listing)):
        console.print(f"  {line}")
    changes = activate(release, params)
    console.print(f"{params}: {', '.join(changes) or f'{name} and task {task[0]} are there already'}")
    console.print(
        f"Next: add a run to {params}, for example `{task[0]}-majority: {{task: {task[0]}, model: majority}}`"
    )
    console.print("under `runs`, then `dvc repro` (`python -m bench models` lists the models).")
    return link


def activate(release: Release, params: Path) -> list[str]:
    """Name a release and its standard task in params.yaml, keeping its comments and order.

    Returns
    -------
    What was added, in words; empty if all was there.
    """
    read_params(params)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.default_flow_style = None  # innermost lists and maps on one line
    yaml.width = 120
    content = yaml.load(params.read_text(encoding="utf-8"))
    changes = []
    listed = "flow_releases" if release.kind == "flow" else "releases"
    if release.name not in content[listed]:
        content[listed].append(release.name)
        changes.append(f"{release.name} added to {listed}")
    standard = standard_task(release)
    assert standard is not None, release.name  # link_release has asked
    task, definition = standard
    section(TaskParams, definition, f"tasks.{task}")
    if task not in content["tasks"]:
        content["tasks"][task] = definition
        changes.append(f"task {task} added")
    if changes:
        text = io.StringIO()
        yaml.dump(content, text)
        params.write_text(text.getvalue(), encoding="utf-8")
    return changes


def check_links(params: dict[str, Any]) -> None:
    """Check that every release that params.yaml names is known, of its kind, and there.

    Raises
    ------
    ReleaseError
        Naming the release and the command that links it.
    """
    for key, kind in (("releases", "frames"), ("flow_releases", "flow")):
        for name in params[key]:
            release = release_info(name)
            if release.kind != kind:
                raise ReleaseError(f"params.yaml, {key}: {name!r} is a release of kind {release.kind!r}, not {kind!r}")
            if standard_task(release) is not None and not paths.raw(name).is_dir():
                raise ReleaseError(
                    f"params.yaml, {key}: {name!r} is named, but {paths.raw(name)} is not there. "
                    f"Point the project at it: python -m prep link {name} /path/to/the/release"
                )
