"""The MEGC2019 composite as optical-flow images, in the two layouts in which it is exchanged.

One 28x28 RGB image a clip: onset-to-apex optical flow u, v and optical strain, each min-max scaled
for each image. 442 clips of 68 subjects when complete (SMIC-HS 164, CASME II 145, SAMM 133); any
part of it can be used, and the parts found are said.

Layout ``whole``::

    STSNet_whole_norm_u_v_os/<subject>_<clip> .png       (a space before the dot)
    combined_3_class2_for_optical_flow.csv               (dataset, sub, filename_o, label, ...)

Layout ``three``: the union of all test folders is the composite::

    three_norm_u_v_os/<subject>/u_test/<label>/<subject>_<clip> .png

Where both layouts are present they are checked against each other; ``combined_3class_gt.csv``, the
challenge's official list (dataset, subject, clip, label, no header), is checked where it is there.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fdpbench.prep.index.class_maps import COMPOSITE
from fdpbench.prep.releases import Release, ReleaseError
from fdpbench.prep.releases.common import composite
from fdpbench.prep.releases.common.base import Annotations, Listing
from fdpbench.prep.releases.common.composite import EMOTIONS, OFFICIAL, Key
from fdpbench.prep.releases.common.flow_layouts import SHEET, TEST, THREE, WHOLE
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="megc2019_flow",
    kind="flow",
    about="MEGC2019 composite as 28x28 optical-flow images, derived from licensed releases",
    expects=f"the folder that holds {WHOLE}/ (with its CSV) or {THREE}/",
    class_maps={"megc2019": composite.CLASSES},
    known_counts=(composite.COUNTS,),
)


def annotations_of(sheet: Path) -> Annotations:
    """Read the sheet of layout ``whole`` alone. It has no frame numbers: onset and offset are 0."""
    return composite.list_annotations(RELEASE.name, sheet, composite.sheet_labels(sheet), first_row=2)


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the flow images under ``root``; there are no frames that ``lost_frames`` could be about.

    Raises
    ------
    ReleaseError
        If neither layout is there, the sheet is missing, or two sources give a clip two labels.
    """
    listing = Listing("megc2019")
    images: dict[Key, str] = {}
    labels: dict[Key, str] = {}
    if (root / WHOLE).is_dir():
        images = _whole_images(root, listing)
        labels = composite.sheet_labels(root / SHEET)
    if (root / THREE).is_dir():
        three_images, three_labels = _three(root, listing)
        if labels:
            _same_labels(labels, three_labels, SHEET, THREE)
        labels |= three_labels
        images = three_images | images
    if not images:
        raise ReleaseError(f"{root}: no flow images found; expected {WHOLE}/ or {THREE}/ with .png files in it")
    if (root / OFFICIAL).is_file():
        _same_labels(
            labels,
            composite.official_labels(root / OFFICIAL),
            SHEET if (root / WHOLE).is_dir() else THREE,
            OFFICIAL,
        )

    for key in sorted(images.keys() | labels.keys()):
        name = "/".join(key)
        if key not in images:
            listing.reject(name, Reason.MISSING_FILE, "labelled, but there is no image of it")
        elif key not in labels:
            listing.reject(name, Reason.NOT_IN_SHEET, f"{images[key]}: no label for this image")
        else:
            dataset, subject, clip = key
            listing.add(subject, clip, dataset=dataset, emotion=EMOTIONS[labels[key]], frames=[images[key]])
    found = Counter(row["dataset"] for row in listing.clips)
    parts = ", ".join(f"{dataset} {found[dataset]} of {count}" for dataset, count in COMPOSITE.items())
    listing.notes.append(f"clips of the composite found: {parts}")
    return listing


def _whole_images(root: Path, listing: Listing) -> dict[Key, str]:
    images: dict[Key, str] = {}
    for path in sorted((root / WHOLE).glob("*.png")):
        _collect(path, root, images, listing)
    return images


def _three(root: Path, listing: Listing) -> tuple[dict[Key, str], dict[Key, str]]:
    images: dict[Key, str] = {}
    labels: dict[Key, str] = {}
    for path in sorted((root / THREE).glob(f"*/{TEST}/*/*.png")):
        label = path.parent.name
        if label not in EMOTIONS:
            listing.reject(
                path.relative_to(root).as_posix(), Reason.BAD_ROW, f"class folder {label!r}, expected 0, 1 or 2"
            )
            continue
        key = _collect(path, root, images, listing)
        if key is None:
            continue
        labels[key] = label
        if composite.contradicts(key, label):
            detail = f"{images.pop(key)}: class {EMOTIONS[labels.pop(key)]}, but the clip is named as another"
            listing.reject("/".join(key), Reason.CONTRADICTS_NAME, detail)
    return images, labels


def _collect(path: Path, root: Path, images: dict[Key, str], listing: Listing) -> Key | None:
    relative = path.relative_to(root).as_posix()
    subject, _, clip = path.stem.strip().partition("_")
    key = composite.composite_key(subject, clip)
    if key is None:
        listing.reject(
            relative,
            Reason.BAD_ROW,
            "file name is not <subject>_<clip>.png of CASME II, SMIC or SAMM, with a clip of that subject",
        )
        return None
    if key in images:
        listing.reject(relative, Reason.DUPLICATE, f"same clip as {images[key]}")
        return None
    images[key] = relative
    return key


def _same_labels(ours: dict[Key, str], theirs: dict[Key, str], our_name: str, their_name: str) -> None:
    different = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
    if different:
        lines = [f"{'/'.join(key)} is {ours[key]} and {theirs[key]}" for key in different[:10]]
        raise ReleaseError(f"{our_name} and {their_name} disagree on {len(different)} labels: {'; '.join(lines)}")
    unknown = sorted(key for key in ours.keys() - theirs.keys())
    if unknown and their_name == OFFICIAL:
        raise ReleaseError(
            f"{our_name} has clips that {OFFICIAL} does not: {', '.join('/'.join(k) for k in unknown[:10])}"
        )
