"""What is in a release: clips, subjects, classes, corrections, rejections, and how that compares with what is known.

`fdpbench annotations` shows it of a sheet alone, the stage `index` of a release with its frames, as
``data/manifest/<release>/report.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fdpbench.prep.index.class_maps import maps_of
from fdpbench.prep.index.counts import class_counts, compare_counts
from fdpbench.prep.index.doubts import apex_is_onset, lost_frames, some, too_long
from fdpbench.prep.releases import SIMULATED, release_info
from fdpbench.prep.releases.common.base import Annotations, Listing
from fdpbench.prep.sheets.action_units import unit_lines, unit_report
from fdpbench.prep.store.schema import Reason

__all__ = ["report_lines", "report_of_listing", "report_of_sheet", "write_report"]

_SIMULATED = f"SIMULATED: {SIMULATED} says that faces are rendered, names and labels invented; scores on it say nothing"

# Rejections that the stage prints; all of them are in report.json and in rejected.parquet.
MOST_SHOWN = 20


def report_of_sheet(annotations: Annotations) -> dict[str, Any]:
    """Report on a sheet alone: `report_of_listing`, and ``action_units`` as `prep.sheets.action_units` has them."""
    clips: list[dict[str, Any]] = [
        {"clip_id": annotations.clip_id(clip.subject, clip.clip), "subject": clip.subject, "emotion": clip.emotion}
        | {"fps": clip.fps, "onset": clip.onset, "apex": clip.apex, "offset": clip.offset}
        for clip in annotations.clips
    ]
    noted = {annotations.clip_id(clip.subject, clip.clip): clip.action_units for clip in annotations.clips}
    about = {"release": annotations.release, "sheet": annotations.sheet, "simulated": annotations.simulated}
    about |= {"action_units": unit_report(noted)}
    return about | _report(annotations.release, clips, annotations.rejected, annotations.corrections, annotations.notes)


def report_of_listing(release: str, listing: Listing) -> dict[str, Any]:
    """Report on a release with its frames.

    Returns
    -------
    A JSON-able mapping: ``simulated`` (whether `fdpbench simulate` wrote it), ``crops`` (``given`` where the frames are
    the release's own crops of faces, used as they are; else not there), ``clips``, ``subjects`` and
    ``missing_apex`` (counts; a list without frame numbers misses none), ``apex_is_onset`` (clips), ``too_long`` and
    ``lost_frames`` (clips that are kept, with what is doubtful or missing), ``emotions`` (clips of each),
    ``class_maps`` (for each: clips of each class, and subjects), ``differences`` from the counts known of the
    release, ``corrections`` (each with ``found`` and ``applied``), ``rejected`` and ``notes``.
    """
    about: dict[str, Any] = {"release": release, "simulated": listing.simulated}
    about |= {"crops": "given"} if listing.crops else {}
    return about | _report(release, listing.clips, listing.rejected, listing.corrections, listing.notes)


def _report(
    release: str,
    clips: list[dict[str, Any]],
    rejected: list[dict[str, str]],
    corrections: list[dict[str, Any]],
    notes: list[str],
) -> dict[str, Any]:
    emotions = {clip["clip_id"]: clip["emotion"] for clip in clips}
    subjects = len({clip["subject"] for clip in clips})
    timed = any(clip["offset"] for clip in clips)  # a list without frame numbers has onset and offset 0
    maps = {}
    known = release_info(release)
    for class_map in [] if known.rendered else maps_of(release):  # those of the literature
        gathered = {emotion for group in class_map.classes.values() for emotion in group}
        maps[class_map.name] = {
            "classes": class_counts(class_map, emotions.values()),
            "subjects": len({clip["subject"] for clip in clips if clip["emotion"] in gathered}),
        }
    return {
        "clips": len(clips),
        "subjects": subjects,
        "missing_apex": sum(clip["apex"] is None and bool(clip["offset"]) for clip in clips),
        "apex_is_onset": apex_is_onset(clips) if timed else [],
        "too_long": too_long(clips, known.longest) if timed else [],
        "lost_frames": lost_frames(clips),
        "emotions": dict(sorted(Counter(emotions.values()).items())),
        "class_maps": maps,
        "differences": compare_counts(release, emotions, subjects, rejected),
        "corrections": corrections,
        "rejected": [{key: row[key] for key in ("clip_id", "reason", "detail")} for row in rejected],
        "notes": notes,
    }


def report_lines(report: dict[str, Any], most: int | None = MOST_SHOWN) -> list[str]:
    """Lay a report out for a terminal, with ``most`` clips of each list at most (None: all)."""
    counts = ", ".join(f"{name} {count}" for name, count in report["emotions"].items())
    apex = f"; {report['missing_apex']} without an apex" if report["missing_apex"] else ""
    lines = [_SIMULATED] if report["simulated"] else []
    if report.get("crops"):
        lines.append("align.mode is given: frames are taken for the release's own crops of faces, and used as they are")
    lines += [f"{report['clips']} clips of {report['subjects']} subjects ({counts}){apex}"]
    for name, found in report["class_maps"].items():
        classes = ", ".join(f"{label} {count}" for label, count in found["classes"].items())
        lines.append(f"{name}: {sum(found['classes'].values())} clips of {found['subjects']} subjects ({classes})")
    lines += unit_lines(report.get("action_units", {"units": {}}))
    lines += report["notes"]
    if report["apex_is_onset"]:
        names = report["apex_is_onset"]
        lines.append(
            f"{len(names)} clips have their onset as apex: no flow and no apex frame unless flow.missing_apex "
            f"estimates one: {some(names, 5)}"
        )
    for key, what in (
        ("too_long", "last longer than micro-expressions do, kept as they are"),
        ("lost_frames", "lack frames"),
    ):
        if report[key]:
            lines.append(f"{len(report[key])} clips {what}:")
            lines += [f"  {row['clip_id']}: {row['detail']}" for row in report[key][:most]]
            lines += _more(report[key], most)
    for row in report["corrections"]:
        what = f"{row['clip']}, {row['column']}"
        if row["applied"]:
            lines.append(f"corrected: {what}: {row['sheet_value']} -> {row['value'] or 'unknown'} ({row['source']})")
        elif row["found"] is None:
            lines.append(f"not corrected: {what}: the sheet has no such clip")
        else:
            lines.append(f"not corrected: {what}: expected {row['sheet_value']}, the sheet has {row['found']}")
    if report["differences"]:
        lines.append(f"other counts than known of this release (version {report['differences'][0]['version']}):")
        rows = [[row["emotion"], row["expected"], row["found"], some(row["clips"], 5)] for row in report["differences"]]
        lines += tabulate(rows, headers=["emotion", "expected", "found", "left out"]).splitlines()
    if report["rejected"]:
        reasons = Counter(row["reason"] for row in report["rejected"])
        lines.append(
            f"left out {len(report['rejected'])} ({', '.join(f'{k} {v}' for k, v in sorted(reasons.items()))}):"
        )
        if reasons[Reason.MISSING_FILE]:
            lines.append("  (with index.lost_frames: keep a clip that lacks frames is kept with those that are there)")
        lines += [f"  {row['clip_id']}: {row['reason']}: {row['detail']}" for row in report["rejected"][:most]]
        lines += _more(report["rejected"], most)
    return lines


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write a report into a manifest's folder."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")


def _more(rows: list[Any], most: int | None) -> list[str]:
    return [f"  and {len(rows) - most} more"] if most is not None and len(rows) > most else []
