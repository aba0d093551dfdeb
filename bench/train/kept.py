"""Finished runs as files, from which stage `train` takes a run's outputs in place of training it again.

A file holds what a run left but its weights: predictions, and in a note of its schema the provenance, the loss curves
and the code that measured its generated images, of which only those are kept that are shown. Training repeats, so that
a run whose code, settings and data are those of the file would give the same; any other is trained.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fdpbench.arithmetic import arithmetic
from fdpbench.bench.evaluate.predictions import MEASURED, PREDICTIONS, measured_schema, predictions_table
from fdpbench.bench.train.artifacts import TAKEN
from fdpbench.prep.store import shards

__all__ = ["KeptRun", "difference", "holds_measures", "kept_run", "read_kept", "write_kept"]

NOTE = "kept"

# What decides, of a run's provenance, beside device and precision. Which machine trained it does not.
DECIDES = ("run", "settings", "train", "data", "files", "code", "versions")


@dataclass(frozen=True)
class KeptRun:
    """A finished run, apart from its predictions.

    Attributes
    ----------
    provenance
        As `bench.train.provenance` reads it.
    curves
        Text of the file of loss curves.
    measured_by
        Hashes of the code that compared its generated images with the true ones; empty where it gives none.
    """

    provenance: dict[str, Any]
    curves: str
    measured_by: dict[str, str]


def write_kept(path: Path, table: pa.Table, run: KeptRun) -> None:
    """Write a finished run's file.

    Parameters
    ----------
    path
        The file.
    table
        Its predictions (`bench.evaluate.predictions.predictions_table`), with the notes of their own file.
    run
        All else.
    """
    packed = base64.b64encode(zlib.compress(json.dumps(asdict(run)).encode(), 9)).decode()
    notes = {**(table.schema.metadata or {}), NOTE: packed}
    shards.write_table(table.replace_schema_metadata(notes), path)


def read_kept(path: Path) -> tuple[pa.Table, KeptRun]:
    """Read what `write_kept` wrote; the table has the notes of the file that training wrote.

    Raises
    ------
    ValueError
        If the file is damaged or another.
    """
    packed = shards.read_notes(path).get(NOTE)
    try:
        if packed is None:
            raise ValueError
        run = KeptRun(**json.loads(zlib.decompress(base64.b64decode(packed))))
    except (TypeError, ValueError, zlib.error):
        raise ValueError(f"{path}: not the file of a finished run; delete it, and train the run again") from None
    table = predictions_table(path)
    notes = {key: value for key, value in (table.schema.metadata or {}).items() if key != NOTE.encode()}
    schema = measured_schema(table.schema) if MEASURED.name in table.column_names else PREDICTIONS
    # a table that was read names the items of its lists otherwise, and would be written in other bytes
    rows = pa.Table.from_pylist(table.to_pylist(), schema=schema.with_metadata(notes) if notes else schema)
    return rows, run


def difference(kept: KeptRun, made_of: Mapping[str, Any], measured_by: Mapping[str, str]) -> str:
    """How a finished run differs from what it would be made of now, in words; empty if it does not.

    Parameters
    ----------
    kept
        The run.
    made_of
        As `bench.train.stage.made_of` gives it.
    measured_by
        Code and versions that measure generated images now; of no matter to a run that has none.
    """
    now = json.loads(json.dumps(made_of))
    provenance, words = kept.provenance, []
    for key in DECIDES:
        if provenance[key] != now[key]:
            old, new = provenance[key], now[key]
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            words.append(f"{key} ({', '.join(names[:3])}{more})")
    if not words and provenance["arithmetic"]["mode"] != arithmetic():
        words.append(f"arithmetic ({provenance['arithmetic']['mode']}, now {arithmetic()})")
    hardware, here = (", ".join(of["hardware"]) for of in (provenance, now))
    if hardware != here:  # it rounds otherwise, and one table would hold runs of both
        hide = "; CUDA_VISIBLE_DEVICES= hides the device" if here.startswith("cuda") else ""
        words.append(f"device or precision ({hardware}, now {here}{hide})")
    if not words and kept.measured_by and kept.measured_by != measured_by:
        words.append("code that measures generated images")
    return ", ".join(words)


def kept_run(run: str, made_of: Mapping[str, Any], measured_by: Mapping[str, str]) -> tuple[pa.Table, KeptRun] | None:
    """A run's file among `TAKEN`, if it is of what the run is made of now (see `difference`)."""
    path = _taken(run)
    if not path.is_file():
        return None
    table, kept = read_kept(path)
    return None if difference(kept, made_of, measured_by) else (table, kept)


def holds_measures(run: str) -> bool:
    """Whether a run's file among `TAKEN` has what was measured of its generated images, in place of most of these."""
    return _taken(run).is_file() and MEASURED.name in shards.read_notes(_taken(run))


def _taken(run: str) -> Path:
    return TAKEN / f"{run}.parquet"
