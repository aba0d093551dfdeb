"""Marks that are possible but hardly right: clips that last too long, apexes that are the onset. Noted, never changed.

A micro-expression lasts half a second at most, or is short in its rise alone: from onset to apex at most a quarter of a
second (Yan et al., Journal of Nonverbal Behavior 2013). Releases made by the first rule hold few that are longer.
Those made with the second hold many: of CAS(ME)^3 part A's 857 clips 623 last longer, 275 more than a second. There a
clip is noted beyond 4 s, where even macro-expressions end (0.5 to 4 s: Qu et al., IEEE TAC 2018, for
CAS(ME)^2): 20 clips of part A, the longest of 24 s after its known faults are corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["LONG_TAILED", "apex_is_onset", "longest", "too_long"]

# Releases whose micro-expressions may last longer than 0.5 s by how they were chosen.
LONG_TAILED = frozenset({"casme_sq", "casme3_a", "casme3_c", "dfme", "fourdme"})


def longest(release: str) -> float:
    """Seconds from onset to offset beyond which a clip of a release is noted."""
    return 4.0 if release in LONG_TAILED else 0.5


def too_long(release: str, clips: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Clips that last longer than micro-expressions of their release do.

    Parameters
    ----------
    release
        Its name.
    clips
        Each with ``clip_id``, ``fps``, ``onset`` and ``offset``; None where it is not known.

    Returns
    -------
    ``clip_id`` and ``detail`` of each, the longest first.
    """
    limit = longest(release)
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
