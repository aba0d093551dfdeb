"""What is found wrong with data on disk, and what every check of it has in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep import contents, shards
from prep.schema import MANIFEST, REJECTED, Reason, SchemaError, check_manifest
from prep.scratch import hash_file

__all__ = ["Check", "Problem", "Report", "Rows", "reason_of"]

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do."""

    name: str  # of the release or task
    file: str
    clip: str | None
    frame: int | None  # as the sheet counts frames
    what: str
    cure: str

    def __str__(self) -> str:
        where = [self.name, self.file]
        where += [self.clip] if self.clip is not None else []
        where += [f"frame {self.frame}"] if self.frame is not None else []
        return f"{': '.join(where)}: {self.what}; {self.cure}"


@dataclass
class Report:
    """What was read of one table of a release or task, and what is wrong with it.

    ``table`` is ``aligned``, ``flow``, ``dynamic`` or ``task``, as the folders of data are called.
    """

    table: str
    name: str
    shards: int = 0
    subjects: int = 0
    clips: int = 0
    frames: int = 0
    rejected: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        read = f"{self.subjects} subjects, {self.clips} clips"
        if self.table == "aligned":
            read = f"{self.shards} shards, {read}, {self.frames} frames"
        found = len(self.problems) or "none"
        return f"{self.table} {self.name}: {read}; {self.rejected} clips left out; problems: {found}"

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON has."""
        return asdict(self)


class Check:
    """One pass over the folders of a release or task; each method looks at one thing and adds to the report.

    Parameters
    ----------
    report
        Gets what was read and what is wrong.
    folders
        Whose files are compared with their checksums.
    """

    def __init__(self, report: Report, *folders: Path) -> None:
        self.report = report
        self.folders = folders
        self.sums: dict[Path, str] = {}  # recorded checksums
        self.shards: list[Path] = []
        # rows of the manifest and of rejected.parquet; None where they cannot be read
        self.listed: Rows | None = None
        self.left_out: Rows | None = None
        self.seen: dict[str, Path] = {}  # file of each clip met
        self.subjects: dict[str, Path] = {}  # file of each subject met
        self.sizes: dict[tuple[int, ...], list[tuple[str, int | None]]] = {}  # clip and frame, by shape of images

    def problem(self, path: Path, what: str, clip: str | None = None, frame: int | None = None) -> None:
        """Add to the report; ``path`` is one of the folders or a file in it."""
        folder = path if path in self.folders else path.parent
        cure = f"delete {folder.as_posix()} and run `dvc repro`"
        self.report.problems.append(Problem(self.report.name, path.as_posix(), clip, frame, what, cure))

    def files(self) -> None:
        """Compare each folder's files with its checksums; shards are hashed later, when they are read."""
        for folder in self.folders:
            if not folder.is_dir():
                self.problem(folder, "not found")
                continue
            there = {path for path in folder.iterdir() if path.name != contents.SUMS}
            found = {path for path in there if path.match("frames-*.parquet")}
            self.shards += sorted(found)
            try:
                sums = {folder / name: value for name, value in contents.read_sums(folder).items()}
            except contents.ContentsError as error:
                self.problem(folder / contents.SUMS, reason_of(error, folder / contents.SUMS))
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

    def rows(self, path: Path, schema: pa.Schema) -> list[dict[str, Any]] | None:
        """Rows of a small table; None, and a problem, if it cannot be read."""
        try:
            rows: list[dict[str, Any]] = shards.read_table(path, schema).to_pylist()
            return rows
        except shards.ShardError as error:
            if path.exists():
                self.problem(path, reason_of(error, path))
            elif path.parent.is_dir() and path not in self.sums:  # otherwise it is reported already
                self.problem(path, "not found")
            return None

    def by_clip(self, path: Path, rows: list[dict[str, Any]]) -> Rows:
        """Rows by their clip; a clip that stands twice is a problem."""
        for clip, count in Counter(str(row["clip_id"]) for row in rows).items():
            if count > 1:
                self.problem(path, f"stands {count} times", clip)
        return {str(row["clip_id"]): row for row in rows}

    def manifest(self, folder: Path, numbered: bool = True) -> None:
        """Check the manifest row by row; ``numbered``: its clips have frames, not one image that is none."""
        path = folder / "manifest.parquet"
        self.rows(folder / "rejected.parquet", REJECTED)
        rows = self.rows(path, MANIFEST)
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
                    self.problem(path, reason_of(error, clip), clip)
            frames, numbers = row["frames"] or [], row["frame_numbers"] or []
            if not numbered:
                if len(frames) != 1 or numbers:
                    self.problem(path, f"lists {len(frames)} files and {len(numbers)} frame numbers", clip)
                continue
            if not frames or len(frames) != len(numbers) or None in frames or None in numbers:
                self.problem(path, f"lists {len(frames)} files and {len(numbers)} frame numbers", clip)
                row |= {"frames": [], "frame_numbers": []}  # nothing to compare with
            elif numbers != sorted(set(numbers)):
                self.problem(path, "its frame numbers do not rise", clip)
        self.listed = self.by_clip(path, rows)

    def rejections(self, folder: Path) -> None:
        """Check what a stage left out."""
        path = folder / "rejected.parquet"
        rows = self.rows(path, REJECTED)
        if rows is None:
            return
        self.left_out = self.by_clip(path, rows)
        self.report.rejected = len(self.left_out)
        for clip, row in self.left_out.items():
            if row["reason"] not in set(Reason):
                self.problem(path, f"is left out for an unknown reason {row['reason']!r}", clip)
            if self.listed is not None and clip not in self.listed:
                self.problem(path, "is not in the manifest", clip)

    def row_groups(self, path: Path, schema: pa.Schema) -> Iterator[tuple[int, str | None, pa.Table]]:
        """Read the row groups of a file in turn, one in memory; those that cannot be read are problems."""
        try:
            for index, (subject, table) in enumerate(shards.read_groups(path, schema)):
                if isinstance(table, shards.ShardError):
                    whose = f" of {subject}" if subject else ""
                    self.problem(path, f"row group {index}{whose} cannot be read: {reason_of(table, path)}")
                else:
                    yield index, subject, table
        except shards.ShardError as error:
            self.problem(path, f"cannot be opened: {reason_of(error, path)}")

    def group_subject(self, path: Path, index: int, subject: str | None, table: pa.Table) -> None:
        """Check that a row group is one subject's, who has no other."""
        names = sorted({str(name) for name in table.column("subject").to_pylist()})
        if names != [subject]:
            what = f"row group {index} holds rows of {', '.join(names) or 'nobody'}, its statistics name {subject}"
            self.problem(path, f"{what}; a fold would read the wrong subject")
        for name in names:
            if name in self.subjects:
                self.problem(path, f"row group {index}: {name} has one in {self.subjects[name].name} already")
            self.subjects[name] = path
        self.report.subjects = len(self.subjects)

    def order(self, path: Path, found: list[str], recorded: list[str], where: str) -> None:
        """Compare the order of a file's clips with that of a record, and name the first that is out of order."""
        shared = set(found) & set(recorded)
        pairs = zip((c for c in found if c in shared), (c for c in recorded if c in shared), strict=True)
        for clip, other in pairs:
            if clip != other:
                self.problem(path, f"is out of order: it stands where {where} has {other}", clip)
                return

    def image_sizes(self) -> None:
        """Name the clips whose images are not of the size that most clips have."""
        usual = max(self.sizes, key=lambda shape: len(self.sizes[shape]), default=())
        for shape, clips in self.sizes.items():
            for clip, number in clips if shape != usual else ():
                text = f"has an image of shape {shape}, those of most clips are {usual}"
                self.problem(self.seen[clip], text, clip, number)


def reason_of(error: Exception, subject: object) -> str:
    """What an error says, without the file or clip that stands before it and the cure behind."""
    return str(error.__cause__ or error).removeprefix(f"{subject}").lstrip(",: ")
