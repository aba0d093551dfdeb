"""Folds trained together: as each of them alone, whatever the sizes; refused where that cannot be."""

from __future__ import annotations

import functools
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn

import bench.fit_stack
import bench.progress
from bench.artifacts import Artifacts
from bench.data import ClipSet
from bench.fit_stack import FoldTraining, StackStep, _batches, _Learner, fit_stack
from bench.params import ModelSettings, Run, load_run, load_train
from bench.predictions import read_predictions
from bench.run import train_run
from bench.step import set_up_torch
from models._stacked import Stack, refusal
from models._stacked_layers import Batch, StackedBatchNorm2d, StackedConv2d, StackedDropout, StackedLinear
from models.registry import create_model, list_models, model_info
from prep.params import ParamsError
from prep.scratch import Scratch
from prep.workers import Unit
from tests.builders import params, run_of, smallest_preset, task_rows, torch_as_it_was, write_task
from tests.test_step import NothingWaits

CPU, CLASSES = torch.device("cpu"), 3
SMALL: dict[str, dict[str, Any]] = {"off_apexnet": {"hidden": 24}, "dual_inception": {"hidden": 24, "dropout": 0.3}}
STACKABLE = ("dual_inception", "off_apexnet", "rcn", "ststnet")
LR = {"dual_inception": 3e-4, "off_apexnet": 3e-4, "rcn": 1e-3, "ststnet": 1e-3}  # as in params.yaml
# clips of each subject: 12, 10 and 6 of 14 clips train, in batches of 4 4 4, 4 3 3 and 3 3
SIZES = (2, 4, 8)


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        set_up_torch(CPU, True)
        yield


def stack_run(name: str, epochs: int = 7, precision: str = "float32", **options: Any) -> Run:
    settings = ModelSettings(
        epochs=epochs, batch_size=4, lr=LR[name], weight_decay=1e-3, stack=3, model=SMALL.get(name, {}) | options
    )
    like = run_of("ststnet")
    train = load_train(params(train={"precision": precision}))
    return Run("it", "tiny", like.task_params, like.entry, model_info(name), settings, train)


def noise(seed: int = 0) -> ClipSet:
    rng = np.random.default_rng(seed)
    subjects = tuple(f"r/s{k}" for k, size in enumerate(SIZES) for _ in range(size))
    names = tuple(f"{subject}/c{k:02d}" for k, subject in enumerate(subjects))
    flow = rng.random((len(names), 3, 28, 28), np.float32)
    return ClipSet(names, subjects, rng.integers(0, CLASSES, len(names)), {"flow": flow})


AS_ONE = [pytest.param(True, id="as one network"), pytest.param(False, id="in turn")]  # on a CPU the latter
FOLDS = [FoldTraining(f"r/s{k}", 40 + k) for k in range(len(SIZES))]


