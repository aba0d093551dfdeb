"""A small valid manifest with its aligned frames, as index and align write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import FRAMES, MANIFEST, Reason, rejected_table

RELEASE = "synthetic"
SUBJECTS = tuple(f"{RELEASE}/s0{k}" for k in (1, 2, 3))
CLIPS = tuple(f"{subject}/{name}" for subject in SUBJECTS for name in ("a", "b"))
LEFT_OUT = CLIPS[3]  # listed in rejected.parquet
FIRST, LAST = 3, 6  # frames of each clip, as its sheet counts them

Row = dict[str, Any]


def shard_of(number: int) -> Path:
    """A shard of the release; the first holds two subjects, the second one."""
    return paths.aligned(RELEASE) / f"frames-{number:03d}.parquet"


def frame_rows(clip: str, side: int = 24) -> list[Row]:
    """Aligned frames of a clip: noise, which no codec makes smaller."""
    rng = np.random.default_rng([*clip.encode()])
    return [
        {
            "clip_id": clip,
            "subject": clip.rpartition("/")[0],
            "frame": number,
            "source": f"frames/{clip}/img{number:03d}.png",
            "image": images.encode_png(rng.integers(0, 256, (side, side), dtype=np.uint8)),
            "landmarks": rng.uniform(0, side, 20).tolist() if number == FIRST else None,
            "transform": [0.5, 0.0, -1.5, 0.0, 0.5, 2.0],
        }
        for number in range(FIRST, LAST + 1)
    ]


def manifest_row(clip: str) -> Row:
    """A clip's row of the manifest."""
    numbers = list(range(FIRST, LAST + 1))
    return {
        "clip_id": clip,
        "dataset": RELEASE,
        "subject": clip.rpartition("/")[0],
        "fps": 200.0,
        "onset": FIRST,
        "apex": FIRST + 1,
        "offset": LAST,
        "emotion": "happiness",
        "action_units": "AU12",
        "frames": [f"frames/{clip}/img{number:03d}.png" for number in numbers],
        "frame_numbers": numbers,
    }


def write_aligned() -> None:
    """Write ``data/manifest`` and ``data/aligned`` of the release: three subjects, two shards, a clip left out."""
    manifest, aligned = paths.manifest(RELEASE), paths.aligned(RELEASE)
    rows = [manifest_row(clip) for clip in CLIPS]
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), manifest / "manifest.parquet")
    rejected = [{"clip_id": f"{RELEASE}/s04/c", "reason": Reason.BAD_ROW, "detail": "row 7"}]
    shards.write_table(rejected_table(rejected), manifest / "rejected.parquet")
    contents.write_sums(manifest)

    records = []
    for number, subjects in enumerate((SUBJECTS[:2], SUBJECTS[2:])):
        tables = []
        for subject in subjects:
            clips = [clip for clip in CLIPS if clip.startswith(subject) and clip != LEFT_OUT]
            parts = [pa.Table.from_pylist(frame_rows(clip), schema=FRAMES) for clip in clips]
            records += [contents.clip_record(part, shard_of(number).name) for part in parts]
            tables.append(pa.concat_tables(parts))
        shards.write_subjects(shard_of(number), FRAMES, tables)
    contents.write_clips(records, aligned)
    rejected = [{"clip_id": LEFT_OUT, "reason": Reason.NO_FACE, "detail": "no face found"}]
    shards.write_table(rejected_table(rejected), aligned / "rejected.parquet")
    contents.write_sums(aligned)
