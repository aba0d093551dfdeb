"""What the pages show: every metric with its interval, and under what name it can be computed again.

A `Number` carries its place (run, figure, data set, repetition, ...) into the page as data attributes, so that
a reader's program, or a test, finds it and computes it from the run's predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from types import MappingProxyType

from fdpbench.bench.evaluate.evaluation import Evaluation
from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import CHANCE, PERCEPTION, POOLED, SIGNIFICANCE, Table
from fdpbench.bench.evaluate.scores import Score, largest

__all__ = [
    "MEAN",
    "NAMES",
    "Estimate",
    "Leaderboard",
    "Number",
    "Row",
    "RunFacts",
    "Standing",
    "chance",
    "leaderboards",
]

MEAN = "mean"  # over repetitions
NOWHERE: Mapping[str, str] = MappingProxyType({})

NAMES = {name: metric.label for name, metric in METRICS.items()}


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
    """A metric, and the ends of its interval or why it has none."""

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
        return self.number(self.score.pooled.clips, "clips", decimals=0)

    @property
    def subjects(self) -> Number:
        """How many subjects those clips have."""
        return self.number(self.score.pooled.subjects, "subjects", decimals=0)

    @property
    def repetitions(self) -> int:
        """How often it was trained."""
        return len(self.score.pooled.repetitions)

    @cached_property
    def parts(self) -> list[str]:
        """All data sets pooled, and each on which every metric is defined."""
        return [POOLED, *self.score.datasets]

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """For each part, each metric with its interval: those that `fdpbench score` prints."""
        return {part: {metric: self._estimate(metric, part) for metric in METRICS} for part in self.parts}

    def _estimate(self, metric: str, part: str) -> Estimate:
        place = {"dataset": part, "repetition": MEAN}
        value = self.number(self.score.mean(metric, part), metric, place)
        found = self.score.parts[part].intervals.get(metric)
        if found is None:
            return Estimate(value, why_not=self.score.parts[part].why_not)
        low, high = (self.number(getattr(found, end), f"{metric}_{end}", place) for end in ("low", "high"))
        return Estimate(value, low, high)

    def of_repetitions(self, metric: str, part: str = POOLED) -> list[Number]:
        """A metric of each repetition, and its standard deviation; empty where there is one repetition."""
        if self.repetitions == 1:
            return []
        values = self.score.values(metric, part)
        numbers = [self.number(v, metric, {"dataset": part, "repetition": str(k)}) for k, v in enumerate(values)]
        return [*numbers, self.number(stdev(values), f"{metric}_sd", {"dataset": part})]

    @cached_property
    def confusion(self) -> list[Row]:
        """Clips of each true class by predicted class, counted over all repetitions."""
        each = [one.confusion for one in self.score.pooled.repetitions]
        return [
            Row(
                actual,
                [self._count(sum(one[i][j] for one in each), actual, name) for j, name in enumerate(self.classes)],
            )
            for i, actual in enumerate(self.classes)
        ]

    def _count(self, count: int, actual: str, predicted: str) -> Number:
        return self.number(count, "confusion", {"actual": actual, "predicted": predicted}, decimals=0)

    @cached_property
    def per_class(self) -> list[Row]:
        """Clips, precision, recall and F1 of each class, mean over repetitions."""
        rows = []
        for k, name in enumerate(self.classes):
            each = [one.classes[k] for one in self.score.pooled.repetitions]
            numbers = [self.number(each[0].clips, "class_clips", {"class": name}, decimals=0)]
            numbers += [
                self.number(fmean(getattr(one, metric) for one in each), f"class_{metric}", {"class": name})
                for metric in ("precision", "recall", "f1")
            ]
            rows.append(Row(name, numbers))
        return rows

    @cached_property
    def per_subject(self) -> list[Row]:
        """Clips and accuracy of each subject, mean over repetitions; see `lacking`."""
        rows = []
        for one in self.score.by_subject:
            place, accuracy = {"subject": one.subject}, sum(one.right) / (one.clips * self.repetitions)
            numbers = [self.number(one.clips, "subject_clips", place, decimals=0)]
            rows.append(Row(one.subject, [*numbers, self.number(accuracy, "subject_accuracy", place)]))
        return rows

    @cached_property
    def lacking(self) -> int:
        """How many subjects lack a class, so that UF1 of one of them is not defined."""
        return sum(one.classes < len(self.classes) for one in self.score.by_subject)

    @cached_property
    def perception(self) -> list[Row]:
        """What its rank scores and generated images are worth, mean over clips and repetitions; empty without them."""
        return [
            Row(label, [self.number(fmean(self.score.perception[name]), name, decimals=decimals)])
            for name, (label, decimals) in PERCEPTION.items()
            if name in self.score.perception
        ]


@dataclass(frozen=True)
class Standing:
    """A run's line in a leaderboard.

    ``best`` names the metrics in which no competing run exceeds it. ``p_value`` is that of the paired test
    of UF1 against the best competing run, adjusted for the number of runs (Holm), None for that run itself; ``alike``
    says that by it the two are not significantly different.
    """

    facts: RunFacts
    best: frozenset[str] = frozenset()
    p_value: Number | None = None
    alike: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """A table of runs: those that compete, best first, and the others below."""

    name: str
    power: str | None
    competing: list[Standing]
    others: list[Standing]


def leaderboards(facts: Mapping[str, RunFacts], tables: Sequence[Table]) -> list[Leaderboard]:
    """Leaderboards of one task: its own table, then those that runs name."""
    boards = []
    for table in tables:
        lines = [_standing(facts[run], table) for run in table.runs]
        competing = [line for line in lines if line.facts.score.competes]
        boards.append(Leaderboard(table.name, table.power, competing, [one for one in lines if one not in competing]))
    return boards


def chance(facts: Mapping[str, RunFacts], task: str, evaluation: Evaluation) -> list[Row]:
    """Chance level of a task, each way to guess with its UF1 and UAR; from the labels of its largest run."""
    most, rows = facts[largest(evaluation.by_task[task]).run], []
    for way, text in CHANCE.items():
        levels = ((name, evaluation.chance[task][way][name]) for name in ("uf1", "uar"))
        rows.append(Row(text, [most.number(one, name, {"guess": way}) for name, one in levels if one is not None]))
    return rows


def _standing(facts: RunFacts, table: Table) -> Standing:
    """Mark in which metrics a run is the best, and tell how it stands beside the one with the best UF1."""
    best = frozenset(metric for metric in METRICS if facts.run in table.best[POOLED][metric])
    test = next((one for one in table.tests if (one.metric, one.run) == ("uf1", facts.run)), None)
    if test is None:
        return Standing(facts, best)
    place = {"against": test.best, "table": table.name}
    p_value = facts.number(test.p_value_holm, "p_value_holm", place, decimals=4)
    return Standing(facts, best, p_value, test.p_value_holm > SIGNIFICANCE)
