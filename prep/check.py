"""Check a release's manifest and aligned frames on disk, and name everything that is wrong with them.

Each file is compared with its checksum, each row group with the one subject it is to hold, each clip
with the manifest and with the hash that the align stage recorded, each image with its own checksums.
A fault may show at several levels, and each says something else: a flipped bit in the file's checksum,
the clip's hash, the frame's image. One subject is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep import contents, paths, shards
from prep.check_clip import frame_faults, image_faults, record_faults, value_faults
from prep.progress import track
from prep.releases import release_info
from prep.schema import CONTENTS, FRAMES, MANIFEST, REJECTED, Reason, SchemaError, check_manifest
from prep.scratch import hash_file

__all__ = ["Problem", "Report", "check_release", "check_releases"]

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do."""

    release: str
    file: str
    clip: str | None
    frame: int | None  # as the sheet counts frames
    what: str
    cure: str

    def __str__(self) -> str:
        where = [self.release, self.file]
        where += [self.clip] if self.clip is not None else []
        where += [f"frame {self.frame}"] if self.frame is not None else []
        return f"{': '.join(where)}: {self.what}; {self.cure}"


@dataclass
class Report:
    """What was read of a release, and what is wrong with it."""

    release: str
    shards: int = 0
    subjects: int = 0
    clips: int = 0
    frames: int = 0
    rejected: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        read = f"{self.shards} shards, {self.subjects} subjects, {self.clips} clips, {self.frames} frames"
        return f"{self.release}: {read}; {self.rejected} clips left out; problems: {len(self.problems) or 'none'}"

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON has."""
        return asdict(self)


def check_releases(names: list[str]) -> list[Report]:
    """Check releases in the data folder.

    Parameters
    ----------
    names
        Names of releases; if none is given, all that have a folder of aligned frames.

    Raises
    ------
    ValueError
        If a release is unknown or has flow images alone, or if there is nothing to check.
    """
    for name in names:
        if release_info(name).kind != "frames":
            raise ValueError(f"{name!r} is a release of flow images: it has no aligned frames to check")
    place = paths.aligned("")
    names = names or sorted(path.name for path in place.glob("*/") if not path.name.startswith("."))
    if not names:
        raise ValueError(f"{place}: no aligned frames to check; run `dvc repro`")
    return [check_release(name, paths.manifest(name), paths.aligned(name)) for name in names]


def check_release(release: str, manifest: Path, aligned: Path) -> Report:
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
    check = _Check(release, manifest, aligned)
    check.files()
    check.manifest()
    check.records()
    check.rejections()
    subjects = {row["subject"] for row in (check.listed or check.recorded or {}).values()}
    for _ in track(check.row_groups(), f"check {release}", total=len(subjects), what="subjects"):
        pass
    check.image_sizes()
    check.completeness()
    return check.report


class _Check:
    """One pass over a release; each method looks at one thing and adds to the report."""

    def __init__(self, release: str, manifest: Path, aligned: Path) -> None:
        self.report = Report(release)
        self.folders = (manifest, aligned)
        self.sums: dict[Path, str] = {}  # recorded checksums
        self.shards: list[Path] = []
        # rows of the manifest, of clips.parquet and of rejected.parquet; None where it cannot be read
        self.listed: Rows | None = None
        self.recorded: Rows | None = None
        self.left_out: Rows | None = None
        self.seen: dict[str, Path] = {}  # shard of each clip met
        self.subjects: dict[str, Path] = {}  # shard of each subject met
        self.sizes: dict[tuple[int, ...], list[tuple[str, int | None]]] = {}  # clip and frame, by shape of images

    def problem(self, path: Path, what: str, clip: str | None = None, frame: int | None = None) -> None:
        """Add to the report; ``path`` is one of the folders or a file in it."""
        folder = path if path in self.folders else path.parent
        cure = f"delete {folder.as_posix()} and run `dvc repro`"
        self.report.problems.append(Problem(self.report.release, path.as_posix(), clip, frame, what, cure))

    def files(self) -> None:
        """Compare each folder's files with its checksums; shards are hashed later, when they are read."""
        for folder in self.folders:
            if not folder.is_dir():
                self.problem(folder, "not found")
                continue
            there = {path for path in folder.iterdir() if path.name != contents.SUMS}
            found = {path for path in there if path.match("frames-*.parquet")}
            self.shards += sorted(found) if folder == self.folders[1] else []
            try:
                sums = {folder / name: value for name, value in contents.read_sums(folder).items()}
            except contents.ContentsError as error:
                self.problem(folder / contents.SUMS, _reason(error, folder / contents.SUMS))
                continue
            self.sums |= sums
            for path in sorted(set(sums) - there):
                self.problem(path, f"not found, but {contents.SUMS} lists it")
            for path in sorted(there - set(sums)):
                self.problem(path, f"{contents.SUMS} does not list it: no stage wrote it")
            for path in sorted(there - found):
                self.checksum(path)

    def checksum(self, path: Path) -> None:
        """Compare a file's bytes with its recorded checksum, where it has one."""
        if path not in self.sums:
            return
        try:
            found = hash_file(path)
        except OSError as error:
            self.problem(path, f"cannot be read ({error})")
            return
        if found != self.sums[path]:
            self.problem(path, f"its bytes have changed: SHA-256 {found}, {contents.SUMS} says {self.sums[path]}")

    def rows(self, folder: int, name: str, schema: pa.Schema) -> list[dict[str, Any]] | None:
        """Rows of a small table; None, and a problem, if it cannot be read."""
        path = self.folders[folder] / name
        try:
            rows: list[dict[str, Any]] = shards.read_table(path, schema).to_pylist()
            return rows
        except shards.ShardError as error:
            if path.exists():
                self.problem(path, _reason(error, path))
            elif path.parent.is_dir() and path not in self.sums:  # otherwise it is reported already
                self.problem(path, "not found")
            return None

    def by_clip(self, path: Path, rows: list[dict[str, Any]]) -> Rows:
        """Rows by their clip; a clip that stands twice is a problem."""
        for clip, count in Counter(str(row["clip_id"]) for row in rows).items():
            if count > 1:
                self.problem(path, f"stands {count} times", clip)
        return {str(row["clip_id"]): row for row in rows}

    def manifest(self) -> None:
        """Check the manifest row by row."""
        path = self.folders[0] / "manifest.parquet"
        self.rows(0, "rejected.parquet", REJECTED)
        rows = self.rows(0, path.name, MANIFEST)
        if rows is None:
            return
        for row in rows:
            clip = str(row["clip_id"])
            empty = [name for name in ("clip_id", "dataset", "subject", "emotion") if row[name] is None]
            if empty:
                self.problem(path, f"has no {' and no '.join(empty)}", clip)
            else:
                try:
                    check_manifest(pa.Table.from_pylist([row], schema=MANIFEST))
                except SchemaError as error:
                    self.problem(path, _reason(error, clip), clip)
            frames, numbers = row["frames"] or [], row["frame_numbers"] or []
            if not frames or len(frames) != len(numbers) or None in frames or None in numbers:
                self.problem(path, f"lists {len(frames)} files and {len(numbers)} frame numbers", clip)
                row |= {"frames": [], "frame_numbers": []}  # nothing to compare with
            elif numbers != sorted(set(numbers)):
                self.problem(path, "its frame numbers do not rise", clip)
        self.listed = self.by_clip(path, rows)

    def records(self) -> None:
        """Check what ``clips.parquet`` lists."""
        path = self.folders[1] / contents.CLIPS
        rows = self.rows(1, path.name, CONTENTS)
        if rows is None:
            return
        self.recorded = self.by_clip(path, rows)
        for clip, row in self.recorded.items():
            if self.listed is not None and clip not in self.listed:
                self.problem(path, "is not in the manifest", clip)
            elif self.listed is not None and row["subject"] != self.listed[clip]["subject"]:
                self.problem(path, f"is of subject {row['subject']}, the manifest says otherwise", clip)
        for name in sorted({str(row["shard"]) for row in rows}):
            if self.folders[1] / name not in {*self.shards, *self.sums}:
                self.problem(self.folders[1] / name, f"not found, but {contents.CLIPS} names it")

    def rejections(self) -> None:
        """Check what the align stage left out."""
        path = self.folders[1] / "rejected.parquet"
        rows = self.rows(1, path.name, REJECTED)
        if rows is None:
            return
        self.left_out = self.by_clip(path, rows)
        self.report.rejected = len(self.left_out)
        for clip, row in self.left_out.items():
            if row["reason"] not in set(Reason):
                self.problem(path, f"is left out for an unknown reason {row['reason']!r}", clip)
            if self.listed is not None and clip not in self.listed:
                self.problem(path, "is not in the manifest", clip)

    def row_groups(self) -> Iterator[None]:
        """Check the shards; yields after each row group."""
        for path in self.shards:
            self.report.shards += 1
            self.checksum(path)
            before = len(self.seen)
            try:
                for index, (subject, table) in enumerate(shards.read_groups(path, FRAMES)):
                    if isinstance(table, shards.ShardError):
                        whose = f" of {subject}" if subject else ""
                        self.problem(path, f"row group {index}{whose} cannot be read: {_reason(table, path)}")
                    else:
                        self.row_group(path, index, subject, table)
                    yield
            except shards.ShardError as error:
                self.problem(path, f"cannot be opened: {_reason(error, path)}")
            self.order(path, list(self.seen)[before:])

    def row_group(self, path: Path, index: int, subject: str | None, table: pa.Table) -> None:
        """Check that a row group is one subject's, and its clips."""
        names = sorted({str(name) for name in table.column("subject").to_pylist()})
        if names != [subject]:
            what = f"row group {index} holds rows of {', '.join(names) or 'nobody'}, its statistics name {subject}"
            self.problem(path, f"{what}; a fold would read the wrong subject")
        for name in names:
            if name in self.subjects:
                self.problem(path, f"row group {index}: {name} has one in {self.subjects[name].name} already")
            self.subjects[name] = path
        self.report.subjects = len(self.subjects)
        start = 0
        for clip, group in groupby(table.column("clip_id").to_pylist()):
            length = sum(1 for _ in group)
            self.clip(path, str(clip), table.slice(start, length))
            start += length

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

    def order(self, path: Path, found: list[str]) -> None:
        """Compare the order of a shard's clips with the records."""
        recorded = [clip for clip, row in (self.recorded or {}).items() if row["shard"] == path.name]
        shared = set(found) & set(recorded)
        pairs = zip((c for c in found if c in shared), (c for c in recorded if c in shared), strict=True)
        for clip, other in pairs:
            if clip != other:
                self.problem(path, f"is out of order: it stands where {contents.CLIPS} has {other}", clip)
                return

    def image_sizes(self) -> None:
        """Name the clips whose images are not of the size that most clips have."""
        usual = max(self.sizes, key=lambda shape: len(self.sizes[shape]), default=())
        for shape, clips in self.sizes.items():
            for clip, number in clips if shape != usual else ():
                text = f"has an image of shape {shape}, those of most clips are {usual}"
                self.problem(self.seen[clip], text, clip, number)

    def completeness(self) -> None:
        """Name each clip of the manifest that is neither in a shard nor left out for a reason."""
        recorded, left_out = self.recorded or {}, self.left_out or {}
        for clip in self.listed if self.listed is not None else recorded:
            if clip in self.seen or clip in left_out:
                continue
            if self.left_out is None and clip not in recorded and self.recorded is not None:
                continue  # it may have been left out; that the list of those is gone is reported
            place = self.folders[1] / str(recorded[clip]["shard"]) if clip in recorded else self.folders[1]
            self.problem(place, "is in no row group that can be read, nor in rejected.parquet", clip)


def _reason(error: Exception, subject: object) -> str:
    """What an error says, without the file or clip that stands before it and the cure behind."""
    return str(error.__cause__ or error).removeprefix(f"{subject}").lstrip(",: ")
