"""Sampled frames and annotated marks, from the files of the stages that know them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdpbench.bench.evaluate.moments import annotated_marks, frames_up_to_apex, sampled_frames
from fdpbench.prep.store.shards import ShardError
from tests.support.builders import task_rows, write_perception_data


def test_frames_up_to_the_apex_are_counted_where_a_sheet_gives_it(project: Path) -> None:
    rows = task_rows(length=4)
    write_perception_data(rows)  # frames 1, 4, 7, 10 are sampled; the apex is 4, and the first clip has none
    first, second = rows[0]["clip_id"], rows[1]["clip_id"]
    assert sampled_frames("tiny")[first] == [1, 4, 7, 10]
    marks = annotated_marks(["synthetic"])
    assert marks[first] == {"onset": 1, "offset": 10} and marks[second] == {"onset": 1, "apex": 4, "offset": 10}
    assert frames_up_to_apex("tiny", ["synthetic"]) == {row["clip_id"]: 2 for row in rows[1:]}
    assert frames_up_to_apex("tiny", []) == {}


def test_what_is_missing_is_named(project: Path) -> None:
    with pytest.raises(ShardError, match="dynamic.parquet"):
        sampled_frames("tiny")
    with pytest.raises(ShardError, match="manifest.parquet"):
        annotated_marks(["synthetic"])
