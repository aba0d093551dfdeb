"""Local pictures of a release's aligned faces, to judge the alignment by eye; never for publication.

Strips go to ``preview-do-not-share/RELEASE``, which git and DVC ignore; nothing is written where git would take them.
"""

from __future__ import annotations

import difflib
import html
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.preview.strip import Marks, clip_strip
from fdpbench.prep.releases import release_info
from fdpbench.prep.runtime.progress import console, track
from fdpbench.prep.runtime.scratch import hold_stages, open_scratch
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import CONTENTS, DYNAMIC, FLOW, FRAMES

__all__ = ["FOLDER", "PreviewError", "preview_release"]

FOLDER = Path("preview-do-not-share")

Record = Mapping[str, Any]  # a row of `prep.store.schema.CONTENTS`

README = """Faces of the release {release}, for your own eyes.

Its licence most likely forbids to show them to others. Do not commit, upload, mail or print these pictures, and delete
the folder when you have looked at them. `fdpbench preview {release}` writes it anew.

Of each clip: aligned frames with landmarks (green: found in this frame, orange: of the clip's first frame), the change
from onset to apex (outlines of the whole face in it are a moved head or a bad alignment), optical flow from onset to
apex, and the dynamic image.
"""


class PreviewError(ValueError):
    """No preview can be made; the message says why and what to do."""


def preview_release(
    release: str, tasks: Mapping[str, TaskParams], count: int | None, chosen: Sequence[str] = ()
) -> Path:
    """Draw strips of some clips of an aligned release.

    Parameters
    ----------
    release
        Name of the release.
    tasks
        The tasks of params.yaml: the dynamic images shown are those of the first one of the release that has them.
    count
        How many clips, spread over the subjects; None: all.
    chosen
        Ids of the clips instead.

    Returns
    -------
    The folder.

    Raises
    ------
    PreviewError
        If the release is not aligned, has no such clip, or git does not ignore the folder.
    """
    if release_info(release).kind != "frames":
        raise PreviewError(f"{release} is a release of flow images: it has no faces to align or to look at")
    aligned, flow = paths.aligned(release), paths.flow(release) / "flow.parquet"
    _check_ignored()
    mine = [name for name, task in tasks.items() if release in task.releases]
    with hold_stages([f"align-{release}", f"flow-{release}", *(f"dynamic-{name}" for name in mine)]):
        if not (aligned / contents.CLIPS).is_file():
            raise PreviewError(
                f"{aligned}: no aligned frames of {release} yet. Run `dvc repro`, or `fdpbench index {release}` "
                f"and `fdpbench align {release}`"
            )
        records = shards.read_table(aligned / contents.CLIPS, CONTENTS).to_pylist()
        taken = _chosen(release, records, chosen) if chosen else _spread(records, count)
        dynamic = next((p for name in mine if (p := paths.dynamic(name) / "dynamic.parquet").is_file()), None)
        if not flow.is_file():
            console.print(f"preview {release}: no flow yet ({flow}); its tile stays empty")
        if dynamic is None:
            console.print(f"preview {release}: no dynamic images yet (data/dynamic); their tile stays empty")
        out = FOLDER / release
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
        with open_scratch(f"preview-{release}", "whole") as scratch:
            scratch.publish({out: lambda staging: _write(release, taken, flow, dynamic, staging)})
    return out


def _check_ignored() -> None:
    """Refuse a folder that git would take, or that is somewhere else."""
    if FOLDER.is_symlink() or (FOLDER.exists() and not FOLDER.is_dir()):
        raise PreviewError(f"{FOLDER} is a link or a file: remove it, pictures of faces go to a plain folder here")
    if shutil.which("git") is None or _git("rev-parse", "--is-inside-work-tree").stdout.strip() != "true":
        return  # the folder's own .gitignore will hold should a repository be made around it
    if tracked := _git("ls-files", "--", str(FOLDER)).stdout.split("\n")[0]:
        raise PreviewError(f"git tracks {tracked}: take it out with `git rm -r --cached {FOLDER}` first")
    # asked of a folder that exists with a slash behind it, git would heed the .gitignore inside
    if _git("check-ignore", "--quiet", str(FOLDER) if FOLDER.exists() else f"{FOLDER}/").returncode != 0:
        raise PreviewError(
            f"git does not ignore {FOLDER}/: faces of the release could be committed. Add the line `{FOLDER}/` to "
            ".gitignore, as this project has it"
        )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def _chosen(release: str, records: Sequence[Record], wanted: Sequence[str]) -> list[Record]:
    known = [record["clip_id"] for record in records]
    for clip in wanted:
        if clip not in known:
            near = difflib.get_close_matches(clip, known, 1, 0.0)
            raise PreviewError(
                f"{release}: no aligned clip {clip!r}; did you mean {near[0] if near else 'another'!r}? What was left "
                f"out is in {paths.aligned(release) / 'rejected.parquet'}"
            )
    return [record for record in records if record["clip_id"] in wanted]


