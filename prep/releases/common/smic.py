"""SMIC (Li et al., FG 2013): the reader of its three cameras, each a release of its own, without apex frames.

::

    SMIC-HS-E_annotation.xlsx                              (one sheet for each camera, or a file for each)
    HS/s03/micro/negative/s03_ne_01/image12345.jpg         (also VIS/, NIR/)
    HS_long/SMIC_HS_E/s03/s03_ne_01/image12345.jpg         (the long version: frames before and after as well)
    HS_long/SMIC-HS-E/HS/s03/s03_ne_01/image12345.jpg

HS runs at 100 fps, VIS and NIR at 25. Subjects and clips are written `s1` and `s01`, `s1_ne_01` and `s01_ne_01`: here
always with two digits. A clip's folder is found by its name, below folders that name the camera. A second layout of
the sheet names its columns data, subject, clip, label, onset_frame, apex_frame, offset_frame; its apex, where it has
one, is not from the authors and is read as given. A row of the sheet for the long version may hold several
micro-expressions: each is a clip, the second named `s03_ne_01_2`. Written from descriptions and public code; it has not
met the frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fdpbench.prep.releases import KnownCounts, Release, ReleaseError, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import FolderProblem, add_clips, check_emotion
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.rows import COLUMNS, annotate, rows_of
from fdpbench.prep.sheets.tables import Sheet, find_sheet, numbered, read_grids
from fdpbench.prep.store.schema import Reason

__all__ = ["annotations_of", "read", "release_of_camera"]

FPS = {"hs": 100.0, "vis": 25.0, "nir": 25.0}
EMOTIONS = ("negative", "positive", "surprise")
SAME = {
    "0": "negative", "1": "positive", "2": "surprise", "ne": "negative", "po": "positive", "sur": "surprise",
    "neg": "negative", "pos": "positive", "surp": "surprise",
}  # fmt: skip

CLIP = re.compile(r"s\d+_[a-z]+_\d+", re.IGNORECASE)
# Folders of clips that are no micro-expressions, and of crops, which are read where there are no other frames.
NO_MICRO, CROPPED = "non", "crop"
DEPTH = 7


def release_of_camera(camera: str, *known_counts: KnownCounts) -> Release:
    """What is known of a camera's release: ``hs``, ``vis`` or ``nir``."""
    folder = camera.upper()
    return Release(
        name=f"smic_{camera}",
        kind="frames",
        about=f"SMIC, camera {folder} (Li et al. 2013)",
        expects=f"the folder that holds SMIC-*_annotation.xlsx and {folder}/s01/micro/negative/... or "
        f"{folder}/s01/s01_ne_01/...",
        class_maps={f"smic_{camera}_3": one_each(*EMOTIONS)},
        known_counts=known_counts,
        without_apex=True,
        has_crops=True,
    )


def annotations_of(sheet: Path, camera: str) -> Annotations:
    """Read the sheet alone, for one camera."""
    release = f"smic_{camera}"
    result = Annotations(release, release, sheet.name)
    others = [name for name in FPS if name != camera]
    table = rows_of(result, sheet, [name for name in COLUMNS if name != "apex"], ["path"], sheet=camera, others=others)
    if not table["dataset"].any():
        _check_camera(sheet, camera)
    table = _own_paths(result, table, camera)
    table = table.assign(
        subject=table["subject"].map(lambda text: numbered(text, "s{:02d}", "s")),
        clip=table["clip"].map(clip_name),
        recording=table["recording"].map(clip_name),
    )
    annotate(result, table, fps=FPS[camera], emotions=EMOTIONS, same=SAME)
    return result


