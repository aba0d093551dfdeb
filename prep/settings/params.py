"""params.yaml as a whole: its sections by name, and its tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import NAME, NAME_LENGTH, ParamsError, near, shown
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams

__all__ = [
    "NAMED",
    "PARAMS_FILE",
    "SECTIONS",
    "SECTION_TYPES",
    "check_params",
    "check_task",
    "load_task",
    "read_params",
]

PARAMS_FILE = Path("params.yaml")

NAMED = ("releases", "flow_releases", "tasks", "runs", "feature_runs")

# Every top-level key of params.yaml, and who reads it.
SECTIONS = {
    "synth": "fdpbench synthesize",
    "releases": "dvc.yaml: one index, align and flow stage each",
    "flow_releases": "dvc.yaml: one flow-images stage each",
    "index": "fdpbench index",
    "align": "fdpbench align",
    "flow": "fdpbench flow",
    "tasks": "fdpbench dynamic, fdpbench task",
    "runs": "fdpbench train, fdpbench tables",
    "feature_runs": "fdpbench features, fdpbench train, fdpbench tables",
    "train": "fdpbench train",
    "options": "fdpbench train",
}

SECTION_TYPES = dict.fromkeys(SECTIONS, dict) | {"releases": list, "flow_releases": list}


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read params.yaml and refuse unknown or missing top-level keys.

    Parameters
    ----------
    path
        The YAML file, loaded safely.

    Returns
    -------
    The sections by name, untyped: pass each to its type with `section`.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, a key stands twice, or its top-level keys are not exactly the known ones.
    """
    if not path.is_file():
        raise ParamsError(f"{path} not found: run the command from the project's root folder")
    content: dict[str, Any] = read_yaml(path)
    check_params(content, path)
    return content


def check_params(content: Any, path: Path = PARAMS_FILE) -> None:
    """Check the frame of params.yaml: its sections, their kinds, the names of tasks, runs and releases.

    Raises
    ------
    ParamsError
        Naming all that is unknown, missing, of the wrong kind or badly named.
    """
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    problems = []
    for key in content:
        if key not in SECTIONS:
            problems.append(f"unknown key {key!r}{near(key, SECTIONS)}; known keys: {', '.join(SECTIONS)}")
    for key, kind in SECTION_TYPES.items():
        none = "[]" if kind is list else "{}"
        if key not in content:
            cure = f"; write `{key}: {none}` if there are none" if key in ("feature_runs", "flow_releases") else ""
            cure = "; write `index: {lost_frames: reject}`" if key == "index" else cure
            problems.append(f"section {key!r} is missing (read by: {SECTIONS[key]}){cure}")
        elif not isinstance(content[key], kind):
            expected = "a list" if kind is list else "a mapping"
            problems.append(f"{key} must be {expected} (write [] or {{}} for none), found {shown(content[key])}")
        elif key in NAMED:
            problems += _problems_of_names(key, list(content[key]))
    if problems:
        raise ParamsError(*(f"{path}: {problem}" for problem in problems))


def _problems_of_names(key: str, names: list[Any]) -> Iterator[str]:
    """Names that cannot be those of stages and files, or a word of dvc.yaml's commands; names that stand twice."""
    for name in names:
        if not isinstance(name, str):
            yield f"{key}: {shown(name)} is no name but a value of YAML; write it in quotes"
        elif not re.fullmatch(NAME, name):
            yield f"{key}.{name}: a name may hold letters, digits, - and _ only, up to {NAME_LENGTH} of them"
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and names.count(name) > 1):
        yield f"{key}: {name} stands twice"


def load_task(name: str, params: dict[str, Any]) -> TaskParams:
    """One task of params.yaml, checked, also against how its releases are aligned.

    Raises
    ------
    ParamsError
        If there is no such task, its entry is wrong, or it asks for landmarks that are not sought.
    """
    tasks = params["tasks"]
    if name not in tasks:
        raise ParamsError(f"params.yaml: no task {name!r}{near(name, tasks)}; tasks: {', '.join(tasks)}")
    task = section(TaskParams, tasks[name], f"tasks.{name}")
    if task.landmarks:
        check_task(name, task, section(AlignParams, params["align"], "align"))
    return task


def check_task(name: str, task: TaskParams, align: AlignParams) -> None:
    """Check a task against how its releases are aligned.

    Raises
    ------
    ParamsError
        If it asks for landmarks that are not sought.
    """
    if task.landmarks and not align.tracks:
        raise ParamsError(
            f"params.yaml: tasks.{name}.landmarks needs landmarks of every frame, which are not sought: set "
            "align.track: true (about 17 ms a frame), or leave landmarks out"
        )
