"""What the tuning data are: training subjects of the outer folds of runs, or all of a task that no run reports on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fdpbench.bench.train.data import load_index
from fdpbench.bench.train.folds import SUBJECT, SubjectKFold, clips_of, folds_of
from fdpbench.bench.tune.data import (
    TuneError,
    check_unreported,
    hash_clips,
    nested_data,
    parsed_split,
    whole_data,
)
from fdpbench.prep.store import paths
from tests.support.builders import params, task_rows, write_task
from tests.support.tuning import SUBJECTS, tuning_params, write_tuning


@pytest.fixture
def rows(project: Path) -> list[dict[str, Any]]:
    return write_tuning()


@pytest.mark.parametrize("split", [SUBJECT, SubjectKFold(subject_kfold=2)])
def test_outer_folds_are_those_of_runs(rows: list[dict[str, Any]], split: Any) -> None:
    expected = folds_of(split, clips_of(load_index(paths.task("tiny"))), 1)
    found = nested_data("tiny", split, (), 2, 1)
    assert len(found) == len(expected)
    for data, outer in zip(found, expected, strict=True):
        assert set(data.subject_of) == set(outer.train)
        tested = {row["subject"] for row in rows if row["clip_id"] in outer.test}
        assert set(data.subjects) == set(SUBJECTS) - tested
        assert outer.name in data.where


def test_folds_within_hold_out_each_clip_once_and_no_subject_is_on_both_sides(rows: list[dict[str, Any]]) -> None:
    for data in (whole_data("tiny", 3, 1), *nested_data("tiny", SUBJECT, SUBJECTS[:2], 2, 1)):
        held_out = [clip for fold in data.folds for clip in fold.test]
        assert sorted(held_out) == sorted(data.subject_of)
        for fold in data.folds:
            train, test = data.sides(fold)
            assert not set(train) & set(test) and set(train) | set(test) == set(data.subjects)
            assert {data.subject_of[clip] for clip in fold.test} == set(test)
    assert [data.part for data in nested_data("tiny", SUBJECT, (), 2, 1)][0] == "subject/synthetic%2Fs01"
    assert [data.part for data in nested_data("tiny", SubjectKFold(subject_kfold=2), (), 2, 1)][1] == "2-folds/fold-2"


def test_a_hash_is_of_the_tuning_clips_alone(rows: list[dict[str, Any]]) -> None:
    def hashes() -> list[str]:
        (data,) = nested_data("tiny", SUBJECT, SUBJECTS[:1], 2, 1)
        return [hash_clips(data, names) for names in (None, ("flow",), ("frames", "apex"))]

    def changed(subject: str, **values: Any) -> list[bool]:
        row = next(row for row in rows if row["subject"] == subject)
        kept = dict(row)
        row.update(values)
        write_task(paths.task("tiny"), rows, inputs=("frames", "dynamic_image", "flow", "apex"))
        found = [a != b for a, b in zip(before, hashes(), strict=True)]
        row.update(kept)
        return found

    before = hashes()
    flow = [0.25] * len(rows[0]["flow"])
    assert changed(SUBJECTS[0], label=2, flow=flow, frames=rows[-1]["frames"]) == [False, False, False]
    assert changed(SUBJECTS[1], flow=flow) == [False, True, False]
    assert changed(SUBJECTS[1], label=2) == [True, False, False]
    assert changed(SUBJECTS[1], apex=rows[-1]["apex"]) == [False, False, True]


def test_an_unknown_fold_is_told_with_the_one_that_was_meant(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(TuneError, match=r"no fold 'synthetic/s1' \(did you mean 'synthetic/s0?1?.'\?\); folds: synth"):
        nested_data("tiny", SUBJECT, ["synthetic/s1"], 2, 1)


def test_too_many_folds_and_classes_without_clips_are_refused(project: Path) -> None:
    write_tuning()
    with pytest.raises(TuneError, match=r"all of task tiny: 6 folds, but 5 subjects to test; set --folds to less"):
        whole_data("tiny", 6, 1)
    rows = [row for row in task_rows(SUBJECTS) if row["label"] != 1 or row["subject"] == SUBJECTS[0]]
    write_tuning(rows)
    whole_data("tiny", 2, 1)
    with pytest.raises(TuneError, match=r"fold synthetic/s01 .leave one subject out.: no clip is labelled surprise"):
        nested_data("tiny", SUBJECT, SUBJECTS[:1], 2, 1)


def test_a_task_that_is_not_made_is_told(project: Path) -> None:
    write_tuning()
    with pytest.raises(ValueError, match=r"no task 'tinny' \(did you mean 'tiny'\?\), or it is not made"):
        whole_data("tinny", 2, 1)


@pytest.mark.parametrize("text", ["1", "0", "-3", "five", "", "2.0", "٣"])
def test_only_splits_are_taken(text: str) -> None:
    with pytest.raises(TuneError, match="--split: expected subject"):
        parsed_split(text)
    assert parsed_split("subject") == "subject" and parsed_split("5") == SubjectKFold(subject_kfold=5)


def test_a_release_that_a_run_reports_on_is_no_tuning_data_as_a_whole() -> None:
    check_unreported("tiny", tuning_params())
    with pytest.raises(TuneError, match="clips of synthetic, which run tiny-ststnet of params.yaml reports on"):
        check_unreported("tiny", params())
    other = tuning_params()
    other["tasks"]["copy"] = other["tasks"]["tiny"]
    other["runs"]["copied"] = {"task": "copy", "model": "ststnet"}
    with pytest.raises(TuneError, match="which run copied of params.yaml reports on"):  # another task, the same people
        check_unreported("tiny", other)
    other["runs"]["copied"] = {"task": "tiny_flow", "model": "ststnet"}
    check_unreported("tiny", other)
