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
from fdpbench.prep.store import shards

__all__ = ["TAKEN", "KeptRun", "difference", "kept_run", "read_kept", "write_kept"]

TAKEN = Path(".scratch/kept")  # those that `fdpbench part` found to be of now
NOTE = "kept"

# What decides, of a run's provenance. Which machine trained it does not.
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


def difference(provenance: Mapping[str, Any], made_of: Mapping[str, Any]) -> str:
    """How a run's provenance differs from what it would be made of now, in words; empty if it does not.

    Parameters
    ----------
    provenance
        Of a finished run.
    made_of
        As `bench.train.stage.made_of` gives it.
    """
    now = json.loads(json.dumps(made_of))
    words = []
    for key in DECIDES:
        if provenance[key] != now[key]:
            old, new = provenance[key], now[key]
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            words.append(f"{key} ({', '.join(names[:3])}{more})")
    if not words and provenance["arithmetic"]["mode"] != arithmetic():
        words.append(f"arithmetic ({provenance['arithmetic']['mode']}, now {arithmetic()})")
    return ", ".join(words)


def kept_run(run: str, made_of: Mapping[str, Any]) -> tuple[pa.Table, KeptRun] | None:
    """A run's file among `TAKEN`, if it is of what the run is made of now."""
    path = TAKEN / f"{run}.parquet"
    if not path.is_file():
        return None
    table, kept = read_kept(path)
    return None if difference(kept.provenance, made_of) else (table, kept)
