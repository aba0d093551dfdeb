"""Moments of clips in the sheets' numbers of frames: which frames were sampled, and the annotated marks."""

from __future__ import annotations

from collections.abc import Iterable

from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import DYNAMIC, MANIFEST

__all__ = ["MARKS", "annotated_marks", "frames_up_to_apex", "sampled_frames"]

MARKS = ("onset", "apex", "offset")


def sampled_frames(task: str) -> dict[str, list[int]]:
    """Numbers of a task's sampled frames, in order of time, by clip.

    Raises
    ------
    prep.store.shards.ShardError
        If stage `dynamic` has not run for the task.
    """
    rows = shards.read_rows(paths.dynamic(task) / "dynamic.parquet", DYNAMIC, columns=["clip_id", "sampled"])
    return {row["clip_id"]: row["sampled"] for row in rows}


def annotated_marks(releases: Iterable[str]) -> dict[str, dict[str, int]]:
    """Onset, apex and offset by clip, as far as the releases' sheets give them.

    Raises
    ------
    prep.store.shards.ShardError
        If a release has no manifest.
    """
    marks: dict[str, dict[str, int]] = {}
    for release in releases:
        for row in shards.read_table(paths.manifest(release) / "manifest.parquet", MANIFEST).to_pylist():
            marks[row["clip_id"]] = {mark: row[mark] for mark in MARKS if row[mark] is not None}
    return marks


def frames_up_to_apex(task: str, releases: Iterable[str]) -> dict[str, int]:
    """How many of a clip's sampled frames are not after its apex; clips whose apex no sheet gives are left out.

    Parameters
    ----------
    task
        The task.
    releases
        Its releases, whose manifests have the marks.

    Returns
    -------
    By clip.

    Raises
    ------
    prep.store.shards.ShardError
        If stage `dynamic` has not run for the task, or a release has no manifest.
    """
    marks = annotated_marks(releases)
    return {
        clip_id: sum(frame <= marks[clip_id]["apex"] for frame in sampled)
        for clip_id, sampled in sampled_frames(task).items()
        if "apex" in marks.get(clip_id, {})
    }
