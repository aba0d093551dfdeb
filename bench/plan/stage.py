"""Stage `plan`: params.yaml, checked and resolved into one small file for each item of each stage.

In: params.yaml, the code of the packages, installed versions, files that options of models name. Out: artifacts/plan.
A stage depends on its own files there and on data, so that it runs again when what it reads of any of these changes,
and at no other time. `dvc repro` plans each time, since DVC cannot see all of it; where nothing has changed since the
last time, nothing is done. Outputs of runs, tasks and releases that are no longer listed are moved aside, since stages
take whole folders of outputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fdpbench
from fdpbench.arithmetic import arithmetic
from fdpbench.bench.plan.check import check_project
from fdpbench.bench.plan.closure import closure, hash_of, version_of
from fdpbench.bench.plan.params import load_tasks
from fdpbench.bench.plan.stages import STAGES
from fdpbench.bench.train.settings import Run
from fdpbench.prep.releases import RELEASES, reader_module
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.params import PARAMS_FILE, read_params
from fdpbench.prep.settings.planned import PLAN, Planned, place_of
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import EMBEDDED

__all__ = ["make_plan", "plan_project", "require_listed", "unlisted_outputs"]

STAMP = Path(".scratch/plan.json")
ASIDE = Path(".scratch/unlisted")

# Where outputs lie by the name of a release, a task or a run.
OUTPUTS = {
    "releases": ("data/manifest", "data/aligned", "data/flow"),
    "tasks": ("data/dynamic", "data/task"),
    "runs": ("artifacts/predictions", "artifacts/curves", "artifacts/provenance", "artifacts/checkpoints"),
}


def plan_project() -> bool:
    """Check and resolve params.yaml; write what has changed.

    Returns
    -------
    Whether anything had to be done.

    Raises
    ------
    ParamsError
        With every problem there is.
    """
    stamp = _stamp()
    if _read_stamp() == stamp:
        return False
    STAMP.unlink(missing_ok=True)
    runs = check_project()
    params = read_params()
    wanted = {place_of(planned.stage, planned.item): planned.as_json() for planned in make_plan(runs, params)}
    for path in sorted(path for path in PLAN.rglob("*") if path.is_file() and path not in wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, text)
    for path in unlisted_outputs(params):
        aside = ASIDE / path
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink(missing_ok=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, aside)
        console.print(f"plan: {path.as_posix()}: params.yaml does not list it any more; moved to {aside.as_posix()}")
    STAMP.parent.mkdir(exist_ok=True)
    write_durably(STAMP, json.dumps(_stamp(runs), sort_keys=True))
    console.print(f"plan: {len(runs)} runs, {len(wanted)} items of {len(STAGES)} stages")
    return True


def make_plan(runs: list[Run], params: Mapping[str, Any]) -> Iterator[Planned]:
    """Every item of every stage, resolved.

    Parameters
    ----------
    runs
        All runs, checked (`bench.plan.check.check_project`).
    params
        The sections of params.yaml.
    """
    code: dict[tuple[str, ...], dict[str, Any]] = {}

    def planned(stage: str, item: str, settings: Mapping[str, Any], *modules: str, **files: str) -> Planned:
        entry = ("fdpbench.arithmetic", STAGES[stage], *modules)
        if entry not in code:
            found = closure(*entry, without=_unused(stage, settings))
            versions = found.versions() | ({} if arithmetic() == "pinned" else {"arithmetic": arithmetic()})
            code[entry] = {"code": found.hashes(), "versions": versions}
        return Planned(settings, **code[entry], files=files, stage=stage, item=item)

    yield planned("synthesize", "", {"listed": EMBEDDED in params["releases"], "synth": params["synth"]})
    index = section(IndexParams, params["index"], "index").model_dump()
    for release in params["releases"]:
        yield planned("index", release, index, *_readers(release))
        yield planned("align", release, section(AlignParams, params["align"], "align").model_dump())
        yield planned("flow", release, section(FlowParams, params["flow"], "flow").model_dump())
    tasks = load_tasks(dict(params))
    for name, task in tasks.items():
        for stage in ("dynamic", "task"):
            yield planned(stage, name, task.model_dump(), *(_readers(*task.releases) if stage == "task" else ()))
    for run in runs:
        settings = {
            "entry": run.entry.model_dump(exclude={"set", "table"}),
            "task": run.task_params.model_dump(),
            "settings": run.settings.model_dump(),
            "train": run.train.model_dump(),
        }
        files = {path.as_posix(): hash_file(path) for path in run.files}
        yield planned("train", run.name, settings, f"fdpbench.models.{run.model.name}", **files)
    listed = {
        "runs": {run.name: run.entry.model_dump() for run in runs},
        "tasks": {name: task.model_dump() for name, task in tasks.items()},
        "repetitions": runs[0].train.repetitions,
        "class_maps": {release: RELEASES[release].class_maps for release in RELEASES},
    }
    for stage in ("evaluate", "tables", "gallery", "report"):
        if stage in STAGES:
            yield planned(stage, "", listed)


def require_listed(stage: str, item: str) -> None:
    """See to it that an item is planned.

    Raises
    ------
    ParamsError
        Naming those that params.yaml lists.
    """
    if item and not place_of(stage, item).is_file():
        key = {"dynamic": "task", "task": "task", "train": "run"}.get(stage, "release")
        listed = sorted(path.stem for path in (PLAN / stage).glob("*.json"))
        known = f"it lists: {', '.join(listed)}" if listed else "it lists none"
        raise ParamsError(f"params.yaml: no {key} {item!r}{near(item, listed)}; {known}")


def unlisted_outputs(params: Mapping[str, Any]) -> list[Path]:
    """Outputs of releases, tasks and runs that params.yaml does not list."""
    found = []
    for key, folders in OUTPUTS.items():
        for folder in folders:
            for path in sorted(Path(folder).glob("[!.]*")):
                if path.name.partition(".")[0] not in params[key]:
                    found.append(path)
    return found


def _unused(stage: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules that a stage imports only where its settings ask for it."""
    if stage == "align" and settings.get("landmarks") == "dlib":
        return ()
    return ("fdpbench.prep.align.faces_dlib",)


