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

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from fdpbench.prep.index.class_maps import COMPOSITE
from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.names import named_emotion, named_subject
from fdpbench.prep.sheets.tables import ReleaseError, read_grids, read_sheet, sheet_table
from fdpbench.prep.store.schema import Reason

__all__ = ["EMOTIONS", "OFFICIAL", "Key", "annotations_of", "composite_key", "official_labels", "read"]

WHOLE = "STSNet_whole_norm_u_v_os"
THREE = "three_norm_u_v_os"
SHEET = "combined_3_class2_for_optical_flow.csv"
OFFICIAL = "combined_3class_gt.csv"

EMOTIONS = {"0": "negative", "1": "positive", "2": "surprise"}

# The data set of a subject, from the way it is written.
SUBJECTS = {"casme2": re.compile(r"sub(\d+)"), "smic": re.compile(r"s(\d+)"), "samm": re.compile(r"(\d+)")}

# The release whose clips a data set holds.
RELEASES = {"casme2": "casme2", "smic": "smic_hs", "samm": "samm"}

Key = tuple[str, str, str]  # dataset, subject, clip

# Columns of lists of the composite, by our names.
KEYS = ["dataset", "subject", "clip", "emotion"]


def annotations_of(sheet: Path, release: str = "megc2019_flow") -> Annotations:
    """Read the sheet of layout ``whole`` alone. It has no frame numbers: onset and offset are 0."""
    result = Annotations(release, "megc2019", sheet.name)
    for number, (key, label) in enumerate(_sheet_labels(sheet).items(), start=2):
        dataset, subject, clip = key
        result.clips.append(
            Annotation(f"row {number}", f"{dataset}/{subject}", clip, 0, None, 0, EMOTIONS[label], None)
        )
    return result


def read(root: Path, release: str = "megc2019_flow", lost_frames: LostFrames = "reject") -> Listing:
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
        labels = _sheet_labels(root / SHEET)
    if (root / THREE).is_dir():
        three_images, three_labels = _three(root, listing)
        if labels:
            _same_labels(labels, three_labels, SHEET, THREE)
        labels |= three_labels
        images = three_images | images
    if not images:
        raise ReleaseError(f"{root}: no flow images found; expected {WHOLE}/ or {THREE}/ with .png files in it")
    if (root / OFFICIAL).is_file():
        _same_labels(labels, official_labels(root / OFFICIAL), SHEET if (root / WHOLE).is_dir() else THREE, OFFICIAL)

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
    for path in sorted((root / THREE).glob("*/u_test/*/*.png")):
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
        if _contradicts(key, label):
            detail = f"{images.pop(key)}: class {EMOTIONS[labels.pop(key)]}, but the clip is named as another"
            listing.reject("/".join(key), Reason.CONTRADICTS_NAME, detail)
    return images, labels


def _collect(path: Path, root: Path, images: dict[Key, str], listing: Listing) -> Key | None:
    relative = path.relative_to(root).as_posix()
    subject, _, clip = path.stem.strip().partition("_")
    key = composite_key(subject, clip)
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


def composite_key(subject: str, clip: str, dataset: str | None = None) -> Key | None:
    """Build the clip's key, with the subject written one way: sub01, s01, 006.

    None if that cannot be, also where the clip's name carries another subject (`s01_ne_01` of s03).
    """
    if not clip:
        return None
    for name, pattern in SUBJECTS.items():
        match = pattern.fullmatch(subject)
        if match and dataset in (None, name):
            number = int(match.group(1))
            if named_subject(clip, RELEASES[name]) not in (None, number):
                return None
            return name, {"casme2": f"sub{number:02d}", "smic": f"s{number:02d}", "samm": f"{number:03d}"}[name], clip
    return None


def _sheet_labels(path: Path) -> dict[Key, str]:
    return _labels(read_sheet(path, KEYS), path)


def official_labels(path: Path) -> dict[Key, str]:
    """Read the challenge's official list: a label for each clip.

    Raises
    ------
    ReleaseError
        If the file is not there, or a row cannot be read or comes twice.
    """
    if not path.is_file():
        raise ReleaseError(f"{path}: the official list of MEGC2019 not found")
    grid = next(iter(read_grids(path).values()))
    table = sheet_table(grid.head(1), KEYS)  # a copy may have a header
    if table is not None:
        return _labels(read_sheet(path, KEYS), path)
    return _labels(grid.reindex(columns=range(len(KEYS)), fill_value="").set_axis(KEYS, axis=1), path)


def _labels(frame: pd.DataFrame, path: Path) -> dict[Key, str]:
    labels: dict[Key, str] = {}
    for number, row in frame.iterrows():
        key = composite_key(row["subject"], row["clip"], row["dataset"].lower())
        label = row["emotion"]
        if key is None or label not in EMOTIONS:
            raise ReleaseError(
                f"{path}, row {number}: cannot be read as dataset (casme2, smic, samm), subject, clip "
                f"of that subject, label (0, 1, 2): {', '.join(row)}"
            )
        if _contradicts(key, label):
            raise ReleaseError(
                f"{path}, row {number}: label {label} is {EMOTIONS[label]}, but {row['clip']} is named as "
                f"{named_emotion(row['clip'], RELEASES[key[0]])}: is another code in use? Expected 0 negative, "
                "1 positive, 2 surprise"
            )
        if key in labels:
            raise ReleaseError(f"{path}, row {number}: clip {'/'.join(key)} is listed twice")
        labels[key] = label
    return labels


def _contradicts(key: Key, label: str) -> bool:
    """Whether a clip's name carries another class than it is given."""
    return named_emotion(key[2], RELEASES[key[0]]) not in (None, EMOTIONS[label])


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
