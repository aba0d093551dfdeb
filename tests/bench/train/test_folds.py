"""Folds against splitters written in another way, what every split keeps, and the seeds of folds."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fdpbench.bench.train.folds import (
    SUBJECT,
    Clip,
    Fold,
    Split,
    SplitError,
    SubjectKFold,
    fold_by_clip,
    folds_of,
    least_training_subjects,
    split_text,
)
from fdpbench.bench.train.seeds import seed_of
from fdpbench.bench.train.stage import _Training

FIVE = SubjectKFold(subject_kfold=5)

subjects = st.sampled_from(["a/s01", "b/s01", "a/s02", "c/020", "c/021"])
clip_maps = st.dictionaries(
    st.text("abc/01", min_size=1, max_size=6), st.tuples(subjects, st.integers(0, 2)), min_size=2, max_size=30
)
clip_lists = clip_maps.map(
    lambda found: [Clip(clip, subject, subject[0], label) for clip, (subject, label) in found.items()]
).filter(lambda clips: len({clip.subject for clip in clips}) > 1)
splits: st.SearchStrategy[Any] = st.one_of(
    st.just(SUBJECT), st.integers(2, 5).map(lambda count: SubjectKFold(subject_kfold=count))
)


def folds_or_nothing(split: Split, clips: list[Clip], seed: int = 1, untested: tuple[str, ...] = ()) -> list[Fold]:
    """Folds; an example that cannot be split is passed over."""
    try:
        return folds_of(split, clips, seed, untested)
    except SplitError:
        assume(False)
        raise


def subjects_of(clips: list[Clip]) -> list[str]:
    """Names of the subjects, in order."""
    return sorted({clip.subject for clip in clips})


def release(subject_count: int, seed: int = 0) -> list[Clip]:
    """A release of two data sets whose subjects have up to twelve clips, most of one class."""
    draw = random.Random(seed)
    return [
        Clip(f"{name}/s{k:02d}/{number}", f"{name}/s{k:02d}", name, draw.choice([0, 0, 0, 0, 1, 1, 2]))
        for k in range(subject_count)
        for name in ("big" if k % 3 else "small",)
        for number in range(draw.randint(1, 12))
    ]


@given(clip_lists)
def test_one_subject_out_is_as_a_naive_splitter_has_it(clips: list[Clip]) -> None:
    folds = {fold.name: fold for fold in folds_of(SUBJECT, clips, 1)}
    assert set(folds) == {clip.subject for clip in clips}
    for clip in clips:
        for name, fold in folds.items():
            assert (clip.clip_id in fold.test) == (clip.subject == name)
            assert (clip.clip_id in fold.train) == (clip.subject != name)


def spread(values: list[float]) -> float:
    """Standard deviation."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


@pytest.mark.parametrize("count", [2, 5, 10])
@pytest.mark.parametrize("seed", [1, 2])
def test_kfold_puts_each_subject_where_folds_stay_most_alike(count: int, seed: int) -> None:
    """The folds, replayed: subjects whose clips are spread least evenly over (release, class) come first."""
    clips = release(26, seed)
    folds = folds_of(SubjectKFold(subject_kfold=count), clips, seed)
    assert [fold.name for fold in folds[:2]] == (["fold-01", "fold-02"] if count == 10 else ["fold-1", "fold-2"])
    total = Counter((clip.release, clip.label) for clip in clips)
    mine = {name: Counter((c.release, c.label) for c in clips if c.subject == name) for name in subjects_of(clips)}
    place = {clip.subject: k for k, fold in enumerate(folds) for clip in clips if clip.clip_id in fold.test}
    shuffled = np.random.default_rng(seed_of(seed, "", "subject_kfold", "", 0)).permutation(len(mine))
    order = sorted((sorted(mine)[k] for k in shuffled), key=lambda name: -spread([mine[name][one] for one in total]))
    filled: list[Counter[tuple[str, int]]] = [Counter() for _ in folds]
    for name in order:
        unlike = []
        for k in range(count):
            trial = [fold + mine[name] if j == k else fold for j, fold in enumerate(filled)]
            unlike.append(sum(spread([fold[one] / total[one] for fold in trial]) for one in total) / len(total))
        assert unlike[place[name]] == pytest.approx(min(unlike), rel=1e-5), name
        filled[place[name]] += mine[name]


def test_kfold_keeps_shares_of_classes_and_releases_better_than_chance() -> None:
    clips = release(40)
    stratum = {clip.clip_id: (clip.release, clip.label) for clip in clips}
    total = Counter(stratum.values())

    def worst(tests: list[list[str]]) -> float:
        counts = [Counter(stratum[clip] for clip in test) for test in tests]
        return max(abs(count[one] / total[one] - 1 / 5) for count in counts for one in total)

    found = worst([list(fold.test) for fold in folds_of(FIVE, clips, 1)])
    names, drawn = sorted({clip.subject for clip in clips}), []
    for seed in range(50):
        random.Random(seed).shuffle(names)
        drawn.append(worst([[clip.clip_id for clip in clips if clip.subject in names[k::5]] for k in range(5)]))
    assert found < min(drawn)