def _spread(records: Sequence[Record], count: int | None) -> list[Record]:
    """Clips spread over the subjects: the first of each, then the second, until there are enough."""
    by_subject = [
        [record["clip_id"] for record in group] for _, group in groupby(records, key=lambda record: record["subject"])
    ]
    in_turn = [clips[k] for k in range(max(map(len, by_subject), default=0)) for clips in by_subject if k < len(clips)]
    if count is not None and count < len(by_subject):  # fewer than subjects: evenly from all of them
        in_turn = [by_subject[k * len(by_subject) // count][0] for k in range(count)]
    taken = set(in_turn[:count])
    return [record for record in records if record["clip_id"] in taken]


def _write(release: str, records: Sequence[Record], flow: Path, dynamic: Path | None, out: Path) -> None:
    """Write the strips, one at a time in memory, a page that shows them, and what the folder is."""
    out.mkdir(parents=True)
    marks = {str(row["clip_id"]): row for row in load_manifest(release)}
    numbers = {record["clip_id"]: number for number, record in enumerate(records, start=1)}
    subjects = {record["subject"] for record in records}
    written: list[tuple[int, str, str]] = []

    def strips() -> Iterator[str]:
        for shard in shards.frame_shards(paths.aligned(release)):
            for table in shards.read_subjects(shard, FRAMES, subjects.__contains__):
                subject = table.column("subject")[0].as_py()
                fields = _rows(flow, FLOW, subject, numbers) if flow.is_file() else {}
                drawn = _rows(dynamic, DYNAMIC, subject, numbers) if dynamic else {}
                for clip, group in groupby(table.to_pylist(), key=lambda row: row["clip_id"]):
                    if clip in numbers:
                        name = f"{numbers[clip]:04d}-{_safe(clip)}.png"
                        strip = _strip(clip, list(group), marks[clip], fields.get(clip), drawn.get(clip))
                        (out / name).write_bytes(images.encode_png(strip))
                        written.append((numbers[clip], clip, name))
                        yield clip

    for _ in track(strips(), f"preview {release}", total=len(records)):
        pass
    lines = [f"<h2>{html.escape(clip)}</h2><img src='{quote(name)}' alt=''>" for _, clip, name in sorted(written)]
    page = (
        f"<!doctype html><meta charset='utf-8'><title>{release}: do not share</title><body style='background:#181818;"
        f"color:#eee;font-family:sans-serif'><h1>{release}: licensed faces, do not share</h1>"
    )
    (out / "index.html").write_text("\n".join([page, *lines, ""]), encoding="utf-8")
    (out / "README.txt").write_text(README.format(release=release), encoding="utf-8")


def _rows(path: Path, schema: Any, subject: str, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    rows = shards.read_rows(path, schema, lambda name: name == subject)
    return {row["clip_id"]: row for row in rows if row["clip_id"] in wanted}


def _strip(
    clip: str,
    rows: Sequence[Mapping[str, Any]],
    marked: Mapping[str, Any],
    flow: Mapping[str, Any] | None,
    drawn: Mapping[str, Any] | None,
) -> NDArray[np.uint8]:
    estimated = flow is not None and flow["apex_source"] == "estimated"
    apex = flow["apex"] if flow is not None and estimated else marked["apex"]
    field = None
    if flow is not None:
        field = np.array(flow["flow"], np.float32).reshape(3, flow["side"], flow["side"])[:2]
    image = None if drawn is None else images.decode_png(drawn["dynamic_image"])
    title = f"{clip}   {marked['emotion']}   {len(rows)} frames"
    return clip_strip(title, rows, Marks(marked["onset"], apex, marked["offset"], estimated), field, image)


def _safe(clip: str) -> str:
    """A clip's id for people to find in a file name, which its number makes unique."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", clip)[:80]