def alone(run: Run, clips: ClipSet, fold: FoldTraining, dtype: torch.dtype, epochs: int) -> tuple[list[float], Any]:
    """Losses of each step and the model of one fold, in a loop written out."""
    own = np.array([k for k, subject in enumerate(clips.subjects) if subject != fold.subject])
    values = clips.inputs["flow"][own].astype(np.float64)
    mean, scale = values.mean((0, 2, 3), keepdims=True), values.std((0, 2, 3), keepdims=True)
    flow = torch.from_numpy(clips.inputs["flow"][own]).to(dtype)
    flow = (flow - torch.from_numpy(mean).float().to(dtype)) / torch.from_numpy(scale).float().to(dtype)
    labels = torch.from_numpy(clips.labels[own])
    torch.manual_seed(fold.seed)
    model = create_model(run.model.name, CLASSES, shapes={"flow": (3, 28, 28)}, **run.settings.model).to(dtype).train()
    lr, decay = run.settings.lr, run.settings.weight_decay
    assert lr and decay is not None
    adam = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=decay)
    order, losses = torch.Generator().manual_seed(fold.seed), []
    for _ in range(epochs):
        for batch in torch.randperm(len(own), generator=order).tensor_split(-(-len(own) // 4)):
            loss = F.cross_entropy(model(flow=flow[batch]).logits, labels[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
    return losses, model


def together(
    run: Run, clips: ClipSet, dtype: torch.dtype, epochs: int, as_one: bool
) -> tuple[list[list[float]], list[Any]]:
    """The same of all folds, stacked."""
    learners = [_Learner.of(run, clips, fold, CLASSES, CPU) for fold in FOLDS]
    for learner in learners:
        learner.fitted.model.to(dtype)
    at_work = sorted(learners, key=lambda learner: -learner.batches)
    stack = Stack([one.fitted.model for one in at_work], [one.dropout for one in at_work], as_one)
    step = StackStep(run, stack, clips, [one.fitted.standardiser for one in at_work], CPU)
    losses: dict[str, list[float]] = {one.subject: [] for one in at_work}
    for _ in range(epochs):
        for batch, sizes, valid in _batches([one.shuffled() for one in at_work]):
            said = step(torch.from_numpy(batch), sizes, torch.from_numpy(valid), torch.tensor(sizes).to(dtype))
            for one, loss in zip(at_work, said.tolist(), strict=False):
                losses[one.subject].append(loss)
    return [losses[fold.subject] for fold in FOLDS], [one.fitted.model for one in learners]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)])
@pytest.mark.parametrize("as_one", AS_ONE)
@pytest.mark.parametrize("name", STACKABLE)
def test_twenty_steps_are_those_of_each_fold_alone(
    name: str, as_one: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """Unequal folds and batches, and a fold with fewer steps; first weights, shuffles and dropout are the same."""
    run, clips, epochs = stack_run(name), noise(), 7
    found, models = together(run, clips, dtype, epochs, as_one)
    for fold, losses, model in zip(FOLDS, found, models, strict=True):
        wanted, expected = alone(run, clips, fold, dtype, epochs)
        assert len(losses) == len(wanted) and max(abs(a - b) for a, b in zip(losses, wanted, strict=True)) < tolerance
        for key, value in expected.state_dict().items():
            if dtype == torch.float64 and not (name == "rcn" and key.endswith(".bias")):  # such biases are rounding
                torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=1e-6, msg=key)
    assert [len(losses) for losses in found] == [21, 21, 14]


@pytest.mark.parametrize("variant", ["plain", "S", "W", "P", "C", "F"])
def test_all_variants_of_rcn(variant: str) -> None:
    """Strides, dilations, shortcuts, and code between the layers that uses a layer's weights."""
    run, clips = stack_run("rcn", variant=variant, width=8), noise()
    found, _ = together(run, clips, torch.float64, 2, as_one=True)
    for fold, losses in zip(FOLDS, found, strict=True):
        assert losses == pytest.approx(alone(run, clips, fold, torch.float64, 2)[0], abs=1e-8)


@pytest.mark.parametrize("as_one", AS_ONE)
@pytest.mark.parametrize("strange", [50, 1e18])
def test_padding_changes_nothing(strange: float, as_one: bool) -> None:
    """A batch of its own size, and the same filled up with a clip that would change every sum."""
    run, clips = stack_run("ststnet"), noise()
    clips.inputs["flow"][13] *= strange
    results = []
    for filler in ([], [13, 13, 13]):
        learner = _Learner.of(run, noise(), FOLDS[0], CLASSES, CPU)
        stack = Stack([learner.fitted.model], [learner.dropout], as_one)
        step = StackStep(run, stack, clips, [learner.fitted.standardiser], CPU)
        batch = torch.tensor([[3, 4, 6, 8, *filler]])
        loss = step(batch, [4], (torch.arange(batch.shape[1]) < 4).float()[None], torch.tensor([4.0]))
        results.append((loss, learner.fitted.model.state_dict()))
    (one, weights), (two, others) = results
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    for key in weights:
        torch.testing.assert_close(weights[key], others[key], rtol=1e-4, atol=1e-5, msg=key)


@pytest.fixture
def stacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `fit_stack` compute as one network, or in turn."""
    monkeypatch.setattr(bench.fit_stack, "Stack", functools.partial(Stack, as_one=request.param))


@pytest.mark.parametrize("stacking", AS_ONE, indirect=True)
@pytest.mark.usefixtures("stacking")
def test_the_test_subject_changes_no_weight() -> None:
    """Its clips lie in memory as the other folds' training clips: its own fold must not see them."""
    run, clips, strange = stack_run("ststnet", epochs=2), noise(), noise()
    mine = np.array([subject == FOLDS[1].subject for subject in strange.subjects])
    strange.inputs["flow"][mine] = 1e6
    strange.labels[mine] = 0
    found = [fit_stack(run, held, FOLDS, CLASSES, "cpu", lambda message: None) for held in (clips, strange)]
    for k, (one, other) in enumerate(zip(*found, strict=True)):
        state = other.model.state_dict()
        same = [torch.equal(value, state[key]) for key, value in one.model.state_dict().items()]
        assert all(same) if k == 1 else not all(same)
        assert (one.curve == other.curve) is (k == 1)


@pytest.mark.parametrize("stacking", AS_ONE, indirect=True)
@pytest.mark.usefixtures("stacking")
def test_the_number_of_the_fold_in_its_stack_does_not_matter() -> None:
    run, clips = stack_run("rcn", epochs=2), noise()
    one = fit_stack(run, clips, FOLDS, CLASSES, "cpu", lambda message: None)
    (two,) = fit_stack(run, clips, FOLDS[2:], CLASSES, "cpu", lambda message: None)
    assert [row["loss"] for row in one[2].curve] == pytest.approx([row["loss"] for row in two.curve], abs=1e-5)


def test_the_models_of_one_network_hold_what_it_learnt() -> None:
    """After steps of the stack, not of the models: weights and running statistics."""
    run, clips = stack_run("ststnet"), noise()
    learners = [_Learner.of(run, clips, fold, CLASSES, CPU) for fold in FOLDS]
    models = [one.fitted.model for one in learners]
    stack = Stack(models, [one.dropout for one in learners], as_one=True)
    step = StackStep(run, stack, clips, [one.fitted.standardiser for one in learners], CPU)
    before = {name: tensor.detach().clone() for name, tensor in (stack.parameters | stack.buffers).items()}
    for batch, sizes, valid in _batches([one.shuffled() for one in learners])[:2]:
        step(torch.from_numpy(batch), sizes, torch.from_numpy(valid), torch.tensor(sizes).float())
    assert set(before) == set(models[0].state_dict())
    for key, tensor in (stack.parameters | stack.buffers).items():
        assert all(not torch.equal(one, other) for one, other in zip(tensor, before[key], strict=True)), key
        for k, model in enumerate(models):
            assert torch.equal(model.state_dict()[key], tensor[k]), key


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"dilation": 2, "padding": 2}, {"kernel_size": 1}, {"bias": False}]
)
def test_convolutions_of_folds_are_torchs(options: dict[str, Any]) -> None:
    layer = StackedConv2d(3, 4, **{"kernel_size": 3, "padding": 1} | options).double()
    how = (layer.stride, layer.padding, layer.dilation)
    forms_agree(layer, (2, 5, 3, 9, 8), lambda x, weight, bias: F.conv2d(x, weight, bias, *how))  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inner", [(), (3, 2)])
