"""Figures against cases worked out by hand, the formulas from counts, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from fdpbench.bench.evaluate.metrics import MetricError, figures

THREE = ("negative", "positive", "surprise")


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """True and predicted labels of 2 to 6 classes, each class among the true ones."""
    classes = draw(st.integers(2, 6))
    label = st.integers(0, classes - 1)
    truth = draw(st.permutations([*range(classes), *draw(st.lists(label, max_size=40))]))
    predicted = draw(st.lists(label, min_size=len(truth), max_size=len(truth)))
    return truth, predicted, classes


def names(count: int) -> tuple[str, ...]:
    return tuple(f"c{k}" for k in range(count))


def test_worked_by_hand() -> None:
    # class 0: TP 2, FN 1, FP 1; class 1: TP 1, FN 1, FP 1; class 2: TP 0, FN 1, FP 1
    result = figures([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0], THREE)
    assert result.uf1 == pytest.approx((4 / 6 + 2 / 4 + 0 / 2) / 3)
    assert result.uar == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result.accuracy == 3 / 6
    assert result.weighted_f1 == pytest.approx((3 * 4 / 6 + 2 * 2 / 4 + 0) / 6)
    assert result.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]  # rows are true classes
    assert [one.clips for one in result.classes] == [3, 2, 1]
    assert [one.name for one in result.classes] == list(THREE)
    assert [one.precision for one in result.classes] == pytest.approx([2 / 3, 1 / 2, 0])
    assert result.clips == 6


def test_all_right_and_all_wrong() -> None:
    right = figures([0, 1, 2], [0, 1, 2], THREE)
    assert (right.uf1, right.uar, right.accuracy, right.weighted_f1) == (1, 1, 1, 1)
    wrong = figures([0, 1, 2], [1, 2, 0], THREE)
    assert (wrong.uf1, wrong.uar, wrong.accuracy, wrong.weighted_f1) == (0, 0, 0, 0)


def test_majority_of_the_composite() -> None:
    # 250 negative, 109 positive, 83 surprise (MEGC 2019): UF1 of always "negative" is 0.2409, UAR a third
    truth = [0] * 250 + [1] * 109 + [2] * 83
    result = figures(truth, [0] * 442, THREE)
    assert result.uf1 == pytest.approx(500 / 692 / 3)
    assert result.uar == pytest.approx(1 / 3)


@given(labelled())
def test_formulas_from_counts(case: tuple[list[int], list[int], int]) -> None:
    truth, predicted, classes = case
    result = figures(truth, predicted, names(classes))
    f1, recall, support, confusion = [], [], [], np.zeros((classes, classes), int)
    for t, p in zip(truth, predicted, strict=True):
        confusion[t, p] += 1
    for k in range(classes):
        tp = sum(t == k and p == k for t, p in zip(truth, predicted, strict=True))
        fp = sum(t != k and p == k for t, p in zip(truth, predicted, strict=True))
        fn = sum(t == k and p != k for t, p in zip(truth, predicted, strict=True))
        f1.append(2 * tp / (2 * tp + fp + fn))
        recall.append(tp / (tp + fn))
        support.append(tp + fn)
    assert result.uf1 == pytest.approx(sum(f1) / classes)
    assert result.uar == pytest.approx(sum(recall) / classes)
    assert result.weighted_f1 == pytest.approx(np.average(f1, weights=support))
    assert result.accuracy == pytest.approx(np.trace(confusion) / len(truth))
    assert (result.confusion == confusion).all()
    assert [one.f1 for one in result.classes] == pytest.approx(f1)
    assert [one.recall for one in result.classes] == pytest.approx(recall)


@given(labelled())
def test_agrees_with_scikit_learn(case: tuple[list[int], list[int], int]) -> None:
    truth, predicted, classes = case
    result = figures(truth, predicted, names(classes))
    assert result.uf1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert result.uar == pytest.approx(balanced_accuracy_score(truth, predicted))


@given(labelled(), st.randoms(use_true_random=False))
def test_order_of_clips_does_not_matter(case: tuple[list[int], list[int], int], random) -> None:
    truth, predicted, classes = case
    pairs = list(zip(truth, predicted, strict=True))
    random.shuffle(pairs)
    before = figures(truth, predicted, names(classes))
    after = figures([t for t, _ in pairs], [p for _, p in pairs], names(classes))
    assert (before.uf1, before.uar, before.accuracy) == (after.uf1, after.uar, after.accuracy)


def test_pooling_is_not_the_mean_over_folds() -> None:
    """Two folds that each score 1/2 by themselves; pooled counts give another figure."""
    folds = [([0, 1], [0, 0]), ([0, 0, 0, 1], [0, 0, 1, 1])]
    pooled = figures([*folds[0][0], *folds[1][0]], [*folds[0][1], *folds[1][1]], ("a", "b"))
    mean = np.mean([figures(*fold, ("a", "b")).uf1 for fold in folds])
    assert pooled.uf1 == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert pooled.uf1 != pytest.approx(mean)


def test_absent_class_is_named() -> None:
    with pytest.raises(MetricError, match="no clip of class surprise"):
        figures([0, 1, 1], [0, 1, 2], THREE)


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([0, 1, 2], [0, 1]),
        ([], []),
        ([0, 1, 3], [0, 1, 2]),
        ([0, 1, 2], [0, 1, -1]),
        ([0, 1, 2], [0, 1, 3]),
        ([[0, 1, 2]], [[0, 1, 2]]),
        ([0, 1, 2], [0.0, 1.0, np.nan]),
    ],
)
def test_labels_that_are_none(truth: list, predicted: list) -> None:
    with pytest.raises(MetricError):
        figures(truth, predicted, THREE)
