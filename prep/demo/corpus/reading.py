"""The form of a corpus on disk, and reading it: one row for each clip, one row group for each person, in order of name.

Corpora of the generator flow hold flow images as those of the field are exchanged, in 8 bits; divided by 255 they are
what a task with `flow: {size: 28, scaling: per_image}` gives to models. Those of the generator frames hold every input
in the very form of a task's table (`prep.task.table`), to be decoded as that (`prep.task.inputs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdpbench.prep.settings.corpus import FLOW_SIDE, CorpusParams
from fdpbench.prep.store import shards
from fdpbench.prep.store.documents import DocumentError, read_object
from fdpbench.prep.task.inputs import INPUTS
from fdpbench.prep.task.table import TASK

__all__ = [
    "CORPUS",
    "FRAMES_CORPUS",
    "SCHEMAS",
    "SIDE",
    "CorpusClips",
    "CorpusError",
    "read_corpus",
    "read_description",
    "read_shards",
    "shard_name",
]

SIDE = FLOW_SIDE

SHARED = [
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
]

# Of the generator flow.
CORPUS = pa.schema(
    [
        *SHARED,
        ("flow", pa.binary()),  # u, v, strain: 3 x 28 x 28 bytes, row by row
        ("true_flow", pa.binary()),  # u, v: 2 x 28 x 28 float16, px as of `peak`, NaN off the face; null: not asked for
    ]
)

# Of the generator frames. What a task calls frames are those sampled; `frames`, of a corpus, is how many a clip has.
COLUMN = {"frames": "sampled_frames", "apex": "apex_image"}  # input of models -> its column, where names differ
FRAMES_INPUTS = ("frames", "dynamic_image", "flow", "apex", "landmarks")  # the last null where not asked for
FRAMES_CORPUS = pa.schema([*SHARED, *((COLUMN.get(name, name), TASK.field(name).type) for name in FRAMES_INPUTS)])

SCHEMAS = {"flow": CORPUS, "frames": FRAMES_CORPUS}  # by generator


class CorpusError(ValueError):
    """A corpus does not have what is asked of it."""


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"clips-{number:04d}.parquet"


@dataclass(frozen=True, eq=False)
class CorpusClips:
    """Clips of a corpus as arrays.

    Attributes
    ----------
    inputs
        By name those that were asked for, as a task gives them to models (`prep.task.inputs`): ``flow`` (N, 3, 28, 28)
        float32, 0..1; ``frames`` (N, T, 1, H, W) uint8 and so on.
    label
        Shape (N,), int64, index of the class.
    emotion
        Shape (N,), names.
    units
        Shape (N, U), float32: whether each action unit moves, see `SHARED`.
    intensity
        Shape (N, S), float32: how far each action unit moves, of those with sides each side by itself.
    subject
        Shape (N,), names.
    """

    inputs: dict[str, NDArray[Any]]
    label: NDArray[np.int64]
    emotion: NDArray[np.str_]
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
    try:
        CorpusParams.model_validate(content["settings"])
    except ValueError as error:
        raise DocumentError(f"{path}: settings are not those of a corpus ({error}); {cure}") from None
    return content


def read_shards(folder: Path, inputs: Sequence[str] = ("flow",)) -> Iterator[CorpusClips]:
    """Read a corpus person by person: memory does not grow with it.

    Parameters
    ----------
    folder
        Of the corpus.
    inputs
        Names of the inputs to read; the bytes of others are not touched.

    Raises
    ------
    CorpusError
        If the corpus does not have an input.
    DocumentError
        If corpus.json is missing or damaged.
    ShardError
        If the folder has no clips, or a file is damaged.
    """
    files = _files(folder)
    description = read_description(folder)
    settings = CorpusParams.model_validate(description["settings"])
    generator, given = settings.generator, settings.as_task(folder.name, description["classes"]).inputs
    lacking = [name for name in inputs if name not in given]
    if lacking:
        raise CorpusError(
            f"{folder}: no {', '.join(lacking)}: a corpus of the generator {generator} gives {', '.join(given)}"
        )
    labels = ["subject", "label", "emotion", "units", "intensity"]
    wanted = {name: COLUMN.get(name, name) if generator == "frames" else name for name in inputs}
    for file in files:
        for table in shards.read_subjects(file, SCHEMAS[generator], columns=[*labels, *wanted.values()]):
            columns = {name: table.column(column) for name, column in wanted.items()}
            yield CorpusClips(
                inputs={
                    name: _decode_bytes(column) if generator == "flow" else INPUTS[name].decode(column)
                    for name, column in columns.items()
                },
                label=np.array(table.column("label").to_pylist(), np.int64),
                emotion=np.array(table.column("emotion").to_pylist()),
                units=np.array(table.column("units").to_pylist(), np.float32),
                intensity=np.array(table.column("intensity").to_pylist(), np.float32),
                subject=np.array(table.column("subject").to_pylist()),
            )


def read_corpus(folder: Path, inputs: Sequence[str] = ("flow",)) -> CorpusClips:
    """Read a whole corpus; see `read_shards`.

    A clip takes 9 kB of memory for ``flow``, and of crops with 96 pixels a side 74 kB for eight ``frames``.
    """
    count = sum(shards.size_of(file)[0] for file in _files(folder))
    whole: dict[str, NDArray[Any]] = {}
    labels: list[CorpusClips] = []
    done = 0
    for one in read_shards(folder, inputs):
        for name, array in one.inputs.items():  # into one array at once: two copies would be held otherwise
            whole.setdefault(name, np.empty((count, *array.shape[1:]), array.dtype))[done : done + len(array)] = array
        done += len(one.label)
        labels.append(CorpusClips({}, one.label, one.emotion, one.units, one.intensity, one.subject))
    names = ("label", "emotion", "units", "intensity", "subject")
    return CorpusClips(whole, *(np.concatenate([getattr(one, name) for one in labels]) for name in names))


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("clips-*.parquet"))
    if not files:
        raise shards.ShardError(f"{folder}: no {shard_name(0)}; run `fdpbench corpus {folder.name}`")
    return files


def _decode_bytes(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Flow images of the generator flow."""
    flow = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
    return flow.reshape(-1, 3, SIDE, SIDE).astype(np.float32) / np.float32(255)
