"""Compare the order of models on two releases, from files of predictions: `fdpbench agreement`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scipy.stats import rankdata
from tabulate import tabulate

from fdpbench.bench.evaluate.agreement import agreement
from fdpbench.bench.evaluate.records import LEVEL, RESAMPLES
from fdpbench.bench.external.read import Said, as_dict
from fdpbench.bench.external.score import check_alike
from fdpbench.bench.external.text import OutsideError

__all__ = ["agreement_lines", "agreement_said"]


def agreement_said(
    pairs: Sequence[tuple[Said, Said]], level: float = LEVEL, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Correlate the order of models on one release with their order on another.

    Parameters
    ----------
    pairs
        Of each model its predictions on the first and on the second release.
    level, resamples
        Of the intervals; see `bench.evaluate.agreement.agreement`.

    Returns
    -------
    ``models``: of each pair both names, UF1 and ranks; ``spearman`` and ``kendall``: value, low, high, undefined.

    Raises
    ------
    OutsideError
        If the predictions on one of the two releases are not all of the same clips.
    MetricError
        If there are fewer than three models, or the correlation is not defined.
    """
    sides = list(zip(*pairs, strict=True))
    for side in sides:
        for other in side[1:]:
            check_alike(side[0], other)
        if len({said.folds for said in side}) > 1:
            said_folds = "; ".join(f"{said.name}: {said.folds or 'not told'}" for said in side)
            raise OutsideError(f"models are compared in the same folds, but here they differ: {said_folds}")
    found = agreement(*([said.confusions() for said in side] for side in sides), level=level, resamples=resamples)
    ranks = [rankdata([-value for value in values]).tolist() for values in (found.first, found.second)]
    models = [
        {
            "first": {"name": first.name, "uf1": found.first[k], "rank": ranks[0][k]},
            "second": {"name": second.name, "uf1": found.second[k], "rank": ranks[1][k]},
        }
        for k, (first, second) in enumerate(pairs)
    ]
    return {
        "first": as_dict(sides[0][0]),
        "second": as_dict(sides[1][0]),
        "level": level,
        "resamples": resamples,
        "models": models,
        "spearman": asdict(found.spearman),
        "kendall": asdict(found.kendall),
    }


def agreement_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report of `agreement_said` out for a terminal, models in their order on the first release."""
    rows = [
        [cell for side in ("first", "second") for cell in (one[side]["name"], one[side]["uf1"], one[side]["rank"])]
        for one in sorted(report["models"], key=lambda one: one["first"]["rank"])
    ]
    headers = ["first", "UF1", "rank", "second", "UF1", "rank"]
    lines = tabulate(rows, headers=headers, floatfmt=("", ".3f", "g", "", ".3f", "g")).splitlines()
    lines.append("")
    for key, label in (("spearman", "Spearman's rho"), ("kendall", "Kendall's tau")):
        one = report[key]
        text = f"{label} {one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
        lines.append(text + (f"; {one['undefined']} resamples had no order" if one["undefined"] else ""))
    sides = (f"{report[side]['clips']} clips of {report[side]['subjects']} subjects" for side in ("first", "second"))
    lines.append(
        f"{len(report['models'])} models on {' and on '.join(sides)}; {100 * report['level']:.0f}% percentile "
        f"intervals over {report['resamples']} resamples of subjects and repetitions, of each side by itself"
    )
    return lines