def read(root: Path, lost_frames: LostFrames, camera: str, crops: bool = False) -> Listing:
    """Read one camera from the folder that holds the sheet and the cameras' folders.

    `add_clips` says what ``lost_frames`` does. With ``crops`` a tree of cropped frames is read, one with ``crop`` in
    its name, and no other.

    Raises
    ------
    ReleaseError
        If the sheet or the camera's folder is not there.
    """
    name = camera.upper()
    found = annotations_of(
        find_sheet(root, f"SMIC?{name}*annotation*", f"SMIC*{name}*", "SMIC?HS*annotation*", "SMIC*"), camera
    )
    trees: dict[Path, dict[str, list[Path]]] = {}
    for path, top in _clip_folders(root, camera):
        trees.setdefault(top, {}).setdefault(clip_name(path.name), []).append(path)
    if not trees:
        raise ReleaseError(
            f"{root}: no {name}/<subject>/micro/<emotion>/<clip> and no {name}/<subject>/<clip> found, whatever "
            f"stands above it; link the folder above {name}"
        )
    cropped = [top for top in trees if CROPPED in top.as_posix().lower()]
    if crops and not cropped:
        there = ", ".join(sorted(top.as_posix() for top in trees))
        raise ReleaseError(
            f"{root}: no tree of {name} with {CROPPED!r} in its name, for align.mode: given; there is {there}"
        )
    trees = {top: trees[top] for top in cropped} if crops else trees
    wanted = {clip.recording for clip in found.clips}
    top = min(trees, key=lambda top: (CROPPED in top.as_posix().lower(), -len(wanted & trees[top].keys()), top))
    folders = trees[top]

    def folder(clip: Annotation) -> Path:
        alike = folders.get(clip.recording, [])
        if len(alike) != 1:
            detail = f"{len(alike) or 'no'} folders {clip.recording} under {(root / top).name}, expected one"
            raise FolderProblem(Reason.MISSING_FOLDER, detail)
        check_emotion(clip, alike[0].parent.name, EMOTIONS, SAME)
        return alike[0]

    listing = Listing.of(found)
    if len(trees) > 1:
        others = ", ".join(other.as_posix() for other in sorted(trees) if other != top)
        listing.notes.append(f"frames are read from {top.as_posix()}, not from {others}")
    add_clips(listing, found, root, folder, lost_frames=lost_frames)
    return listing


def clip_name(text: str) -> str:
    """Write a clip with two digits for its subject: ``s01_ne_01`` for ``s1_ne_01``."""
    match = re.fullmatch(r"s(\d+)(_.+)", text.lower())
    return f"s{int(match.group(1)):02d}{match.group(2)}" if match else text


def _cameras(name: str) -> set[str]:
    """Cameras that a name of a file or folder says: HS of SMIC-HS-E."""
    return {word for word in re.split(r"[^a-z]+", name.lower()) if word in FPS}


def _check_camera(sheet: Path, camera: str) -> None:
    """Refuse a sheet that says of no row which camera it is of, where its file is named for another."""
    named = _cameras(sheet.stem)
    if named and camera not in named and not any(camera in _cameras(name) for name in read_grids(sheet)):
        raise ReleaseError(
            f"{sheet}: a sheet of camera {'/'.join(sorted(named)).upper()} by its name; give that of {camera.upper()}, "
            f"or read this one as {' or '.join(f'smic_{name}' for name in sorted(named))}"
        )


def _own_paths(annotations: Annotations, table: Sheet, camera: str) -> Sheet:
    """Reject rows whose column of paths names another camera or another clip."""
    good = []
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        parts = re.split(r"[/\\]", cells["path"])
        cameras = set().union(*map(_cameras, parts))
        clips = {clip_name(part) for part in parts if CLIP.fullmatch(part)}
        good.append(cameras <= {camera} and clips <= {clip_name(cells["recording"])})
        if not good[-1]:
            detail = f"row {number}: clip {cells['clip']!r} of {camera.upper()}, but its path is {cells['path']!r}"
            emotion = cells["emotion"].lower()
            annotations.reject(cells["subject"], cells["clip"], Reason.CONTRADICTS_NAME, detail, emotion)
    return table.loc[good]  # table[[]] of a sheet without rows would take its columns away


def _clip_folders(root: Path, camera: str) -> Iterator[tuple[Path, Path]]:
    """Folders named like clips below ``root`` that are of a camera, each with what is above its subject's folder."""
    start = root.resolve()
    for place, names, _ in os.walk(root):
        folder = Path(place)
        above = folder.relative_to(root)
        names.sort()
        clips = [name for name in names if CLIP.fullmatch(name)]
        for name in clips:
            cameras = set().union(*map(_cameras, above.parts)) or _cameras(start.name)
            if cameras == {camera}:
                yield folder / name, _top(above)
        deeper = [name for name in names if name not in clips and not name.startswith(".")]
        names[:] = (
            []
            if len(above.parts) >= DEPTH
            else [name for name in deeper if NO_MICRO not in name.lower() and _cameras(name) <= {camera}]
        )


def _top(above: Path) -> Path:
    """What stands above the subject's folder: HS of HS/s03/micro/negative."""
    parts = list(above.parts)
    subject = next((k for k, part in enumerate(parts) if re.fullmatch(r"s\d+", part, re.IGNORECASE)), len(parts))
    return Path(*parts[:subject])
