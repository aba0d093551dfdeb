"""Flow images of any task, as `fdpbench export flow-images` writes them.

The layouts are those in which the MEGC2019 composite is exchanged (`prep.releases.common.flow_layouts`); data sets,
subjects, clips and classes are what the list says. Where both layouts are present, each image is read from the first,
and the folders of the second are checked against the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fdpbench.prep.releases import Release, ReleaseError
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.flow_layouts import SHEET, TEST, THREE, WHOLE, Listed, image_name, listed_clips
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="flow_images",
    kind="flow",
    about="flow images of a task, as fdpbench export flow-images writes them",
    expects=f"the folder that holds {SHEET} and {WHOLE}/ or {THREE}/",
)


def annotations_of(sheet: Path) -> Annotations:
    """Read the list alone. It has no frame numbers: onset and offset are 0."""
    result = Annotations(RELEASE.name, RELEASE.name, sheet.name)
    for one in _in_order(listed_clips(sheet)):
        subject = f"{one.dataset}/{one.subject}"
        result.clips.append(Annotation(f"row {one.row}", subject, one.clip, 0, None, 0, one.class_name, None))
    return result


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the flow images under ``root``; there are no frames that ``lost_frames`` could be about.

    Raises
    ------
    ReleaseError
        If no images are there, the list is missing or cannot be read, or a folder gives a clip another label or subject
        than the list.
    """
    if not ((root / WHOLE).is_dir() or (root / THREE).is_dir()):
        raise ReleaseError(f"{root}: no flow images found; expected {WHOLE}/ or {THREE}/ with .png files in it")
    listed = {image_name(one.subject, one.clip): one for one in listed_clips(root / SHEET)}
    listing = Listing(RELEASE.name)
    images: dict[str, str] = {}
    seen: dict[tuple[str, str], str] = {}  # by layout and name
    for path in [*sorted((root / WHOLE).glob("*.png")), *sorted((root / THREE).glob(f"*/{TEST}/*/*.png"))]:
        relative = path.relative_to(root).as_posix()
        name = f"{path.stem.strip()} .png"
        if name not in listed:
            listing.reject(relative, Reason.NOT_IN_SHEET, f"{SHEET} has no clip of this image")
            continue
        if relative.startswith(THREE):
            _check_folder(path, root, listed[name])
        first = seen.setdefault((relative.partition("/")[0], name), relative)
        if first != relative:
            listing.reject(relative, Reason.DUPLICATE, f"same clip as {first}")
        images.setdefault(name, first)
    for one in _in_order(listed.values()):
        name = image_name(one.subject, one.clip)
        if name in images:
            listing.add(one.subject, one.clip, dataset=one.dataset, emotion=one.class_name, frames=[images[name]])
        else:
            clip_id = f"{one.dataset}/{one.subject}/{one.clip}"
            listing.reject(clip_id, Reason.MISSING_FILE, f"listed, but there is no image {name!r}", one.class_name)
    return listing


def _in_order(listed: Iterable[Listed]) -> list[Listed]:
    """Classes in order of their index, so that a task of all of them has the same."""
    return sorted(listed, key=lambda one: (one.label, one.dataset, one.subject, one.clip))


def _check_folder(path: Path, root: Path, one: Listed) -> None:
    """Refuse an image whose folders name another fold or class than the list."""
    label, fold = path.parent.name, path.parents[2].name
    if (fold, label) != (one.subject, str(one.label)):
        raise ReleaseError(
            f"{path.relative_to(root).as_posix()}: the folders say subject {fold}, label {label}; "
            f"{SHEET}, row {one.row}, says {one.subject}, {one.label}"
        )
