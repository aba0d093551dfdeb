"""`prep check` on rows that are not what they should be: reordered, foreign, missing, twice, of wrong values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prep import contents, images, paths, shards
from prep.schema import CONTENTS, MANIFEST, REJECTED, Reason, rejected_table
from tests.aligned import (
    CLIPS,
    CLIPS_FILE,
    FIRST,
    LAST,
    LEFT_OUT,
    MANIFEST_FILE,
    REJECTED_FILE,
    RELEASE,
    SUBJECTS,
    Row,
    change_groups,
    check,
    flip,
    frame_rows,
    problems_of,
    said,
    shard_of,
    swap,
    write_aligned,
)

A, B = CLIPS[:2]


@pytest.fixture(autouse=True)
def aligned(project: Path) -> None:
    write_aligned()


def test_reordered_frames() -> None:
    change_groups(0, lambda groups: swap(groups[0]))
    found = problems_of(shard_of(0))
    assert said(found, f"is out of order: it stands where the manifest has frame {FIRST + 1}") == [(A, FIRST + 2)]
    assert said(found, "is not what was stored") == [(A, None)]
    assert len(found) == len(check().problems) == 2


def test_images_in_another_order_than_their_numbers() -> None:
    def exchange(groups: list[list[Row]]) -> None:
        groups[0][1]["image"], groups[0][2]["image"] = groups[0][2]["image"], groups[0][1]["image"]

    change_groups(0, exchange)
    assert said(problems_of(shard_of(0)), "is not what was stored") == [(A, None)]


def test_a_foreign_clip() -> None:
    stranger = f"{SUBJECTS[1]}/x"
    change_groups(0, lambda groups: groups[1].extend(frame_rows(stranger)))
    found = problems_of(shard_of(0))
    assert said(found, "is not in the manifest") == said(found, "is not in clips.parquet") == [(stranger, None)]
    assert len(found) == len(check().problems) == 2


def test_a_clip_that_was_left_out() -> None:
    change_groups(0, lambda groups: groups[1].extend(frame_rows(LEFT_OUT)))
    assert said(problems_of(shard_of(0)), "is listed in rejected.parquet too (no_face)") == [(LEFT_OUT, None)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda groups: groups[0].extend(frame_rows(A)), "stands twice"),
        (lambda groups: groups[0].__setitem__(slice(0, 4), frame_rows(A) * 2), "stands 2 times, one behind the other"),
        (lambda groups: groups.append(frame_rows(A)), "stands twice"),
    ],
    ids=["behind another", "one behind the other", "in a row group of its own"],
)
def test_a_duplicated_clip(change: Callable[[list[list[Row]]], Any], expected: str) -> None:
    change_groups(0, change)
    assert said(problems_of(shard_of(0)), expected) == [(A, None)]


def test_a_clip_duplicated_into_another_shard() -> None:
    change_groups(1, lambda groups: groups.append(frame_rows(A)))
    found = problems_of(shard_of(1))
    assert said(found, "stands twice; its rows are in frames-000.parquet already") == [(A, None)]
    assert said(found, "is in another shard than clips.parquet says (frames-000.parquet)") == [(A, None)]


def test_a_clip_cut_in_two() -> None:
    change_groups(0, lambda groups: groups[0].append(groups[0].pop(1)))
    assert said(problems_of(shard_of(0)), "stands twice") == [(A, None)]


def test_a_missing_clip() -> None:
    change_groups(0, lambda groups: groups.pop(1))
    assert said(problems_of(shard_of(0)), "is in no row group that can be read") == [(CLIPS[2], None)]
    assert len(check().problems) == 1
    CLIPS_FILE.unlink()
    assert said(problems_of(paths.aligned(RELEASE)), "nor in rejected.parquet") == [(CLIPS[2], None)]


def test_a_clip_that_nobody_left_out() -> None:
    shards.write_table(rejected_table([]), REJECTED_FILE)
    contents.write_sums(paths.aligned(RELEASE))
    assert said(problems_of(paths.aligned(RELEASE)), "nor in rejected.parquet") == [(LEFT_OUT, None)]


def test_clips_in_another_order() -> None:
    change_groups(0, lambda groups: groups[0].extend([groups[0].pop(0) for _ in range(4)]))
    assert said(problems_of(shard_of(0)), f"is out of order: it stands where clips.parquet has {A}") == [(B, None)]


def of_row(position: int, **values: Any) -> Callable[[list[list[Row]]], None]:
    return lambda groups: groups[0][position].update(values)


@pytest.mark.parametrize(
    ("change", "expected", "place"),
    [
        (lambda groups: groups[0].pop(1), "is missing, the first of 1 missing of 4 frames", (A, FIRST + 1)),
        (lambda groups: groups[0].insert(1, dict(groups[0][0])), "stands 2 times", (A, FIRST)),
        (of_row(3, frame=99), "is a frame that the manifest does not have", (A, 99)),
        (of_row(3, frame=99), "is missing, the first of 1", (A, LAST)),
        (of_row(1, source="frames/x.png"), "comes from 'frames/x.png', the manifest says", (A, FIRST + 1)),
        (of_row(2, image=b""), "has an image that cannot be decoded (empty_file)", (A, FIRST + 2)),
        (of_row(2, image=None), "has no image", (A, FIRST + 2)),
        (of_row(2, transform=None), "has no transform", (A, FIRST + 2)),
        (of_row(2, transform=[1.0] * 5), "has a transform that is not of 6 finite numbers", (A, FIRST + 2)),
        (of_row(2, transform=[float("nan")] * 6), "has a transform that is not of 6", (A, FIRST + 2)),
        (of_row(0, landmarks=[1.0, None]), "has landmarks that are not pairs of finite numbers", (A, FIRST)),
        (of_row(0, landmarks=[1.0]), "has landmarks that are not pairs", (A, FIRST)),
        (of_row(0, frame=None), "has no frame", (A, None)),
        (of_row(0, frame=None), "is missing, the first of 1", (A, FIRST)),
    ],
)
def test_a_wrong_row(change: Callable[[list[list[Row]]], Any], expected: str, place: tuple[str, int | None]) -> None:
    change_groups(0, change)
    found = problems_of(shard_of(0))
    assert said(found, expected) == [place]
    assert said(found, "is not what was stored") == [(A, None)]


def test_one_image_of_another_size() -> None:
    change_groups(0, of_row(2, image=images.encode_png(np.zeros((24, 25), np.uint8))))
    text = "has an image of shape (24, 25), those of most clips are (24, 24)"
    assert said(problems_of(shard_of(0)), text) == [(A, FIRST + 2)]


def test_rows_of_another_subject() -> None:
    change_groups(0, lambda groups: groups[1][0].update(subject=SUBJECTS[2]))
    found = problems_of(shard_of(0))
    text = f"row group 1 holds rows of {SUBJECTS[1]}, {SUBJECTS[2]}, its statistics name None"
    assert said(found, text) == [(None, None)]
    assert said(found, f"is stored as of subject {SUBJECTS[2]}, the manifest says {SUBJECTS[1]}") == [(CLIPS[2], None)]


def test_statistics_that_name_another_subject() -> None:
    """By them a fold picks what it reads: the test subject would be trained on."""
    data = shard_of(0).read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    whole = re.compile(SUBJECTS[1].encode() + rb"(?!/)")  # not as a part of a clip's name
    shard_of(0).write_bytes(data[:footer] + whole.sub(SUBJECTS[2].encode(), data[footer:]))
    shards.seal(shard_of(0))
    contents.write_sums(paths.aligned(RELEASE))
    text = f"row group 1 holds rows of {SUBJECTS[1]}, its statistics name {SUBJECTS[2]}; a fold would read the wrong"
    assert said(problems_of(shard_of(0)), text) == [(None, None)]


def test_a_subject_in_two_row_groups() -> None:
    def cut(groups: list[list[Row]]) -> None:
        groups[0:1] = [groups[0][:4], groups[0][4:]]

    change_groups(0, cut)
    assert said(problems_of(shard_of(0)), f"row group 1: {SUBJECTS[0]} has one in frames-000") == [(None, None)]
    assert len(check().problems) == 1


def test_other_columns() -> None:
    shards.write_table(rejected_table([]), shard_of(0))
    assert said(problems_of(shard_of(0)), "cannot be opened: columns ['clip_id', 'reason', 'detail']") == [(None, None)]


# --- tables


def change_table(path: Path, schema: pa.Schema, change: Callable[[list[Row]], Any]) -> None:
    rows = shards.read_table(path, schema).to_pylist()
    change(rows)
    shards.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    contents.write_sums(path.parent)


@pytest.mark.parametrize(
    ("change", "expected", "clip"),
    [
        (lambda rows: rows.append(rows[0]), "stands 2 times", A),
        (lambda rows: rows[0].update(subject="synthetic/s09"), "expected dataset/subject/clip", A),
        (lambda rows: rows[0].update(apex=99), "onset, apex, offset are [3, 99, 6], expected in rising order", A),
        (lambda rows: rows[0].update(emotion=None), "has no emotion", A),
        (lambda rows: rows[0].update(subject=None), "has no subject", A),
        (lambda rows: rows[0].update(frames=None), "lists 0 files and 4 frame numbers", A),
        (lambda rows: rows[0]["frames"].pop(), "lists 3 files and 4 frame numbers", A),
        (lambda rows: rows[0]["frame_numbers"].reverse(), "its frame numbers do not rise", A),
    ],
)
def test_a_wrong_row_of_the_manifest(change: Callable[[list[Row]], Any], expected: str, clip: str) -> None:
    change_table(MANIFEST_FILE, MANIFEST, change)
    assert said(problems_of(MANIFEST_FILE), expected) == [(clip, None)]


def test_a_manifest_of_other_clips() -> None:
    change_table(MANIFEST_FILE, MANIFEST, lambda rows: rows.pop(0))
    problems_of(MANIFEST_FILE)
    assert said(check().problems, "is not in the manifest") == [(A, None)] * 2  # by the shard, by clips.parquet


@pytest.mark.parametrize(
    ("change", "expected", "clip"),
    [
        (lambda rows: rows.append(rows[0]), "stands 2 times", A),
        (lambda rows: rows[0].update(subject="x"), "is of subject x, the manifest says", A),
        (lambda rows: rows[0].update(clip_id="x"), "is not in the manifest", "x"),
    ],
)
def test_a_wrong_record(change: Callable[[list[Row]], Any], expected: str, clip: str) -> None:
    change_table(CLIPS_FILE, CONTENTS, change)
    assert said(problems_of(CLIPS_FILE), expected) == [(clip, None)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"frames": 3}, "has 4 rows, clips.parquet says 3"),
        ({"sha256": "0" * 64}, f"clips.parquet says {'0' * 64}"),
        ({"shard": "frames-001.parquet"}, "is in another shard than clips.parquet says"),
        ({"shard": None}, "is in another shard than clips.parquet says"),
    ],
)
def test_a_record_of_other_content(values: Row, expected: str) -> None:
    change_table(CLIPS_FILE, CONTENTS, lambda rows: rows[0].update(values))
    assert said(problems_of(shard_of(0)), expected) == [(A, None)]


def test_rejections_that_cannot_be() -> None:
    def change(rows: list[Row]) -> None:
        rows[0]["reason"] = "bad luck"
        rows.append({"clip_id": "x", "reason": Reason.NO_FACE, "detail": ""})

    change_table(REJECTED_FILE, REJECTED, change)
    found = problems_of(REJECTED_FILE)
    assert said(found, "unknown reason 'bad luck'") == [(LEFT_OUT, None)]
    assert said(found, "is not in the manifest") == [("x", None)]


def test_every_problem_is_listed() -> None:
    """Faults in many places at once: none hides another."""

    def spoil(groups: list[list[Row]]) -> None:
        swap(groups[0])
        groups[0][5]["image"] = b"x"
        groups[1].pop()

    change_groups(0, spoil)
    shard_of(1).unlink()
    change_table(MANIFEST_FILE, MANIFEST, lambda rows: rows[5].update(apex=99))
    flip(REJECTED_FILE, 100)
    report = check()
    places = {(problem.file, problem.clip) for problem in report.problems}
    first = shard_of(0).as_posix()
    assert places >= {(first, A), (first, B), (first, CLIPS[2]), (shard_of(1).as_posix(), None)}
    assert places >= {(MANIFEST_FILE.as_posix(), CLIPS[5]), (REJECTED_FILE.as_posix(), None)}
