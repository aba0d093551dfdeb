"""Parquet shards: row groups, bytes that repeat, bytes that are not touched, damage that is named."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdpbench.bench.train.data import load_clips, load_index, load_task_info
from fdpbench.prep.store import shards
from fdpbench.prep.store.schema import MANIFEST, SchemaError, check_manifest
from fdpbench.prep.task.table import TASK
from tests.support.builders import task_rows, write_task

SUBJECTS = ["synthetic/s01", "synthetic/s02", "synthetic/s03"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_task(tmp_path)
    return tmp_path / "clips.parquet"


def spoil(path: Path, subject: str) -> None:
    """Overwrite every data byte of a subject's row group."""
    with pq.ParquetFile(path) as file:
        index = shards.subjects_of(path).index(subject)
        group = file.metadata.row_group(index)
        ranges = []
        for k in range(group.num_columns):
            column = group.column(k)
            starts = [start for start in (column.dictionary_page_offset, column.data_page_offset) if start]
            ranges.append((min(starts), column.total_compressed_size))
    data = bytearray(path.read_bytes())
    for start, length in ranges:
        data[start : start + length] = b"\xee" * length
    path.write_bytes(data)


def test_one_row_group_for_each_subject(table: Path) -> None:
    with pq.ParquetFile(table) as file:
        assert file.metadata.num_row_groups == 3
        for k, subject in enumerate(SUBJECTS):
            assert set(file.read_row_group(k).column("subject").to_pylist()) == {subject}
    assert shards.subjects_of(table) == SUBJECTS


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    rows = write_task(tmp_path)
    path = tmp_path / "clips.parquet"
    assert list(shards.read_rows(path, TASK)) == rows
    assert shards.read_table(path, TASK).to_pylist() == rows
    only = list(
        shards.read_rows(path, TASK, keep=lambda subject: subject.endswith("s02"), columns=["clip_id", "label"])
    )
    assert only == [{"clip_id": r["clip_id"], "label": r["label"]} for r in rows if r["subject"].endswith("s02")]


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    write_task(tmp_path / "a")
    write_task(tmp_path / "b")
    assert (tmp_path / "a/clips.parquet").read_bytes() == (tmp_path / "b/clips.parquet").read_bytes()


