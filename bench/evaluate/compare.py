"""Tables of runs, and how runs stand in them: which is the best, and which are significantly different from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fdpbench.bench.evaluate.bootstrap import critical_difference, holm, permutation_test
from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.prediction_set import PredictionSet
from fdpbench.bench.evaluate.records import POOLED, SIGNIFICANCE, AgainstBest, Table
from fdpbench.bench.evaluate.scores import Score, ranked

__all__ = ["against_best", "best_runs", "compared", "members_of", "power_note"]


def members_of(group: Sequence[Score]) -> dict[str, list[Score]]:
    """Runs of each table of one task: its own, named ``""``, and those beside it (`RunEntry.printed_in`); see `ranked`.

    A table that runs name also holds the runs of the same models and the same split that name none, to be compared
    with; but not where its runs are pretrained, which are not ranked with others. A table that no run names holds only
    what is set apart in the same way.
    """
    own = [score for score in ranked(group) if score.entry.printed_in is None]
    tables = {"": own} if own else {}
    for name in sorted({score.entry.printed_in for score in group if score.entry.printed_in}):
        named = [score for score in ranked(group) if score.entry.printed_in == name]
        models = {score.model for score in named if score.entry.table and not score.entry.init}
        tables[name] = [
            score
            for score in ranked(group)
            if score in named
            or (
                score.model in models
                and not score.entry.table
                and score.entry.training_subjects is None
                and score.entry.never_beside == named[0].entry.never_beside
            )
        ]
    return tables


def compared(task: str, name: str, members: Sequence[Score], predictions: Mapping[str, PredictionSet]) -> Table:
    """Compare the runs of one table.

    Parameters
    ----------
    task, name
        The table.
    members
        From `members_of`.
    predictions
        By run.
    """
    parts = [POOLED, *sorted({dataset for score in members for dataset in score.datasets})]
    tests = against_best(members, predictions)
    return Table(
        task=task,
        name=name,
        runs=tuple(score.run for score in members),
        best={part: {metric: best_runs(members, metric, part) for metric in METRICS} for part in parts},
        tests=tuple(tests),
        power=power_note(members, tests, predictions),
    )


def best_runs(group: Sequence[Score], metric: str, part: str = POOLED) -> tuple[str, ...]:
    """The runs with the highest mean of a metric among those that compete; several only if they are equal."""
    means = {score.run: score.mean(metric, part) for score in group if score.competes and score.values(metric, part)}
    return tuple(run for run, mean in means.items() if mean == max(means.values()))


def against_best(group: Sequence[Score], predictions: Mapping[str, PredictionSet]) -> list[AgainstBest]:
    """Test every competing run of a table against its best, for each metric.

    Paired permutation tests that swap whole subjects (`bench.evaluate.bootstrap.permutation_test`), adjusted by Holm
    over the runs of the table, metric by metric. The best is chosen on the same clips on which it is compared, which
    favours it: a run that is not significantly different from it may well be as good, one that is may be so by that
    choice.

    Parameters
    ----------
    group
        The runs of one table. Those that compete have all been tested on the same clips.
    predictions
        By run.
    """
    by_run = {score.run: score for score in group if score.competes}
    confusions = {run: predictions[run].confusions() for run in by_run}
    known: dict[tuple[str, str], dict[str, float]] = {}  # one run is mostly the best in every metric
    tests = []
    for metric in METRICS:
        bests = best_runs(group, metric)
        others = [run for run in by_run if run not in bests]
        raw = []
        for other in others:
            pair = bests[0], other
            if pair not in known:
                known[pair] = permutation_test(confusions[pair[0]], confusions[pair[1]])
            raw.append(known[pair][metric])
        for other, p_value, adjusted in zip(others, raw, holm(raw), strict=True):
            difference = by_run[bests[0]].mean(metric) - by_run[other].mean(metric)
            tests.append(AgainstBest(metric, bests[0], other, difference, p_value, adjusted))
    return tests


def power_note(
    group: Sequence[Score], tests: Sequence[AgainstBest], predictions: Mapping[str, PredictionSet]
) -> str | None:
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
    predictions
        By run.

    Returns
    -------
    Plain text; None where a run differs significantly from the best in UF1, or none is compared with it.
    """
    mine = [test for test in tests if test.metric == "uf1"]
    if not mine or any(test.p_value_holm <= SIGNIFICANCE for test in mine):
        return None
    best, count = mine[0].best, len(mine)
    subjects = next(score.pooled.subjects for score in group if score.run == best)
    smallest = 2.0 ** (1 - subjects)
    among = "1 comparison" if count == 1 else f"{count} comparisons"
    if count * smallest > SIGNIFICANCE:
        adjusted = f", {min(1.0, count * smallest):.3g} adjusted for {among} (Holm)" if count > 1 else ""
        return (
            f"With {subjects} subject{'s' if subjects > 1 else ''} the permutation test gives no p-value "
            f"below about {smallest:.3g}{adjusted}: no difference in this table can be significant at {SIGNIFICANCE}, "
            "however large it is. That none is says nothing about the runs."
        )
    reference = predictions[best].confusions()
    needed = [critical_difference(reference, predictions[test.run].confusions(), SIGNIFICANCE / count) for test in mine]
    within = sorted(f"{one:.3f}" for one in needed if math.isfinite(one))
    text = (
        f"No run is significantly different from the best in UF1. With {subjects} subjects and {among}"
        f"{' (Holm)' if count > 1 else ''}, the test finds "
    )
    if not within:
        return text + "no difference between these runs: they disagree on too few subjects."
    ends = within[0] if within[0] == within[-1] else f"{within[0]} to {within[-1]}, depending on the run"
    return text + f"a difference significant only if it exceeds {ends}: a smaller one may exist."
