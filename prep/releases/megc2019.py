"""The MEGC2019 composite (See et al., FG 2019) from frames: the clips of the challenge's official list.

::

    combined_3class_gt.csv        (dataset, subject, clip, label 0, 1 or 2; no header)
    casme2/  samm/  smic_hs/      (each the release's folder, or a link to it)

442 clips of 68 subjects when complete. The list defines the composite, no rule does: which clips are in it
and what their labels are comes from the list alone; frames and marks come from the three releases. A folder
that is not there leaves its clips out, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fdpbench.prep.releases import Release, ReleaseError, casme2, is_simulated, samm, smic_hs
from fdpbench.prep.releases.common import composite
from fdpbench.prep.releases.common.base import Annotations, Listing
from fdpbench.prep.releases.common.composite import EMOTIONS, OFFICIAL, Key
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.store.schema import Reason

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = Release(
    name="megc2019",
    kind="frames",
    about="MEGC2019 composite from frames (See et al. 2019), 442 clips of 68 subjects",
    expects="the folder that holds combined_3class_gt.csv and casme2/, samm/, smic_hs/ (folders or links)",
    class_maps={"megc2019": composite.CLASSES},
    known_counts=(composite.COUNTS,),
    without_apex=True,
)

# Emotions of the three releases that the list's classes gather (See et al., section II).
GATHERED = {
    "negative": {"negative", "anger", "contempt", "disgust", "fear", "repression", "sadness"},
    "positive": {"positive", "happiness"},
    "surprise": {"surprise"},
}

PARTS: dict[str, tuple[str, Callable[[Path, LostFrames], Listing]]] = {
    "casme2": ("casme2", casme2.read),
    "samm": ("samm", samm.read),
    "smic": ("smic_hs", smic_hs.read),
}


def annotations_of(sheet: Path) -> Annotations:
    """Read the official list alone. It has no frame numbers: onset and offset are 0."""
    if not sheet.is_file():
        raise ReleaseError(f"{sheet}: official list not found; expected {OFFICIAL}")
    return composite.list_annotations(RELEASE.name, sheet, composite.official_labels(sheet), first_row=1)


def read(root: Path, lost_frames: LostFrames) -> Listing:
    """Read the composite from the folder that holds the list and the three releases.

    `prep.releases.common.folders.add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the list is not there, or none of the three folders is.
    """
    labels = composite.official_labels(root / OFFICIAL)
    listing = Listing("megc2019")
    found = {}
    for dataset, (folder, read_part) in PARTS.items():
        place = root / folder
        if not place.is_dir():
            listing.notes.append(f"{folder}/ is not there: its clips are left out")
            continue
        part = read_part(place, lost_frames)
        listing.simulated |= is_simulated(place)
        listing.notes += [f"{folder}: {note}" for note in part.notes]
        listing.corrections += part.corrections
        refused = {_key(dataset, row["clip_id"]): row for row in part.rejected}
        for row in part.clips:
            found[_key(dataset, row["clip_id"])] = folder, row
        for key in sorted(refused.keys() & labels.keys() - found.keys()):
            row = refused[key]
            listing.reject("/".join(key), Reason(row["reason"]), row["detail"], EMOTIONS[labels[key]])
    listed = {row["clip_id"] for row in listing.rejected}
    other: list[str] = []
    for key, label in labels.items():
        dataset, subject, clip = key
        if key in found:
            folder, row = found[key]
            columns = {name: row[name] for name in ("fps", "onset", "apex", "offset", "action_units", "frame_numbers")}
            frames = [f"{folder}/{frame}" for frame in row["frames"]]
            emotion = EMOTIONS[label]
            if row["emotion"] not in GATHERED[emotion]:
                other.append(f"{'/'.join(key)} ({emotion}; {row['emotion']})")
            listing.add(subject, clip, dataset=dataset, emotion=emotion, frames=frames, **columns)
        elif "/".join(key) not in listed:
            detail = f"on the official list, but not in {PARTS[dataset][0]}/"
            listing.reject("/".join(key), Reason.NOT_IN_SHEET, detail, EMOTIONS[label])
    if other:
        listing.notes.append(
            f"{len(other)} clips' class by the official list is not their emotion's by their release's sheet; the list "
            f"counts: {', '.join(other[:10])}"
        )
    return listing


def _key(dataset: str, clip_id: str) -> Key:
    _, subject, clip = clip_id.split("/", 2)  # what a row that cannot be used calls its clip may hold more
    return dataset, subject, clip
