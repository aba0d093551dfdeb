"""Rows of a corpus's table, of planned and generated clips."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.expressions import CLASSES, SIDED_UNITS, UNITS, sides_of
from fdpbench.prep.demo.corpus.flow import FlowClip
from fdpbench.prep.demo.corpus.planner import Person, PlannedClip
from fdpbench.prep.demo.synth.motion import FPS

__all__ = ["rows_of", "unit_targets"]

FAINTEST, PLAIN = 0.02, 0.3  # shares of a clip's strongest action unit


def rows_of(name: str, person: Person, clips: list[FlowClip], true_flow: bool) -> list[dict[str, Any]]:
    """Rows of a person's clips in the corpus `name`; `clips` are in the order of those planned."""
    return [_row(f"corpus-{name}", planned, made, true_flow) for planned, made in zip(person.clips, clips, strict=True)]


def _row(dataset: str, planned: PlannedClip, made: FlowClip, true_flow: bool) -> dict[str, Any]:
    clip = planned.clip
    subject = f"{dataset}/{clip.subject}"
    return {
        "clip_id": f"{subject}/{clip.clip}",
        "dataset": dataset,
        "subject": subject,
        "label": planned.label,
        "class": CLASSES[planned.label],
        "emotion": clip.emotion,
        "action_units": clip.sheet_codes,
        "units": unit_targets(made.intensity[None])[0].tolist(),
        "intensity": made.intensity.tolist(),
        "fps": float(FPS),
        "frames": clip.frames,
        "onset": clip.onset,
        "apex": clip.apex,
        "offset": clip.offset,
        "peak": clip.peak,
        "blink": clip.blink,
        "gaze_shift": clip.gaze_shift,
        "flow": made.image.tobytes(),
        "true_flow": made.true_flow.astype("<f2").tobytes() if true_flow else None,
    }


def unit_targets(intensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whether each action unit moves, as the target of a detector.

    Parameters
    ----------
    intensity
        Shape (N, len(SIDED_UNITS)).

    Returns
    -------
    Shape (N, len(UNITS)), float32: 1 where a side moves by at least `PLAIN` of the clip's strongest movement, 0.5 where
    it does so faintly, 0 where it does not.
    """
    moved = np.abs(intensity)
    moved = moved / np.maximum(moved.max(axis=1, keepdims=True), np.float32(1e-9))
    whole = np.stack(
        [moved[:, [SIDED_UNITS.index(part) for part in sides_of(unit)]].max(axis=1) for unit in UNITS], axis=1
    )
    return np.where(whole >= PLAIN, 1.0, np.where(whole >= FAINTEST, 0.5, 0.0)).astype(np.float32)