def test_linear_layers_of_folds_are_torchs(bias: bool, inner: tuple[int, ...]) -> None:
    forms_agree(StackedLinear(6, 4, bias=bias).double(), (2, 5, *inner, 6), F.linear)


def forms_agree(layer: Any, shape: tuple[int, ...], alone: Callable[..., torch.Tensor]) -> None:
    """Hold a stacked layer, forward and backward, against one call for each fold; and one under vmap."""
    torch.manual_seed(0)
    shapes = [shape, (2, *layer.weight.shape), *([(2, 4)] if layer.bias is not None else [])]
    tensors = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in shapes]
    x, weight, bias = (*tensors, None)[:3]
    assert x is not None and weight is not None
    wanted = torch.stack([alone(x[k], weight[k], None if bias is None else bias[k]) for k in range(2)])
    found = layer.stacked(x, weight, bias)
    torch.testing.assert_close(found, wanted)
    above = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, tensors, above)
    for one, other in zip(torch.autograd.grad(found, tensors, above), gradients, strict=True):
        torch.testing.assert_close(one, other)
    shared = torch.stack([alone(one, layer.weight, layer.bias) for one in x])
    torch.testing.assert_close(torch.func.vmap(layer)(x), shared)


def test_batch_norm_of_folds_is_torchs_of_each() -> None:
    """Forward, backward and running statistics, with padding in one fold and without in the other."""
    torch.manual_seed(0)
    sizes, shape = (3, 5), (2, 5, 4, 6, 6)
    x, above = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    layer = StackedBatchNorm2d(4).double()
    layer.batch = Batch()
    layer.batch.counts = torch.tensor(sizes).double()
    tensors = [torch.rand(2, 4, dtype=torch.float64) for _ in range(4)]
    state = dict(zip(("weight", "bias", "running_mean", "running_var"), tensors, strict=True))
    alone = []
    for k, size in enumerate(sizes):
        norm, own = nn.BatchNorm2d(4).double(), x[k, :size].clone().requires_grad_()
        norm.load_state_dict({name: tensor[k] for name, tensor in state.items()}, strict=False)
        y = norm(own)
        y.backward(above[k, :size])
        alone.append((y, own, norm))
    x.requires_grad_()
    for name in ("weight", "bias"):
        state[name].requires_grad_()
    statistics = state["running_mean"], state["running_var"], torch.zeros(2, dtype=torch.long)
    y = layer.stacked(x, state["weight"], state["bias"], *statistics)
    above[0, sizes[0] :] = 0  # the loss leaves padding out
    y.backward(above)
    assert x.grad is not None and not x.grad[0, sizes[0] :].any()
    for k, (wanted, own, norm) in enumerate(alone):
        torch.testing.assert_close(y[k, : sizes[k]], wanted)
        torch.testing.assert_close(x.grad[k, : sizes[k]], own.grad)
        for name in ("weight", "bias"):
            torch.testing.assert_close(state[name].grad[k], getattr(norm, name).grad)  # type: ignore[index]
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(state[name][k], getattr(norm, name))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("as_one", AS_ONE)
@pytest.mark.parametrize("name", STACKABLE)
def test_a_step_never_waits(name: str, as_one: bool, precision: str) -> None:
    run, clips = stack_run(name, precision=precision), noise()
    learners = [_Learner.of(run, clips, fold, CLASSES, CPU) for fold in FOLDS]
    stack = Stack([one.fitted.model for one in learners], [one.dropout for one in learners], as_one)
    step = StackStep(run, stack, clips, [one.fitted.standardiser for one in learners], CPU)
    batch, sizes, valid = _batches([one.shuffled() for one in learners])[0]
    given = torch.from_numpy(batch), sizes, torch.from_numpy(valid), torch.tensor(sizes).float()
    with NothingWaits():
        losses = step(*given)
    assert losses.shape == (3,) and bool(losses.isfinite().all()) and losses.dtype == torch.float32


