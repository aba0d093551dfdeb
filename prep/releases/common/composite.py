"""The MEGC2019 composite (See et al., FG 2019): its official list, and how its clips are named.

``combined_3class_gt.csv`` has a row for each of its 442 clips of 68 subjects: dataset, subject, clip, label 0, 1 or 2;
it has no header. The list defines the composite, no rule does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fdpbench.prep.releases import KnownCounts, ReleaseError, one_each
from fdpbench.prep.releases.common.base import Annotation, Annotations
from fdpbench.prep.sheets.names import named_emotion, named_subject
from fdpbench.prep.sheets.tables import read_grids, read_sheet, sheet_table

__all__ = [
    "CLASSES",
    "COUNTS",
    "EMOTIONS",
    "OFFICIAL",
    "Key",
    "list_annotations",
    "composite_key",
    "contradicts",
    "official_labels",
    "sheet_labels",
]

OFFICIAL = "combined_3class_gt.csv"

EMOTIONS = {"0": "negative", "1": "positive", "2": "surprise"}
CLASSES = one_each(*EMOTIONS.values())

COUNTS = KnownCounts("official list", 68, {"negative": 250, "positive": 109, "surprise": 83})

# The data set of a subject, from the way it is written.
SUBJECTS = {"casme2": re.compile(r"sub(\d+)"), "smic": re.compile(r"s(\d+)"), "samm": re.compile(r"(\d+)")}

# The release whose clips a data set holds.
RELEASES = {"casme2": "casme2", "smic": "smic_hs", "samm": "samm"}

Key = tuple[str, str, str]  # dataset, subject, clip

# Columns of lists of the composite, by our names.
KEYS = ["dataset", "subject", "clip", "emotion"]


def list_annotations(release: str, sheet: Path, labels: Mapping[Key, str], first_row: int) -> Annotations:
    """What a list of labels says of clips: no frame numbers, so that onset and offset are 0.

    Parameters
    ----------
    release
        Name of the release.
    sheet
        The list's file.
    labels
        Label of each clip, in order of rows.
    first_row
        Number of the first of them.
    """
    result = Annotations(release, "megc2019", sheet.name)
    for number, ((dataset, subject, clip), label) in enumerate(labels.items(), start=first_row):
        emotion = EMOTIONS[label]
        result.clips.append(Annotation(f"row {number}", f"{dataset}/{subject}", clip, 0, None, 0, emotion, None))
    return result


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


def sheet_labels(path: Path) -> dict[Key, str]:
    """Read a sheet of the composite that names its columns: a label for each clip; see `official_labels`."""
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
        return sheet_labels(path)
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
        if contradicts(key, label):
            raise ReleaseError(
                f"{path}, row {number}: label {label} is {EMOTIONS[label]}, but {row['clip']} is named as "
                f"{named_emotion(row['clip'], RELEASES[key[0]])}: is another code in use? Expected 0 negative, "
                "1 positive, 2 surprise"
            )
        if key in labels:
            raise ReleaseError(f"{path}, row {number}: clip {'/'.join(key)} is listed twice")
        labels[key] = label
    return labels


def contradicts(key: Key, label: str) -> bool:
    """Whether a clip's name carries another class than it is given."""
    return named_emotion(key[2], RELEASES[key[0]]) not in (None, EMOTIONS[label])
