"""Metrics against cases worked out by hand and scikit-learn; what holds of every entry of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fdpbench.bench.evaluate.metrics import METRICS, Measures, MetricError, measures, metric_of, subject_confusions

THREE = ("negative", "positive", "surprise")


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[int], list[int], tuple[str, ...]]:
    """True and predicted labels of 2 to 12 classes, each class among the true ones."""
    count = draw(st.integers(2, 12))
    label = st.integers(0, count - 1)
    truth = draw(st.permutations([*range(count), *draw(st.lists(label, max_size=40))]))
    predicted = draw(st.lists(label, min_size=len(truth), max_size=len(truth)))
    return truth, predicted, tuple(f"c{k}" for k in range(count))


def measured(truth: Any, predicted: Any, classes: tuple[str, ...] = THREE) -> Measures:
    return measures(subject_confusions(truth, predicted, ["s"] * len(truth), classes)[0, 0], classes)


def test_worked_by_hand() -> None:
    # class 0: TP 2, FN 1, FP 1; class 1: TP 1, FN 1, FP 1; class 2: TP 0, FN 1, FP 1
    result = measured([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0])
    assert result.values["uf1"] == pytest.approx((4 / 6 + 2 / 4 + 0 / 2) / 3)
    assert result.values["uar"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result.values["accuracy"] == 3 / 6
    assert result.values["weighted_f1"] == pytest.approx((3 * 4 / 6 + 2 * 2 / 4 + 0) / 6)
    assert result.confusion == ((2, 1, 0), (0, 1, 1), (1, 0, 0))  # rows are true classes
    assert [one.clips for one in result.classes] == [3, 2, 1]
    assert [one.name for one in result.classes] == list(THREE)
    assert [one.precision for one in result.classes] == pytest.approx([2 / 3, 1 / 2, 0])


def test_majority_of_the_composite() -> None:
    # 250 negative, 109 positive, 83 surprise (MEGC 2019): UF1 of always "negative" is 0.2409, UAR a third
    result = measured([0] * 250 + [1] * 109 + [2] * 83, [0] * 442)
    assert result.values["uf1"] == pytest.approx(500 / 692 / 3)
    assert result.values["uar"] == pytest.approx(1 / 3)


@given(labelled())
@example(([0, 1, 2], [0, 0, 0], THREE))  # classes that are never predicted have no precision
def test_every_bit_is_scikit_learns(case: tuple[list[int], list[int], tuple[str, ...]]) -> None:
    truth, predicted, classes = case
    result = measured(truth, predicted, classes)
    labels = list(range(len(classes)))
    precision, recall, f1, clips = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    known = {"uf1": f1.mean(), "uar": recall.mean(), "accuracy": np.mean(np.equal(truth, predicted))}
    known["weighted_f1"] = (f1 * clips).sum() / clips.sum()
    assert {name: result.values[name] for name in known} == known
    assert [one.precision for one in result.classes] == precision.tolist()
    assert [one.recall for one in result.classes] == recall.tolist()
    assert [one.f1 for one in result.classes] == f1.tolist() and [one.clips for one in result.classes] == clips.tolist()
    assert np.array(result.confusion).tolist() == confusion_matrix(truth, predicted, labels=labels).tolist()


# --- every entry of the registry


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_name_in_files_and_a_label_in_tables(name: str) -> None:
    assert name.isidentifier() and METRICS[name].label.isprintable()
    assert [metric.label for metric in METRICS.values()].count(METRICS[name].label) == 1


@pytest.mark.parametrize("name", METRICS)
@given(labelled())
@example(([0, 1, 2], [0, 0, 0], THREE))
@example(([0, 1, 2], [1, 2, 0], THREE))
def test_a_metric_is_finite_and_within_its_range(name: str, case: tuple[list[int], list[int], tuple[str, ...]]) -> None:
    truth, predicted, classes = case
    assert METRICS[name].least <= measured(truth, predicted, classes).values[name] <= 1 + 1e-12
    assert measured(truth, truth, classes).values[name] == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS)
@given(labelled(), st.integers(0, 99))
def test_many_matrices_at_once_are_each_by_itself(
    name: str, case: tuple[list[int], list[int], tuple[str, ...]], seed: int
) -> None:
    truth, predicted, classes = case
    people = [f"s{k}" for k in np.random.default_rng(seed).integers(0, 3, len(truth))]
    confusions = subject_confusions(truth, [predicted, truth], people, classes)
    pooled = metric_of(confusions.sum(axis=1), name)
    assert pooled.tolist() == pytest.approx(
        [measured(truth, one, classes).values[name] for one in (predicted, truth)], abs=1e-12
    )
    stacked = metric_of(np.stack([confusions.sum(axis=1)] * 2), name)
    assert stacked.shape == (2, 2) and stacked == pytest.approx(np.stack([pooled, pooled]), abs=1e-12)


# --- confusion matrices


def test_pooling_is_not_the_mean_over_folds() -> None:
    """Two folds that each score 1/2 by themselves; pooled counts give another value."""
    folds = [([0, 1], [0, 0]), ([0, 0, 0, 1], [0, 0, 1, 1])]
    pooled = measured([*folds[0][0], *folds[1][0]], [*folds[0][1], *folds[1][1]], ("a", "b")).values["uf1"]
    mean = np.mean([measured(*fold, ("a", "b")).values["uf1"] for fold in folds])
    assert pooled == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert pooled != pytest.approx(mean)


def test_confusions_by_hand() -> None:
    found = subject_confusions([0, 1, 0, 1], [[0, 0, 1, 1], [0, 1, 0, 1]], ["b", "a", "a", "a"], "xy")
    assert found.tolist() == [[[[0, 1], [1, 1]], [[1, 0], [0, 0]]], [[[1, 0], [0, 2]], [[1, 0], [0, 0]]]]


def test_a_resample_without_a_class_has_no_uf1_or_uar() -> None:
    confusion = np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert np.isnan(metric_of(confusion, "uf1")) and np.isnan(metric_of(confusion, "uar"))
    assert metric_of(confusion, "accuracy") == 0.75


def test_absent_class_is_named() -> None:
    with pytest.raises(MetricError, match="no clip is labelled surprise"):
        measured([0, 1, 1], [0, 1, 2])


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
        measured(truth, predicted)


def test_as_many_subjects_as_clips() -> None:
    with pytest.raises(MetricError, match="N subjects"):
        subject_confusions([0, 1], [0, 1], ["a"], "xy")
