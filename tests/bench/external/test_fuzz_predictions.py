"""Any file of predictions at all: it is read or refused by a ValueError, and what is read is whole.

Random mutations of valid files: bytes flipped, cut out, doubled and put in, lines and fields exchanged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdpbench.bench.evaluate.predictions import PREDICTIONS, PredictionError, read_predictions
from fdpbench.bench.external.read import Known, read_said
from fdpbench.bench.external.score import score_said
from fdpbench.prep.store import shards
from tests.bench.external.test_csv_files import COLUMNS, KNOWN, PLAIN, UNNAMED
from tests.bench.external.test_logs import BARE, LISTS, OFFICIAL
from tests.support.builders import predictions, task_rows

TEXTS = {"plain": PLAIN, "columns": COLUMNS, "unnamed": UNNAMED, "clip log": BARE, "lists": LISTS}
OF_LOGS = [line.split(",") for line in OFFICIAL.replace("samm,61", "samm,061").splitlines()]
KNOWN_OF_LOGS = Known(
    "list.csv", KNOWN.classes, {"/".join(row[:3]): (row[0], "/".join(row[:2]), int(row[3])) for row in OF_LOGS}
)
HOSTILE = [
    "", " ", ",", ";", "\t", '"', "'", "\n", "\r", "\x00", "\x0b", "\u2028", "\ufeff", "[", "]", "[" * 3000,
    "nan", "inf",
    "-inf", "1e999", "-1", "²", "٣", "9" * 5000, "None", "null", "=cmd|' /C calc'!A0", "\ud7ff", "s61", "Subject: ",
    "Predicted: [0]", "Ground Truth: [", "casme2 1", "y_pred", "x" * 2000,
]  # fmt: skip


def read(content: bytes, name: str, known: Known | None) -> None:
    """Read and score; what comes out must be a result that holds together, or a ValueError with a message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            said = read_said(path, known)
        except ValueError as error:
            assert str(error)
            return
    clips = len(said.clip_ids)
    assert clips and len(set(said.clip_ids)) == len(said.datasets) == len(said.subjects) == len(said.y_true) == clips
    assert said.y_pred.shape[1:] == (clips,) and said.y_pred.max() < len(said.classes) > said.y_true.max()
    assert min(said.y_pred.min(), said.y_true.min()) >= 0
    if known is not None and said.named:
        assert said.clip_ids == tuple(sorted(known.clips))
        assert said.y_true.tolist() == [known.clips[clip][2] for clip in said.clip_ids]
    score_said(said, resamples=20)


def mutate(content: bytes, places: list[tuple[int, str, int]], insert: Callable[[int], bytes]) -> bytes:
    for place, how, number in places:
        at = place % (len(content) + 1)
        if how == "flip" and content:
            at = place % len(content)
            content = content[:at] + bytes([content[at] ^ (1 << number % 8)]) + content[at + 1 :]
        elif how == "cut":
            content = content[:at] + content[at + number % 40 :]
        elif how == "double":
            content = content[:at] + content[at : at + number % 60] + content[at:]
        elif how == "end":
            content = content[:at]
        else:
            content = content[:at] + insert(number) + content[at:]
    return content


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 2**20), st.sampled_from(["flip", "cut", "double", "end", "put"]), st.integers(0, 2**16)),
    min_size=1,
    max_size=4,
)


@given(st.sampled_from(sorted(TEXTS)), MUTATIONS, st.sampled_from(["mine.csv", "log.txt"]), st.booleans())
@example("lists", [(10, "put", HOSTILE.index("[" * 3000))], "log.txt", False)
@example("plain", [(20, "put", HOSTILE.index("9" * 5000))], "mine.csv", True)
@example("unnamed", [(25, "put", HOSTILE.index("²"))], "mine.csv", False)
def test_any_text(kind: str, mutations: list[tuple[int, str, int]], name: str, known: bool) -> None:
    content = mutate(TEXTS[kind].encode(), mutations, lambda number: HOSTILE[number % len(HOSTILE)].encode("utf-8"))
    of_logs = kind in ("clip log", "lists")
    read(content, name, (KNOWN_OF_LOGS if of_logs else KNOWN) if known else None)


