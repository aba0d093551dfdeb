"""Records of what a stage wrote: hashes that depend on values alone, checksums of files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdpbench.prep.store import contents
from fdpbench.prep.store.schema import FRAMES
from tests.support.aligned import CLIPS, frame_rows

A = CLIPS[0]


def test_the_content_hash_is_of_values_and_their_order(tmp_path: Path) -> None:
    rows = frame_rows(A)
    table = pa.Table.from_pylist(rows, schema=FRAMES)
    expected = contents.content_hash(table)
    chunks = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert contents.content_hash(chunks) == contents.content_hash(chunks.combine_chunks()) == expected
    written: list[dict[str, Any]] = [{"compression": "none"}, {"use_dictionary": True, "data_page_size": 64}]
    for number, options in enumerate(written):
        pq.write_table(table, tmp_path / f"{number}.parquet", **options)
        assert contents.content_hash(pq.read_table(tmp_path / f"{number}.parquet")) == expected
    others = [rows[::-1], rows[:-1], [*rows, rows[0]]]
    others += [[rows[0] | {"landmarks": value}, *rows[1:]] for value in (None, [], [0.0], [-0.0])]
    others += [[rows[0] | {"clip_id": "ab", "subject": "c"}], [rows[0] | {"clip_id": "a", "subject": "bc"}]]
    hashes = {contents.content_hash(pa.Table.from_pylist(other, schema=FRAMES)) for other in others}
    assert len(hashes) == len(others) and expected not in hashes


def test_the_content_hash_stays_what_it_is() -> None:
    """Hashes on disk are compared with it: another value needs every release to be aligned anew."""
    table = pa.table({"a": ["x", None], "b": pa.array([b"\0", b""]), "c": [1, -2], "d": [[0.5], []]})
    assert contents.content_hash(table) == "4d846ec51420816215163f6b3167dba604b133baf2f2e195e7dd51ed951c0fa3"


@pytest.mark.parametrize("value", [True, {"x": 1}])
def test_values_without_a_rule_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no rule to hash"):
        contents.content_hash(pa.table({"a": [value]}))


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    contents.write_sums(tmp_path)
    contents.write_sums(tmp_path)  # its own file is not one of them
    found = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.splitlines() == ["a: OK", "b: OK"]
