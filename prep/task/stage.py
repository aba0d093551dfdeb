"""Stage `task`: gather a task's releases into what training reads, and nothing else.

A clip is in a task if its emotion is in the class map and every input of the task exists for it;
any other clip of the releases is listed in ``rejected.parquet``. Every model of a task thus sees the
same clips.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fdpbench.prep.flow import methods
from fdpbench.prep.index.doubts import lost_frames
from fdpbench.prep.index.manifest import has_given_crops, is_simulated, load_manifest
from fdpbench.prep.releases import release_info
from fdpbench.prep.runtime.progress import console
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.release import declared
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import FlowInput, TaskParams
from fdpbench.prep.store import contents, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FLOW, Reason, rejected_table
from fdpbench.prep.task.inputs import INPUTS, Input
from fdpbench.prep.task.table import TASK

__all__ = ["describe_task", "gather_task", "network_flow", "run"]

Source = Literal["dynamic", "flow"]


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    name = planned.item
    gather_task(name, section(TaskParams, declared(planned.settings), f"tasks.{name}"), paths.task(name))


def gather_task(name: str, task: TaskParams, out: Path) -> None:
    """Write ``clips.parquet``, ``rejected.parquet`` and ``task.json`` of a task, and their checksums.

    Parameters
    ----------
    name
        Name of the task.
    task
        Its entry in params.yaml.
    out
        Folder to write into.

    Raises
    ------
    ValueError
        If two releases hold the same clip, or a class has no clip.
    """
    labels = {emotion: k for k, group in enumerate(task.classes.values()) for emotion in group}
    clips: dict[str, dict[str, Any]] = {}
    rejected: list[dict[str, str]] = []
    for release in task.releases:
        for row in load_manifest(release):
            clip_id = str(row["clip_id"])
            if clip_id in clips:
                raise ValueError(f"task {name}: {clip_id} is in more than one of {', '.join(task.releases)}")
            if row["emotion"] in labels:
                clips[clip_id] = row
            else:
                detail = f"emotion {row['emotion']!r} is in no class of the task"
                rejected.append({"clip_id": clip_id, "reason": Reason.OTHER_EMOTION, "detail": detail})

    subjects = {row["subject"]: None for row in clips.values()}
    inputs: dict[str, dict[str, Any]] = {key: {} for key in task.inputs}  # by clip
    estimated: set[str] = set()  # clips whose apex is
    read: list[Path] = []
    for source in dict.fromkeys(INPUTS[key].source for key in inputs):
        asked = [INPUTS[key] for key in inputs if INPUTS[key].source == source]
        read += _tables(source, name, task)
        for found in _rows(source, name, task, asked):
            if found.get("apex_source") == "estimated":
                estimated.add(found["clip_id"])
            for entry in asked:
                value = entry.take(found[entry.taken_from])
                if value is not None:
                    inputs[entry.name][found["clip_id"]] = value
    class_names = list(task.classes)

    def subject_tables() -> Iterator[pa.Table]:
        for subject in subjects:
            rows = []
            for clip_id, clip in clips.items():
                if clip["subject"] != subject:
                    continue
                missing = dict.fromkeys(INPUTS[key].lacking for key, have in inputs.items() if clip_id not in have)
                if missing:
                    reason = Reason(f"no_{next(iter(missing))}")
                    detail = f"no {' and no '.join(missing)}: see rejected.parquet of the stages before"
                    rejected.append({"clip_id": clip_id, "reason": reason, "detail": detail})
                    continue
                label = labels[clip["emotion"]]
                row = {"clip_id": clip_id, "dataset": clip["dataset"], "subject": subject, "label": label}
                row |= {"class": class_names[label]}
                rows.append(row | {key: have[clip_id] for key, have in inputs.items()})
            yield pa.Table.from_pylist(rows, schema=TASK)

    def build(staging: Path) -> None:
        shards.write_subjects(staging / "clips.parquet", shards.marked(TASK, *read), subject_tables())
        shards.write_table(rejected_table(rejected), staging / "rejected.parquet")
        kept = shards.read_table(staging / "clips.parquet", TASK).select(["clip_id", "class", "subject"]).to_pylist()
        counts = Counter(row["class"] for row in kept)
        empty = [class_name for class_name in class_names if not counts[class_name]]
        if empty:
            raise ValueError(f"task {name}: no clip of class {', '.join(empty)}; clips found: {dict(counts)}")
        description = describe_task(name, task, staging / "clips.parquet")
        (staging / "task.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        contents.write_sums(staging)
        listed = ", ".join(f"{class_name} {counts[class_name]}" for class_name in class_names)
        console.print(
            f"task {name}: {len(kept)} clips of {len({row['subject'] for row in kept})} subjects "
            f"({listed}); left out {len(rejected)}; inputs: {', '.join(task.inputs)}"
        )
        if "lost_frames" in description:
            console.print(
                f"task {name}: {description['lost_frames']} of its clips lack frames (index.lost_frames: keep)"
            )
        if "given_crops" in description:
            names = ", ".join(description["given_crops"])
            console.print(f"task {name}: crops of faces of {names} are used as they came (align.mode: given)")
        if description["simulated"]:
            names = ", ".join(description["simulated"])
            console.print(f"task {name}: {names} written by `fdpbench simulate`: scores say nothing about real faces")
        guessed = sum(row["clip_id"] in estimated for row in kept)
        if guessed:
            what = f"the flow of {guessed} clips leads to an apex" if task.flow else f"{guessed} clips have an apex"
            console.print(f"task {name}: {what} that is estimated, not annotated")

    with open_scratch(f"task-{name}", "whole") as scratch:
        scratch.publish({out: build})


def describe_task(name: str, task: TaskParams, clips: Path) -> dict[str, Any]:
    """What ``task.json`` says of a task.

    Parameters
    ----------
    name, task
        The task.
    clips
        Its table; opened only where a release has clips that lack frames.

    Returns
    -------
    A JSON-able mapping; ``lost_frames``, the number of the task's clips that lack frames, is in it if there are any,
    and so is ``given_crops``, the releases whose own crops of faces are used as they are.

    Raises
    ------
    DocumentError
        If the report on one of its releases cannot be read.
    """
    lacking = {row["clip_id"] for release in task.releases for row in lost_frames(load_manifest(release))}
    lost = (
        sum(row["clip_id"] in lacking for row in shards.read_rows(clips, TASK, columns=["clip_id"])) if lacking else 0
    )
    simulated = [release for release in task.releases if is_simulated(release)]
    given = [release for release in task.releases if has_given_crops(release)]
    known = [release_info(release) for release in task.releases]
    return (
        {
            "task": name,
            "classes": list(task.classes),
            "inputs": list(task.inputs),
            "flow_side": task.flow.size if task.flow else None,
            "sampling": task.sampling.rule if task.sampling else None,
            "rendered": bool(simulated) or any(release.rendered for release in known),
            "simulated": simulated,
            "faces_may_be_published": all(release.faces_may_be_published for release in known),
        }
        | ({"lost_frames": lost} if lost else {})
        | ({"given_crops": given} if given else {})
    )


def _tables(source: Source, name: str, task: TaskParams) -> list[Path]:
    """Tables of the stage that inputs are taken from."""
    if source == "dynamic":
        return [paths.dynamic(name) / "dynamic.parquet"]
    return [paths.flow(release) / "flow.parquet" for release in task.releases]


def _rows(source: Source, name: str, task: TaskParams, asked: list[Input]) -> Iterator[dict[str, Any]]:
    """Rows of those tables with the columns that are asked for, flow as networks get it."""
    columns = ["clip_id", *dict.fromkeys(entry.taken_from for entry in asked)]
    if source == "flow":
        columns += ["apex_source", *(["unit", "side"] if task.flow else [])]
    for path in _tables(source, name, task):
        for row in shards.read_rows(path, DYNAMIC if source == "dynamic" else FLOW, columns=columns):
            if source == "flow" and task.flow:
                row["flow"] = network_flow(row, task.flow).ravel().tolist()
            yield row


def network_flow(row: dict[str, Any], wanted: FlowInput) -> np.ndarray:
    """Flow at the size and scale that the task asks for: (3, size, size) float32."""
    side = row["side"]
    field = np.array(row["flow"], dtype=np.float32).reshape(3, side, side)
    if row["unit"] == "image" and wanted.scaling != "per_image":
        raise ValueError(
            f"{row['clip_id']}: its flow image is scaled already, pixels are not known; use flow.scaling: per_image"
        )
    if side != wanted.size:
        field = methods.resize_flow(field, wanted.size)
    if wanted.limit is not None and wanted.strain_limit is not None:  # scaling fixed
        field = methods.scale_fixed(field, wanted.limit, wanted.strain_limit)
    elif wanted.scaling == "per_image" and not (row["unit"] == "image" and side == wanted.size):
        field = methods.scale_per_image(field)
    return field.astype(np.float32)