@pytest.mark.parametrize("name", STACKABLE)
def test_one_network_in_mixed_precision_rounds_as_its_models_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the layers is bfloat16, as alone: vmap's own rules would add biases in float32."""
    run, clips, seen = stack_run(name, precision="bfloat16"), noise(), []

    def spied(layer: StackedDropout, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.dtype)
        return plain(layer, x)

    plain = StackedDropout.stacked
    monkeypatch.setattr(StackedDropout, "stacked", spied)
    logits = []
    for as_one in (True, False):
        learners = [_Learner.of(run, clips, fold, CLASSES, CPU) for fold in FOLDS]
        stack = Stack([one.fitted.model for one in learners], [one.dropout for one in learners], as_one)
        flow = torch.from_numpy(clips.inputs["flow"][:12]).view(3, 4, 3, 28, 28)
        with torch.autocast("cpu", torch.bfloat16):
            logits.append(stack.logits({"flow": flow}, [4, 4, 4], torch.full((3,), 4.0)))
    assert seen and set(seen) == {torch.bfloat16} and {one.dtype for one in logits} == {torch.bfloat16}
    torch.testing.assert_close(*logits, rtol=0.05, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", STACKABLE)
def test_a_step_on_cuda(name: str, precision: str) -> None:
    """Nothing synchronises, by torch's own check, and what dropout sees is of the precision asked for."""
    cuda = torch.device("cuda")
    set_up_torch(cuda, False)
    run, clips = stack_run(name, precision=precision), noise()
    learners = [_Learner.of(run, clips, fold, CLASSES, cuda) for fold in FOLDS]
    stack = Stack([one.fitted.model for one in learners], [one.dropout for one in learners])
    assert stack.as_one
    step = StackStep(run, stack, clips, [one.fitted.standardiser for one in learners], cuda)
    batch, sizes, valid = _batches([one.shuffled() for one in learners])[0]
    given = (
        torch.from_numpy(batch).to(cuda),
        sizes,
        torch.from_numpy(valid).to(cuda),
        torch.tensor(sizes).float().to(cuda),
    )
    step(*given)  # what is set up once may wait
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = step(*given)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert bool(losses.isfinite().all()) and losses.dtype == torch.float32


# --- whole runs


def stacked_run(size: int | None, **train: Any) -> Run:
    return run_of("ststnet", {"repetitions": 2} | train, stack=size)


def test_a_whole_run_in_stacks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a run, with one worker or two; a stack that is missing is all that is trained again."""
    task = project / "data/task/tiny"
    write_task(task, task_rows(per_class=1) + task_rows(("synthetic/s04",), per_class=2))
    train_run(stacked_run(None), task, Artifacts("it"), 2, 1)
    shutil.move("artifacts", "alone")
    train_run(stacked_run(3), task, Artifacts("it"), 2, 1)
    shutil.copytree("artifacts", "stacked")
    asked: list[str] = []
    missing = Scratch.missing

    def spied(self: Scratch, names: Any) -> list[str]:
        asked.extend(missing(self, names))
        return list(asked)

    monkeypatch.setattr(Scratch, "missing", spied)
    (lost,) = Path(".scratch/train-it").glob("*/units/1%2Fsynthetic%2Fs01*")
    shutil.rmtree(lost)
    train_run(stacked_run(3), task, Artifacts("it"), 1, 1)
    assert asked == ["1/synthetic/s01 and 2 more"]

    def files(root: str) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in Path(root).rglob("*.*")}

    assert files("artifacts") == files("stacked")
    assert set(files("alone")) == set(files("stacked"))
    roots = ("alone", "stacked")
    rows = [read_predictions(Path(root) / "predictions/it.parquet") for root in roots]
    for one, other in zip(*rows, strict=True):
        same = [key for key in one if key not in ("scores", "y_pred")]
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
    heads = []
    for root in roots:
        checkpoint = files(root)["checkpoints/it/0-synthetic-s01.safetensors"]
        heads.append(json.loads(checkpoint[8 : 8 + int.from_bytes(checkpoint[:8], "little")]))
    assert heads[0] == heads[1], "names, shapes and metadata of a checkpoint"
    lines = [files(root)["curves/it.csv"].decode().splitlines() for root in roots]
    assert [line.split(",")[:3] for line in lines[0]] == [line.split(",")[:3] for line in lines[1]]


def test_progress_counts_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(bench.progress, "console", Console(file=said, width=200))
    monkeypatch.setattr(bench.progress, "LINE_EVERY", 0)
    with bench.progress.TrainingProgress("it", 7, 3, {"a": 3, "b": 3, "c": 1}) as progress:
        progress.report(Unit("b", None), {"epoch": 1, "epochs": 2, "loss": 1.0})
        assert progress._share == {"b": 1.5}
        progress.finished("b")
        progress.finished("c")
    assert "3 of 7 folds were finished before" in said.getvalue() and "train it: 3 of 7 folds; " in said.getvalue()
    assert progress.done == 7


# --- refusals


def test_who_can_be_stacked() -> None:
    assert tuple(name for name in list_models() if model_info(name).stackable) == STACKABLE
    for name in STACKABLE:
        assert refusal(create_model(name, CLASSES, shapes={"flow": (3, 28, 28)})) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model": "cnn3d", "set": {"stack": 4}}, "cnn3d cannot be stacked"),
        ({"model": "majority", "set": {"stack": 4}}, "majority cannot be stacked"),
        ({"model": "ststnet", "protocol": "inner"}, "protocol inner chooses an epoch.*stack: null"),
        ({"model": "ststnet", "faults": {"frozen_batch_norm": True}}, "frozen_batch_norm; set: {stack: null}"),
        (
            {"model": "ststnet", "set": {"objective": "group_dro", "dro_step": 0.01}},
            "mean loss alone, not by group_dro",
        ),
        ({"model": "ststnet", "set": {"stack": 1}}, "stack"),
    ],
)
def test_a_run_that_cannot_be_stacked_is_refused_before_it_trains(entry: dict[str, Any], message: str) -> None:
    held = params(runs={"it": {"task": "tiny"} | entry})
    held["options"]["ststnet"]["stack"] = 4
    with pytest.raises(ParamsError, match=message):
        load_run("it", held)
    if "set" not in entry:
        held["runs"]["it"]["set"] = {"stack": None}
        assert load_run("it", held).settings.stack is None


@pytest.mark.parametrize("name", ["cnn3d", "fdp", "emr"])
def test_a_model_of_other_layers_is_refused_by_name(name: str) -> None:
    shapes = {"frames": (8, 1, 32, 32), "dynamic_image": (1, 32, 32), "flow": (3, 28, 28)}
    model = create_model(name, CLASSES, shapes=shapes, **smallest_preset(name))
    with pytest.raises(TypeError, match="cannot be stacked: (layer|its loss)"):
        Stack([model], [torch.Generator()])


def test_grouped_convolutions_and_bare_batch_norm_are_refused() -> None:
    model = create_model("ststnet", CLASSES, shapes={"flow": (3, 28, 28)})
    layers: list[tuple[nn.Module, str]] = [
        (nn.Conv2d(4, 4, 3, groups=2), "groups"),
        (nn.BatchNorm2d(4, track_running_stats=False), "running statistics"),
        (nn.Dropout2d(), "Dropout2d"),
    ]
    for layer, word in layers:
        model.extra = layer
        assert word in str(refusal(model))
