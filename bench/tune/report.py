"""One table and one plot of several searches, from the files that each has left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fdpbench.bench.report.escape import markdown_text, write_csv
from fdpbench.bench.report.layout import github
from fdpbench.bench.tune.data import WHOLE, TuneError
from fdpbench.bench.tune.results import PLOT, RECORD, TRIALS, Curve, draw_curves
from fdpbench.prep.store.documents import read_object

__all__ = ["Tuning", "read_tunings", "report_text", "write_report"]

CURE = "take it from git again, or run its search again"

# What is to be the same of all searches of one table: how a note calls it, and where the record has it.
ALIKE = {
    "budget": lambda record: (record["budget"]["minutes"], record["budget"]["trials"]),
    "tuning data": lambda record: (record["part"], record["made_of"]["clips"]),
    "number of folds": lambda record: record["made_of"]["folds"],
    "device, precision or arithmetic": lambda record: _on(record["made_of"]["hardware"]),
}


@dataclass(frozen=True)
class Tuning:
    """A search, as its files say.

    Attributes
    ----------
    record
        Of `bench.tune.results.record_of`.
    trials
        Its table of trials.
    """

    record: dict[str, Any]
    trials: pd.DataFrame

    @property
    def name(self) -> str:
        """The model, and the part of the task that its tuning data are, unless all."""
        return self.record["model"] + ("" if self.record["part"] == WHOLE else f", {self.record['part']}")

    @property
    def curve(self) -> Curve:
        """What a plot shows of it."""
        finished = self.trials[self.trials["state"] == "finished"]
        own = None if self.record["own"] is None else self.record["own"]["uf1"]
        minutes, uf1 = finished["core_minutes_so_far"].tolist(), finished["uf1"].tolist()
        return Curve(self.name, tuple(minutes), tuple(uf1), own, self.record["core_minutes"])


def read_tunings(folder: Path) -> list[Tuning]:
    """All searches of a folder, by name.

    Raises
    ------
    TuneError
        If there is none, or a file of one is missing or damaged.
    """
    found = []
    for path in sorted(folder.rglob(RECORD)):
        record = read_object(path, CURE)
        try:
            trials = pd.read_csv(path.with_name(TRIALS), keep_default_na=False, na_values=[""])
            tuning = Tuning(record, trials)
            _row(tuning), tuning.curve, [said(record) for said in ALIKE.values()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TuneError(f"{path.parent}: {RECORD} or {TRIALS} is missing or damaged ({error}); {CURE}") from None
        found.append(tuning)
    if not found:
        raise TuneError(
            f"{folder}: no search in it (a folder with {RECORD}); `fdpbench tune MODEL --folder` writes one"
        )
    return sorted(found, key=lambda tuning: tuning.name)


def report_text(tunings: Sequence[Tuning]) -> str:
    """The table as Markdown, with what is the same of all searches, and what is not."""
    notes = []
    for what, said in ALIKE.items():
        if len({said(tuning.record) for tuning in tunings}) > 1:
            notes.append(f"**Not the same {what} for all of them: their results do not compare.**")
    first = tunings[0].record
    data = f"{first['tuning_data']}, {first['clips']} clips of {len(first['subjects'])} subjects"
    about = (
        "Settings searched by `fdpbench tune`, each model within the budget of its row (core-minutes: time of the "
        "processor for\ntraining and prediction; the trial that passes them is finished). UF1 is over the clips "
        "of the tuning data, each held\nout once; in brackets, that of each fold. The best of many trials is chosen on "
        "these clips, and so is too high for others:\nonly results on clips that were not tuned on count. Written by "
        f"`fdpbench tune-report`.\n\nTuning data: {markdown_text(data)}."
    )
    rows = [{key: markdown_text(str(value)) for key, value in _row(tuning).items()} for tuning in tunings]
    return "\n\n".join(["# Tuning", about, *notes, github(rows)]) + "\n"


def write_report(folder: Path) -> str:
    """Write table and plot of all searches of a folder into it.

    Parameters
    ----------
    folder
        Such as ``results/tuning``.

    Returns
    -------
    The table as Markdown.

    Raises
    ------
    TuneError
        As of `read_tunings`.
    """
    tunings = read_tunings(folder)
    text = report_text(tunings)
    (folder / "tables.md").write_text(text, encoding="utf-8")
    write_csv(pd.DataFrame([_row(tuning) for tuning in tunings]), folder / "tables.csv", "%.4f")
    draw_curves([tuning.curve for tuning in tunings], folder / PLOT)
    return text


def _row(tuning: Tuning) -> dict[str, Any]:
    record = tuning.record
    counts = record["trials"]
    row = {
        "model": tuning.name,
        "trials": counts["finished"] + counts["pruned"] + counts["refused"],
        "pruned": counts["pruned"],
        "budget": _budget(**record["budget"]),
        "core-minutes": f"{record['core_minutes']:.1f}",
    }
    for label, key in (("own recipe", "own"), ("best", "best")):
        row[f"UF1, {label}"] = "-" if record[key] is None else _with_folds(record[key])
    own, best = record["own"], record["best"]
    row["difference"] = "-" if own is None or best is None else f"{best['uf1'] - own['uf1']:+.3f}"
    return row


def _budget(minutes: float, trials: int | None) -> str:
    return f"{minutes:g}" + ("" if trials is None else f" or {trials:,} trials")


def _with_folds(found: dict[str, Any]) -> str:
    folds = ", ".join("-" if value is None else f"{value:.3f}" for value in found["by_fold"])
    return f"{found['uf1']:.3f} [{folds}]"


def _on(hardware: list[str]) -> tuple[str, str]:
    """Device and arithmetic: estimators are fitted in float64 and networks in float32, which is no difference here."""
    device, precision, arithmetic = hardware
    return (device if precision != "float64" else "cpu", arithmetic)
