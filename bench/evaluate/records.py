"""Records of an evaluation: what is computed of runs, apart from how, for those who only show it."""

from __future__ import annotations

from dataclasses import dataclass

from fdpbench.bench.evaluate.metrics import Measures

__all__ = [
    "CHANCE",
    "COVERAGE",
    "LEVEL",
    "PERCEPTION",
    "POOLED",
    "RESAMPLES",
    "SIGNIFICANCE",
    "AgainstBest",
    "Comparison",
    "Effect",
    "Interval",
    "Part",
    "Ranks",
    "Table",
]

POOLED = "all"  # the part that holds all clips

# Of the intervals that are printed.
LEVEL = 0.95
RESAMPLES = 2000

# Share of simulated releases whose true UF1 a 95% interval of `intervals` holds, by method and number of subjects:
# 3 classes, 6 clips a subject, subjects that differ in how well they are recognised, 600 releases each. Measured by
# `HYPOTHESIS_PROFILE=long pytest -s tests/bench/evaluate/test_bootstrap.py -k coverage`, which fails where it finds
# something else.
COVERAGE: dict[str, dict[int, float]] = {
    "percentile": {10: 0.920, 16: 0.932, 26: 0.928, 40: 0.932, 68: 0.963},
    "bca": {10: 0.927, 16: 0.935, 26: 0.930, 40: 0.935, 68: 0.960},
}

# A run whose adjusted p-value is above this is not significantly different from the best.
SIGNIFICANCE = 0.05

# Name of a way to guess -> how a table names it.
CHANCE = {
    "majority": "the most frequent class for every clip",
    "stratified": "classes drawn at random by their shares of the clips (expected figure)",
}

# What is measured of each clip, as far as a model ranks frames and generates images -> how tables name it, decimals.
PERCEPTION = {
    "order_accuracy": ("pairs in order", 3),
    "order_to_apex": ("up to the apex", 3),
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "psnr_of_mean": ("PSNR of mean image", 2),
    "ssim_of_mean": ("SSIM of mean image", 3),
    "psnr_of_copy": ("PSNR of pooled frames", 2),
    "ssim_of_copy": ("SSIM of pooled frames", 3),
}


@dataclass(frozen=True)
class Interval:
    """A metric with its interval.

    Attributes
    ----------
    value
        The metric, mean over repetitions.
    low, high
        Ends of the interval.
    level
        Its nominal coverage, such as 0.95.
    method
        ``percentile`` or ``bca``.
    subjects, clips, repetitions
        What stands behind it.
    redrawn
        Resamples that lacked a class and were sampled anew.
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    subjects: int
    clips: int
    repetitions: int
    redrawn: int


@dataclass(frozen=True)
class Comparison:
    """Two models on the same clips: the difference first minus second, its interval, and a test.

    ``p_value`` is that of the paired permutation test; see `bench.evaluate.bootstrap.compare`.
    """

    difference: Interval
    p_value: float
    permutations: int


@dataclass(frozen=True)
class Part:
    """What predictions are worth over some clips: all of them, or those of one data set.

    Attributes
    ----------
    clips, subjects
        How many there are.
    repetitions
        Measures of each repetition; empty where a class has no clip.
    intervals
        By metric; empty where they are not defined.
    why_not
        Why there are no measures or no intervals; None where there are both.
    """

    clips: int
    subjects: int
    repetitions: tuple[Measures, ...]
    intervals: dict[str, Interval]
    why_not: str | None


@dataclass(frozen=True)
class AgainstBest:
    """A run beside the best run of its table.

    Attributes
    ----------
    metric
        By which metric.
    best, run
        Names of the two runs.
    difference
        Best minus run, means over repetitions.
    p_value, p_value_holm
        Of the paired permutation test over subjects, as it is and adjusted for the runs of the table.
    """

    metric: str
    best: str
    run: str
    difference: float
    p_value: float
    p_value_holm: float


@dataclass(frozen=True)
class Table:
    """A table of runs of one task.

    Attributes
    ----------
    task
        The task.
    name
        Empty for the task's own table; else what runs call it (``table:`` of a run).
    runs
        Best UF1 first; those that do not compete after all others.
    best
        For each part (`bench.evaluate.prediction_set.PredictionSet.parts`) and metric the best of its runs.
    tests
        Every competing run against the best of each metric.
    power
        What the tests could have found, where they found nothing in UF1; see
        `bench.evaluate.compare.power_note`.
    """

    task: str
    name: str
    runs: tuple[str, ...]
    best: dict[str, dict[str, tuple[str, ...]]]
    tests: tuple[AgainstBest, ...]
    power: str | None

    def alike(self, metric: str) -> frozenset[str]:
        """Names of the runs that are not significantly different from the best in a metric."""
        return frozenset(one.run for one in self.tests if one.metric == metric and one.p_value_holm > SIGNIFICANCE)


@dataclass(frozen=True)
class Effect:
    """A run beside the honest run of the same model.

    Attributes
    ----------
    run, honest
        Names of the two runs.
    uf1
        Of the run, mean over repetitions.
    inflation
        Run minus honest run, UF1.
    comparison
        The same with its interval and test; None where they do not test the same clips, as with untested subjects.
    """

    run: str
    honest: str
    uf1: float
    inflation: float
    comparison: Comparison | None


@dataclass(frozen=True)
class Ranks:
    """Models ranked over tasks.

    Attributes
    ----------
    models
        Best mean rank first.
    tasks
        The tasks.
    mean_ranks
        Of each model over the tasks; 1 is the best, equal values share the mean of their ranks.
    p_value
        Of Friedman's test that all models are alike; 1 where all values are equal.
    critical_difference
        Mean ranks that differ by less are not significantly different at 0.05 (Nemenyi).
    groups
        Longest stretches of models, first and last index, of which no two differ significantly.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    p_value: float
    critical_difference: float
    groups: tuple[tuple[int, int], ...]
