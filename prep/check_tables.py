"""Check the tables with one row for each clip: flow, dynamic images, tasks.

Each file is compared with its checksum, each row group with the one subject it is to hold, each row with
the manifest and with the tables that it was made of: flow is of every aligned clip, dynamic images of the
frames that the clip has, a task's inputs are those of its dynamic images and flow. Every image is decoded.
One subject is in memory at a time, and of the tables before a hash for each clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prep import contents, images, paths, shards
from prep.check_clip import Fault
from prep.check_report import Check, Report, Rows
from prep.documents import read_object
from prep.manifest import load_manifest
from prep.params import TaskParams
from prep.progress import track
from prep.releases import release_info
from prep.schema import CONTENTS, DYNAMIC, FLOW, TASK
from prep.tasks import describe_task, network_flow

__all__ = ["check_dynamic", "check_flow", "check_task"]

Row = dict[str, Any]
Sizes = dict[tuple[int, ...], int | None]
# Faults of a clip's row; gets its row of the manifest too, and the shapes of images met.
RowFaults = Callable[[Row, Row, Sizes], Iterator[Fault]]


def check_flow(release: str) -> Report:
    """Check a release's flow; of a release of flow images its manifest too, which no other check reads."""
    folder = paths.flow(release)
    if release_info(release).kind == "frames":
        check = _TableCheck("flow", release, folder)
        due = check.expect([release], aligned=True)
        check.rejections(folder)
        check.run(folder / "flow.parquet", FLOW, _pixel_flow_faults, due)
    else:
        check = _TableCheck("flow", release, folder, paths.manifest(release))
        check.manifest(paths.manifest(release), numbered=False)
        check.run(folder / "flow.parquet", FLOW, _image_flow_faults, set(check.listed or ()))
    return check.report


def check_dynamic(name: str, task: TaskParams) -> Report:
    """Check the sampled frames and dynamic images of a task."""
    folder = paths.dynamic(name)
    check = _TableCheck("dynamic", name, folder)
    due = check.expect(task.releases, aligned=task.sampling is not None)
    check.rejections(folder)
    check.run(folder / "dynamic.parquet", DYNAMIC, _dynamic_faults, due if task.sampling is not None else set())
    return check.report


def check_task(name: str, task: TaskParams) -> Report:
    """Check what training reads of a task, against params.yaml and the tables that it was gathered from."""
    folder = paths.task(name)
    check = _TableCheck("task", name, folder)
    due = check.expect(task.releases, aligned=False)
    check.rejections(folder)
    check.description(folder / "task.json", name, task)
    pictures = _picture_hashes(name) if task.sampling is not None else None
    flows, apexes = _flow_hashes(task)
    check.run(folder / "clips.parquet", TASK, partial(_task_faults, task, pictures, flows, apexes), due)
    return check.report


