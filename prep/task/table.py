"""The task's table, data/task/TASK/clips.parquet: each clip's label, and every input that the task gives."""

from __future__ import annotations

import pyarrow as pa

from fdpbench.prep.task.inputs import INPUTS

__all__ = ["TASK"]

_TYPES = {
    "binary": pa.binary(),
    "list<binary>": pa.list_(pa.binary()),
    "list<float32>": pa.list_(pa.float32()),
    "list<list<float32>>": pa.list_(pa.list_(pa.float32())),
}

# One row group for each subject; inputs that the task does not give are null.
TASK = pa.schema(
    [
        ("clip_id", pa.string()),
        ("dataset", pa.string()),
        ("subject", pa.string()),
        ("label", pa.int32()),
        ("class", pa.string()),
        *((entry.name, _TYPES[entry.column]) for entry in INPUTS.values()),
    ]
)
