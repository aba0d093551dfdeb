"""Which bytes of a task and of features are read: a fold's training set without one of its test subject's rows.

Every read of a file is noted on its way to the operating system, where pyarrow and Python ask for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import fdpbench.bench.train.stage
from fdpbench.bench.train.data import load_clips, load_features
from fdpbench.prep.store import shards
from fdpbench.prep.task.table import TASK
from tests.support.builders import run_of, stored, task_rows, torch_as_it_was, train_fold, write_features, write_task

SUBJECTS = ["synthetic/s01", "synthetic/s02", "synthetic/s03"]
INPUTS = ("frames", "dynamic_image", "flow")

Range = tuple[int, int]  # first byte, byte behind the last


class Noted(io.FileIO):
    """A file that notes which bytes are read of it."""

    def __init__(self, path: Path, notes: list[Range]) -> None:
        super().__init__(path, "rb")
        self.notes = notes

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(-1 if size is None else size)
        self.notes.append((start, start + len(data)))
        return data

    def readinto(self, buffer: Any) -> int:
        start = self.tell()
        count = super().readinto(buffer)
        self.notes.append((start, start + count))
        return count

    def readall(self) -> bytes:
        return self.read()


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Range]]:
    """Ranges read of ``clips.parquet``, a task of three subjects, by whoever opens it."""
    write_task(tmp_path, task_rows(side=32))
    with noting(monkeypatch, tmp_path / "clips.parquet") as (notes,):
        yield notes


@contextmanager
def noting(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> Iterator[list[list[Range]]]:
    """Ranges read of each file, from here on."""
    notes: dict[Path, list[Range]] = {path: [] for path in paths}
    opened: list[Noted] = []
    plain_open, plain_init = io.open, pq.ParquetFile.__init__

    def noted(path: Path) -> Noted:
        opened.append(Noted(path, notes[path]))
        return opened[-1]

    def noted_open(file: Any, *arguments: Any, **options: Any) -> Any:
        return noted(Path(str(file))) if Path(str(file)) in notes else plain_open(file, *arguments, **options)

    def noted_init(file: pq.ParquetFile, source: Any, **options: Any) -> None:
        plain_init(file, noted(source) if source in notes else source, **options)

    monkeypatch.setattr(io, "open", noted_open)  # what Path.open calls
    monkeypatch.setattr(shards.pq.ParquetFile, "__init__", noted_init)
    yield list(notes.values())
    for file in opened:  # pyarrow closes only what it opened itself
        file.close()


def columns_of(path: Path, subject: str, wanted: Callable[[str], bool] = lambda column: True) -> list[Range]:
    """Where the columns of a subject's row group lie in the file."""
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index("subject")
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    group = next(group for group in groups if group.column(column).statistics.min == subject)
    ranges = []
    for k in range(group.num_columns):
        column = group.column(k)
        if wanted(column.path_in_schema.partition(".")[0]):
            start = column.dictionary_page_offset or column.data_page_offset
            ranges.append((start, start + column.total_compressed_size))
    return ranges


def overlap(reads: list[Range], ranges: list[Range]) -> list[Range]:
    return [read for read in reads for start, end in ranges if read[0] < end and start < read[1]]


def covered(reads: list[Range], ranges: list[Range]) -> bool:
    return all(any(read[0] <= start and end <= read[1] for read in reads) for start, end in ranges)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("inputs", [INPUTS, ("flow",), ()])
