"""One training step: nothing in it waits for a device or mixes devices, and it is Adam by the book."""

from __future__ import annotations

import copy
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fdpbench.bench.plan.params import load_train
from fdpbench.bench.train import step
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.fit_module import fit_module
from fdpbench.bench.train.settings import ModelSettings, Run
from fdpbench.bench.train.step import Heads, Standardiser, TrainStep, set_up_torch, to_device
from fdpbench.models.common.blocks import Classifier, ModelOutput
from fdpbench.models.common.conformance import modules
from fdpbench.models.common.conformance.expectations import smallest_options
from fdpbench.models.common.registry import create_model, list_models, model_info
from tests.support.builders import params, run_of, task_rows, torch_as_it_was, write_task

MODULES = [name for name in list_models() if model_info(name).kind == "module"]
CPU = torch.device("cpu")
CLIPS, CLASSES = 6, 3
SHAPES = {
    "frames": (8, 1, 32, 32),
    "dynamic_image": (1, 32, 32),
    "flow": (3, 28, 28),
    "apex": (1, 40, 40),
    "landmarks": (8, 68, 2),
}
MEASURED = ("flow", "landmarks")  # the others are images
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def run_with(name: str, precision: str = "float32", deterministic: bool = True) -> Run:
    """A run of any module model with its smallest preset, whatever its task would be."""
    settings = ModelSettings(epochs=1, batch_size=4, lr=1e-3, weight_decay=1e-3, model=smallest_options(name))
    train = load_train(params(train={"precision": precision, "deterministic": deterministic}))
    like = run_of("ststnet")
    return Run("it", "tiny", like.task_params, like.entry, model_info(name), settings, train)


def noise(name: str) -> ClipSet:
    """Clips with the inputs and targets of a model, in the types in which they are loaded."""
    rng = np.random.default_rng(0)
    info = model_info(name)
    inputs: dict[str, Any] = {}
    for key in dict.fromkeys((*info.inputs, *info.targets)):
        shape = (CLIPS, *SHAPES[key])
        inputs[key] = rng.random(shape, np.float32) if key in MEASURED else rng.integers(0, 256, shape, np.uint8)
    names = tuple(f"r/s{k}/c" for k in range(CLIPS))
    return ClipSet(names, tuple(f"r/s{k}" for k in range(CLIPS)), np.arange(CLIPS) % CLASSES, inputs)


def network(run: Run, clips: ClipSet, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    shapes = {name: clips.shapes[name] for name in run.model.inputs}
    built: Classifier = create_model(run.model.name, CLASSES, shapes=shapes, **run.settings.model)
    return built.train()


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam as it is on CUDA: the plain one reads its count of steps, which there lies on the CPU."""
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, **options: adam(*args, **options | {"fused": True}))


class NothingWaits(TorchDispatchMode):
    """Refuses every operation that on CUDA would make the program wait for the device."""

    WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "equal", "bincount", "histc")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.WAITS or name.startswith(("unique", "_unique", "nonzero")):
            raise AssertionError(f"a step waits for the device: {func}")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
            if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
                raise AssertionError(f"a step waits for the device: {func} with a mask")
        if name == "repeat_interleave" and func.overloadpacket is torch.ops.aten.repeat_interleave:
            if (kwargs or {}).get("output_size") is None:
                raise AssertionError(f"a step waits for the device: {func} without output_size")
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            source = args[0] if name == "_to_copy" else args[1]
            if source.device != result.device:
                raise AssertionError(f"a step copies between devices: {func}")
        return result


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that computes nothing and has no values to read back."""
    monkeypatch.setattr(step, "autocast", lambda run, device: nullcontext())  # this device has none
    return torch.device("meta")


@pytest.mark.parametrize("name", MODULES)
def test_a_step_stays_on_its_device_and_never_waits(name: str, meta: torch.device) -> None:
    """An operand left on the CPU or a value read back is an error."""
    run, clips = run_with(name), noise(name)
    with meta:
        model = network(run, clips)
    one = TrainStep(run, model, clips, meta)
    one.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with NothingWaits():
        terms = one(torch.arange(4, device=meta))
    assert {term.device for term in terms.values()} == {meta}
    assert not any(term.requires_grad for term in terms.values())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.device == meta for parameter in trained)


