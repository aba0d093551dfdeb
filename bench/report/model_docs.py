"""The page of models, docs/models.md: sizes counted from the registry, metrics and times read from results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fdpbench.bench.report.costs import multiply_adds
from fdpbench.bench.report.escape import csv_name, markdown_text
from fdpbench.bench.report.layout import github
from fdpbench.models.common.registry import create_model, list_models, model_info
from fdpbench.prep.task.inputs import INPUTS, LANDMARKS

__all__ = ["measured_rows", "models_text", "size_rows"]

# One clip of each input, and the number of classes, for which sizes are counted.
LENGTHS = {"T": 8, "H": 96, "W": 96, "h": 28, "w": 28, "K": LANDMARKS["mesh"]}
SHAPES = {name: entry.shape(LENGTHS) for name, entry in INPUTS.items()}
CLASSES = 3

# What is known of a model's size from elsewhere; the test of each model holds its file to it.
STATED = {
    "dual_inception": "6.45 M for 3 classes (Zhang et al., PRICAI 2021)",
    "fdp_released": "85,304,206 for 5 classes, preset `released` (released code)",
    "htnet": "139,582,982 for 3 classes, preset `released` (its code)",
    "learnet": "1,866,824 for 8 classes, colour images of 112 x 112 (released code)",
    "micro_exp_stcnn": "1,643,267 for 3 classes, 18 frames of 64 x 64 (released code)",
    "off_apexnet": "2.66 M for 3 classes (Zhang et al., PRICAI 2021)",
}


HEAD = "Written by `fdpbench docs`; `fdpbench models` lists the models' options."

SIZES = (
    f"Sizes with the options of each model's recipe, for {CLASSES} classes and inputs of "
    f"{', '.join(f'{name} {shape}' for name, shape in SHAPES.items())}.\nParameters: trained ones. Multiply-adds: of "
    "one clip in evaluation, matrix products and convolutions. An estimator is fitted at\nonce and has neither. "
    "Stated: what is known of the model's size from elsewhere, where this project's is the same (a test holds it)."
)

MEASURED = (
    "The honest run of each model with its own options, for each split, from `results/baselines` where it is there,\n"
    "else from `results/full` or `results/tables`; those have intervals and all other runs. The task `synthetic` is\n"
    "made of rendered faces: its figures say nothing about real faces. Rows with other numbers of clips or subjects\n"
    "are of other releases, and do not compare: 320 clips of 40 subjects are those of `params.baselines.yaml`, 96 of\n"
    "16 those of `params.yaml`. Seconds of a fold: estimated from the time of a training step, one thread, on the\n"
    "machine that wrote `costs.csv` (`fdpbench costs`); another has others. A dash: not measured. A model without a\n"
    "row has not been run: `make baselines` runs all. No recipe was tuned but those of `fdp` (on another rendered\n"
    "release: `docs/fdp.md`) and `cnn3d` (on that of `params.calm.yaml`); a low figure may be the recipe's, not the\n"
    "model's: most have the epochs that a laptop bears. `adapters` is a random encoder here, and `fdp_released` is\n"
    "`tiny`. Figures on real flow images: `docs/megc2019.md`."
)


NEEDED = ("run", "model", "protocol", "table", "clips", "subjects", "uf1", "uar", "repetitions")  # of a task's table


def models_text(results: Path) -> str:
    """Write the page.

    Parameters
    ----------
    results
        The folder of results; its ``baselines`` and ``full`` come first, where they are there.
    """
    measured = measured_rows(results)
    parts = ["# Models", HEAD, "## What they are", SIZES, github(size_rows()), "## What was measured", MEASURED]
    parts.append(github(measured) if measured else "Nothing yet: run `dvc repro`.")
    return "\n\n".join(parts) + "\n"


def size_rows() -> list[dict[str, str]]:
    """A row for each model: what it is, and how large."""
    rows = []
    for name in list_models():
        info = model_info(name)
        parameters = adds = "-"
        if info.recipe is not None:
            torch.manual_seed(0)
            shapes = {key: SHAPES[key] for key in info.inputs}
            model = create_model(name, CLASSES, shapes=shapes, **info.recipe.options)
            parameters = f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,}"
            adds = (
                f"{multiply_adds(model, {key: torch.zeros(1, *shape) for key, shape in shapes.items()}) / 1e6:,.2f} M"
            )
        rows.append(
            {
                "model": f"`{name}`",
                "paper": info.paper,
                "reads": ", ".join(info.inputs).replace("_", " ") or "nothing",
                "kind": info.kind,
                "parameters": parameters,
                "multiply-adds": adds,
                "parameters stated": STATED.get(name, "-"),
            }
        )
    return rows


def measured_rows(results: Path) -> list[dict[str, str]]:
    """A row for each model, task and split with results; of several runs the first by name, not the best."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for folder in (results / "baselines", results / "full", results):
        seconds = _seconds(folder / "costs.csv")
        for path in sorted((folder / "tables").glob("*.csv")):
            frame = pd.read_csv(path, keep_default_na=False)
            if not set(NEEDED) <= set(frame):
                continue  # not a task's
            if "changes" not in frame:
                frame["changes"] = ""
            plain = frame[frame["changes"] == ""].sort_values("run")
            for row in plain.to_dict("records"):
                split = _split_of(row)
                if split is None:
                    continue
                found.setdefault(
                    (path.stem, str(row["model"]), split),
                    {
                        "model": f"`{row['model']}`",
                        "task": markdown_text(path.stem)
                        + (" (rendered)" if str(row.get("rendered")) == "True" else ""),
                        "split": split,
                        "clips": str(row["clips"]),
                        "subjects": str(row["subjects"]),
                        "run": markdown_text(csv_name(str(row["run"]))),
                        "UF1": f"{float(row['uf1']):.3f}",
                        "UAR": f"{float(row['uar']):.3f}",
                        "seeds": str(row["repetitions"]),
                        "seconds of a fold": seconds.get(str(row["run"]), "-"),
                    },
                )
    return [found[key] for key in sorted(found)]


def _split_of(row: Mapping[Any, Any]) -> str | None:
    """The split of an honest run in the table that only its split names; None of other runs."""
    protocol, table = str(row["protocol"]), str(row["table"])
    if (protocol, table) == ("honest", ""):
        return "one subject out"
    folds = re.fullmatch(r"honest, (\d+ folds)", protocol)
    return folds[1] if folds and folds[1].replace(" ", "_") == table else None


def _seconds(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {str(row["run"]): f"{float(row['fold_s']):.1f}" for row in pd.read_csv(path).to_dict("records")}
