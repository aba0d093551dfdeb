"""Rows of a corpus's table, of planned and generated clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.flow import FlowClip, flow_clips
from fdpbench.prep.demo.corpus.frames import FrameClip, frame_clips, inputs_of
from fdpbench.prep.demo.corpus.planner import Person, PlannedClip
from fdpbench.prep.demo.corpus.reading import COLUMN
from fdpbench.prep.demo.synth.expressions import CLASSES, SIDED_UNITS, UNITS, sides_of
from fdpbench.prep.demo.synth.motion import FPS
from fdpbench.prep.settings.corpus import CorpusParams

__all__ = ["generate", "rows_of", "unit_targets"]

FAINTEST, PLAIN = 0.02, 0.3  # shares of a clip's strongest action unit


def generate(name: str, person: Person, params: CorpusParams) -> list[dict[str, Any]]:
    """Rows of a person's clips in the corpus `name`: generated as its settings say."""
    made: Sequence[FlowClip | FrameClip]
    made = flow_clips(person) if params.generator == "flow" else frame_clips(person, params)
    return rows_of(name, person, made, params)


def rows_of(
    name: str, person: Person, clips: Sequence[FlowClip | FrameClip], params: CorpusParams
) -> list[dict[str, Any]]:
    """Rows of a person's clips in the corpus `name`; `clips` are in the order of those planned."""
    rows = []
    for planned, made in zip(person.clips, clips, strict=True):
        row = _labels(f"corpus-{name}", planned, made.intensity)
        if isinstance(made, FlowClip):
            true_flow = made.true_flow.astype("<f2").tobytes() if params.true_flow else None
            rows.append(row | {"flow": made.image.tobytes(), "true_flow": true_flow})
        else:
            inputs = inputs_of(made, params)
            rows.append(row | {COLUMN.get(name, name): value for name, value in inputs.items()})
    return rows


def _labels(dataset: str, planned: PlannedClip, intensity: NDArray[np.float32]) -> dict[str, Any]:
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
        "units": unit_targets(intensity[None])[0].tolist(),
        "intensity": intensity.tolist(),
        "fps": float(FPS),
        "frames": clip.frames,
        "onset": clip.onset,
        "apex": clip.apex,
        "offset": clip.offset,
        "peak": clip.peak,
        "blink": clip.blink,
        "gaze_shift": clip.gaze_shift,
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
