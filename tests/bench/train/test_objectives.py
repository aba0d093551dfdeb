"""Class weights and group DRO: by hand, what they become at their limits, and that they train."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fdpbench.bench.evaluate.scores import changes_of
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.fit_module import fit_module
from fdpbench.bench.train.objectives import ClassWeights, GroupDRO
from fdpbench.bench.train.step import TrainStep
from fdpbench.models.common.registry import create_model
from fdpbench.prep.settings.problems import ParamsError
from tests.bench.train.test_step import NothingWaits
from tests.support.builders import params, run_of, task_rows, torch_as_it_was, write_task

CPU = torch.device("cpu")
GROUP_DRO: dict[str, Any] = {"objective": "group_dro", "dro_step": 0.5}


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def test_weights_and_losses_by_hand() -> None:
    dro = GroupDRO(["b", "a", "b", "c"], step=2.0, device=CPU)
    q = np.full(3, 1 / 3)  # of a, b, c
    batches: list[tuple[list[int], list[float], list[float]]] = [
        ([0, 1, 2], [1.0, 0.5, 3.0], [0.5, 2.0, 0.0]),  # b has two clips, c none
        ([3, 3], [0.25, 0.75], [0.0, 0.0, 0.5]),
        ([1, 0, 3], [0.0, 1.0, 4.0], [0.0, 1.0, 4.0]),
    ]
    for batch, losses, risk in batches:
        total = dro(torch.tensor(losses), torch.tensor(batch))
        q = q * np.exp(2.0 * np.array(risk))
        q /= q.sum()
        np.testing.assert_allclose(dro.weights.numpy(), q, rtol=1e-5)
        present = np.count_nonzero(risk) if batch != [1, 0, 3] else 3  # there a's loss is 0
        assert float(total) == pytest.approx(3 / present * float(q @ risk), rel=1e-5)


def test_one_group_is_the_mean_over_the_clips() -> None:
    dro = GroupDRO(["a"] * 4, step=0.7, device=CPU)
    losses = torch.tensor([1.0, 2.0, 6.0])
    for _ in range(3):
        assert float(dro(losses, torch.tensor([0, 2, 3]))) == pytest.approx(3.0)
    assert dro.weights.tolist() == [1.0]


def test_without_a_step_groups_of_equal_size_give_the_mean_over_the_clips() -> None:
    dro = GroupDRO(["a", "b", "c", "a", "b", "d"], step=0.0, device=CPU)
    losses = torch.tensor([1.0, 2.0, 6.0, 5.0], requires_grad=True)
    total = dro(losses, torch.tensor([0, 1, 3, 4]))
    assert float(total.detach()) == pytest.approx(3.5)
    total.backward()
    assert losses.grad is not None and losses.grad.tolist() == pytest.approx([0.25] * 4)
    assert dro.weights.tolist() == pytest.approx([0.25] * 4)


def test_the_worst_group_gets_the_weight_and_the_gradient() -> None:
    dro = GroupDRO(["a", "b", "c"], step=0.1, device=CPU)
    losses = torch.tensor([0.2, 2.0, 0.5], requires_grad=True)
    for _ in range(40):
        total = dro(losses, torch.arange(3))
    weights = dro.weights.tolist()
    assert weights[1] > 0.95 and weights[2] > weights[0]
    total.backward()
    assert losses.grad is not None and losses.grad.tolist() == pytest.approx(weights)  # none through the weights


def test_huge_losses_leave_finite_weights() -> None:
    dro = GroupDRO(["a", "b"], step=1.0, device=CPU)
    for _ in range(3):
        dro(torch.tensor([1e4, 2e4]), torch.arange(2))
    assert dro.weights.tolist() == [0.0, 1.0]


# --- class weights


@given(st.data())
def test_class_weights_are_those_of_torchs_cross_entropy(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=30))
    batch = torch.tensor(data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=12)))
    power = data.draw(st.floats(0, 1))
    logits = torch.from_numpy(np.random.default_rng(len(labels)).normal(0, 1, (len(batch), 4)))
    frequency = np.bincount(labels, minlength=4) / len(labels)
    weight = torch.from_numpy(np.where(frequency > 0, np.maximum(frequency, 1e-9) ** -power, 0))
    wanted = F.cross_entropy(logits, torch.tensor(labels)[batch], weight=weight)
    losses = F.cross_entropy(logits, torch.tensor(labels)[batch], reduction="none")
    assert float(ClassWeights(labels, power, CPU)(losses, batch)) == pytest.approx(float(wanted), rel=1e-5)


def test_class_weights_by_hand() -> None:
    losses, batch = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0, 3, 4])
    labels = [0, 0, 0, 0, 1]  # weights (5 / 4)^p and 5^p
    assert float(ClassWeights(labels, 0.0, CPU)(losses, batch)) == pytest.approx(3.0)
    assert float(ClassWeights(labels, 1.0, CPU)(losses, batch)) == pytest.approx((1.25 * 3 + 5 * 6) / 7.5)
    assert float(ClassWeights(labels, 0.5, CPU)(losses, batch)) == pytest.approx((1 + 2 + 2 * 6) / 4)


@pytest.mark.parametrize("model", ["ststnet", "capsulenet"])
def test_the_rare_class_weighs_more_in_training(tmp_path: Path, model: str) -> None:
    """The term that the model names changes, and as by hand."""
    inputs = {"ststnet": ("flow",), "capsulenet": ("apex",)}[model]
    write_task(tmp_path, [row for row in task_rows(side=40) if row["label"] != 1 or row["subject"].endswith("1")])
    clips = load_clips(tmp_path, inputs)
    content = params(runs={"it": {"task": "tiny", "model": model, "set": {"class_weight": 1.0}}})
    content["tasks"]["tiny"]["apex"] = True
    run = load_run("it", content)
    torch.manual_seed(0)
    network = create_model(model, 3, shapes=clips.shapes, **run.settings.model).eval()
    step = TrainStep(run, network, clips, CPU)
    batch = torch.arange(len(clips))
    if model == "capsulenet":  # untrained, it loses as much on each clip
        network.classification_losses = lambda output, labels: labels**2 + 0 * output.logits.sum(dim=1)
    with torch.no_grad():
        output = network(**step.standardiser(step.tensors))
        losses = network.classification_losses(output, step.labels)
    counts = np.bincount(clips.labels, minlength=3)
    weights = 1 / counts[clips.labels]
    wanted = float(weights @ losses.numpy() / weights.sum())
    assert abs(wanted - float(losses.mean())) > 1e-3, "else this test could not fail"
    assert float(step(batch)[network.classification]) == pytest.approx(wanted, rel=1e-4)


# --- in training


def clips_of(folder: Path, inputs: tuple[str, ...] = ("flow",)) -> ClipSet:
    write_task(folder, task_rows(per_class=1, length=4, side=32))
    return load_clips(folder, inputs)


def trained(clips: ClipSet, model: str = "ststnet", **settings: Any) -> dict[str, Tensor]:
    run = run_of(model, epochs=3, **settings)
    return fit_module(run, clips, 3, 0, "cpu", lambda message: None).model.state_dict()


def test_a_model_trains_by_it_and_repeats_its_weights(tmp_path: Path) -> None:
    clips = clips_of(tmp_path)
    one, again = trained(clips, **GROUP_DRO), trained(clips, **GROUP_DRO)
    assert all(torch.equal(one[name], again[name]) for name in one)
    others: tuple[dict[str, Any], ...] = ({}, GROUP_DRO | {"dro_step": 5.0})
    for other in others:
        assert not all(torch.equal(one[name], value) for name, value in trained(clips, **other).items())


def test_the_default_is_the_mean_over_the_clips(tmp_path: Path) -> None:
    clips = clips_of(tmp_path)
    one, other = trained(clips), trained(clips, objective="erm")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_of_one_subject_it_trains_as_without(tmp_path: Path) -> None:
    write_task(tmp_path, task_rows(subjects=("synthetic/s01",), length=2))
    clips = load_clips(tmp_path, ("flow",))
    objectives: tuple[dict[str, Any], ...] = ({}, GROUP_DRO)
    fits = [
        fit_module(run_of("ststnet", epochs=2, **settings), clips, 3, 0, "cpu", lambda message: None)
        for settings in objectives
    ]
    assert [sorted(fit.curve[0]) for fit in fits] == [
        ["cross_entropy", "epoch", "loss"],
        ["epoch", "group_dro", "loss"],
    ]
    losses = [[row["loss"] for row in fit.curve] for fit in fits]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.usefixtures("fused_adam")
def test_a_step_changes_the_classification_term_alone_and_never_waits(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, ("frames", "dynamic_image"))
    content = params(runs={"it": {"task": "tiny", "model": "fdp"}})
    recipe = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0, "model": {"preset": "tiny"}}
    steps = []
    for more in ({}, GROUP_DRO):
        content["options"]["fdp"] = recipe | more
        torch.manual_seed(0)
        model = create_model("fdp", 3, shapes={"frames": clips.shapes["frames"]}, preset="tiny").train()
        torch.manual_seed(1)  # what the model draws in its step
        one = TrainStep(load_run("it", content), model, clips, CPU)
        with NothingWaits():
            steps.append(one(torch.arange(4)))
    plain, weighed = steps
    assert set(weighed) == set(plain) - {"cross_entropy"} | {"group_dro"}
    assert all(torch.equal(weighed[name], plain[name]) for name in set(plain) & set(weighed))


@pytest.fixture
def fused_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: the plain one reads its count of steps."""
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, **options: adam(*args, **options | {"fused": True}))


