"""The MEGC2019 composite (See et al., FG 2019) from frames: the clips of the challenge's official list.

::

    combined_3class_gt.csv        (dataset, subject, clip, label 0, 1 or 2; no header)
    casme2/  samm/  smic_hs/      (each the release's folder, or a link to it)

442 clips of 68 subjects when complete. The list defines the composite, no rule does: which clips are in it
and what their labels are comes from the list alone; frames and marks come from the three releases. A folder
that is not there leaves its clips out, by name.
"""

from __future__ import annotations

from pathlib import Path

from fdpbench.prep.releases import casme2, megc2019_flow, samm, smic
from fdpbench.prep.releases.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.folders import is_simulated
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.sheets.tables import ReleaseError
from fdpbench.prep.store.schema import Reason

__all__ = ["annotations_of", "read"]

# Emotions of the three releases that the list's classes gather (See et al., section II).
GATHERED = {
    "negative": {"negative", "anger", "contempt", "disgust", "fear", "repression", "sadness"},
    "positive": {"positive", "happiness"},
    "surprise": {"surprise"},
}

PARTS = {"casme2": (casme2, "casme2"), "samm": (samm, "samm"), "smic": (smic, "smic_hs")}


def annotations_of(sheet: Path, release: str = "megc2019") -> Annotations:
    """Read the official list alone. It has no frame numbers: onset and offset are 0."""
    if not sheet.is_file():
        raise ReleaseError(f"{sheet}: official list not found; expected {megc2019_flow.OFFICIAL}")
    result = Annotations(release, "megc2019", sheet.name)
    for number, (key, label) in enumerate(megc2019_flow.official_labels(sheet).items(), start=1):
        dataset, subject, clip = key
        emotion = megc2019_flow.EMOTIONS[label]
        result.clips.append(Annotation(f"row {number}", f"{dataset}/{subject}", clip, 0, None, 0, emotion, None))
    return result


def read(root: Path, release: str = "megc2019", lost_frames: LostFrames = "reject") -> Listing:
    """Read the composite from the folder that holds the list and the three releases.

    `prep.releases.folders.add_clips` says what ``lost_frames`` does.

    Raises
    ------
    ReleaseError
        If the list is not there, or none of the three folders is.
    """
    labels = megc2019_flow.official_labels(root / megc2019_flow.OFFICIAL)
    listing = Listing("megc2019")
    found = {}
    for dataset, (module, folder) in PARTS.items():
        place = root / folder
        if not place.is_dir():
            listing.notes.append(f"{folder}/ is not there: its clips are left out")
            continue
        part = module.read(place, folder, lost_frames)
        listing.simulated |= is_simulated(place)
        listing.notes += [f"{folder}: {note}" for note in part.notes]
        listing.corrections += part.corrections
        refused = {_key(dataset, row["clip_id"]): row for row in part.rejected}
        for row in part.clips:
            found[_key(dataset, row["clip_id"])] = folder, row
        for key in sorted(refused.keys() & labels.keys() - found.keys()):
            row = refused[key]
            listing.reject("/".join(key), Reason(row["reason"]), row["detail"], megc2019_flow.EMOTIONS[labels[key]])
    listed = {row["clip_id"] for row in listing.rejected}
    other: list[str] = []
    for key, label in labels.items():
        dataset, subject, clip = key
        if key in found:
            folder, row = found[key]
            columns = {name: row[name] for name in ("fps", "onset", "apex", "offset", "action_units", "frame_numbers")}
            frames = [f"{folder}/{frame}" for frame in row["frames"]]
            emotion = megc2019_flow.EMOTIONS[label]
            if row["emotion"] not in GATHERED[emotion]:
                other.append(f"{'/'.join(key)} ({emotion}; {row['emotion']})")
            listing.add(subject, clip, dataset=dataset, emotion=emotion, frames=frames, **columns)
        elif "/".join(key) not in listed:
            detail = f"on the official list, but not in {PARTS[dataset][1]}/"
            listing.reject("/".join(key), Reason.NOT_IN_SHEET, detail, megc2019_flow.EMOTIONS[label])
    if other:
        listing.notes.append(
            f"{len(other)} clips' class by the official list is not their emotion's by their release's sheet; the list "
            f"counts: {', '.join(other[:10])}"
        )
    return listing


def _key(dataset: str, clip_id: str) -> megc2019_flow.Key:
    _, subject, clip = clip_id.split("/", 2)  # what a row that cannot be used calls its clip may hold more
    return dataset, subject, clip
