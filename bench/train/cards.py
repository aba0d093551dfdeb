"""The card of pretrained weights, for people: what they were made of and what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from fdpbench.bench.train.settings import in_words

__all__ = ["calibration_rows", "card_text"]


def card_text(card: Mapping[str, Any]) -> str:
    """A card as Markdown.

    Parameters
    ----------
    card
        What ``card.json`` says: `bench.train.pretrain`.
    """
    made, corpus = card["pretraining"], card["corpus"]["settings"]
    held_out = max(one.get("held_out", {}).get("people", 0) for one in card["weights"].values())
    people = corpus["identities"] - held_out
    trained_on = f"{people * corpus['clips_per_identity']:,} clips of {people:,}"
    others = f"; {held_out} others were held out" if held_out else ""
    rows = []
    for file, one in card["weights"].items():
        held = one.get("held_out", {})
        rows.append(
            {
                "file": file,
                "kB": round(one["bytes"] / 1000),
                "UF1": held.get("uf1", "-"),
                "UAR": held.get("uar", "-"),
                "area under ROC, mean of action units": held.get("mean_unit_auc", "-"),
                "clips": held.get("clips", "-"),
                "people": held.get("people", "-"),
            }
        )
    outputs = ", ".join(card["outputs"])
    settings = ", ".join(in_words({key: value for key, value in card["settings"].items() if key != "model" and value}))
    options = ", ".join(f"{key} {value}" for key, value in card["settings"]["model"].items()) or "the model's defaults"
    looked = f"- Looked at when the corpus's ranges were chosen: {corpus['note']}\n" if corpus.get("note") else ""
    said = ("generator", "identities", "clips_per_identity", "note")
    ranges = {key: value for key, value in corpus.items() if key not in said}
    return f"""# Weights {card["name"]}: {made["model"]}, pretrained on rendered faces

No clip of a real person was used. The network was trained on {trained_on} rendered people (corpus
`{made["corpus"]}`, generator `{corpus["generator"]}`), who are in no release{others}. Apache-2.0, as the code.

- Outputs: {outputs}
- Learnt: {made["targets"]}; training: {settings}
- Options of the network: {options}
- Inputs are standardised by the corpus's statistics, which are in the file.
{looked}
Measured on rendered people that it was not trained on:

{tabulate(rows, headers="keys", tablefmt="github")}

{_calibration(card)}Ranges of the corpus:

{tabulate([{"setting": key, "value": str(value)} for key, value in ranges.items()], headers="keys", tablefmt="github")}

A research instrument: not for decisions about people.
"""


def calibration_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Temperatures of each file of a card, and what they do, as rows of a table; none where none were fitted.

    Parameters
    ----------
    card
        What ``card.json`` says: `bench.train.pretrain`.
    """
    names = {"classes": "classes", "units": "action units"}
    return [
        {
            "file": file,
            "of": names[key],
            "temperature": one["calibration"][key]["temperature"],
            "ECE before": one["calibration"][key]["ece"]["before"],
            "ECE": one["calibration"][key]["ece"]["after"],
            "NLL before": one["calibration"][key]["nll"]["before"],
            "NLL": one["calibration"][key]["nll"]["after"],
        }
        for file, one in card["weights"].items()
        for key in names
        if key in one.get("calibration", {})
    ]


def _calibration(card: Mapping[str, Any]) -> str:
    """The part of a card on calibration; empty where too few people were held out for it."""
    rows = calibration_rows(card)
    if not rows:
        return ""
    return f"""Calibration: logits are divided by a temperature, fitted on those people. Expected calibration
error (10 bins) and negative log-likelihood before and after, each half of the people at the temperature that was
fitted on the other half:

{tabulate(rows, headers="keys", tablefmt="github")}

"""