# --- params.yaml


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "group_dro"}, "objective group_dro needs dro_step"),
        ({"dro_step": 0.1}, "objective erm takes no dro_step"),
        ({"objective": "worst"}, "objective: Input should be 'erm' or 'group_dro'"),
        ({"objective": "group_dro", "dro_step": -0.1}, "dro_step"),
        ({"objective": "group_dro", "dro_step": float("inf")}, "dro_step"),
        ({"objective": "group_dro", "dro_step": "0.1"}, "dro_step"),
        (
            GROUP_DRO | {"class_weight": 0.5},
            "class_weight 0.5 goes with objective erm alone: group_dro weighs subjects",
        ),
        ({"class_weight": 1.5}, "class_weight: Input should be less than or equal to 1"),
        ({"class_weight": -0.5}, "class_weight"),
        ({"class_weight": "half"}, "class_weight"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        run_of("ststnet", **settings)


@pytest.mark.parametrize(("settings", "key"), [(GROUP_DRO, "objective, dro_step"), ({"dro_step": 0.1}, "dro_step")])
def test_an_estimator_has_no_objective(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ParamsError, match=f"runs.it.set: {key} mean nothing to flow_histogram"):
        run_of("flow_histogram", **settings)


def test_a_run_may_change_the_objective_of_its_models_options() -> None:
    content = params(runs={"it": {"task": "tiny", "model": "ststnet", "set": {"dro_step": 0.2}}})
    content["options"]["ststnet"] |= GROUP_DRO
    run = load_run("it", content)
    assert (run.settings.objective, run.settings.dro_step) == ("group_dro", 0.2)
    assert changes_of(run.entry) == "dro_step 0.2"