class _TableCheck(Check):
    """One pass over a table with one row for each clip and one row group for each subject."""

    def __init__(self, table: str, name: str, *folders: Path) -> None:
        super().__init__(Report(table, name), *folders)
        self.files()

    def expect(self, releases: Iterable[str], aligned: bool) -> set[str]:
        """Read the manifests of releases, whose own faults `prep.check_aligned` and `check_flow` name.

        Returns
        -------
        The clips that the table or its ``rejected.parquet`` is to hold: all, or those whose frames are aligned.
        """
        listed: Rows = {}
        due: set[str] = set()
        try:
            for release in releases:
                rows: Rows = {str(row["clip_id"]): row for row in load_manifest(release)}
                listed |= rows
                records = paths.aligned(release) / contents.CLIPS
                due |= set(shards.read_table(records, CONTENTS)["clip_id"].to_pylist()) if aligned else set(rows)
        except shards.ShardError as error:
            self.problem(self.folders[0], f"cannot be compared with what it was made of: {error}")
            return set()
        self.listed = listed
        return due

    def description(self, path: Path, name: str, task: TaskParams) -> None:
        """Compare ``task.json`` with what params.yaml and the reports of the releases say."""
        try:
            found = read_object(path, "run `dvc repro`")
            expected = describe_task(name, task, path.parent / "clips.parquet")
        except ValueError as error:  # DocumentError and ReleaseError
            self.problem(path, f"cannot be compared with params.yaml ({error})")
            return
        for key in sorted(expected.keys() | found.keys()):
            if found.get(key) != expected.get(key):
                self.problem(path, f"says {key} {found.get(key)!r}, by params.yaml it is {expected.get(key)!r}")

    def run(self, path: Path, schema: pa.Schema, faults: RowFaults, due: set[str]) -> None:
        """Check the table's row groups, the order of its clips and that none is missing.

        Parameters
        ----------
        path, schema
            The table.
        faults
            Finds what is wrong with a row.
        due
            Clips that are to be in it, unless they are left out.
        """
        if not path.is_file():
            if path not in self.sums and path.parent.is_dir():
                self.problem(path, "not found")
        else:
            subjects = {row["subject"] for row in (self.listed or {}).values()}
            label = f"check {self.report.table} {self.report.name}"
            groups = track(self.row_groups(path, schema), label, total=len(subjects), what="subjects")
            for index, subject, table in groups:
                self.group_subject(path, index, subject, table)
                for row in table.to_pylist():
                    self.row(path, row, faults)
        self.image_sizes()
        by_subject: dict[str, list[str]] = {}
        for clip, row in (self.listed or {}).items():
            by_subject.setdefault(str(row["subject"]), []).append(clip)
        self.order(path, list(self.seen), [clip for clips in by_subject.values() for clip in clips], "the manifest")
        for clip in sorted(due - self.seen.keys() - (self.left_out or {}).keys()):
            self.problem(path, "is in no row group that can be read, nor in rejected.parquet", clip)

    def row(self, path: Path, row: Row, faults: RowFaults) -> None:
        """Check a clip's row."""
        clip = str(row["clip_id"])
        if clip in self.seen:
            self.problem(path, "stands twice", clip)
        self.seen[clip] = path
        self.report.clips = len(self.seen)
        if self.left_out is not None and clip in self.left_out:
            self.problem(path, f"is listed in rejected.parquet too ({self.left_out[clip]['reason']})", clip)
        if self.listed is None:
            return
        if clip not in self.listed:
            self.problem(path, "is not in the manifest", clip)
            return
        listed = self.listed[clip]
        for name in ("subject", "dataset"):
            if name in row and row[name] != listed[name]:
                self.problem(path, f"is stored as of {name} {row[name]}, the manifest says {listed[name]}", clip)
        sizes: Sizes = {}
        for number, what in faults(row, listed, sizes):
            self.problem(path, what, clip, number)
        for shape in sizes:
            self.sizes.setdefault(shape, []).append((clip, None))


def _pixel_flow_faults(row: Row, listed: Row, sizes: Sizes) -> Iterator[Fault]:
    """Faults of flow that was computed: of whole fields, to the apex that the manifest names or to an estimate."""
    yield from _flow_faults(row, "pixels", sizes)
    yield from _picture_faults(row, sizes, "apex_image")
    if row["apex_image"] is None:
        yield None, "has no apex image"
    apex, source = row["apex"], row["apex_source"]
    if source == "annotated" and apex != listed["apex"]:
        yield None, f"has flow to frame {apex}, the apex of the manifest is {listed['apex']}"
    elif source == "annotated" and apex == listed["onset"]:
        yield None, f"has flow from frame {apex} to itself"
    elif source == "estimated" and (
        listed["apex"] not in (None, listed["onset"]) or apex not in (listed["frame_numbers"] or [])
    ):
        yield None, f"has flow to frame {apex} as an estimate, the apex of the manifest is {listed['apex']}"
    elif source not in {"annotated", "estimated"}:
        yield None, f"has flow to an apex from {source!r}, expected annotated or estimated"


def _image_flow_faults(row: Row, listed: Row, sizes: Sizes) -> Iterator[Fault]:
    """Faults of flow that was read from an image: values of 0 to 1, and no apex."""
    yield from _flow_faults(row, "image", sizes)
    values = [value for value in row["flow"] or () if value is not None]
    if values and not 0 <= min(values) <= max(values) <= 1:
        yield None, f"has flow from {min(values)} to {max(values)}, an image gives 0 to 1"
    if any(row[name] is not None for name in ("apex", "apex_source", "apex_image")):
        yield None, f"has an apex {row['apex']} from {row['apex_source']!r}, a flow image has none"


def _flow_faults(row: Row, unit: str, sizes: Sizes) -> Iterator[Fault]:
    if row["unit"] != unit:
        yield None, f"has flow in unit {row['unit']!r}, expected {unit!r}"
    values, side = row["flow"], row["side"]
    if values is None or side is None or len(values) != 3 * side * side:
        yield None, f"has {len(values or ())} flow values, expected 3 x {side} x {side}"
    elif not _finite(values):
        yield None, "has flow values that are no finite numbers"
    if side is not None:
        sizes[(side, side)] = None


