"""What an evaluation says of one run, and under which names tables print the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from fdpbench.bench.evaluate.records import POOLED, Part
from fdpbench.bench.train.data import TaskInfo
from fdpbench.bench.train.protocols import protocol_text
from fdpbench.bench.train.settings import RunEntry, in_words

__all__ = ["FoldMeans", "Score", "SubjectScore", "changes_of", "largest", "ranked", "with_spread"]


@dataclass(frozen=True)
class SubjectScore:
    """The clips of one subject. UF1 is not defined where ``classes`` is fewer than the task has.

    Attributes
    ----------
    subject, dataset
        Their names.
    clips
        How many the subject has.
    classes
        How many classes they show.
    right
        Clips recognised, in each repetition.
    """

    subject: str
    dataset: str
    clips: int
    classes: int
    right: tuple[int, ...]


@dataclass(frozen=True)
class FoldMeans:
    """UF1 averaged in three ways, mean over repetitions; see `bench.evaluate.audit.fold_means`."""

    pooled: float
    over_present: float
    with_zeros: float


@dataclass(frozen=True)
class Score:
    """Results of a run.

    Attributes
    ----------
    run, entry, task
        The run and its task.
    predictions_sha256
        Of the file of predictions.
    native
        Made with arithmetic that was not pinned (`fdpbench.arithmetic`), so that another machine gives other bytes.
    parts
        Results over all clips (`POOLED`), and those of each data set where there are several.
    by_subject
        In order of subject.
    perception
        Each of `bench.evaluate.perception.PERCEPTION` that the model gives, mean over clips, for each repetition.
    fold_means
        The same predictions, UF1 averaged over folds.
    """

    run: str
    entry: RunEntry
    task: TaskInfo
    predictions_sha256: str
    native: bool
    parts: dict[str, Part]
    by_subject: tuple[SubjectScore, ...]
    perception: dict[str, tuple[float, ...]]
    fold_means: FoldMeans

    @property
    def pooled(self) -> Part:
        """Results over all clips."""
        return self.parts[POOLED]

    @property
    def datasets(self) -> list[str]:
        """Data sets that have results of their own: none in a task of one, none that lacks a class."""
        return sorted(name for name, part in self.parts.items() if name != POOLED and part.repetitions)

    @property
    def clips_by_dataset(self) -> dict[str, int]:
        """Clips of each data set, also of those without results of their own."""
        counts: Counter[str] = Counter()
        for one in self.by_subject:
            counts[one.dataset] += one.clips
        return dict(sorted(counts.items()))

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.entry.model

    @property
    def model_text(self) -> str:
        """Name of the model, and what the run sets otherwise: ``ststnet (objective group_dro, dro_step 0.01)``."""
        return f"{self.model} ({self.changes})" if self.changes else self.model

    @property
    def changes(self) -> str:
        """What the run sets that its model's options do not; see `changes_of`."""
        return changes_of(self.entry)

    @property
    def protocol(self) -> str:
        """Name of the protocol, every fault that is rebuilt, and what else sets the run apart; see `protocol_text`."""
        entry = self.entry
        return protocol_text(entry.protocol, entry.faults, self.task.sampling, entry.init, entry.folds_text)

    @property
    def conduct(self) -> str:
        """Name of the protocol and every fault that is rebuilt, without what else sets the run apart."""
        return protocol_text(self.entry.protocol, self.entry.faults, self.task.sampling)

    @property
    def competes(self) -> bool:
        """Whether the run may be marked as the best: it never looks at the test subject and has no fault."""
        return self.conduct in ("honest", "inner", "zero_shot")

    def values(self, metric: str, part: str = POOLED) -> list[float]:
        """A metric in each repetition; empty where it is not defined."""
        return [one.values[metric] for one in self.parts[part].repetitions] if part in self.parts else []

    def mean(self, metric: str, part: str = POOLED) -> float:
        """Mean of a metric over repetitions."""
        return fmean(self.values(metric, part))

    def text(self, metric: str, part: str = POOLED) -> str:
        """A metric with three decimals, and its standard deviation over repetitions if there are several."""
        values = self.values(metric, part)
        return with_spread(values, 3) if values else "not defined"


def ranked(group: Sequence[Score]) -> list[Score]:
    """Best UF1 first; runs that looked at the test subject, or have a fault, after all others."""
    return sorted(group, key=lambda score: (not score.competes, -score.mean("uf1"), score.run))


def largest(scores: Sequence[Score]) -> Score:
    """The run of a task with the most clips, whose labels stand for the task: others may leave subjects untested."""
    return max(scores, key=lambda score: (score.pooled.clips, score.run))


def with_spread(values: Sequence[float], decimals: int) -> str:
    """Mean, and standard deviation if there are several values."""
    spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{decimals}f}{spread}"


def changes_of(entry: RunEntry) -> str:
    """What a run sets that its model's options do not, as a table prints it: ``pooling learned, lr 0.001``.

    Of an ensemble, its members: ``of run-a, run-b``.
    """
    recipe = {key: value for key, value in entry.set.items() if key != "model"}
    changed = entry.set.get("model", {}) | recipe
    members = [f"of {', '.join(entry.members)}"] if entry.members else []
    return ", ".join(in_words({key: changed[key] for key in sorted(changed)}) + members)