def test_loading_a_training_set(tmp_path: Path, reads: list[Range], subject: str, inputs: tuple[str, ...]) -> None:
    path = tmp_path / "clips.parquet"
    clips = load_clips(tmp_path, inputs, keep=lambda name: name != subject)
    noted = list(reads)
    assert len(clips) == 12 and subject not in clips.subjects
    assert overlap(noted, columns_of(path, subject)) == []
    for other in clips.subjects:  # and the notes do show what is read
        assert covered(noted, columns_of(path, other, lambda column: column in {"clip_id", "label", *inputs}))
        assert not overlap(noted, columns_of(path, other, lambda column: column in set(INPUTS) - set(inputs)))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_listing_subjects_reads_the_footer_alone(tmp_path: Path, reads: list[Range], subject: str) -> None:
    path = tmp_path / "clips.parquet"
    assert shards.subjects_of(path) == SUBJECTS
    assert list(shards.read_subjects(path, TASK, keep=lambda name: False)) == []
    assert reads and overlap(reads, columns_of(path, subject)) == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_training_a_fold(tmp_path: Path, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of what a worker does: no input of the task's table, and of the test subject no decoded one.

    Its decoded inputs are out of reach until training is over. Of its rows in the table names and labels are read,
    since a worker lists which clips it has to predict, but not before training is over either.
    """
    write_task(tmp_path, task_rows(side=32))
    clips, out_of_reach = stored(tmp_path, ("flow",), tmp_path / "scratch"), tmp_path / "out of reach"
    clips.folders[subject].rename(out_of_reach)
    fit, until_trained = fdpbench.bench.train.stage.fit, []

    def noted_fit(*arguments: Any) -> Any:
        fitted = fit(*arguments)
        until_trained.extend(of_task)
        out_of_reach.rename(clips.folders[subject])
        return fitted

    monkeypatch.setattr(fdpbench.bench.train.stage, "fit", noted_fit)
    path = tmp_path / "clips.parquet"
    with noting(monkeypatch, path) as (of_task,), torch_as_it_was():
        train_fold(run_of("ststnet"), tmp_path, tmp_path / "out", subject, clips=clips)
    assert until_trained and overlap(until_trained, columns_of(path, subject)) == []
    for name in SUBJECTS:
        assert overlap(of_task, columns_of(path, name, lambda column: column in INPUTS)) == []
    assert overlap(of_task, columns_of(path, subject, lambda column: column == "label"))  # then it is listed


@pytest.mark.parametrize("protocol", ["honest", "test_selected"])
def test_a_test_subject_out_of_reach_is_missed(tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above could not fail: when the test subject is read, its decoded inputs are opened."""
    write_task(tmp_path)
    clips, trained = stored(tmp_path, ("flow",), tmp_path / "scratch"), []
    clips.folders[SUBJECTS[0]].rename(tmp_path / "out of reach")
    fit = fdpbench.bench.train.stage.fit

    def noted(*given: Any) -> Any:
        trained.append("trained")
        return fit(*given)

    monkeypatch.setattr(fdpbench.bench.train.stage, "fit", noted)
    with torch_as_it_was(), pytest.raises(FileNotFoundError, match=r"s01/flow\.npy"):
        train_fold(run_of("ststnet", protocol=protocol), tmp_path, tmp_path / "out", SUBJECTS[0], clips=clips)
    assert trained == (["trained"] if protocol == "honest" else [])


@pytest.mark.parametrize("subject", SUBJECTS)
def test_fitting_a_fold_to_features(tmp_path: Path, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, of the features and of the task: of this no input at all, and no label of the test subject."""
    run, task, features = run_of("flow_histogram"), tmp_path / "clips.parquet", tmp_path / "features.parquet"
    write_task(tmp_path, task_rows())
    write_features(run, tmp_path, features)
    fit, until_fitted = fdpbench.bench.train.stage.fit, []
    with noting(monkeypatch, task, features) as (of_task, of_features):
        train = load_features(features, tmp_path, keep=lambda name: name != subject)
        assert len(train) == 12 and subject not in train.subjects
        assert overlap(of_task, columns_of(task, subject)) == overlap(of_features, columns_of(features, subject)) == []
        for other in train.subjects:
            assert covered(of_features, columns_of(features, other))

        def noted_fit(*arguments: Any) -> Any:
            fitted = fit(*arguments)
            until_fitted.append((list(of_task), list(of_features)))
            return fitted

        monkeypatch.setattr(fdpbench.bench.train.stage, "fit", noted_fit)
        monkeypatch.setattr("tests.support.builders.write_features", lambda *arguments: features)
        train_fold(run, tmp_path, tmp_path / "out", subject)
        ((task_reads, feature_reads),) = until_fitted
        for name in SUBJECTS:
            assert overlap(task_reads, columns_of(task, name, lambda column: column in INPUTS)) == []
        assert overlap(feature_reads, columns_of(features, subject)) == []
        assert covered(of_features, columns_of(features, subject))  # then it is predicted
