"""How runs stand: an interval for every figure, and which runs cannot be told from the best of their table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdpbench.bench.evaluate.bootstrap import (
    FIGURES,
    Figure,
    Interval,
    StatsError,
    critical_difference,
    holm,
    intervals,
    permutation_test,
)
from fdpbench.bench.evaluate.scores import Score

__all__ = [
    "AgainstBest",
    "LEVEL",
    "RESAMPLES",
    "SIGNIFICANCE",
    "all_intervals",
    "best_runs",
    "indistinct",
    "against_best",
    "power_note",
]

LEVEL = 0.95
RESAMPLES = 2000

# A run whose adjusted p-value is above this is not told from the best.
SIGNIFICANCE = 0.05

# Data set (None: all clips) and figure -> interval.
Intervals = dict[tuple[str | None, Figure], Interval]


@dataclass(frozen=True)
class AgainstBest:
    """A run beside the best run of its table.

    Attributes
    ----------
    figure
        Of which figure.
    best, run
        Names of the two runs.
    difference
        Best minus run, means over repetitions.
    p_value, p_value_holm
        Of the paired permutation test over subjects, as it is and adjusted for the runs of the table.
    """

    figure: Figure
    best: str
    run: str
    difference: float
    p_value: float
    p_value_holm: float


def all_intervals(scores: Sequence[Score]) -> dict[str, Intervals]:
    """Intervals of every run: each figure, over all clips and for each data set, BCa over subjects and repetitions.

    A figure has none where `bench.evaluate.bootstrap.interval` has none: fewer than two subjects, or a class that hangs
    on so few that hardly any resample holds it.
    """
    found: dict[str, Intervals] = {}
    for score in scores:
        found[score.run] = {}
        for dataset in (None, *score.by_dataset):
            try:
                each = intervals(score.confusions(dataset), level=LEVEL, resamples=RESAMPLES)
            except StatsError:
                continue
            found[score.run] |= {(dataset, figure): one for figure, one in each.items()}
    return found


def best_runs(group: Sequence[Score], figure: Figure, dataset: str | None = None) -> list[Score]:
    """The runs with the highest figure among those that compete; several only if they are equal."""
    defined = [s for s in group if s.competes and (dataset is None or dataset in s.by_dataset)]
    highest = max((score.mean(figure, dataset) for score in defined), default=None)
    return [score for score in defined if score.mean(figure, dataset) == highest]


def against_best(group: Sequence[Score]) -> list[AgainstBest]:
    """Test every competing run of a table against its best, for each figure.

    Paired permutation tests that swap whole subjects (`bench.evaluate.bootstrap.permutation_test`), adjusted by Holm
    over the runs of the table, figure by figure. The best is chosen on the same clips on which it is compared, which
    favours it: a run that is not told from it may well be as good, one that is told from it may be so by that choice.

    Parameters
    ----------
    group
        The runs of one table. Those that compete have all been tested on the same clips.
    """
    confusions = {score.run: score.confusions() for score in group if score.competes}
    known: dict[tuple[str, str], dict[Figure, float]] = {}  # one run is mostly the best in every figure
    tests = []
    for figure in FIGURES:
        best = best_runs(group, figure)
        others = [score for score in group if score.competes and score not in best]
        raw = []
        for other in others:
            pair = best[0].run, other.run
            if pair not in known:
                known[pair] = permutation_test(confusions[pair[0]], confusions[pair[1]])
            raw.append(known[pair][figure])
        for other, p_value, adjusted in zip(others, raw, holm(raw), strict=True):
            difference = best[0].mean(figure) - other.mean(figure)
            tests.append(AgainstBest(figure, best[0].run, other.run, difference, p_value, adjusted))
    return tests


def indistinct(tests: Sequence[AgainstBest], figure: Figure) -> frozenset[str]:
    """Names of the runs that are not told from the best in a figure."""
    return frozenset(test.run for test in tests if test.figure == figure and test.p_value_holm > SIGNIFICANCE)


def power_note(group: Sequence[Score], tests: Sequence[AgainstBest]) -> str | None:
    """What the tests of a table could have found, where they found nothing in UF1.

    Swapping every subject turns a difference into its opposite, so that of the 2^n swaps of n subjects at least two
    are as extreme as what was observed: no p-value is below 2^(1-n), and Holm multiplies the smallest by the number
    of runs. Where more subjects are tested, what a difference would have had to exceed is
    `bench.evaluate.bootstrap.critical_difference`, at the level that Holm asks of the smallest p-value.

    Parameters
    ----------
    group
        The runs of one table.
    tests
        From `against_best` of these runs.

    Returns
    -------
    Plain text; None where a run differs significantly from the best in UF1, or none is compared with it.
    """
    mine = [test for test in tests if test.figure == "uf1"]
    if not mine or any(test.p_value_holm <= SIGNIFICANCE for test in mine):
        return None
    by_run = {score.run: score for score in group}
    best, count = by_run[mine[0].best], len(mine)
    smallest = 2.0 ** (1 - best.subjects)
    among = "1 comparison" if count == 1 else f"{count} comparisons"
    if count * smallest > SIGNIFICANCE:
        adjusted = f", {min(1.0, count * smallest):.3g} adjusted for {among} (Holm)" if count > 1 else ""
        return (
            f"With {best.subjects} subject{'s' if best.subjects > 1 else ''} the permutation test gives no p-value "
            f"below about {smallest:.3g}{adjusted}: no difference in this table can be significant at {SIGNIFICANCE}, "
            "however large it is. That none is says nothing about the runs."
        )
    needed = [
        critical_difference(best.confusions(), by_run[test.run].confusions(), SIGNIFICANCE / count) for test in mine
    ]
    within = sorted(f"{one:.3f}" for one in needed if math.isfinite(one))
    text = (
        f"No run is significantly different from the best in UF1. With {best.subjects} subjects and {among}"
        f"{' (Holm)' if count > 1 else ''}, the test finds "
    )
    if not within:
        return text + "no difference between these runs: they disagree on too few subjects."
    ends = within[0] if within[0] == within[-1] else f"{within[0]} to {within[-1]}, depending on the run"
    return text + f"a difference significant only if it exceeds {ends}: a smaller one may exist."
