"""What the audit page shows: `bench.evaluate.audit`'s effects and averages as numbers that can be found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fdpbench.bench.evaluate.records import POOLED, Effect
from fdpbench.bench.report.html.charts import ticks
from fdpbench.bench.report.html.facts import MEAN, Estimate, Number, Row, RunFacts

__all__ = ["ShownEffect", "averages", "effects", "span"]

# Name of a number on the page -> of `FoldMeans`.
WAYS = {"uf1": "pooled", "uf1_fold_mean": "over_present", "uf1_fold_mean_zeros": "with_zeros"}


@dataclass(frozen=True)
class ShownEffect:
    """A run beside the honest run of the same model; no interval and no p-value where their clips differ."""

    facts: RunFacts
    honest: RunFacts
    uf1: Number
    reference: Number
    difference: Estimate
    p_value: Number | None


def effects(facts: Mapping[str, RunFacts], found: Sequence[Effect]) -> list[ShownEffect]:
    """The effects of every run that departs from the honest protocol; empty if none does."""
    shown = []
    for effect in found:
        one, honest = facts[effect.run], facts[effect.honest]
        against = {"against": honest.run}
        pooled = {"dataset": POOLED, "repetition": MEAN}
        value = one.number(effect.inflation, "difference", against, signed=True)
        difference, p_value = Estimate(value, why_not="the two runs do not test the same clips"), None
        if effect.comparison is not None:
            low, high = (
                one.number(getattr(effect.comparison.difference, end), f"difference_{end}", against, signed=True)
                for end in ("low", "high")
            )
            difference = Estimate(value, low, high)
            p_value = one.number(effect.comparison.p_value, "p_value", against, decimals=4)
        reference = honest.number(honest.score.mean("uf1"), "uf1", pooled)
        shown.append(ShownEffect(one, honest, one.number(effect.uf1, "uf1", pooled), reference, difference, p_value))
    return shown


def span(shown: Sequence[ShownEffect]) -> tuple[float, float]:
    """Ends of an axis that holds every difference, its interval and 0."""
    ends = [0.0]
    for effect in shown:
        numbers = (effect.difference.value, effect.difference.low, effect.difference.high)
        ends += [number.value for number in numbers if number is not None]
    marks = ticks(min(ends), max(ends))
    return marks[0], marks[-1]


def averages(facts: Mapping[str, RunFacts]) -> list[tuple[RunFacts, Row]]:
    """UF1 of the same predictions averaged in three ways, for every run that competes; mean over repetitions."""
    rows = []
    for one in facts.values():
        if not one.score.competes:
            continue
        numbers = [
            one.number(getattr(one.score.fold_means, way), name, {"dataset": POOLED, "repetition": MEAN})
            for name, way in WAYS.items()
        ]
        rows.append((one, Row(one.run, numbers)))
    return rows
