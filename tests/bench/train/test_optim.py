"""Optimiser and schedule: against torch's own one-cycle schedule, AdamW by hand, and cut where a training is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.bench.train.data import load_clips
from fdpbench.bench.train.fit_module import fit_module
from fdpbench.bench.train.optim import OneCycle, make_optimizer
from fdpbench.bench.train.settings import ModelSettings
from fdpbench.bench.train.step import TrainStep
from fdpbench.models.common.registry import create_model
from fdpbench.prep.settings.problems import ParamsError
from tests.support.builders import run_of, task_rows, torch_as_it_was, write_task

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def optimiser_of(kind: str, parameter: torch.Tensor, lr: float = 0.1, decay: float = 0.0) -> torch.optim.Optimizer:
    settings = ModelSettings.model_validate({"optimiser": kind, "lr": lr, "weight_decay": decay})
    return make_optimizer(settings, [parameter])


@given(steps=st.integers(1, 400), peak=st.floats(1e-6, 1.0))
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_one_cycle_is_torchs(steps: int, peak: float) -> None:
    optimizer = optimiser_of("adamw", torch.nn.Parameter(torch.zeros(1)), peak)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    cycle = OneCycle(peak, steps)
    for step in range(steps):
        (group,) = optimizer.param_groups
        assert cycle.at(step) == pytest.approx((group["lr"], group["betas"][0]), rel=5e-6, abs=1e-16), step
        if step < steps - 1:
            torchs.step()


@given(steps=st.integers(4, 1000), peak=st.floats(1e-6, 1.0))
def test_one_cycle_rises_then_falls_and_its_numbers_have_six_digits(steps: int, peak: float) -> None:
    cycle = OneCycle(peak, steps)
    rates, betas = zip(*(cycle.at(step) for step in range(steps)), strict=True)
    top = rates.index(max(rates))
    assert list(rates[: top + 1]) == sorted(rates[: top + 1]) and list(rates[top:]) == sorted(rates[top:], reverse=True)
    assert all(0.85 <= beta <= 0.95 for beta in betas)
    assert rates[-1] == pytest.approx(peak / 250_000, rel=1e-5)
    assert all(float(f"{value:.6g}") == value for value in (*rates, *betas))
    assert cycle.at(steps) == cycle.at(steps + 7) == cycle.at(steps - 1)


def test_the_second_beta_and_all_groups_follow() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.Adam([{"params": [one]} for one in parameters], lr=1.0, betas=(0.9, 0.99))
    OneCycle(0.5, 100).set(optimizer, 29)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == 2 * [(0.5, (0.85, 0.99))]


@pytest.mark.parametrize(("kind", "moved"), [("adam", 0.1), ("adamw", 0.1 + 0.1 * 0.5 * 2.0)])
def test_weight_decay_of_the_two_optimisers(kind: str, moved: float) -> None:
    """One step: Adam's decay passes through its statistics, so that only the sign counts; AdamW's does not."""
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = optimiser_of(kind, weight, lr=0.1, decay=0.5)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(2.0 - moved, rel=1e-6)
    assert optimizer.defaults["fused"]


def test_a_training_follows_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step has the next learning rate, over all epochs; a training that ends early has the first of them."""
    write_task(tmp_path, task_rows(per_class=1))
    clips = load_clips(tmp_path, ("flow",))
    run = run_of("ststnet", epochs=4, batch_size=4, lr=0.01, schedule="one_cycle")
    seen: list[float] = []
    step = TrainStep.__call__

    def spied(self: TrainStep, batch: torch.Tensor) -> Any:
        result = step(self, batch)
        seen.append(self.optimizer.param_groups[0]["lr"])
        return result

    monkeypatch.setattr(TrainStep, "__call__", spied)
    fit_module(run, clips, 3, 0, "cpu", lambda message: None)
    wanted = [OneCycle(0.01, 4 * 3).at(step)[0] for step in range(4 * 3)]  # 9 clips in 3 batches
    assert seen == wanted
    seen.clear()
    fit_module(run, clips, 3, 0, "cpu", lambda message: None, epochs=2)
    assert seen == wanted[: 2 * 3]


def test_without_a_schedule_the_rate_stays(tmp_path: Path) -> None:
    write_task(tmp_path, task_rows(per_class=1))
    clips = load_clips(tmp_path, ("flow",))
    model = create_model("ststnet", 3, shapes=clips.shapes)
    step = TrainStep(run_of("ststnet", lr=0.02), model, clips, CPU)
    for _ in range(3):
        step(torch.arange(4))
    assert {(group["lr"], group["betas"]) for group in step.optimizer.param_groups} == {(0.02, (0.9, 0.999))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "sgd"}, "optimiser: Input should be 'adam' or 'adamw'"),
        ({"optimizer": "adam"}, "optimizer: unknown key .did you mean 'optimiser'"),
        ({"schedule": "one-cycle"}, "schedule: Input should be .*did you mean 'one_cycle'"),
        ({"schedule": None}, "schedule"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        run_of("ststnet", **settings)