def _readers(*releases: str) -> tuple[str, ...]:
    """Modules that read releases and say what is known of them, as far as they are ours."""
    modules = map(reader_module, releases)
    return tuple(module for module in modules if module.startswith(f"{fdpbench.__name__}."))


def _stamp(runs: list[Run] | None = None) -> dict[str, Any]:
    """All that a plan is made of, hashed, and the plan itself."""
    before = _read_stamp() if runs is None else {}
    files = {path.as_posix() for run in runs or () for path in run.files} or set(before.get("files", ()))
    code = hashlib.sha256()
    packages: set[str] = set(before.get("versions", ()))
    for root in map(Path, fdpbench.__path__):
        for folder in (root,) if root.name == "fdpbench" else (root / name for name in ("bench", "models", "prep")):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    code.update(f"{path.relative_to(root).as_posix()} {hash_of(path)}\n".encode())
    if runs is not None:
        plan = [json.loads(path.read_bytes()) for path in PLAN.rglob("*.json")]
        packages = {name for content in plan for name in content["versions"]} - {"arithmetic"}
    return {
        "params": hash_of(PARAMS_FILE) if PARAMS_FILE.is_file() else "",
        "code": code.hexdigest()[:16],
        "arithmetic": arithmetic(),
        "versions": {name: version_of(name) for name in sorted(packages)},
        "files": {name: hash_of(Path(name)) if Path(name).is_file() else "" for name in sorted(files)},
        "links": sorted(str(path) for path in Path("data/raw").glob("*") if path.is_dir()),
        "plan": {path.as_posix(): hash_of(path) for path in sorted(PLAN.rglob("*.json"))},
    }


def _read_stamp() -> dict[str, Any]:
    try:
        content = json.loads(STAMP.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