def _dynamic_faults(row: Row, listed: Row, sizes: Sizes) -> Iterator[Fault]:
    """Faults of sampled frames: numbers of the clip, in order, an image for each, and one dynamic image."""
    sampled, numbers = row["sampled"] or [], set(listed["frame_numbers"] or ())
    if not sampled:
        yield None, "has no sampled frames"
    for number in sampled:
        if number not in numbers:
            yield number, "is sampled, but the manifest does not have it in this clip"
            break
    if None not in sampled and sampled != sorted(sampled):
        yield None, f"has sampled frames out of order: {sampled}"
    if row["frames"] is not None and len(row["frames"]) != len(sampled):
        yield None, f"has {len(row['frames'])} images of {len(sampled)} sampled frames"
    yield from _picture_faults(row, sizes, "dynamic_image")
    if row["dynamic_image"] is None:
        yield None, "has no dynamic image"


def _task_faults(
    task: TaskParams,
    pictures: dict[str, str] | None,
    flows: dict[str, str] | None,
    apexes: dict[str, str] | None,
    row: Row,
    listed: Row,
    sizes: Sizes,
) -> Iterator[Fault]:
    """Faults of a task's row: its class by the class map, its inputs by the tables that they are from."""
    classes = list(task.classes)
    label, name = row["label"], row["class"]
    if label is None or not 0 <= label < len(classes) or classes[label] != name:
        yield None, f"has label {label} of class {name!r}, the classes are {', '.join(classes)}"
    elif listed["emotion"] not in task.classes[name]:
        yield None, f"has class {name!r}, the manifest says {listed['emotion']!r}, which is no emotion of it"
    for kind in ("frames", "dynamic_image", "flow", "apex", "landmarks"):
        if (row[kind] is not None) != (kind in task.inputs):
            has = "no" if row[kind] is None else "a value of"
            yield None, f"has {has} {kind}, the task's inputs are {', '.join(task.inputs)}"
    yield from _picture_faults(row, sizes, "dynamic_image", "apex")
    clip = row["clip_id"]
    if pictures is not None and pictures.get(clip) != _picture_hash(row):
        yield None, f"has other frames, landmarks or another dynamic image than {paths.dynamic('').as_posix()}"
    if flows is not None and row["flow"] is not None and flows.get(clip) != _flow_hash(row["flow"]):
        yield None, f"has other flow than {paths.flow('').as_posix()} gives at this size and scaling"
    if apexes is not None and row["apex"] is not None and apexes.get(clip) != _hash(row["apex"]):
        yield None, f"has another apex frame than {paths.flow('').as_posix()}"


def _picture_faults(row: Row, sizes: Sizes, *alone: str) -> Iterator[Fault]:
    """Decode the frames of a row and the images of the columns named, checksums checked."""
    named = [(f"frame {k + 1} of {len(row['frames'])}", png) for k, png in enumerate(row.get("frames") or ())]
    named += [(column.replace("_", " "), row[column]) for column in alone if row[column] is not None]
    for what, png in named:
        try:
            sizes[images.decode_png(png or b"").shape] = None
        except images.ImageError as error:
            yield None, f"has an image that cannot be decoded: {what} ({error.reason})"


def _picture_hashes(name: str) -> dict[str, str]:
    """Hash the frames and dynamic image of each clip of a task's dynamic images."""
    rows = _readable_rows(paths.dynamic(name) / "dynamic.parquet", DYNAMIC)
    return {row["clip_id"]: _picture_hash(row) for row in rows}


def _picture_hash(row: Row) -> str:
    columns = pa.schema([TASK.field(name) for name in ("frames", "dynamic_image", "landmarks")])
    return contents.content_hash(pa.Table.from_pylist([row], schema=columns))


def _flow_hashes(task: TaskParams) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Hash each clip's flow, as the task is to hold it, and its apex frame; None for what the task does not hold."""
    flows: dict[str, str] = {}
    apexes: dict[str, str] = {}
    if task.flow is not None or task.apex:
        for release in task.releases:
            for row in _readable_rows(paths.flow(release) / "flow.parquet", FLOW):
                if row["apex_image"] is not None:
                    apexes[row["clip_id"]] = _hash(row["apex_image"])
                if task.flow is not None:
                    try:
                        flows[row["clip_id"]] = _flow_hash(network_flow(row, task.flow))
                    except (TypeError, ValueError):  # values that are none: `check_flow` names them
                        continue
    return flows if task.flow is not None else None, apexes if task.apex else None


def _flow_hash(values: Any) -> str:
    return _hash(np.asarray(values, np.float32).tobytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _readable_rows(path: Path, schema: pa.Schema) -> Iterator[Row]:
    """Rows of a table as far as they can be read; the check of the table itself names what cannot."""
    try:
        for _, table in shards.read_groups(path, schema):
            if isinstance(table, pa.Table):
                yield from table.to_pylist()
    except shards.ShardError:
        return


def _finite(values: list[float | None]) -> bool:
    return None not in values and bool(np.isfinite(values).all())  # type: ignore[arg-type]  # no None is left
