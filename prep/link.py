"""`prep link`: point the project at a release on disk, and name it in params.yaml."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from prep import paths
from prep.params import PARAMS_FILE, TaskParams, read_params, section
from prep.progress import console
from prep.releases import Release, ReleaseError, read_release, release_info

__all__ = ["STANDARD_TASKS", "activate", "check_links", "link_release"]

_FRAMES = {"sampling": {"rule": "uniform", "frames": 8}, "rank_pooling": "harmonic"}
_FLOW = {"flow": {"size": 28, "scaling": "per_image"}}

# The task that goes with a release: the class map of the literature.
STANDARD_TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "casme2": (
        "casme2_5",
        {
            "releases": ["casme2"],
            "classes": {name: [name] for name in ("disgust", "happiness", "others", "repression", "surprise")},
            **_FRAMES,
            **_FLOW,
        },
    ),
    "megc2019_flow": (
        "megc2019",
        {
            "releases": ["megc2019_flow"],
            "classes": {name: [name] for name in ("negative", "positive", "surprise")},
            **_FLOW,
        },
    ),
}


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
    if name not in STANDARD_TASKS:
        raise ReleaseError(f"release {name!r} is {release.expects}; there is nothing to link")
    target = folder.expanduser().resolve()
    listing = read_release(name, target)
    link = paths.raw(name)
    if link.exists() and not link.is_symlink():
        raise ReleaseError(f"{link} is a folder of its own, not a link; move it away first")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.symlink(target, link, target_is_directory=True)
    console.print(f"{link} -> {target}: {len(listing.clips)} clips, {len(listing.rejected)} left out")
    for note in listing.notes:
        console.print(f"  {note}")
    changes = activate(release, params)
    task = STANDARD_TASKS[name][0]
    console.print(f"{params}: {', '.join(changes) or f'{name} and task {task} are there already'}")
    console.print(f"Next: add a run to {params}, for example `{task}-majority: {{task: {task}, model: majority}}`")
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
    task, definition = STANDARD_TASKS[release.name]
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
            if name in STANDARD_TASKS and not paths.raw(name).is_dir():
                raise ReleaseError(
                    f"params.yaml, {key}: {name!r} is named, but {paths.raw(name)} is not there. "
                    f"Point the project at it: python -m prep link {name} /path/to/the/release"
                )
