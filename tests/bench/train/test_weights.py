"""Files of weights: read into the same network, permuted, for fewer classes, and refused by name with a cure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fdpbench.bench.train.outputs import told_by, untold
from fdpbench.bench.train.step import Standardiser
from fdpbench.bench.train.weights import COUNTER, KEY, head_axes, read_about, read_weights, write_weights
from fdpbench.models.common.blocks import Classifier, ModelOutput
from fdpbench.models.common.checkpoints import CheckpointError
from fdpbench.models.common.conformance.expectations import SHAPES, smallest_options
from fdpbench.models.common.conformance.modules import batch, build
from fdpbench.models.common.registry import create_model, list_models, model_info
from fdpbench.prep.demo.composite import EMOTIONS
from tests.support.builders import torch_as_it_was

MODULES = [name for name in list_models() if model_info(name).kind == "module"]
ON_FLOW = [name for name in MODULES if model_info(name).inputs == ("flow",) and not model_info(name).targets]
CPU = torch.device("cpu")
NAMES = ("negative", "positive", "surprise", "AU1", "AU4", "AU12")
ABOUT: dict[str, Any] = {"model": "ststnet", "outputs": list(NAMES[:3]), "settings": {}}
STATISTICS = {"flow": torch.tensor([0.4, 0.5, 0.1]).reshape(3, 1, 1)}
STANDARDISER = Standardiser(STATISTICS, {name: value + 0.125 for name, value in STATISTICS.items()})
SMALL = "ststnet"


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def builder(name: str) -> Callable[[int], Classifier]:
    def built(outputs: int) -> Classifier:
        model: Classifier = create_model(name, outputs, shapes=shapes_of(name), **smallest_options(name))
        return model

    return built


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {key: SHAPES[key] for key in model_info(name).inputs}


def settled(name: str, outputs: int, seed: int = 0) -> Classifier:
    """A network whose buffers are no longer what they began as, as after training."""
    model: Classifier = build(name, outputs, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand(value.shape, generator=generator))
            assert value.is_floating_point() or key.endswith(COUNTER)
    return model.eval()


def logits(model: Classifier, name: str = SMALL, clips: int = 3) -> Tensor:
    with torch.no_grad():
        output: ModelOutput = model.eval()(**batch(name, clips)[0])
    return output.logits


def write(path: Path, model: Classifier, outputs: tuple[str, ...], **options: Any) -> Path:
    write_weights(path, model, STANDARDISER, ABOUT | {"outputs": list(outputs)}, **options)
    return path


def loaded(path: Path, model: Classifier, classes: tuple[str, ...], name: str = SMALL) -> Classifier:
    read_weights(path, CPU).put_into(model, classes, builder(name))
    return model


# --- what is put into a network ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_FLOW)
def test_a_file_read_into_a_network_of_the_same_outputs_gives_its_logits(name: str, folder: Path) -> None:
    model = settled(name, 3)
    path = write(folder / f"{name}.safetensors", model, NAMES[:3])
    other = settled(name, 3, seed=1)
    assert not torch.equal(logits(other, name), logits(model, name))
    assert torch.equal(logits(loaded(path, other, NAMES[:3], name), name), logits(model, name))


@pytest.mark.parametrize(
    ("classes", "outputs", "places"),
    [
        (("surprise", "negative"), ("negative", "positive", "surprise"), [[2], [0]]),
        (("negative", "positive", "surprise"), (*EMOTIONS, "AU1"), [[0, 2], [1], [3]]),
        (("negative", "positive"), ("disgust", "happiness"), [[], [1]]),
        (("disgust", "joy"), ("negative", "positive", "surprise"), [[], []]),
    ],
)
def test_a_class_is_told_by_its_own_output_or_by_all_its_emotions(
    classes: tuple[str, ...], outputs: tuple[str, ...], places: list[list[int]]
) -> None:
    assert told_by(classes, outputs) == places
    assert untold(classes, outputs) == [name for name, found in zip(classes, places, strict=True) if not found]


def test_a_class_of_several_emotions_starts_from_the_mean_of_their_rows(folder: Path) -> None:
    model = settled(SMALL, 4)
    path = write(folder / "emotions.safetensors", model, EMOTIONS)
    found = logits(loaded(path, settled(SMALL, 3, seed=1), ("surprise", "negative", "positive")))
    said = dict(zip(EMOTIONS, logits(model).T, strict=True))
    expected = [said["surprise"], (said["disgust"] + said["repression"]) / 2, said["happiness"]]
    torch.testing.assert_close(found, torch.stack(expected, dim=1))


# rcn's attention and featref's last layer read the parts of all outputs: to leave some out changes the others.
APART = [name for name in ON_FLOW if name not in ("rcn", "featref")]


@pytest.mark.parametrize("name", APART)
def test_classes_are_told_by_name_and_surplus_outputs_left_out(name: str, folder: Path) -> None:
    """Of six outputs three, in another order."""
    model = settled(name, 6)
    path = write(folder / f"{name}-six.safetensors", model, NAMES)
    wanted = ("surprise", "negative", "positive")
    found = logits(loaded(path, settled(name, 3, seed=1), wanted, name), name)
    torch.testing.assert_close(found, logits(model, name)[:, [NAMES.index(each) for each in wanted]])


@given(st.permutations(NAMES), st.permutations(NAMES), st.integers(2, 6), st.integers(2, 6))
def test_rows_of_a_head_follow_names(
    folder: Path, of_file: list[str], of_task: list[str], outputs: int, classes: int
) -> None:
    """A class that the weights know has its logits; one that they do not has those of the head's first rows."""
    given_, wanted = tuple(of_file[:outputs]), tuple(of_task[:classes])
    model, own = settled(SMALL, outputs), settled(SMALL, classes, seed=1)
    first = {key: value.clone() for key, value in own.state_dict().items()}
    loaded(write(folder / "any.safetensors", model, given_), own, wanted)
    known = [k for k, each in enumerate(wanted) if each in given_]
    theirs = [given_.index(wanted[k]) for k in known]
    torch.testing.assert_close(logits(own)[:, known], logits(model)[:, theirs])
    unknown = [k for k, each in enumerate(wanted) if each not in given_]
    for key in ("fc.weight", "fc.bias"):
        assert torch.equal(own.state_dict()[key][unknown], first[key][unknown])
        assert torch.equal(own.state_dict()[key][known], model.state_dict()[key][theirs])