@given(st.sampled_from(["plain", "columns", "unnamed"]), st.data())
def test_any_fields(kind: str, data: st.DataObject) -> None:
    """Cells of a valid file exchanged for hostile ones, or for those of another row or column."""
    rows = [line.split(",") for line in TEXTS[kind].splitlines()]
    cells = sorted({cell for row in rows for cell in row})
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(st.sampled_from([*cells, *HOSTILE]))
    delimiter = data.draw(st.sampled_from([",", ";", "\t"]))
    read("\n".join(delimiter.join(row) for row in rows).encode(), "mine.csv", data.draw(st.sampled_from([None, KNOWN])))


@cache
def own() -> tuple[list[dict[str, Any]], bytes]:
    """Rows of a run with two repetitions, and their Parquet file."""
    rows = task_rows(length=2)
    made = [
        one for k in range(2) for one in predictions("it", rows, [(row["label"] + k) % 3 for row in rows], repetition=k)
    ]
    return made, parquet(made)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.parquet"
        shards.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), path)
        return path.read_bytes()


@given(MUTATIONS)
def test_any_parquet(mutations: list[tuple[int, str, int]]) -> None:
    read(mutate(own()[1], mutations, lambda number: bytes([number % 256]) * 4), "it.parquet", None)


@given(st.integers(0, 35), st.sampled_from(PREDICTIONS.names), st.sampled_from([None, "", -1, 7, 2**31 - 1, np.inf]))
def test_any_value_in_parquet(place: int, name: str, value: Any) -> None:
    """A well-formed file whose values are wrong."""
    rows = [dict(row) for row in own()[0]]
    if name == "scores" and value is not None:
        value = [value] * 3 if isinstance(value, float) else []
    rows[place % len(rows)][name] = value
    try:
        content = parquet(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return  # not a value of this column
    read(content, "it.parquet", None)


@pytest.mark.parametrize("name", [name for name in PREDICTIONS.names if name not in {"epoch", "rank_scores", "drawn"}])
def test_a_null_is_named(tmp_path: Path, name: str) -> None:
    rows = [dict(row) for row in own()[0]]
    rows[3][name] = None
    path = tmp_path / "it.parquet"
    path.write_bytes(parquet(rows))
    with pytest.raises(PredictionError, match=rf"it\.parquet: {name} of row 3 \(counted from 0\) is null"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.0, None, 1.0]}, "a score is null"),
        ({"scores": [0.0, np.inf, 1.0]}, "expected 3 numbers"),
        ({"scores": [0.0, 1.0]}, "expected 3 numbers"),
        ({"y_pred": 7}, "y_pred 7 is not the class of the highest score"),
        ({"y_true": -1}, "y_true -1, expected 0 to 2"),
        ({"y_true": 2**31 - 1}, "y_true 2147483647, expected 0 to 2"),
        ({"subject": "synthetic/s09"}, "(data set, subject, label)"),
    ],
)
def test_values_that_are_none_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [dict(row) for row in own()[0]]
    rows[4] |= change
    path = tmp_path / "it.parquet"
    path.write_bytes(parquet(rows))
    with pytest.raises(ValueError) as caught:
        read_said(path)
    assert message in str(caught.value) and "it.parquet" in str(caught.value)


def test_a_parquet_file_is_known_by_its_content_and_its_size_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it.csv"
    path.write_bytes(own()[1])
    assert len(read_said(path).y_pred) == 2
    rows, unpacked = shards.size_of(path)
    assert rows == len(own()[0]) == pq.read_metadata(path).num_rows and unpacked > 1000
    monkeypatch.setattr("fdpbench.bench.evaluate.predictions.MAX_ROWS", rows - 1)
    with pytest.raises(PredictionError, match=rf"{rows} rows, .* predictions may have {rows - 1} rows"):
        read_said(path)
    monkeypatch.setattr("fdpbench.bench.evaluate.predictions.MAX_ROWS", rows)
    monkeypatch.setattr("fdpbench.bench.evaluate.predictions.MAX_UNPACKED", unpacked - 1)
    with pytest.raises(PredictionError, match="MiB unpacked"):
        read_said(path)