def test_big_subjects_stay_one_row_group(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    schema = pa.schema([("subject", pa.string()), ("x", pa.int64())])
    rows = 1_200_000  # above pyarrow's own limit of a row group
    table = pa.table({"subject": pa.array(["s"] * rows), "x": pa.array(range(rows))}, schema=schema)
    assert shards.write_subjects(path, schema, [table]) == rows
    assert shards.subjects_of(path) == ["s"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_fold_never_touches_the_test_subjects_bytes(table: Path, subject: str) -> None:
    before = load_clips(table.parent, ("frames", "dynamic_image", "flow"), keep=lambda name: name != subject)
    spoil(table, subject)
    with pytest.raises(shards.ShardError, match=r"clips\.parquet"):
        shards.read_table(table, TASK)
    after = load_clips(table.parent, ("frames", "dynamic_image", "flow"), keep=lambda name: name != subject)
    assert after.clip_ids == before.clip_ids and subject not in after.subjects
    assert (after.inputs["frames"] == before.inputs["frames"]).all()
    with pytest.raises(shards.ShardError, match=r"clips\.parquet"):
        load_clips(table.parent, (), keep=lambda name: name == subject)


def test_subjects_must_be_new_and_alone(tmp_path: Path) -> None:
    rows = task_rows(per_class=1)
    whole = pa.Table.from_pylist(rows, schema=TASK)
    with pytest.raises(shards.ShardError, match="one new subject"):
        shards.write_subjects(tmp_path / "a.parquet", TASK, [whole])
    one = pa.Table.from_pylist([row for row in rows if row["subject"] == SUBJECTS[0]], schema=TASK)
    with pytest.raises(shards.ShardError, match="synthetic/s01"):
        shards.write_subjects(tmp_path / "b.parquet", TASK, [one, one])


def test_empty_tables_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert shards.write_subjects(path, TASK, [TASK.empty_table()]) == 0
    assert shards.subjects_of(path) == [] and list(shards.read_rows(path, TASK)) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(table: Path, share: float) -> None:
    data = table.read_bytes()
    table.write_bytes(data[: int(len(data) * share)])
    for read in (shards.read_table, lambda path, schema: list(shards.read_rows(path, schema))):
        with pytest.raises(shards.ShardError, match=r"clips\.parquet.*damaged"):
            read(table, TASK)
    with pytest.raises(shards.ShardError, match=r"clips\.parquet.*damaged"):
        shards.subjects_of(table)


def test_damaged_footer(table: Path) -> None:
    data = bytearray(table.read_bytes())
    data[-60:-8] = b"\xee" * 52
    table.write_bytes(data)
    with pytest.raises(shards.ShardError, match=r"clips\.parquet"):
        shards.read_table(table, TASK)


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("clip_id,subject\n" * 40)
    with pytest.raises(shards.ShardError, match=r"t\.parquet"):
        shards.read_table(path, TASK)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.parquet"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(shards.ShardError, match=r"t\.parquet not found.*dvc repro"):
        shards.read_table(path, TASK)


def test_other_columns(table: Path) -> None:
    for read in (shards.read_table, lambda path, schema: list(shards.read_subjects(path, schema))):
        with pytest.raises(shards.ShardError, match=r"clips\.parquet: columns.*expected"):
            read(table, MANIFEST)


def test_row_group_of_two_subjects(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    shards.write_table(pa.Table.from_pylist(task_rows(per_class=1), schema=TASK), path)
    with pytest.raises(shards.ShardError, match="row group 0 does not hold exactly one subject"):
        list(shards.read_subjects(path, TASK))


def test_clips_in_memory(tmp_path: Path) -> None:
    rows = write_task(tmp_path)
    clips = load_clips(tmp_path, ("frames", "dynamic_image", "flow"))
    assert clips.clip_ids == tuple(sorted(row["clip_id"] for row in rows))
    by_id = {row["clip_id"]: row for row in rows}
    assert clips.labels.tolist() == [by_id[clip]["label"] for clip in clips.clip_ids]
    assert clips.subjects == tuple(by_id[clip]["subject"] for clip in clips.clip_ids)
    assert clips.shapes == {"frames": (4, 1, 16, 16), "dynamic_image": (1, 16, 16), "flow": (3, 28, 28)}
    for k, clip in enumerate(clips.clip_ids):
        assert clips.inputs["flow"][k].ravel().tolist() == pytest.approx(by_id[clip]["flow"])
    assert [row["clip_id"] for row in load_index(tmp_path)] == [row["clip_id"] for row in rows]
    assert load_task_info(tmp_path).classes == ("happiness", "surprise", "disgust")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_flow_that_is_no_number_is_named(tmp_path: Path, bad: float) -> None:
    rows = task_rows()
    rows[3]["flow"][7] = bad
    write_task(tmp_path, rows)
    with pytest.raises(ValueError, match=f"{rows[3]['clip_id']}: flow holds NaN"):
        load_clips(tmp_path, ("flow",))


@pytest.mark.parametrize("name", ["frames", "dynamic_image", "flow"])
def test_an_input_that_a_clip_lacks_is_named(tmp_path: Path, name: str) -> None:
    rows = task_rows()
    rows[3][name] = None
    write_task(tmp_path, rows)
    with pytest.raises(ValueError, match=f"{rows[3]['clip_id']}: no {name}"):
        load_clips(tmp_path, (name,))


def test_no_clip_of_the_subjects_asked_for(tmp_path: Path) -> None:
    write_task(tmp_path)
    with pytest.raises(ValueError, match="no clip of the subjects"):
        load_clips(tmp_path, (), keep=lambda subject: False)


def test_task_stage_that_has_not_run(tmp_path: Path) -> None:
    with pytest.raises(shards.ShardError, match="dvc repro"):
        load_task_info(tmp_path)


def manifest_row(**values: object) -> dict[str, object]:
    row = dict.fromkeys(MANIFEST.names) | {"clip_id": "r/s/c", "dataset": "r", "subject": "r/s", "emotion": "joy"}
    return row | {"onset": 1, "apex": 2, "offset": 3} | values


def manifest(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=MANIFEST)


def test_manifest_checks() -> None:
    check_manifest(manifest(manifest_row(), manifest_row(clip_id="r/s/d", apex=None)))
    for bad, expected in (
        (manifest(manifest_row(), manifest_row()), "twice"),
        (manifest(manifest_row(subject="s")), "dataset/subject/clip"),
        (manifest(manifest_row(clip_id="s/c")), "dataset/subject/clip"),
        (manifest(manifest_row(apex=5)), "rising order"),
        (manifest(manifest_row(offset=0, apex=None)), "rising order"),
        (pa.table({"clip_id": ["a"]}), "columns"),
    ):
        with pytest.raises(SchemaError, match=expected):
            check_manifest(bad)


def flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_no_flipped_bit_changes_a_value_in_silence(tmp_path: Path) -> None:
    """Anywhere, page headers, seal and footer among them; the file's time is kept, so that DVC sees nothing."""
    path = tmp_path / "t.parquet"
    schema = pa.schema([("subject", pa.string()), ("x", pa.list_(pa.float32()))])
    groups = [pa.table({"subject": [name] * 3, "x": [[1.0, 2.0], [], None]}, schema) for name in ("a", "b")]
    shards.write_subjects(path, schema, groups)
    data, true, status = path.read_bytes(), shards.read_table(path, schema), path.stat()
    silent = 0
    for place in range(len(data)):
        path.write_bytes(flipped(data, place, place % 8))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            assert shards.read_table(path, schema).equals(true), f"byte {place}"
            silent += 1
        except shards.ShardError as error:
            assert "t.parquet: damaged" in str(error) and "delete it and run `dvc repro`" in str(error)
    assert silent <= 8  # the first magic bytes and the gap behind them hold nothing


def test_a_page_is_verified_by_other_readers_too(table: Path) -> None:
    data = bytearray(table.read_bytes())
    column = pq.read_metadata(table).row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)


def test_a_file_without_checksums_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(shards.ShardError, match=r"t\.parquet.*no checksums"):
        shards.read_table(path, pa.schema([("x", pa.int64())]))