def test_half_precision_is_read_as_float32(folder: Path) -> None:
    model = settled(SMALL, 3)
    whole = write(folder / "whole.safetensors", model, NAMES[:3])
    half = write(folder / "half.safetensors", model, NAMES[:3], dtype=torch.float16)
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    weights = read_weights(half, CPU)
    assert {value.dtype for value in weights.tensors.values()} == {torch.float32}
    found = logits(loaded(half, settled(SMALL, 3, seed=1), NAMES[:3]))
    torch.testing.assert_close(found, logits(model), atol=2e-3, rtol=2e-2)
    assert not torch.equal(found, logits(model))
    for part, kept in (
        (weights.standardiser.mean, STANDARDISER.mean),
        (weights.standardiser.scale, STANDARDISER.scale),
    ):
        assert torch.equal(part["flow"], kept["flow"]), "statistics stay in single precision"


def test_statistics_of_the_inputs_come_back(folder: Path) -> None:
    weights = read_weights(write(folder / "kept.safetensors", settled(SMALL, 3), NAMES[:3]), CPU)
    clips = {"flow": torch.rand(2, 3, 28, 28)}
    assert torch.equal(weights.standardiser(clips)["flow"], STANDARDISER(clips)["flow"])
    assert not any(key.startswith("standardise") or key.endswith(COUNTER) for key in weights.tensors)
    assert weights.outputs == NAMES[:3]
    weights.check_inputs(("flow",))
    with pytest.raises(CheckpointError, match=r"kept\.safetensors: expected mean and scale of frames .* other inputs"):
        weights.check_inputs(("flow", "frames"))


def test_a_file_says_what_it_is(folder: Path) -> None:
    about = ABOUT | {"task": "corpus", "epoch": 3}
    write_weights(folder / "about.safetensors", settled(SMALL, 3), STANDARDISER, about)
    assert read_about(folder / "about.safetensors") == about


