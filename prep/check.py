"""Check the data on disk, and name everything that is wrong with it: which tables there are, and their locks.

`prep.check_aligned` checks manifests and aligned frames, `prep.check_tables` flow, dynamic images and
tasks. No stage works on the data meanwhile: its lock is held.
"""

from __future__ import annotations

from typing import Any

from prep import paths
from prep.check_aligned import check_aligned
from prep.check_report import Report
from prep.check_tables import check_dynamic, check_flow, check_task
from prep.params import ParamsError, TaskParams, section
from prep.progress import console
from prep.releases import RELEASES
from prep.scratch import hold_stages

__all__ = ["check_data"]


def check_data(names: list[str], tasks: dict[str, Any]) -> list[Report]:
    """Check releases and tasks in the data folder.

    Parameters
    ----------
    names
        Names of releases and tasks (of both, where both are called so); if none is given, all that have data.
    tasks
        Section ``tasks`` of params.yaml.

    Returns
    -------
    A report on each table that is there: of each release the manifest and the aligned frames, then its flow,
    of each task its dynamic images, then what training reads.

    Raises
    ------
    ValueError
        If a name is neither a release nor a task, or there is nothing to check.
    """
    unknown = [name for name in names if name not in RELEASES and name not in tasks]
    if unknown:
        raise ParamsError(
            f"{unknown[0]!r} is neither a release nor a task of params.yaml; releases: {', '.join(RELEASES)}; "
            f"tasks: {', '.join(tasks)}"
        )
    releases = [name for name in (names or _found("manifest", "aligned", "flow")) if name in RELEASES]
    with_frames = [name for name in releases if RELEASES[name].kind == "frames" and _there(name, "manifest", "aligned")]
    with_flow = [
        name
        for name in releases
        if _there(name, "flow") or (RELEASES[name].kind == "flow" and _there(name, "manifest"))
    ]
    found = _found("dynamic", "task")
    known = {name: section(TaskParams, tasks[name], f"tasks.{name}") for name in (names or found) if name in tasks}
    drawn = [name for name in known if _there(name, "dynamic")]
    gathered = [name for name in known if _there(name, "task")]
    for name in sorted({*found} - {*tasks}) if not names else ():
        console.print(f"check: {name} has data, but params.yaml has no such task: not checked")
    if not (with_frames or with_flow or drawn or gathered):
        raise ValueError(f"{paths.DATA}: no data of {', '.join(names) or 'any release or task'}; run `dvc repro`")

    stages = [f"{stage}-{name}" for name in releases for stage in ("index", "align", "flow", "flow-images")]
    stages += [f"{stage}-{name}" for name in known for stage in ("dynamic", "task")]
    read = {name for task in known.values() for name in task.releases}
    stages += [f"{stage}-{name}" for name in read for stage in ("index", "align", "flow", "flow-images")]
    with hold_stages(stages):
        reports = [check_aligned(name, paths.manifest(name), paths.aligned(name)) for name in with_frames]
        reports += [check_flow(name) for name in with_flow]
        reports += [check_dynamic(name, known[name]) for name in drawn]
        reports += [check_task(name, known[name]) for name in gathered]
    return reports


def _found(*tables: str) -> list[str]:
    """Names that have a folder of one of these tables."""
    places = (path for table in tables for path in (paths.DATA / table).glob("*/"))
    return sorted({path.name for path in places if not path.name.startswith(".")})


def _there(name: str, *tables: str) -> bool:
    return any((paths.DATA / table / name).is_dir() for table in tables)