@pytest.mark.parametrize("name", MODULES)
def test_a_step_in_mixed_precision_never_waits(name: str) -> None:
    """What the models do may hang on values and on precision, which the device above has not."""
    run, clips = run_with(name, "bfloat16"), noise(name)
    one = TrainStep(run, network(run, clips), clips, CPU)
    one.optimizer = torch.optim.SGD(one.model.parameters(), lr=0.1)
    with NothingWaits():
        terms = one(torch.arange(2))
    assert all(np.isfinite(float(term)) for term in terms.values())


class Impolite(Classifier):
    """Does in its forward pass what it is told."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.what = nn.Linear(3 * 28 * 28, CLASSES), what

    def forward(self, flow: Tensor) -> ModelOutput:
        logits = self.layer(flow.flatten(1))
        self.what(logits)
        return ModelOutput(logits=logits)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize(
    ("what", "refused"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: float(x.detach()[0, 0]), "_local_scalar_dense"),
        (lambda x: bool((x > 0).all()), "_local_scalar_dense|is_nonzero"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], "mask|nonzero"),
        (lambda x: x.masked_select(x > 0), "masked_select"),
        (lambda x: x.unique(), "unique"),
        (lambda x: torch.repeat_interleave(torch.ones(2, dtype=torch.int64)), "repeat_interleave"),
        (lambda x: x.to("meta"), "between devices"),
        (lambda x: torch.empty(4, CLASSES, device="meta").copy_(x.detach()), "between devices"),
    ],
)
def test_the_guard_bites(what: Callable[[Tensor], Any], refused: str) -> None:
    """Else the test above could not fail."""
    run, clips = run_with("ststnet"), noise("ststnet")
    rude = TrainStep(run, Impolite(what), clips, CPU)
    rude(torch.arange(4))
    with pytest.raises(AssertionError, match=refused), NothingWaits():
        rude(torch.arange(4))


@pytest.mark.usefixtures("fused")
def test_the_optimiser_never_waits() -> None:
    run, clips = run_with("ststnet"), noise("ststnet")
    one = TrainStep(run, network(run, clips), clips, CPU)
    with NothingWaits():
        for _ in range(2):  # Adam makes its state in the first
            one(torch.arange(4))


def test_the_device_test_bites(meta: torch.device) -> None:
    run, clips = run_with("ststnet"), noise("ststnet")
    for what in (lambda x: x + torch.rand(4, 1), lambda x: x.sum().item()):
        one = TrainStep(run, Impolite(what).to(meta), clips, meta)
        with pytest.raises(RuntimeError, match="device|meta"):
            one(torch.arange(4, device=meta))


# --- against a loop written out


def by_hand(
    run: Run, clips: ClipSet, batches: list[list[int]]
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, float]]]:
    """Adam (Kingma and Ba 2015) with L2, in plain arithmetic.

    Weights after some steps, the size of each one's gradients, and the loss terms of each step.
    """
    model = network(run, clips)
    lr, decay = run.settings.lr, run.settings.weight_decay
    assert lr and decay is not None
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    reported = []
    for number, batch in enumerate(batches, start=1):
        inputs = {}
        for name in run.model.inputs:
            values = clips.inputs[name].astype(np.float64)
            channel = values.ndim - 3
            axes = tuple(axis for axis in range(values.ndim) if axis != channel)
            mean, scale = values.mean(axis=axes, keepdims=True), values.std(axis=axes, keepdims=True)
            inputs[name] = torch.from_numpy(((values - mean) / scale)[batch].astype(np.float32))
        targets = {name: torch.from_numpy(clips.inputs[name][batch] / np.float32(255)) for name in run.model.targets}
        terms = model.loss(model(**inputs), torch.from_numpy(clips.labels[batch]), targets)
        reported.append({name: float(term.detach()) for name, term in terms.items()})
        names = [name for name, _ in model.named_parameters()]
        gradients = torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(model.parameters()))
        with torch.no_grad():
            for name, parameter, gradient in zip(names, model.parameters(), gradients, strict=True):
                gradient = gradient + decay * parameter
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient**2)
                corrected = (second / (1 - 0.999**number)).sqrt() + 1e-8
                parameter.sub_(lr * (first / (1 - 0.9**number)) / corrected)
    sizes = {name: second.sqrt() for name, (_, second) in moments.items()}
    return model.state_dict(), sizes, reported


@pytest.mark.parametrize("name", ["ststnet", "cnn3d", "fdp"])
def test_three_steps_are_those_of_a_plain_loop(name: str) -> None:
    set_up_torch(CPU, True)
    run, clips = run_with(name), noise(name)
    batches = [[0, 1, 2], [3, 4, 5], [5, 0, 3]]
    wanted, sizes, terms_wanted = by_hand(run, clips, batches)
    model = network(run, clips)
    one = TrainStep(run, model, clips, CPU)
    for batch, expected in zip(batches, terms_wanted, strict=True):
        terms = {name: float(term) for name, term in one(torch.tensor(batch)).items()}
        assert terms == pytest.approx(expected, rel=1e-3)
    # Adam moves a weight by about lr even where its gradient is rounding alone, as that of a bias before batch norm
    floor = 1e-3 * max(float(size.max()) for size in sizes.values())
    compared = 0
    for key, value in model.named_parameters():
        clear = sizes[key] > floor
        compared += int(clear.sum())
        torch.testing.assert_close(value[clear], wanted[key][clear], rtol=1e-3, atol=2e-4, msg=key)
        assert float((value - wanted[key]).detach().abs().max()) <= 2 * 1e-3 * len(batches), key
    assert compared > 0.2 * sum(parameter.numel() for parameter in model.parameters())
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, wanted[key], rtol=1e-2, atol=1e-3, msg=key)


def test_a_step_uses_the_labels_and_targets_of_its_batch() -> None:
    """A model that records what it is given."""
    clips = noise("fdp")
    seen: dict[str, Tensor] = {}

    class Recorder(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32 * 32, CLASSES)

        def forward(self, frames: Tensor) -> ModelOutput:
            seen["frames"] = frames
            return ModelOutput(logits=self.layer(frames[:, 0].flatten(1)))

        def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
            seen.update(labels=labels, target=targets["dynamic_image"])
            return {"a": output.logits.sum() * 0 + 2, "b": output.logits.sum() * 0 + 3}

    terms = TrainStep(run_with("fdp"), Recorder(), clips, CPU)(torch.tensor([5, 1]))
    assert {name: float(term) for name, term in terms.items()} == {"a": 2, "b": 3}
    assert seen["labels"].tolist() == clips.labels[[5, 1]].tolist()
    assert torch.equal(seen["target"], torch.from_numpy(clips.inputs["dynamic_image"][[5, 1]] / np.float32(255)))
    frames = clips.inputs["frames"].astype(np.float64)
    expected = (frames[[5, 1]] - frames.mean()) / frames.std()
    np.testing.assert_allclose(seen["frames"].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_a_loss_of_classes_sees_no_output_of_action_units(name: str) -> None:
    """Of all that has a column for each output, also of what a model gives beside logits."""
    outputs = 11
    whole: ModelOutput = modules.build(name, outputs)(**modules.batch(name, 4)[0])
    of_classes, units = Heads(3, True, 1.0).split(whole)
    assert torch.equal(units, whole.logits[:, 3:]) and torch.equal(of_classes.logits, whole.logits[:, :3])
    shapes = {key: tuple(value.shape) for key, value in vars(of_classes).items() if value is not None}
    assert all(outputs not in shape[1:2] for shape in shapes.values()), shapes


def test_a_step_leaves_the_training_clips_as_they_are() -> None:
    """On the CPU the tensors share the arrays' memory."""
    run, clips = run_with("fdp"), noise("fdp")
    before = copy.deepcopy(clips.inputs)
    TrainStep(run, network(run, clips), clips, CPU)(torch.arange(4))
    for name, array in clips.inputs.items():
        assert (array == before[name]).all()


