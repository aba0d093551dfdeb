"""What runs cost: parameters and multiply-adds by hand, times in turns, beside the figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from fdpbench.bench.evaluate.scores import changes_of
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.plan.params import load_run, run_names
from fdpbench.bench.report.costs import measure_costs
from fdpbench.commands import app
from fdpbench.models.common.local_global import Attention
from fdpbench.models.common.registry import create_model
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.store import paths
from tests.support.builders import (
    params,
    predictions,
    task_rows,
    torch_as_it_was,
    write_params,
    write_predictions,
    write_task,
)

RUNS: dict[str, dict[str, Any]] = {
    "tiny-majority": {"task": "tiny", "model": "majority"},
    "tiny-ststnet": {"task": "tiny", "model": "ststnet"},
    "tiny-wet": {"task": "tiny", "model": "ststnet", "table": "dropout", "set": {"lr": 0.1, "model": {"dropout": 0.1}}},
}


@pytest.fixture
def ready(project: Path) -> Iterator[Path]:
    """Trained runs, as far as the costs look at them."""
    content = params(train={"repetitions": 1})
    content |= {"runs": RUNS}
    write_params(content)
    rows = write_task(paths.task("tiny"))
    for run in RUNS:
        write_predictions(run, predictions(run, rows, [row["label"] for row in rows]))
    evaluate_runs(run_names(), 1)
    with torch_as_it_was():
        yield project


def test_parameters_and_multiply_adds_are_those_counted_by_hand(ready: Path) -> None:
    plain, wet = measure_costs([load_run("tiny-ststnet"), load_run("tiny-wet")], rounds=2)
    filters = 3 + 5 + 8
    # three streams of 3 x 3 x 3 filters with bias, batch norm (2 each), and 400 -> 3 classes
    assert plain.parameters == wet.parameters == filters * (27 + 1) + 2 * filters + 400 * 3 + 3
    assert plain.multiply_adds == wet.multiply_adds == 30 * 30 * filters * 27 + 400 * 3
    assert plain.step_ms > 0 and wet.step_ms > 0


def test_attention_is_among_the_multiply_adds(project: Path) -> None:
    """Counted by hand for each layer of `fdp`, attention included, which torch's counter leaves out if it is fused."""
    write_params(params() | {"runs": {"drawing": {"task": "tiny", "model": "fdp"}}})
    write_task(paths.task("tiny"), task_rows(side=48))
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d):
            counted += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            counted += output.numel() * module.in_features
        else:
            assert isinstance(module, Attention)
            frames, width, height, across = inputs[0].shape
            counted += 2 * frames * width * (height * across) ** 2  # keys by queries, and their values; pool 1

    model = create_model("fdp", 3, shapes={"frames": (4, 1, 48, 48)}).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | Attention):
            module.register_forward_hook(count)
    with torch.no_grad():
        output = model(frames=torch.zeros(1, 4, 1, 48, 48))
    # over time: four maps and the frames; the scores' matrix-vector product does not count
    pooled = 4 * (4 * 12 * 12 + output.dynamic_image[0].numel())
    with torch_as_it_was():
        (cost,) = measure_costs([load_run("drawing")], rounds=1)
    assert cost.multiply_adds == counted + pooled


def test_what_a_run_sets(ready: Path) -> None:
    assert changes_of(load_run("tiny-wet").entry) == "dropout 0.1, lr 0.1"
    assert changes_of(load_run("tiny-ststnet").entry) == ""


@pytest.mark.parametrize(
    ("arguments", "file", "runs"),
    [((), "costs.md", list(RUNS)), (("--table", "dropout"), "costs-dropout.md", ["tiny-ststnet", "tiny-wet"])],
)
def test_costs_stand_beside_the_figures(ready: Path, arguments: tuple[str, ...], file: str, runs: list[str]) -> None:
    result = CliRunner().invoke(app, ["costs", *arguments])
    assert result.exit_code == 0, result.output
    text = Path("results", file).read_text()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, body = cells[0], {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert head[:6] == ["run", "task", "sets", "protocol", "UF1", "UAR"] and sorted(body) == sorted(runs)
    assert body["tiny-ststnet"]["step, ratio"] == "1.00" and body["tiny-ststnet"]["parameters"] == "1,683"
    assert body["tiny-wet"]["sets"] == "dropout 0.1, lr 0.1" and float(body["tiny-wet"]["step, ratio"]) > 0
    assert {row["UF1"] for row in body.values()} == {"1.000"}
    frame = pd.read_csv(Path("results", file).with_suffix(".csv")).set_index("run")
    assert sorted(frame.index) == sorted(set(runs) - {"tiny-majority"}) and set(frame["model"]) == {"ststnet"}
    # two epochs over the 12 of 18 clips that two of three subjects have
    assert frame["fold_s"].tolist() == pytest.approx((2 * 12 * frame["step_ms"] / 1000).tolist(), abs=2e-3)
    if "tiny-majority" in runs:
        assert body["tiny-majority"]["parameters"] == "-"


def test_a_fold_of_few_training_subjects_takes_less(ready: Path) -> None:
    few = load_run("few", params(runs={"few": RUNS["tiny-ststnet"] | {"training_subjects": 1}}))
    (cost,) = measure_costs([few], rounds=1)
    assert cost.fold_s == pytest.approx(2 * 6 * cost.step_ms / 1000)


def test_a_table_that_no_run_names(ready: Path) -> None:
    result = CliRunner().invoke(app, ["costs", "--table", "nothing"])
    assert result.exit_code == 1 and "no run has `table: nothing`" in result.stderr
    assert read_params()["runs"]["tiny-wet"]["table"] == "dropout"