@given(clip_lists, splits)
def test_each_clip_is_tested_once_and_no_subject_is_on_both_sides(clips: list[Clip], split: Split) -> None:
    folds, subject_of = folds_or_nothing(split, clips), {clip.clip_id: clip.subject for clip in clips}
    assert sorted(clip for fold in folds for clip in fold.test) == sorted(subject_of)
    assert len({fold.name for fold in folds}) == len(folds)
    for fold in folds:
        assert fold.test and fold.train and sorted(fold.train + fold.test) == sorted(subject_of)
        assert list(fold.train) == sorted(fold.train) and list(fold.test) == sorted(fold.test)
        assert not {subject_of[clip] for clip in fold.train} & {subject_of[clip] for clip in fold.test}
        assert all(fold_by_clip(folds)[clip] == fold.name for clip in fold.test)
    training = min(len({subject_of[clip] for clip in fold.train}) for fold in folds)
    assert training <= least_training_subjects(split, len(set(subject_of.values())))


@given(clip_lists, splits, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_clips_does_not_matter(clips: list[Clip], split: Split, seed: int, shuffle: Any) -> None:
    folds = folds_or_nothing(split, clips, seed)
    shuffle.shuffle(clips)
    assert folds_of(split, clips, seed) == folds


def test_folds_are_drawn_by_the_seed() -> None:
    clips = release(20)
    drawn = [fold_by_clip(folds_of(FIVE, clips, seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert folds_of(SUBJECT, clips, 1) == folds_of(SUBJECT, clips, 2)


def test_folds_are_what_they_were() -> None:
    """Other folds would silently change every committed table."""
    clips = [Clip(f"r/s{k}/{label}", f"r/s{k}", "r", label) for k in range(6) for label in range(2)]
    folds = folds_of(SubjectKFold(subject_kfold=3), clips, 1)
    assert [sorted({clip[:4] for clip in fold.test}) for fold in folds] == [
        ["r/s2", "r/s3"],
        ["r/s1", "r/s5"],
        ["r/s0", "r/s4"],
    ]


@given(clip_lists, splits, st.sets(subjects, max_size=2))
def test_untested_subjects_are_in_every_training_set(clips: list[Clip], split: Split, untested: set[str]) -> None:
    folds = folds_or_nothing(split, clips, untested=tuple(untested))
    mine = {clip.clip_id for clip in clips if clip.subject in untested}
    assert all(mine <= set(fold.train) for fold in folds)
    assert set(fold_by_clip(folds)) == {clip.clip_id for clip in clips} - mine


def test_equal_names_of_two_releases_are_two_subjects() -> None:
    clips = [Clip("smic/s01/a", "smic/s01", "smic", 0), Clip("casme2/s01/a", "casme2/s01", "casme2", 0)]
    folds = folds_of(SUBJECT, clips, 1)
    assert [fold.name for fold in folds] == ["casme2/s01", "smic/s01"]
    assert folds[0].train == ("smic/s01/a",)


@pytest.mark.parametrize(
    ("split", "clips", "said"),
    [
        (SUBJECT, [], "at least two subjects"),
        (SUBJECT, [Clip("a", "s", "r", 0), Clip("b", "s", "r", 1)], "at least two subjects, found .'s'."),
        (FIVE, release(4), "5 folds, but 4 subjects to test; set subject_kfold to less"),
        (FIVE, [Clip(f"s{k}/a", f"s{k}", f"r{k}", 0) for k in range(6)], "5 folds, but no class of a release has"),
    ],
)
def test_what_cannot_be_split(split: Split, clips: list[Clip], said: str) -> None:
    with pytest.raises(SplitError, match=said):
        folds_of(split, clips, 1)


def test_as_tables_print_them() -> None:
    assert (split_text(SUBJECT), split_text(FIVE)) == ("", "5 folds")
    kind = TypeAdapter(Split)
    assert kind.validate_python(kind.dump_python(FIVE)) == FIVE


def test_seed_is_what_it_was() -> None:
    """A changed seed rule would silently change every committed table."""
    assert seed_of(1, "synthetic", "fdp", "synthetic/s01", 0) == 2863114373


parts = st.tuples(
    st.integers(0, 99), st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from(["s1", "s2"]), st.integers(0, 20)
)


@given(parts, parts)
@example((1, "a", "b", "s1", 0), (1, "b", "a", "s1", 0))
@example((1, "a", "b", "s1", 1), (11, "a", "b", "s1", 0))
def test_seeds_differ_by_every_name(one: tuple, other: tuple) -> None:
    assert (seed_of(*one) == seed_of(*other)) == (one == other)


def test_checkpoints_of_long_names_are_files(tmp_path: Path) -> None:
    """A subject's name comes from a sheet, and may be longer than a file's may be."""
    names = []
    for fold in ("synthetic/s01", "mine/" + "x" * 300, "mine/" + "x" * 301):
        training = _Training(None, tmp_path, None, fold, (), (), 2, "cpu", 1, 3)  # type: ignore[arg-type]
        names.append(training.folder)
        (tmp_path / f"{training.folder}.safetensors").write_bytes(b"")
    assert names[0] == "2-synthetic-s01" and len({*names}) == 3