# --- torch's global state, devices, layout


@pytest.mark.parametrize("deterministic", [True, False])
def test_set_up_torch(deterministic: bool) -> None:
    torch.set_num_threads(2)
    set_up_torch(CPU, deterministic)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()  # on the CPU every operation has such a form
    assert torch.backends.cudnn.benchmark is not deterministic
    assert float(torch.tensor(1e-40) * 1) == 0, "denormals are flushed"


KEPT = """
import sys, torch
from fdpbench.bench.train.step import set_up_torch
if sys.argv[1] == "set up":
    set_up_torch(torch.device("cpu"), True)

def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

before = pages()
held = [torch.ones(6 * 2**20) for _ in range(8)]  # 24 MiB each
filled = pages()
del held
print((pages() - before) / (filled - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's malloc to keep memory")
def test_a_step_works_in_the_memory_of_the_one_before() -> None:
    """Share of a step's memory that the process still has after it."""
    kept = {
        how: float(subprocess.run([sys.executable, "-c", KEPT, how], check=True, capture_output=True, text=True).stdout)
        for how in ("set up", "not")
    }
    assert kept["set up"] > 0.9 and kept["not"] < 0.5


def test_set_up_torch_for_cuda_warns_only() -> None:
    """Needs no device: it sets flags alone."""
    set_up_torch(torch.device("cuda"), True)
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_asks_for_determinism(tmp_path: Path, deterministic: bool) -> None:
    write_task(tmp_path, task_rows(per_class=1, length=2))
    run = run_of("ststnet", {"deterministic": deterministic}, epochs=1)
    fit_module(run, load_clips(tmp_path, ("flow",)), 3, 0, "cpu", lambda message: None)
    assert torch.are_deterministic_algorithms_enabled() is deterministic


