"""Runs evaluated and printed, as the stages `evaluate` and `tables` do one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fdpbench.bench.evaluate.evaluation import Evaluation, read_clips, read_evaluation
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.report.published import Published
from fdpbench.bench.report.tables import write_tables
from fdpbench.bench.train.settings import RunEntry


def evaluated(runs: Mapping[str, RunEntry], repetitions: int) -> Evaluation:
    """Evaluate runs whose predictions are there; what is read back."""
    evaluate_runs(runs, repetitions)
    return read_evaluation()


def results_of(
    runs: Mapping[str, RunEntry], repetitions: int, published: Mapping[str, Sequence[Published]] | None = None
) -> Path:
    """Evaluate runs and write their tables; the folder of results."""
    out = Path("results")
    write_tables(evaluated(runs, repetitions), read_clips(), out, published)
    return out
