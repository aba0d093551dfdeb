"""LOSO folds against a splitter written in another way, and the seeds of folds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.bench.train.seeds import seed_of

subject_maps = st.dictionaries(
    st.text("abc/01", min_size=1, max_size=6), st.sampled_from(["a/s01", "b/s01", "a/s02", "c/020"]), min_size=2
).filter(lambda mapping: len(set(mapping.values())) > 1)


@given(subject_maps)
def test_same_as_a_naive_splitter(subject_of: dict[str, str]) -> None:
    folds = {fold.name: fold for fold in leave_one_subject_out(subject_of)}
    assert set(folds) == set(subject_of.values())
    for clip, subject in subject_of.items():
        for name, fold in folds.items():
            assert (clip in fold.test) == (subject == name)
            assert (clip in fold.train) == (subject != name)


@given(subject_maps)
def test_each_clip_is_tested_once(subject_of: dict[str, str]) -> None:
    folds = leave_one_subject_out(subject_of)
    assert sorted(clip for fold in folds for clip in fold.test) == sorted(subject_of)
    for fold in folds:
        assert fold.test and fold.train
        assert len(fold.train) + len(fold.test) == len(subject_of)
        assert not {subject_of[clip] for clip in fold.train} & {subject_of[clip] for clip in fold.test}


@given(subject_maps, st.randoms(use_true_random=False))
def test_order_of_clips_does_not_matter(subject_of: dict[str, str], random) -> None:
    items = list(subject_of.items())
    random.shuffle(items)
    assert leave_one_subject_out(dict(items)) == leave_one_subject_out(subject_of)


def test_equal_names_of_two_releases_are_two_subjects() -> None:
    folds = leave_one_subject_out({"smic/s01/a": "smic/s01", "casme2/s01/a": "casme2/s01"})
    assert [fold.name for fold in folds] == ["casme2/s01", "smic/s01"]
    assert folds[0].train == ("smic/s01/a",)


@pytest.mark.parametrize("subject_of", [{}, {"a": "s", "b": "s"}])
def test_fewer_than_two_subjects(subject_of: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="at least two subjects"):
        leave_one_subject_out(subject_of)


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