def test_to_device_on_the_cpu_changes_nothing() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tensor = to_device(array, CPU)
    assert tensor.dtype == torch.uint8 and tensor.tolist() == array.tolist()


def test_the_layout_is_left_alone_off_cuda() -> None:
    run, clips = run_with("resnet_dynamic"), noise("resnet_dynamic")
    model = network(run, clips)
    before = [parameter.stride() for parameter in model.parameters()]
    one = TrainStep(run, model, clips, CPU)
    assert [parameter.stride() for parameter in model.parameters()] == before
    assert one.optimizer.defaults["fused"]  # on every device: tests/models/test_operators.py says why


def test_standardisation_of_a_batch_leaves_targets_out() -> None:
    clips = noise("fdp")
    standardiser = Standardiser.of(clips, ("frames",), CPU)
    given = {name: torch.from_numpy(array) for name, array in clips.inputs.items()}
    assert set(standardiser(given)) == {"frames"}


# --- with a CUDA device


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODULES)
def test_a_step_on_cuda(name: str, precision: str) -> None:
    """Nothing synchronises, by torch's own check; weights are channels-last and the optimiser is fused."""
    cuda = torch.device("cuda")
    set_up_torch(cuda, False)
    run, clips = run_with(name, precision), noise(name)
    model = network(run, clips).to(cuda)
    one = TrainStep(run, model, clips, cuda)
    assert one.optimizer.defaults["fused"]
    for parameter in model.parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)
    batch = torch.arange(4, device=cuda)
    one(batch)  # what is set up once may wait
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            terms = one(batch)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert all(np.isfinite(float(term)) for term in terms.values())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@needs_cuda
def test_autocast_on_cuda_computes_in_bfloat16() -> None:
    seen: list[torch.dtype] = []
    run, clips = run_with("ststnet", "bfloat16"), noise("ststnet")
    model = network(run, clips).to("cuda")
    model.get_submodule("fc").register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    TrainStep(run, model, clips, torch.device("cuda"))(torch.arange(4, device="cuda"))
    assert seen == [torch.bfloat16]


@needs_cuda
def test_deterministic_training_on_cuda_repeats_its_weights(tmp_path: Path) -> None:
    write_task(tmp_path, task_rows(per_class=2, length=2))
    clips = load_clips(tmp_path, ("flow",))
    run = run_of("ststnet", {"deterministic": True, "device": "cuda"}, epochs=3)
    one, other = (fit_module(run, clips, 3, 0, "cuda", lambda message: None).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@needs_cuda
def test_cuda_and_cpu_agree_on_a_step() -> None:
    run, clips = run_with("cnn3d"), noise("cnn3d")
    losses = []
    for place in ("cpu", "cuda"):
        model = network(run, clips).to(place)
        one = TrainStep(run, model, clips, torch.device(place))
        losses.append([float(term) for term in one(torch.arange(4, device=place)).values()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
