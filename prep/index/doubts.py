"""What is doubtful of a clip, noted and never changed: it lasts too long, its apex is its onset, it lacks frames.

A micro-expression lasts half a second at most, or is short in its rise alone: from onset to apex at most a quarter of a
second (Yan et al., Journal of Nonverbal Behavior 2013). Releases made by the first rule hold few that are longer.
Those made with the second hold many: of CAS(ME)^3 part A's 857 clips 623 last longer, 275 more than a second. There a
clip is noted beyond 4 s, where even macro-expressions end (0.5 to 4 s: Qu et al., IEEE TAC 2018, for
CAS(ME)^2): 20 clips of part A, the longest of 24 s after its known faults are corrected. Each release says which limit
is its own (`prep.releases.Release`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["apex_is_onset", "lost_frames", "some", "too_long"]


def too_long(clips: Iterable[Mapping[str, Any]], limit: float) -> list[dict[str, str]]:
    """Clips that last longer than micro-expressions of their release do.

    Parameters
    ----------
    clips
        Each with ``clip_id``, ``fps``, ``onset`` and ``offset``; None where it is not known.
    limit
        Seconds from onset to offset.

    Returns
    -------
    ``clip_id`` and ``detail`` of each, the longest first.
    """
    found = []
    for clip in clips:
        onset, offset, fps = clip["onset"], clip["offset"], clip["fps"]
        if onset is None or offset is None or not fps:
            continue
        seconds = (offset - onset) / fps
        if seconds > limit:
            detail = f"frames {onset} to {offset} at {fps:g} fps are {seconds:.1f} s, more than {limit:g} s"
            found.append((-seconds, {"clip_id": clip["clip_id"], "detail": detail}))
    return [row for _, row in sorted(found, key=lambda pair: (pair[0], pair[1]["clip_id"]))]


def apex_is_onset(clips: Iterable[Mapping[str, Any]]) -> list[str]:
    """Clips whose apex is their onset, so that nothing moves between the two."""
    return [clip["clip_id"] for clip in clips if clip["apex"] is not None and clip["apex"] == clip["onset"]]


def lost_frames(clips: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Clips of a manifest that lack frames between onset and offset, and which; a sheet alone knows of none."""
    found = []
    for clip in clips:
        numbers, onset, offset = clip.get("frame_numbers"), clip["onset"], clip["offset"]
        if not numbers or onset is None or offset is None or len(numbers) == offset - onset + 1:
            continue
        edges = [onset - 1, *numbers, offset + 1]
        gaps = [(a + 1, b - 1) for a, b in zip(edges, edges[1:], strict=False) if b > a + 1]
        listed = [str(first) if first == last else f"{first} to {last}" for first, last in gaps]
        detail = f"{len(numbers)} of {offset - onset + 1} frames are there; lost: {some(listed, 10)}"
        found.append({"clip_id": clip["clip_id"], "detail": detail})
    return found


def some(names: list[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
