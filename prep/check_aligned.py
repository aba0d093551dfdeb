"""Check a release's manifest and aligned frames on disk, and name everything that is wrong with them.

Each file is compared with its checksum, each row group with the one subject it is to hold, each clip
with the manifest and with the hash that the align stage recorded, each image with its own checksums.
A fault may show at several levels, and each says something else: a flipped bit in the file's checksum,
the clip's hash, the frame's image. One subject is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from prep import contents
from prep.check_clip import frame_faults, image_faults, record_faults, value_faults
from prep.check_report import Check, Report, Rows
from prep.progress import track
from prep.schema import CONTENTS, FRAMES

__all__ = ["check_aligned"]


def check_aligned(release: str, manifest: Path, aligned: Path) -> Report:
    """Check the manifest and the aligned frames of a release.

    Parameters
    ----------
    release
        Name of the release.
    manifest
        Folder of its ``manifest.parquet``.
    aligned
        Folder of its ``frames-*.parquet``, ``clips.parquet`` and ``rejected.parquet``.

    Returns
    -------
    What was read, and all problems; none is raised.
    """
    check = _AlignedCheck(release, manifest, aligned)
    check.files()
    check.manifest(manifest)
    check.records()
    check.rejections(aligned)
    subjects = {row["subject"] for row in (check.listed or check.recorded or {}).values()}
    for _ in track(check.groups(), f"check aligned {release}", total=len(subjects), what="subjects"):
        pass
    check.image_sizes()
    check.completeness()
    return check.report


class _AlignedCheck(Check):
    def __init__(self, release: str, manifest: Path, aligned: Path) -> None:
        super().__init__(Report("aligned", release), manifest, aligned)
        self.aligned = aligned
        self.recorded: Rows | None = None  # rows of clips.parquet; None where it cannot be read

    def records(self) -> None:
        """Check what ``clips.parquet`` lists."""
        path = self.aligned / contents.CLIPS
        rows = self.rows(path, CONTENTS)
        if rows is None:
            return
        self.recorded = self.by_clip(path, rows)
        for clip, row in self.recorded.items():
            if self.listed is not None and clip not in self.listed:
                self.problem(path, "is not in the manifest", clip)
            elif self.listed is not None and row["subject"] != self.listed[clip]["subject"]:
                self.problem(path, f"is of subject {row['subject']}, the manifest says otherwise", clip)
        for name in sorted({str(row["shard"]) for row in rows}):
            if self.aligned / name not in {*self.shards, *self.sums}:
                self.problem(self.aligned / name, f"not found, but {contents.CLIPS} names it")

    def groups(self) -> Iterator[None]:
        """Check the shards; yields after each row group."""
        for path in self.shards:
            self.report.shards += 1
            self.checksum(path)
            before = len(self.seen)
            for index, subject, table in self.row_groups(path, FRAMES):
                self.group_subject(path, index, subject, table)
                start = 0
                for clip, group in groupby(table.column("clip_id").to_pylist()):
                    length = sum(1 for _ in group)
                    self.clip(path, str(clip), table.slice(start, length))
                    start += length
                yield
            recorded = [clip for clip, row in (self.recorded or {}).items() if row["shard"] == path.name]
            self.order(path, list(self.seen)[before:], recorded, contents.CLIPS)

    def clip(self, path: Path, clip: str, table: pa.Table) -> None:
        """Check the rows of a clip, which stand together."""
        if clip in self.seen:
            self.problem(path, f"stands twice; its rows are in {self.seen[clip].name} already", clip)
        self.seen[clip] = path
        self.report.clips = len(self.seen)
        self.report.frames += table.num_rows
        if self.listed is not None and clip not in self.listed:
            self.problem(path, "is not in the manifest", clip)
        if self.left_out is not None and clip in self.left_out:
            self.problem(path, f"is listed in rejected.parquet too ({self.left_out[clip]['reason']})", clip)
        listed, recorded = (self.listed or {}).get(clip), (self.recorded or {}).get(clip)
        if listed and listed["frames"]:
            for number, what in frame_faults(table, listed):
                self.problem(path, what, clip, number)
        if recorded:
            if recorded["shard"] != path.name:
                self.problem(path, f"is in another shard than {contents.CLIPS} says ({recorded['shard']})", clip)
            for number, what in record_faults(table, recorded):
                self.problem(path, what, clip, number)
        elif self.recorded is not None:
            self.problem(path, f"is not in {contents.CLIPS}", clip)
        sizes: dict[tuple[int, ...], int | None] = {}
        for number, what in (*value_faults(table), *image_faults(table, sizes)):
            self.problem(path, what, clip, number)
        for shape, number in sizes.items():
            self.sizes.setdefault(shape, []).append((clip, number))

    def completeness(self) -> None:
        """Name each clip of the manifest that is neither in a shard nor left out for a reason."""
        recorded, left_out = self.recorded or {}, self.left_out or {}
        for clip in self.listed if self.listed is not None else recorded:
            if clip in self.seen or clip in left_out:
                continue
            if self.left_out is None and clip not in recorded and self.recorded is not None:
                continue  # it may have been left out; that the list of those is gone is reported
            place = self.aligned / str(recorded[clip]["shard"]) if clip in recorded else self.aligned
            self.problem(place, "is in no row group that can be read, nor in rejected.parquet", clip)
