"""Intervals and tests over subjects: known answers, independent oracles, coverage by simulation."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from fdpbench.bench.evaluate.bootstrap import compare, compare_pairs, holm, intervals, permutation_test
from fdpbench.bench.evaluate.metrics import METRICS, MetricError, metric_of, subject_confusions
from fdpbench.bench.evaluate.records import COVERAGE, Interval


def predictions(
    generator: np.random.Generator, subjects: int, each: int, right: float | NDArray, classes: int = 3
) -> tuple[NDArray, NDArray, list[str]]:
    """Labels, predictions and subjects; every subject shows every class."""
    truth = np.tile(np.arange(each) % classes, subjects)
    hit = generator.random(len(truth)) < np.repeat(np.broadcast_to(right, subjects), each)
    wrong = (truth + generator.integers(1, classes, len(truth))) % classes
    names = [f"s{k:03d}" for k in range(subjects) for _ in range(each)]
    return truth, np.where(hit, truth, wrong), names


def interval(confusions: NDArray, metric: str = "uf1", **how: Any) -> Interval:
    """The interval of one metric."""
    return intervals(confusions, (metric,), **how)[metric]


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_agrees_with_scipy(method: str) -> None:
    """Scipy's bootstrap over subjects, another implementation with other draws, gives nearly the same ends."""
    generator = np.random.default_rng(5)
    truth, said, names = predictions(generator, 30, 9, generator.uniform(0.3, 0.9, 30))
    confusions = subject_confusions(truth, said, names, "abc")

    def statistic(index: NDArray, axis: int) -> NDArray:
        return metric_of(np.moveaxis(confusions[0][index], axis, 0).sum(axis=0), "uf1")

    theirs = scipy_stats.bootstrap(
        (np.arange(30),),
        lambda index, axis: np.apply_along_axis(lambda one: statistic(one, 0), axis, index),
        n_resamples=4000,
        method={"percentile": "percentile", "bca": "BCa"}[method],
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = interval(confusions, "uf1", method=method, resamples=4000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)
    assert ours.low < ours.value < ours.high and ours.subjects == 30 and ours.clips == 270 and ours.redrawn == 0


def test_the_order_of_rows_changes_nothing() -> None:
    generator = np.random.default_rng(2)
    truth, said, names = predictions(generator, 12, 6, 0.6)
    order = generator.permutation(len(truth))
    first = interval(subject_confusions(truth, said, names, "abc"))
    assert first == interval(subject_confusions(truth[order], said[order], [names[k] for k in order], "abc"))


def test_resamples_that_lack_a_class_are_drawn_anew_and_counted() -> None:
    truth = [0, 0, 0, 0, 1]
    found = interval(subject_confusions(truth, [0, 0, 0, 1, 1], list("abcde"), "ab"), "uar", resamples=500)
    assert 100 < found.redrawn and np.isfinite([found.low, found.high]).all()


def test_several_repetitions_widen_the_interval() -> None:
    generator = np.random.default_rng(8)
    truth, _, names = predictions(generator, 40, 6, 0.6)
    alike = np.stack([predictions(np.random.default_rng(3), 40, 6, 0.6)[1]] * 3)
    apart = np.stack([predictions(np.random.default_rng(3), 40, 6, right)[1] for right in (0.4, 0.6, 0.8)])
    one = interval(subject_confusions(truth, alike, names, "abc"), method="percentile")
    three = interval(subject_confusions(truth, apart, names, "abc"), method="percentile")
    assert three.high - three.low > 1.5 * (one.high - one.low) and three.repetitions == 3


def test_two_equal_models_do_not_differ() -> None:
    truth, said, names = predictions(np.random.default_rng(4), 10, 6, 0.6)
    confusions = subject_confusions(truth, said, names, "abc")
    found = compare(confusions, confusions, permutations=200)["uf1"]
    assert found.difference.value == found.difference.low == found.difference.high == 0 and found.p_value == 1


def test_the_permutation_test_against_all_swaps() -> None:
    """With 8 subjects all 256 swaps can be tried; random ones come near that share."""
    generator = np.random.default_rng(6)
    truth, a, names = predictions(generator, 8, 6, 0.75)
    b = predictions(generator, 8, 6, 0.5)[1]
    first, second = (subject_confusions(truth, said, names, "abc") for said in (a, b))
    observed = metric_of(first.sum(axis=1), "uf1")[0] - metric_of(second.sum(axis=1), "uf1")[0]
    extreme = 0
    for swaps in itertools.product([False, True], repeat=8):
        swap = np.array(swaps)[:, None, None]
        one, other = np.where(swap, second[0], first[0]), np.where(swap, first[0], second[0])
        difference = metric_of(one.sum(axis=0), "uf1") - metric_of(other.sum(axis=0), "uf1")
        extreme += abs(difference) >= abs(observed) - 1e-12
    found = compare(first, second, permutations=20_000)["uf1"]
    assert found.p_value == pytest.approx(extreme / 256, abs=0.01)
    assert found.difference.value == pytest.approx(observed)
    mirrored = compare(second, first, permutations=20_000)["uf1"]
    assert mirrored.p_value == found.p_value and mirrored.difference.value == pytest.approx(-observed)


def test_other_clips_cannot_be_compared() -> None:
    truth, said, names = predictions(np.random.default_rng(4), 10, 6, 0.6)
    first = subject_confusions(truth, said, names, "abc")
    second = subject_confusions(truth[1:], said[1:], names[1:], "abc")
    with pytest.raises(MetricError, match="not of the same subjects"):
        compare(first, second)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_one_subject_has_no_interval() -> None:
    with pytest.raises(MetricError, match="at least two"):
        interval(subject_confusions([0, 1], [0, 1], ["a", "a"], "ab"))


@settings(deadline=None)
@given(st.sampled_from(tuple(METRICS)), st.integers(2, 6), st.integers(0, 2**31))
def test_an_interval_lies_within_the_range_of_metrics(metric: str, subjects: int, seed: int) -> None:
    truth, said, names = predictions(np.random.default_rng(seed), subjects, 6, 0.5)
    found = interval(subject_confusions(truth, said, names, "abc"), metric, resamples=200, seed=seed)
    assert METRICS[metric].least <= found.low <= found.high <= 1


def test_several_metrics_at_once_are_those_one_by_one() -> None:
    generator = np.random.default_rng(9)
    truth, _, names = predictions(generator, 14, 6, 0.6)
    first, second = (
        subject_confusions(truth, np.stack([predictions(generator, 14, 6, 0.6)[1] for _ in range(count)]), names, "abc")
        for count in (3, 2)
    )
    assert intervals(first) == {name: interval(first, name) for name in METRICS}
    together = compare(first, second)
    assert together == {name: compare(first, second, (name,))[name] for name in METRICS}
    assert permutation_test(first, second) == {name: one.p_value for name, one in together.items()}


def test_repetitions_are_swapped_whole() -> None:
    """The test over repetitions, each run of one pieced together with each of the other, by plain loops."""
    generator = np.random.default_rng(3)
    truth, _, names = predictions(generator, 5, 6, 0.6)
    first, second = (
        subject_confusions(truth, np.stack([predictions(generator, 5, 6, right)[1] for _ in range(2)]), names, "abc")
        for right in (0.8, 0.5)
    )
    observed = metric_of(first.sum(axis=1), "uf1").mean() - metric_of(second.sum(axis=1), "uf1").mean()
    swaps = np.random.default_rng([0, 1]).integers(0, 2, (300, 5)).astype(bool)
    extreme = 0
    for swap in swaps[..., None, None]:
        pairs = [(np.where(swap, b, a), np.where(swap, a, b)) for a in first for b in second]
        values = [metric_of(one.sum(axis=0), "uf1") - metric_of(other.sum(axis=0), "uf1") for one, other in pairs]
        extreme += abs(np.mean(values)) >= abs(observed) - 1e-12
    assert permutation_test(first, second, ("uf1",), permutations=300)["uf1"] == pytest.approx((1 + extreme) / 301)


def uf1_by_hand(truth: NDArray, said: NDArray) -> float:
    """UF1 of three classes from clips, without confusion matrices."""
    right = [((truth == k) & (said == k)).sum() for k in range(3)]
    return float(np.mean([2 * right[k] / ((truth == k).sum() + (said == k).sum()) for k in range(3)]))


def three_pairs(subjects: int) -> tuple[NDArray, list[str], list[tuple[NDArray, NDArray]]]:
    """Labels, subjects, and of three pairs predictions (R, N), two repetitions of the first and three of the second."""
    generator = np.random.default_rng(11)
    truth, _, names = predictions(generator, subjects, 6, 0.5)
    hard = generator.uniform(-0.25, 0.25, subjects)  # some subjects are hard for every model
    sides = [(0.75, 0.6), (0.7, 0.62), (0.65, 0.6)]
    pairs = [
        (
            np.stack([predictions(generator, subjects, 6, first + hard)[1] for _ in range(2)]),
            np.stack([predictions(generator, subjects, 6, second + hard)[1] for _ in range(3)]),
        )
        for first, second in sides
    ]
    return truth, names, pairs


def confused(pair: tuple[NDArray, NDArray], truth: NDArray, names: list[str]) -> tuple[NDArray, NDArray]:
    """Confusions of both sides of a pair."""
    return subject_confusions(truth, pair[0], names, "abc"), subject_confusions(truth, pair[1], names, "abc")


def test_the_mean_difference_of_pairs_against_plain_loops_over_clips() -> None:
    """Another bootstrap, clip by clip and with other draws, gives nearly the same value and ends."""
    truth, names, pairs = three_pairs(24)
    confusions = [confused(pair, truth, names) for pair in pairs]
    found = compare_pairs(confusions, ("uf1",), resamples=4000, permutations=50)["uf1"].difference
    clips = [np.flatnonzero(np.array(names) == name) for name in sorted(set(names))]

    def difference(chosen: NDArray, repetitions: Any) -> float:
        sides = [
            [np.mean([uf1_by_hand(truth[chosen], said[k][chosen]) for k in repetitions(len(said))]) for said in pair]
            for pair in pairs
        ]
        return float(np.mean([first - second for first, second in sides]))

    assert found.value == pytest.approx(difference(np.arange(len(truth)), range))
    generator = np.random.default_rng(77)
    sampled = [
        difference(
            np.concatenate([clips[k] for k in generator.integers(0, 24, 24)]),
            lambda count: generator.integers(0, count, count),
        )
        for _ in range(600)
    ]
    assert (found.low, found.high) == pytest.approx(np.quantile(sampled, [0.025, 0.975]), abs=0.008)
    assert found.low < found.value < found.high and found.subjects == 24 and found.clips == 144


def test_the_mean_difference_of_pairs_against_all_swaps() -> None:
    """A swap exchanges a subject in every pair at once: with 6 subjects there are 64."""
    truth, names, pairs = three_pairs(6)
    confusions = [confused(pair, truth, names) for pair in pairs]
    values = []
    for swaps in itertools.product([False, True], repeat=6):
        swap = np.repeat(swaps, 6)
        differences = [
            uf1_by_hand(truth, np.where(swap, b, a)) - uf1_by_hand(truth, np.where(swap, a, b))
            for first, second in pairs
            for a in first
            for b in second
        ]
        values.append(np.mean(differences))
    exact = np.mean(np.abs(values) >= abs(values[0]) - 1e-12)
    found = compare_pairs(confusions, ("uf1",), resamples=50, permutations=20_000)["uf1"]
    assert found.p_value == pytest.approx(exact, abs=0.01) and 0.03 < exact < 0.9


def test_the_same_pair_three_times_is_no_more_evidence_than_once() -> None:
    truth, names, pairs = three_pairs(20)
    pair = confused((pairs[0][0][0], pairs[0][1][0]), truth, names)
    once, thrice = (compare_pairs([pair] * count, permutations=500) for count in (1, 3))
    for metric, one in once.items():
        three = thrice[metric]
        ends = one.difference.low, one.difference.high, one.p_value
        assert (three.difference.low, three.difference.high, three.p_value) == pytest.approx(ends)
    assert compare(*pair, permutations=500) == once


def test_pairs_of_other_clips_are_refused() -> None:
    truth, names, pairs = three_pairs(8)
    first, second = pairs[0]
    whole, fewer = (confused((first[:, k:], second[:, k:]), truth[k:], names[k:]) for k in (0, 1))
    with pytest.raises(MetricError, match="not of the same subjects"):
        compare_pairs([whole, fewer])


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "long", reason="the long profile (make test-long)")
@pytest.mark.parametrize("method", list(COVERAGE))
@pytest.mark.parametrize(("subjects", "least"), [(10, 0.85), (16, 0.85), (26, 0.88), (40, 0.90), (68, 0.93)])
def test_coverage_of_a_95_percent_interval(subjects: int, least: float, method: str) -> None:
    """Subjects differ in how well they are recognised; the true figure is that of very many subjects."""

    def release(seed: int, number: int) -> NDArray:
        generator = np.random.default_rng([seed, number])
        return subject_confusions(*predictions(generator, number, 6, generator.beta(4, 2, number)), "abc")

    truth = float(metric_of(release(0, 40_000).sum(axis=(0, 1)), "uf1"))
    held = [
        found.low <= truth <= found.high
        for seed in range(1, 601)
        for found in [interval(release(seed, subjects), resamples=1000, method=method)]
    ]
    print(f"{subjects} subjects, {method}: coverage {np.mean(held):.3f}")
    assert np.mean(held) >= least
    assert np.mean(held) == pytest.approx(COVERAGE[method][subjects], abs=0.0051)  # what the tables print


def test_every_coverage_that_is_printed_is_measured() -> None:
    assert {number for shares in COVERAGE.values() for number in shares} == {10, 16, 26, 40, 68}
