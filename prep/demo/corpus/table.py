"""The clips of a corpus: one row for each, one row group for each person, in the order of their names.

Flow images are stored as those of the field are exchanged, in 8 bits; divided by 255 they are what a task with `flow:
{size: 28, scaling: per_image}` gives to models (`prep.task.inputs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.estimator import SIDE
from fdpbench.prep.demo.corpus.expressions import CLASSES, SIDED_UNITS, UNITS, sides_of
from fdpbench.prep.demo.corpus.flow import FlowClip
from fdpbench.prep.demo.corpus.planner import Person, PlannedClip
from fdpbench.prep.demo.synth.motion import FPS
from fdpbench.prep.store import shards

__all__ = ["CORPUS", "CorpusClips", "read_corpus", "read_shards", "rows_of", "shard_name", "unit_targets"]

CORPUS = pa.schema(
    [
        ("clip_id", pa.string()),  # dataset/subject/clip
        ("dataset", pa.string()),  # corpus-NAME: no release has such a name
        ("subject", pa.string()),  # dataset/subject
        ("label", pa.int32()),  # index of the class
        ("class", pa.string()),  # negative, positive, surprise
        ("emotion", pa.string()),  # of the embedded release's four
        ("action_units", pa.string()),  # as a coder would note them, `4+R14` in sheets' way
        ("intensity", pa.list_(pa.float32())),  # of each of SIDED_UNITS, apex less onset; 1 is the full movement
        ("fps", pa.float64()),
        ("frames", pa.int32()),
        ("onset", pa.int32()),  # frame numbers, the first frame is 1
        ("apex", pa.int32()),
        ("offset", pa.int32()),
        ("peak", pa.float32()),  # px of a face whose eyes lie 51 px apart
        ("blink", pa.int32()),  # frame in which the eyes are closed, which may lie before the first; null: none
        ("gaze_shift", pa.int32()),  # frame; null: none
        ("flow", pa.binary()),  # u, v, strain: 3 x 28 x 28 bytes, row by row
        ("true_flow", pa.binary()),  # u, v: 2 x 28 x 28 float16, px as of `peak`, NaN off the face; null: not asked for
    ]
)

FAINTEST, PLAIN = 0.02, 0.3  # shares of a clip's strongest action unit


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"clips-{number:04d}.parquet"


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


@dataclass(frozen=True, eq=False)
class CorpusClips:
    """Clips of a corpus as arrays.

    Attributes
    ----------
    flow
        Shape (N, 3, 28, 28), uint8: u, v, strain, 0..255.
    label
        Shape (N,), int64, index of `prep.demo.corpus.expressions.CLASSES`.
    units
        Shape (N, 16), float32: `unit_targets` of the intensities.
    intensity
        Shape (N, len(SIDED_UNITS)), float32.
    subject
        Shape (N,), names.
    """

    flow: NDArray[np.uint8]
    label: NDArray[np.int64]
    units: NDArray[np.float32]
    intensity: NDArray[np.float32]
    subject: NDArray[np.str_]


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


def read_shards(folder: Path) -> Iterator[CorpusClips]:
    """Read a corpus person by person: memory does not grow with it.

    Raises
    ------
    ShardError
        If the folder has no clips, or a file is damaged.
    """
    files = sorted(folder.glob("clips-*.parquet"))
    if not files:
        raise shards.ShardError(f"{folder}: no {shard_name(0)}; run `fdpbench corpus {folder.name}`")
    for file in files:
        for table in shards.read_subjects(file, CORPUS, columns=["subject", "label", "intensity", "flow"]):
            flow = np.frombuffer(b"".join(table.column("flow").to_pylist()), np.uint8)
            intensity = np.array(table.column("intensity").to_pylist(), np.float32)
            yield CorpusClips(
                flow=flow.reshape(-1, 3, SIDE, SIDE),
                label=np.array(table.column("label").to_pylist(), np.int64),
                units=unit_targets(intensity),
                intensity=intensity,
                subject=np.array(table.column("subject").to_pylist()),
            )


def read_corpus(folder: Path) -> CorpusClips:
    """Read a whole corpus: 2.5 kB of memory a clip; see `read_shards`."""
    people = list(read_shards(folder))
    names = CorpusClips.__dataclass_fields__
    return CorpusClips(**{name: np.concatenate([getattr(one, name) for one in people]) for name in names})
