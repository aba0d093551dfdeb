"""Rank correlations of models on two releases: scipy as the oracle, ties, intervals by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from fdpbench.bench.evaluate.agreement import agreement, kendall, spearman
from fdpbench.bench.evaluate.metrics import MetricError, metric_of, subject_confusions


def release(seed: int, subjects: int, shares: list[float], repetitions: int = 2, classes: int = 3) -> list[NDArray]:
    """Confusions of models that are right on the given shares of clips."""
    generator = np.random.default_rng(seed)
    truth = np.tile(np.arange(6) % classes, subjects)
    names = [f"s{k:03d}" for k in range(subjects) for _ in range(6)]
    found = []
    for share in shares:
        wrong = (truth + generator.integers(1, classes, (repetitions, len(truth)))) % classes
        said = np.where(generator.random((repetitions, len(truth))) < share, truth, wrong)
        found.append(subject_confusions(truth, said, names, [str(k) for k in range(classes)]))
    return found


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12))
def test_rank_correlations_agree_with_scipy(pairs: list[tuple[int, int]]) -> None:
    """Small whole numbers have many ties."""
    a, b = np.array(pairs, dtype=np.float64).T
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert np.isnan(spearman(a, b)) and np.isnan(kendall(a, b))
        return
    assert spearman(a, b) == pytest.approx(scipy_stats.spearmanr(a, b).statistic)
    assert kendall(a, b) == pytest.approx(scipy_stats.kendalltau(a, b).statistic)


def test_many_rows_at_once_are_those_one_by_one() -> None:
    a, b = np.random.default_rng(3).integers(0, 9, (2, 20, 7)).astype(np.float64)
    for function in (spearman, kendall):
        assert function(a, b) == pytest.approx([float(function(*row)) for row in zip(a, b, strict=True)])


def test_intervals_against_plain_loops() -> None:
    """Resampled subject by subject, of each side by itself, with other draws and scipy's correlations."""
    shares = [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
    sides = [release(1, 15, shares), release(2, 25, shares[::-1][:4] + shares[4:], classes=2)]
    found = agreement(*sides, resamples=4000)
    values = [[np.mean([metric_of(one.sum(axis=0), "uf1") for one in run]) for run in side] for side in sides]
    assert found.first == pytest.approx(values[0]) and found.second == pytest.approx(values[1])
    assert found.spearman.value == pytest.approx(scipy_stats.spearmanr(*values).statistic)
    assert found.kendall.value == pytest.approx(scipy_stats.kendalltau(*values).statistic)
    generator = np.random.default_rng(5)
    sampled = []
    for _ in range(800):
        each = []
        for side in sides:
            subjects = generator.integers(0, side[0].shape[1], side[0].shape[1])
            runs = [[run[k][subjects].sum(axis=0) for k in generator.integers(0, 2, 2)] for run in side]
            each.append([np.mean([metric_of(one, "uf1") for one in run]) for run in runs])
        sampled.append((scipy_stats.spearmanr(*each).statistic, scipy_stats.kendalltau(*each).statistic))
    for one, theirs in ((found.spearman, 0), (found.kendall, 1)):
        draws = np.array(sampled)[:, theirs]
        assert np.mean(draws < one.low) < 0.05 and np.mean(draws <= one.low) > 0.005
        assert np.mean(draws > one.high) < 0.05 and np.mean(draws >= one.high) > 0.005
        assert -1 < one.low < one.high < 1


def test_the_two_sides_are_resampled_apart() -> None:
    """A release with itself: the value is 1, and the interval tells how well its order can be known."""
    close = agreement(*[release(4, 12, [0.60, 0.61, 0.62, 0.63])] * 2).spearman
    apart = agreement(*[release(4, 40, [0.3, 0.5, 0.7, 0.9])] * 2).spearman
    assert close.value == pytest.approx(1) and close.low < 0.5
    assert apart.value == pytest.approx(1) and apart.low > 0.9


def test_resamples_without_an_order_are_counted() -> None:
    same = release(6, 12, [0.7], repetitions=1)[0]
    other = same.copy()
    other[:, 0] = release(7, 12, [0.3], repetitions=1)[0][:, 0]  # the models differ on one subject
    sides = [[same, other, other], release(8, 20, [0.3, 0.5, 0.8])]
    found = agreement(*sides, resamples=500)
    # (11/12)^12 of the resamples lack that subject
    assert found.kendall.undefined == found.spearman.undefined == pytest.approx(500 * (11 / 12) ** 12, abs=45)
    with pytest.raises(MetricError, match="no order"):
        agreement([same] * 3, sides[1])


def test_two_models_have_no_correlation() -> None:
    with pytest.raises(MetricError, match="2 and 2 models: expected the same ones, at least 3"):
        agreement(release(1, 5, [0.5, 0.6]), release(2, 5, [0.5, 0.6]))
