"""Shards are plain Parquet: pandas, pyarrow, DuckDB and Hugging Face `datasets` read them and decode their images.

The last two come with the extra ``interop``; their tests are skipped without it.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fdpbench.prep.store import images, paths
from tests.support.aligned import CLIPS, FIRST, LAST, LEFT_OUT, RELEASE, frame_rows, write_aligned

A = CLIPS[0]
KEPT = [clip for clip in CLIPS if clip != LEFT_OUT]
SHARDS = "data/aligned/synthetic/frames-*.parquet"


@pytest.fixture(autouse=True)
def aligned(project: Path) -> None:
    write_aligned()


def expected(clip: str, number: int) -> NDArray[np.uint8]:
    """The crop that was stored."""
    return images.decode_png(next(row["image"] for row in frame_rows(clip) if row["frame"] == number))


def decoded_by_pillow(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(PIL.Image.open(io.BytesIO(png)))


def test_pandas() -> None:
    frames = pd.concat(pd.read_parquet(path) for path in sorted(Path().glob(SHARDS)))
    assert frames["clip_id"].drop_duplicates().tolist() == KEPT
    row = frames[(frames["clip_id"] == A) & (frames["frame"] == LAST)].iloc[0]
    assert (decoded_by_pillow(row["image"]) == expected(A, LAST)).all()
    grey = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey is not None and (grey == expected(A, LAST)).all()


def test_pandas_reads_what_is_beside_the_shards() -> None:
    clips = pd.read_parquet(paths.aligned(RELEASE) / "clips.parquet")
    assert clips["clip_id"].tolist() == KEPT and set(clips["frames"]) == {LAST - FIRST + 1}
    rejected = pd.read_parquet(paths.aligned(RELEASE) / "rejected.parquet")
    assert rejected["clip_id"].tolist() == [LEFT_OUT]


def test_pyarrow() -> None:
    table = pq.read_table(paths.aligned(RELEASE) / "frames-001.parquet", filters=[("frame", "=", FIRST)])
    assert table.column("clip_id").to_pylist() == KEPT[3:]
    assert (decoded_by_pillow(table.column("image")[0].as_py()) == expected(KEPT[3], FIRST)).all()
    several = ds.dataset(sorted(Path().glob(SHARDS)))
    wanted = ds.field("subject") != KEPT[0].rpartition("/")[0]
    assert several.count_rows() == 20 and several.count_rows(filter=wanted) == 12


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs the extra interop")
    with duckdb.connect() as database:
        counts = database.sql(f"SELECT clip_id, count(*) FROM '{SHARDS}' GROUP BY clip_id ORDER BY clip_id").fetchall()
        assert counts == [(clip, 4) for clip in KEPT]
        query = f"SELECT image FROM '{SHARDS}' WHERE clip_id = ? AND frame = ?"
        ((png,),) = database.execute(query, [A, LAST]).fetchall()
        assert (decoded_by_pillow(png) == expected(A, LAST)).all()
        (left_out,) = database.sql(
            "SELECT manifest.clip_id, reason FROM 'data/manifest/synthetic/manifest.parquet' AS manifest "
            "JOIN 'data/aligned/synthetic/rejected.parquet' USING (clip_id)"
        ).fetchall()
        assert left_out == (LEFT_OUT, "no_face")


@pytest.mark.filterwarnings("default")  # what datasets and its dependencies warn of is theirs
def test_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    datasets = pytest.importorskip("datasets", reason="needs the extra interop")
    frames = datasets.load_dataset("parquet", data_files=SHARDS, split="train", cache_dir=str(tmp_path / "cache"))
    frames = frames.cast_column("image", datasets.Image())
    assert len(frames) == 20 and frames.unique("clip_id") == KEPT
    assert (np.asarray(frames[3]["image"]) == expected(A, LAST)).all()
    assert frames[0]["transform"] == pytest.approx(frame_rows(A)[0]["transform"])
    one = datasets.Dataset.from_parquet(
        str(paths.aligned(RELEASE) / "frames-001.parquet"), cache_dir=str(tmp_path / "cache")
    ).cast_column("image", datasets.Image())
    assert (np.asarray(one[0]["image"]) == expected(KEPT[3], FIRST)).all()
