"""params.yaml as a whole: its sections by name, its tasks, and the data sets that it describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fdpbench.prep.releases import ReleaseError, declare_releases
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import NAME, NAME_LENGTH, ParamsError, near, shown
from fdpbench.prep.settings.release import folder_releases
from fdpbench.prep.settings.synth import EMBEDDED
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.settings.yaml_edit import inline

__all__ = [
    "NAMED",
    "OPTIONAL",
    "PARAMS_FILE",
    "SECTIONS",
    "SECTION_TYPES",
    "check_params",
    "check_task",
    "problems_of_keys",
    "read_params",
]

PARAMS_FILE = Path("params.yaml")

NAMED = ("releases", "corpora", "tasks", "pretrain", "runs", "ensembles")

# Every top-level key of params.yaml, and who reads it.
SECTIONS = {
    "synth": "fdpbench synthesize",
    "releases": "fdpbench index, fdpbench align, fdpbench flow",
    "corpora": "fdpbench corpus",
    "index": "fdpbench index",
    "align": "fdpbench align",
    "flow": "fdpbench flow",
    "tasks": "fdpbench dynamic, fdpbench task",
    "pretrain": "fdpbench pretrain",
    "runs": "fdpbench train, fdpbench tables",
    "ensembles": "fdpbench evaluate",
    "train": "fdpbench train",
    "options": "fdpbench train",
}
# but synth where the embedded release is listed
OPTIONAL = ("synth", "corpora", "index", "pretrain", "ensembles", "options")

SECTION_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys(SECTIONS, (dict,)) | {"releases": (list, dict)}


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read params.yaml and refuse unknown or missing top-level keys.

    Parameters
    ----------
    path
        The YAML file, loaded safely.

    Returns
    -------
    The sections by name, untyped: pass each to its type with `section`. Optional ones that are not there are empty.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, a key stands twice, or `check_params` refuses it.
    """
    if not path.is_file():
        raise ParamsError(f"{path} not found: run the command from the project's root folder")
    return check_params(read_yaml(path), path)


def check_params(content: Any, path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Check the frame of params.yaml: its sections, their kinds, the names of tasks, runs and releases.

    The data sets that section `releases` describes are known by name from here on, in place of those of any file that
    was checked before (`prep.releases.declare_releases`).

    Returns
    -------
    The sections, with empty ones for those that are optional and not there.

    Raises
    ------
    ParamsError
        Naming all that is unknown, missing, of the wrong kind or badly named.
    """
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    problems = list(problems_of_keys(content))
    for key, kind in SECTION_TYPES.items():
        if key not in content:
            if key not in OPTIONAL or (key == "synth" and EMBEDDED in _listed(content, "releases")):
                problems.append(f"section {key!r} is missing (read by: {SECTIONS[key]})")
        elif not isinstance(content[key], kind):
            expected = "a list, or a mapping with settings," if list in kind else "a mapping"
            problems.append(f"{key} must be {expected} (write [] or {{}} for none), found {shown(content[key])}")
        elif key in NAMED:
            problems += _problems_of_names(key, list(content[key]))
    try:
        declare_releases(folder_releases(content.get("releases", ())))
    except (ParamsError, ReleaseError) as error:
        problems += [problem.removeprefix("params.yaml: ") for problem in getattr(error, "problems", [str(error)])]
    if problems:
        raise ParamsError(*(f"{path}: {problem}" for problem in problems))
    return content | {key: {} for key in OPTIONAL if key not in content}


def problems_of_keys(content: dict[str, Any]) -> Iterator[str]:
    """Top-level keys that are none, each with the one that was meant; of those of older files, the line to write."""
    for key in content:
        if key == "feature_runs":
            lines = content[key] if isinstance(content[key], dict) else {}
            yield from (f"{key}: write its lines under runs: {inline({name: lines[name]})}" for name in lines)
            if not lines:
                yield f"{key}: leave it out; all runs stand under runs"
        elif key == "flow_releases":
            names = [*_listed(content, "releases"), *_listed(content, key)]
            cure = f"write `{inline({'releases': names})}`" if _listed(content, key) else "leave it out"
            yield f"{key}: {cure}; all releases stand under releases"
        elif key not in SECTIONS:
            yield f"unknown key {key!r}{near(key, SECTIONS)}; known keys: {', '.join(SECTIONS)}"


def _listed(content: dict[str, Any], key: str) -> list[Any]:
    return list(content[key]) if isinstance(content.get(key), (list, dict)) else []


def _problems_of_names(key: str, names: list[Any]) -> Iterator[str]:
    """Names that cannot be those of stages and files, or a word of dvc.yaml's commands; names that stand twice."""
    for name in names:
        if not isinstance(name, str):
            yield f"{key}: {shown(name)} is no name but a value of YAML; write it in quotes"
        elif not re.fullmatch(NAME, name):
            yield f"{key}.{name}: a name may hold letters, digits, - and _ only, up to {NAME_LENGTH} of them"
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and names.count(name) > 1):
        yield f"{key}: {name} stands twice"


def check_task(name: str, task: TaskParams, align: AlignParams) -> None:
    """Check a task against how its releases are aligned.

    Raises
    ------
    ParamsError
        If it asks for landmarks that are not sought.
    """
    if task.landmarks and align.mode == "given":
        raise ParamsError(
            f"params.yaml: tasks.{name}.landmarks needs landmarks of every frame, and align.mode: given seeks none; "
            "choose another mode, or leave landmarks out"
        )
    if task.landmarks and not align.tracks:
        raise ParamsError(
            f"params.yaml: tasks.{name}.landmarks needs landmarks of every frame, which are not sought: set "
            "align.track: true (about 17 ms a frame), or leave landmarks out"
        )
