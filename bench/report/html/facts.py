"""What the pages show: every figure with its interval, and under what name it can be computed again.

A `Number` carries its place (run, figure, data set, repetition, ...) into the page as data attributes, so that
a reader's program, or a test, finds it and computes it from the run's predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from types import MappingProxyType

import numpy as np

from fdpbench.bench.evaluate.bootstrap import FIGURES, Figure, StatsError, intervals
from fdpbench.bench.evaluate.chance import CHANCE, chance_levels
from fdpbench.bench.evaluate.compare import (
    LEVEL,
    RESAMPLES,
    SIGNIFICANCE,
    AgainstBest,
    against_best,
    best_runs,
    power_note,
)
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.report.tables import FIGURES as LABELS
from fdpbench.bench.report.tables import PERCEPTION, tables_of

__all__ = ["ALL", "MEAN", "NAMES", "Estimate", "Number", "Row", "RunFacts", "Standing", "chance", "standings"]

ALL = "all"  # data sets pooled
MEAN = "mean"  # over repetitions
NOWHERE: Mapping[str, str] = MappingProxyType({})

NAMES: dict[Figure, str] = {attribute: label for label, attribute in LABELS.items()}


@dataclass(frozen=True)
class Number:
    """A number on a page, and where it comes from."""

    value: float
    decimals: int
    place: Mapping[str, str]
    signed: bool = False

    @property
    def text(self) -> str:
        """The number as printed, with a true minus sign."""
        return f"{self.value:{'+' if self.signed else ''}.{self.decimals}f}".replace("-", "\u2212")


@dataclass(frozen=True)
class Estimate:
    """A figure, and the ends of its interval or why it has none."""

    value: Number
    low: Number | None = None
    high: Number | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class Row:
    """A named line of numbers."""

    name: str
    numbers: list[Number]


class RunFacts:
    """Everything that the pages show of one run."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.run = score.run
        self.classes = score.task.classes

    def number(
        self, value: float, figure: str, place: Mapping[str, str] = NOWHERE, decimals: int = 3, signed: bool = False
    ) -> Number:
        """A number of this run."""
        return Number(float(value), decimals, {"run": self.run, "figure": figure, **place}, signed)

    @property
    def clips(self) -> Number:
        """How many clips it predicts."""
        return self.number(self.score.clips, "clips", decimals=0)

    @property
    def subjects(self) -> Number:
        """How many subjects those clips have."""
        return self.number(self.score.subjects, "subjects", decimals=0)

    @property
    def repetitions(self) -> int:
        """How often it was trained."""
        return len(self.score.repetitions)

    @cached_property
    def parts(self) -> list[str]:
        """All data sets pooled, and each on which every figure is defined."""
        return [ALL, *self.score.by_dataset]

    @cached_property
    def estimates(self) -> dict[str, dict[Figure, Estimate]]:
        """For each part, each figure with its interval: those that `fdpbench score` prints."""
        return {part: self._estimates(part) for part in self.parts}

    def _estimates(self, part: str) -> dict[Figure, Estimate]:
        dataset, place = None if part == ALL else part, {"dataset": part, "repetition": MEAN}
        values = {figure: self.number(self.score.mean(figure, dataset), figure, place) for figure in FIGURES}
        try:
            found = intervals(self.score.confusions(dataset), level=LEVEL, resamples=RESAMPLES)
        except StatsError as error:
            return {figure: Estimate(value, why_not=str(error)) for figure, value in values.items()}
        return {
            figure: Estimate(
                value,
                self.number(found[figure].low, f"{figure}_low", place),
                self.number(found[figure].high, f"{figure}_high", place),
            )
            for figure, value in values.items()
        }

    def of_repetitions(self, figure: str, part: str = ALL) -> list[Number]:
        """A figure of each repetition, and its standard deviation; empty where there is one repetition."""
        if self.repetitions == 1:
            return []
        chosen = self.score.repetitions if part == ALL else self.score.by_dataset[part]
        values = [getattr(one, figure) for one in chosen]
        numbers = [self.number(v, figure, {"dataset": part, "repetition": str(k)}) for k, v in enumerate(values)]
        return [*numbers, self.number(stdev(values), f"{figure}_sd", {"dataset": part})]

    @cached_property
    def confusion(self) -> list[Row]:
        """Clips of each true class by predicted class, counted over all repetitions."""
        counts = np.sum([one.confusion for one in self.score.repetitions], axis=0)
        return [
            Row(actual, [self._count(counts[i, j], actual, said) for j, said in enumerate(self.classes)])
            for i, actual in enumerate(self.classes)
        ]

    def _count(self, count: int, actual: str, predicted: str) -> Number:
        return self.number(count, "confusion", {"actual": actual, "predicted": predicted}, decimals=0)

    @cached_property
    def per_class(self) -> list[Row]:
        """Clips, precision, recall and F1 of each class, mean over repetitions."""
        rows = []
        for k, name in enumerate(self.classes):
            each = [one.classes[k] for one in self.score.repetitions]
            numbers = [self.number(each[0].clips, "class_clips", {"class": name}, decimals=0)]
            numbers += [
                self.number(fmean(getattr(one, figure) for one in each), f"class_{figure}", {"class": name})
                for figure in ("precision", "recall", "f1")
            ]
            rows.append(Row(name, numbers))
        return rows

    @cached_property
    def per_subject(self) -> list[Row]:
        """Clips and accuracy of each subject, mean over repetitions; see `lacking`."""
        right: dict[str, list[bool]] = {}
        for row in self.score.rows:
            right.setdefault(row["subject"], []).append(row["y_true"] == row["y_pred"])
        return [
            Row(
                subject,
                [
                    self.number(len(values) // self.repetitions, "subject_clips", {"subject": subject}, decimals=0),
                    self.number(fmean(values), "subject_accuracy", {"subject": subject}),
                ],
            )
            for subject, values in sorted(right.items())
        ]

    @cached_property
    def lacking(self) -> int:
        """How many subjects lack a class, so that UF1 of one of them is not defined."""
        shown: dict[str, set[int]] = {}
        for row in self.score.rows:
            shown.setdefault(row["subject"], set()).add(row["y_true"])
        return sum(len(labels) < len(self.classes) for labels in shown.values())

    @cached_property
    def perception(self) -> list[Row]:
        """What its rank scores and drawn images are worth, mean over clips and repetitions; empty without them."""
        return [
            Row(label, [self.number(fmean(values), column, decimals=decimals)])
            for label, (column, decimals) in PERCEPTION.items()
            if (values := self.score.perceived(column))
        ]


@dataclass(frozen=True)
class Standing:
    """A run's line in a leaderboard.

    ``best`` names the figures in which no competing run exceeds it. ``p_value`` is that of the paired test
    of UF1 against the best competing run, adjusted for the number of runs (Holm), None for that run itself; ``alike``
    says that by it the two are not significantly different.
    """

    facts: RunFacts
    best: frozenset[str] = frozenset()
    p_value: Number | None = None
    against: str | None = None
    alike: bool = False


@dataclass
class _Table:
    name: str
    power: str | None = None
    competing: list[Standing] = field(default_factory=list)
    others: list[Standing] = field(default_factory=list)


def standings(facts: Sequence[RunFacts]) -> list[_Table]:
    """Leaderboards of one task: its own table, then those that runs name; best first, others than honest below."""
    by_run = {one.run: one for one in facts}
    tables = []
    for name, members in tables_of([one.score for one in facts]).items():
        ranked = sorted(members, key=lambda score: (-score.mean("uf1"), score.run))
        table = _Table(name)
        competing = [by_run[score.run] for score in ranked if score.competes]
        scores = [one.score for one in competing]
        tests = against_best(scores)
        table.competing = _compared(competing, tests, name)
        table.power = power_note(scores, tests)
        table.others = [Standing(by_run[score.run]) for score in ranked if not score.competes]
        tables.append(table)
    return tables


def chance(facts: Sequence[RunFacts]) -> list[Row]:
    """What guessing is worth on a task, each way to guess with its UF1 and UAR; from the labels of its largest run."""
    most = max(facts, key=lambda one: (one.score.clips, one.run))
    levels = chance_levels(most.score.predicted()[0], len(most.score.task.classes))
    return [
        Row(CHANCE[way], [most.number(level[figure], figure, {"guess": way}) for figure in ("uf1", "uar")])
        for way, level in levels.items()
    ]


def _compared(competing: list[RunFacts], tests: Sequence[AgainstBest], table: str) -> list[Standing]:
    """Mark the best of each figure, and tell how every run stands beside the one with the best UF1."""
    scores = [one.score for one in competing]
    tops = {figure: best_runs(scores, figure) for figure in FIGURES}
    of_uf1 = {test.run: test for test in tests if test.figure == "uf1"}
    standing = []
    for one in competing:
        best = frozenset(figure for figure, runs in tops.items() if one.score in runs)
        test = of_uf1.get(one.run)
        if test is None:
            standing.append(Standing(one, best))
            continue
        p_value = one.number(test.p_value_holm, "p_value_holm", {"against": test.best, "table": table}, decimals=4)
        standing.append(Standing(one, best, p_value, test.best, test.p_value_holm > SIGNIFICANCE))
    return standing
