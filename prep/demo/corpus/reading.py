"""The form of a corpus on disk, and reading it: one row for each clip, one row group for each person, in order of name.

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

from fdpbench.prep.store import shards
from fdpbench.prep.store.documents import DocumentError, read_object

__all__ = ["CORPUS", "SIDE", "CorpusClips", "read_corpus", "read_description", "read_shards", "shard_name"]

SIDE = 28  # of a flow image, pixels

CORPUS = pa.schema(
    [
        ("clip_id", pa.string()),  # dataset/subject/clip
        ("dataset", pa.string()),  # corpus-NAME: no release has such a name
        ("subject", pa.string()),  # dataset/subject
        ("label", pa.int32()),  # index of the class
        ("class", pa.string()),  # negative, positive, surprise
        ("emotion", pa.string()),  # of the embedded release's four
        ("action_units", pa.string()),  # as a coder would note them, `4+R14` in sheets' way
        ("units", pa.list_(pa.float32())),  # of each unit of corpus.json: 1 it moves, 0.5 faintly, 0 not
        ("intensity", pa.list_(pa.float32())),  # of each of its sided units, apex less onset; 1 is the full movement
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


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"clips-{number:04d}.parquet"


@dataclass(frozen=True, eq=False)
class CorpusClips:
    """Clips of a corpus as arrays.

    Attributes
    ----------
    flow
        Shape (N, 3, 28, 28), uint8: u, v, strain, 0..255.
    label
        Shape (N,), int64, index of the class.
    units
        Shape (N, U), float32: whether each action unit moves, see `CORPUS`.
    intensity
        Shape (N, S), float32: how far each action unit moves, of those with sides each side by itself.
    subject
        Shape (N,), names.
    """

    flow: NDArray[np.uint8]
    label: NDArray[np.int64]
    units: NDArray[np.float32]
    intensity: NDArray[np.float32]
    subject: NDArray[np.str_]


def read_description(folder: Path) -> dict[str, Any]:
    """What corpus.json says: ``classes`` in order of label, with their emotions; ``units`` in order; ``settings``.

    Raises
    ------
    DocumentError
        If it is missing, damaged, or not what the stage writes.
    """
    path, cure = folder / "corpus.json", f"run `fdpbench corpus {folder.name}`"
    content = read_object(path, cure)
    for key, kind in {"classes": dict, "units": list, "settings": dict}.items():
        if not isinstance(content.get(key), kind):
            raise DocumentError(f"{path}: {key} is missing or of another kind; {cure}")
    return content


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
        for table in shards.read_subjects(file, CORPUS, columns=["subject", "label", "units", "intensity", "flow"]):
            flow = np.frombuffer(b"".join(table.column("flow").to_pylist()), np.uint8)
            yield CorpusClips(
                flow=flow.reshape(-1, 3, SIDE, SIDE),
                label=np.array(table.column("label").to_pylist(), np.int64),
                units=np.array(table.column("units").to_pylist(), np.float32),
                intensity=np.array(table.column("intensity").to_pylist(), np.float32),
                subject=np.array(table.column("subject").to_pylist()),
            )


def read_corpus(folder: Path) -> CorpusClips:
    """Read a whole corpus: 2.5 kB of memory a clip; see `read_shards`."""
    people = list(read_shards(folder))
    names = CorpusClips.__dataclass_fields__
    return CorpusClips(**{name: np.concatenate([getattr(one, name) for one in people]) for name in names})
