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
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fdpbench
from fdpbench.arithmetic import arithmetic
from fdpbench.bench.plan.closure import outside_files, version_of
from fdpbench.bench.plan.stages import STAGES
from fdpbench.bench.train.artifacts import PRETRAINED, TAKEN
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.params import PARAMS_FILE, read_params
from fdpbench.prep.settings.planned import PLAN, place_of

if TYPE_CHECKING:
    from fdpbench.bench.train.settings import Run

__all__ = ["plan_project", "unlisted_outputs"]

STAMP = Path(".scratch/plan.json")
ASIDE = Path(".scratch/unlisted")

PLUGINS = ("fdpbench.models", "fdpbench.releases")  # groups of entry points

# Where outputs lie by the name of a release, a task or a run.
OUTPUTS = {
    "releases": ("data/manifest", "data/aligned", "data/flow", "data/frames"),
    "corpora": ("data/corpus",),
    "pretrain": ("artifacts/pretrained",),
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
    # these import as much as all else does, and are mostly not needed
    from fdpbench.bench.plan.check import check_project
    from fdpbench.bench.plan.resolve import make_plan
    from fdpbench.bench.train.features import KEPT

    STAMP.unlink(missing_ok=True)
    runs = check_project()
    params = read_params()
    wanted = {place_of(planned.stage, planned.item): planned.as_json() for planned in make_plan(params)}
    for path in sorted(path for path in PLAN.rglob("*") if path.is_file() and path not in wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, text)
    PRETRAINED.mkdir(parents=True, exist_ok=True)  # stage `init` reads it, whether or not anything is pretrained
    for path in unlisted_outputs(params):
        aside = ASIDE / path
        shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink(missing_ok=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, aside)
        console.print(f"plan: {path.as_posix()}: params.yaml does not list it any more; moved to {aside.as_posix()}")
    for path in KEPT.glob("*.parquet"):  # what can be made again is not kept
        if path.name.rpartition("-")[0] not in params["runs"]:
            path.unlink()
    STAMP.parent.mkdir(exist_ok=True)
    write_durably(STAMP, json.dumps(_stamp(runs), sort_keys=True))
    console.print(f"plan: {len(runs)} runs, {len(wanted)} items of {len(STAGES)} stages")
    return True


def unlisted_outputs(params: Mapping[str, Any]) -> list[Path]:
    """Outputs of releases, tasks and runs that params.yaml does not list."""
    found = []
    for key, folders in OUTPUTS.items():
        for folder in folders:
            for path in sorted(Path(folder).glob("[!.]*")):
                if path.name.partition(".")[0] not in params[key]:
                    found.append(path)
    return found


def _stamp(runs: list[Run] | None = None) -> dict[str, Any]:
    """All that a plan is made of, hashed, and the plan itself."""
    before = _read_stamp() if runs is None else {}
    files = set(before.get("files", ()))
    if runs is not None:
        from fdpbench.models.common.lookup import source_of

        sources = (source_of(run.entry.model) for run in runs)
        files = {path.as_posix() for run in runs for path in run.files} | {
            source.as_posix() for source in sources if isinstance(source, Path)
        }
    code = hashlib.sha256()
    packages: set[str] = set(before.get("versions", ()))
    for root in map(Path, fdpbench.__path__):
        for folder in (root,) if root.name == "fdpbench" else (root / name for name in ("bench", "models", "prep")):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    code.update(f"{path.relative_to(root).as_posix()} {hash_file(path)}\n".encode())
    if runs is not None:
        plan = [json.loads(path.read_bytes()) for path in PLAN.rglob("*.json")]
        packages = {name for content in plan for name in content["versions"]} - {"arithmetic"}
    return {
        "params": hash_file(PARAMS_FILE) if PARAMS_FILE.is_file() else "",
        "code": code.hexdigest()[:16],
        "arithmetic": arithmetic(),
        "versions": {name: version_of(name) for name in sorted(packages)},
        "plugins": {
            point.value: {name: hash_file(path) for name, path in outside_files(point.module).items()}
            for group in PLUGINS
            for point in entry_points(group=group)
        },
        "files": {name: hash_file(Path(name)) if Path(name).is_file() else "" for name in sorted(files)},
        "taken": {path.name: hash_file(path) for path in sorted(TAKEN.glob("*.parquet"))},
        "links": sorted(path.name for path in Path("data/raw").glob("*") if path.is_symlink() and path.is_dir()),
        "plan": {path.as_posix(): hash_file(path) for path in sorted(PLAN.rglob("*.json"))},
    }


def _read_stamp() -> dict[str, Any]:
    try:
        content = json.loads(STAMP.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