# --- which tensors are heads -------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_heads_of_every_network(name: str) -> None:
    """Those tensors, along that axis, whose shape differs between networks built for real; drawn without memory."""
    before = torch.random.get_rng_state()
    found = head_axes(builder(name), 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    four, seven = (build(name, count).state_dict() for count in (4, 7))
    differ = {key for key in four if four[key].shape != seven[key].shape}
    for key in differ:
        axis = found[key]
        if axis is not None:
            assert (four[key].shape[axis], seven[key].shape[axis]) == (4, 7)
            assert four[key].select(axis, 0).shape == seven[key].select(axis, 0).shape
    if name == "featref":
        assert differ == {"classify.1.weight", "classify.1.bias"} and found["classify.1.weight"] is None
        assert found["classify.1.bias"] == 0
        assert found.keys() - differ == {key for key in four if key.startswith("proposals.")}
        assert not {found[key] for key in found if key.startswith("proposals.")} - {None}
    else:
        assert differ and found.keys() == differ and None not in found.values()


def test_a_network_with_a_part_for_each_class_keeps_its_trunk_alone(folder: Path) -> None:
    model, own = settled("featref", 4), settled("featref", 3, seed=1)
    first = {key: value.clone() for key, value in own.state_dict().items()}
    loaded(write(folder / "parts.safetensors", model, NAMES[:4]), own, NAMES[:3], "featref")
    for key, value in own.state_dict().items():
        if key == "classify.1.bias":
            assert torch.equal(value, model.state_dict()[key][:3])
        else:
            replaced = key.startswith(("proposals.", "classify."))
            assert torch.equal(value, first[key] if replaced else model.state_dict()[key]), key


class Odd(Classifier):
    """Has a tensor that depends on the outputs otherwise than by a row for each."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.odd = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize("shape", [lambda k: (k, k), lambda k: (2 * k, 3), lambda k: (5, k + 1), lambda k: (2,) * k])
def test_a_tensor_of_another_form_is_replaced_as_a_whole(shape: Any) -> None:
    assert head_axes(lambda count: Odd(shape(count)), 3) == {"odd": None}


# --- what is refused ---------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "sound.safetensors", settled(SMALL, 3), NAMES[:3])


def changed(path: Path, change: Any, about: Any = ABOUT) -> Path:
    tensors = load_file(path)
    change(tensors)
    target = path.with_name("changed.safetensors")
    save_file(tensors, target, metadata=None if about is None else {KEY: json.dumps(about)})
    return target


def test_a_network_of_other_options_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = {"flow": (3, 28, 28)}
    deep = create_model("dual_inception", 3, shapes=shapes)
    path = write(tmp_path / "it.safetensors", deep, NAMES[:3])
    with pytest.raises(CheckpointError, match=r"it\.safetensors: '.*' is not in the (file|network): .* other options"):
        loaded(path, build(SMALL), NAMES[:3])
    large = create_model("featref", 3, shapes=shapes, shared=64)
    path = write(tmp_path / "large.safetensors", large, NAMES[:3])
    with pytest.raises(CheckpointError, match=r"large\.safetensors: '.*' has the shape .*, expected .* other options"):
        loaded(path, build("featref"), NAMES[:3], "featref")


def test_a_file_that_does_not_hold_its_outputs_is_refused(sound: Path) -> None:
    path = changed(sound, lambda tensors: None, ABOUT | {"outputs": list(NAMES)})
    with pytest.raises(CheckpointError, match=r"changed\.safetensors: 'fc\.\w+' has the shape \(3.*expected \(6"):
        loaded(path, build(SMALL), NAMES[:3])


@pytest.mark.parametrize(("drop", "where"), [("fc.bias", "the file"), (None, "the network")])
def test_a_tensor_that_is_missing_or_strange_is_named(sound: Path, drop: str | None, where: str) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        if drop:
            del tensors[drop]
        else:
            tensors["strange"] = torch.zeros(2)

    model = build(SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"changed\.safetensors: '{drop or 'strange'}' is not in {where}:"):
        loaded(changed(sound, change), model, NAMES[:3])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "nothing is half loaded"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["fc.weight", "standardise.flow.mean"])
def test_a_value_that_is_not_finite_is_refused(sound: Path, key: str, value: float) -> None:
    path = changed(sound, lambda tensors: tensors[key].view(-1)[0:1].fill_(value))
    with pytest.raises(CheckpointError, match=rf"changed\.safetensors: tensor '{key}' .* copy the file again"):
        read_weights(path, CPU)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("standardise.flow.mean"), "of the statistics of flow, mean or scale is missing"),
        (lambda tensors: tensors["standardise.flow.scale"].zero_(), "the scale of flow is not above 0"),
    ],
)
def test_statistics_that_are_none_are_refused(sound: Path, change: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=rf"changed\.safetensors: {said}; copy the file again"):
        read_weights(changed(sound, change), CPU)


def test_statistics_of_other_channels_or_none_are_refused(sound: Path) -> None:
    def one_channel(tensors: dict[str, Tensor]) -> None:
        for what in ("mean", "scale"):
            tensors[f"standardise.flow.{what}"] = torch.ones(1, 1, 1)

    def none(tensors: dict[str, Tensor]) -> None:
        for what in ("mean", "scale"):
            del tensors[f"standardise.flow.{what}"]

    for change, found in ((one_channel, "in 1"), (none, "of other inputs alone")):
        weights = read_weights(changed(sound, change), CPU)
        with pytest.raises(CheckpointError, match=rf"changed\.safetensors: .* flow in 3 channels, found them {found}:"):
            weights.check_inputs(("flow",))


def test_a_file_that_is_cut_or_not_there_is_named(sound: Path) -> None:
    data = sound.read_bytes()
    for length in (0, 7, 300, len(data) - 1):
        sound.write_bytes(data[:length])
        for read in (read_about, lambda path: read_weights(path, CPU)):
            with pytest.raises(CheckpointError, match=r"sound\.safetensors"):
                read(sound)
    sound.unlink()
    with pytest.raises(CheckpointError, match=r"sound\.safetensors cannot be read"):
        read_about(sound)


@pytest.mark.parametrize(
    "about",
    [None, [], "text", {}, ABOUT | {"outputs": "abc"}, {key: ABOUT[key] for key in ("model", "outputs")}],
)
def test_a_file_of_somebody_else_is_refused(sound: Path, about: Any) -> None:
    path = changed(sound, lambda tensors: None, about)
    for read in (read_about, lambda place: read_weights(place, CPU)):
        with pytest.raises(CheckpointError, match=r"changed\.safetensors: its metadata .*: not weights that `fdpbench"):
            read(path)
