"""The released FDP network: its recorded output, its faults, and its behaviour in training."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models import create_model
from fdpbench.models.common.local_global import Attention, GlobalBlock
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.fdp_released import PRESETS, LocalBlock, as_released_volume, load_released_state_dict, unpool

SHAPES = {"frames": (8, 1, 64, 64)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return create_model("fdp_released", 5, shapes=SHAPES, preset="tiny", **options)


def released() -> Any:
    """The full network, without memory for its weights."""
    with torch.device("meta"):
        return create_model("fdp_released", 5, shapes=SHAPES)


def clips(count: int, seed: int = 3) -> Tensor:
    """Frames whose light and contrast change along the clip, and so their statistics."""
    noise = torch.randn(count, *SHAPES["frames"], generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(0.5, 1.5, 8)[:, None, None, None] + torch.linspace(-1, 1, 8)[:, None, None, None]


# The released network


def filling(key: str, shape: list[int]) -> Tensor:
    """The weights for which the output of the released code was recorded."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.1 * r.abs()
    if len(shape) == 1:
        return 0.1 * r + (1 if key.endswith("weight") else 0)
    return r * (1 / r[0].numel()) ** 0.5


def test_number_of_parameters() -> None:
    model = released()
    assert sum(p.numel() for p in model.parameters()) == 85_304_206
    parts = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.frame_rep, model.mer, model.dyimg_net)]
    assert parts == pytest.approx([54.95, 0.91, 29.45], abs=5e-3)


def test_names_and_shapes_are_those_of_a_released_checkpoint(shared_data: Path) -> None:
    expected = json.loads((shared_data / "released_keys.json").read_text())
    found = {key: list(value.shape) for key, value in released().state_dict().items()}
    assert found == expected
    assert list(found) == list(expected)


def test_output_is_that_of_the_released_code(shared_data: Path) -> None:
    shapes = json.loads((shared_data / "released_keys.json").read_text())
    model = released().to_empty(device="cpu").eval()
    load_released_state_dict(model, {key: filling(key, shape) for key, shape in shapes.items()})
    frames = torch.randn(2, 1, 8, 1, 64, 64, generator=torch.Generator().manual_seed(0))[:, 0]
    with torch.no_grad():
        output = model(frames=frames)
    with np.load(shared_data / "fdp_released_eval.npz") as recorded:
        logits, image = recorded["logits"], recorded["dynamic_image"]
    # found: 1.2e-6 and 1.2e-7; BN with an epsilon of 1e-6, say, already is 6e-5 off
    assert np.abs(output.logits.numpy() - logits).max() <= 1e-5 * np.abs(logits).max()
    np.testing.assert_allclose(output.dynamic_image.numpy(), image, atol=1e-6, rtol=0)


# The faults it shares


@pytest.mark.parametrize("preset", PRESETS)
def test_no_attention_is_built_and_every_convolution_is_dense(preset: str) -> None:
    with torch.device("meta"):
        model = create_model("fdp_released", 5, shapes=SHAPES, preset=preset)
    stages = PRESETS[preset].stages
    blocks = list(model.frame_rep.features)
    assert [type(block) for block in blocks] == [LocalBlock] * sum(count for count, _, _ in stages)
    widths = [block.mhca.group_conv3x3.out_channels for block in blocks]
    assert widths == [width for count, width, _ in stages for _ in range(count)]
    for name, module in model.named_modules():
        assert not isinstance(module, Attention | GlobalBlock | nn.MultiheadAttention), name
        assert "att" not in f"{name} {type(module).__name__}".lower()
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            assert module.groups == 1, name
    if preset == "released":
        assert len(blocks) == 20


def test_time_axis_holds_neighbouring_features_of_one_frame() -> None:
    maps = torch.arange(2 * 8 * 4096).reshape(2, 8, 4096)
    volume = as_released_volume(maps)
    assert volume.shape == (2, 1, 64, 64, 8)
    h, w, d = torch.meshgrid(torch.arange(64), torch.arange(64), torch.arange(8), indexing="ij")
    for clip in range(2):
        assert torch.equal(volume[clip, 0], maps[clip][h // 8, (h % 8) * 512 + 8 * w + d])
    meant = maps.reshape(2, 8, 64, 64).permute(0, 2, 3, 1)
    assert not torch.equal(volume[:, 0], meant)


def test_a_frame_reaches_its_own_strip_of_the_representation_alone() -> None:
    model = tiny()
    maps = torch.randn(1, 8, 4096)
    changed = maps.clone()
    changed[:, 3] += 1
    before, after = (model.mer.represent(as_released_volume(m)) for m in (maps, changed))
    rows = (before != after).any(dim=3).any(dim=1)[0].nonzero().flatten().tolist()
    assert rows == list(range(3 * 8 - 1, 4 * 8 + 1))  # the strip, and what a 3x3 kernel sees of it


def test_training_normalises_one_frame_index_at_a_time() -> None:
    model, frames = tiny(drop_path=0.0).train(), clips(4)
    by_hand, folded = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        found = model(frames=frames)
        maps = torch.stack([by_hand.frame_rep(frames[:, t]) for t in range(8)], dim=1)
        representation = by_hand.mer.represent(as_released_volume(maps))
        logits, image = by_hand.mer(representation), by_hand.dyimg_net(representation)
        together = folded.frame_rep(frames.flatten(0, 1)).unflatten(0, (4, 8))
    assert torch.equal(found.logits, logits)
    assert torch.equal(found.dynamic_image, image)
    for key, value in model.state_dict().items():
        assert torch.equal(value, by_hand.state_dict()[key]), key
    assert (maps - together).abs().max() > 0.1 * maps.std()


def test_running_statistics_move_once_for_each_frame_index() -> None:
    model, frames = tiny().train(), clips(4)
    norm, seen = model.frame_rep.stem[0].norm, []
    norm.register_forward_hook(lambda _, inputs, output: seen.append(output))
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    with torch.no_grad():
        model(frames=frames)
        assert len(seen) == 8
        for t in range(8):
            x = model.frame_rep.stem[0].conv(frames[:, t])
            m, v = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            expected = (x - m[:, None, None]) / (v[:, None, None] + 1e-5).sqrt()
            torch.testing.assert_close(seen[t], expected.relu(), atol=1e-4, rtol=1e-4)  # the ReLU is in place
            mean, var = 0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * x.var((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.num_batches_tracked == 8
    assert model.dyimg_net.bn11.num_batches_tracked == 1


def test_evaluation_in_one_pass_equals_the_loop_over_frames() -> None:
    model, frames = tiny(), clips(3)
    with torch.no_grad():
        model.train()(frames=frames)  # statistics other than 0 and 1
        model.eval()
        maps = torch.stack([model.frame_rep(frames[:, t]) for t in range(8)], dim=1)
        representation = model.mer.represent(as_released_volume(maps))
        found = model(frames=frames)
        torch.testing.assert_close(found.logits, model.mer(representation))
        torch.testing.assert_close(found.dynamic_image, model.dyimg_net(representation))


# Training


def step(drop_path: float, noise: int) -> dict[str, Tensor]:
    """Weights and statistics after one step of Adam from seed 0, with the generator at ``noise`` before it."""
    model, frames = tiny(seed=0, drop_path=drop_path).train(), clips(4)
    targets = {"dynamic_image": torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(5))}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-3)
    torch.manual_seed(noise)
    sum(model.loss(model(frames=frames), torch.arange(4), targets).values()).backward()
    optimiser.step()
    return model.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, b[key]) for key, value in a.items())


def test_step_without_drop_path_needs_no_chance() -> None:
    first = step(drop_path=0.0, noise=1)
    assert same(first, step(drop_path=0.0, noise=2))
    assert not same(first, tiny(seed=0).state_dict())


def test_drop_path_is_drawn_for_each_frame_and_rises_with_depth() -> None:
    first = step(drop_path=0.5, noise=1)
    assert same(first, step(drop_path=0.5, noise=1))
    assert not same(first, step(drop_path=0.5, noise=2))
    drops = [block.drop for block in released().frame_rep.features]
    assert [drop.rate for drop in drops] == pytest.approx([0.1 * i / 19 for i in range(20)])
    last = tiny(drop_path=0.5).frame_rep.features[-1].drop.train()
    dropped = last(torch.ones(64, 1, 1, 1)).flatten()
    assert set(dropped.tolist()) == {0.0, 2.0}
    assert 16 < (dropped == 0).sum() < 48
    assert (dropped[0::2] != dropped[1::2]).any()


def test_loss_terms_carry_their_weights() -> None:
    model, labels = tiny(dynamic_image_weight=3.0).eval(), torch.tensor([0, 4])
    targets = {"dynamic_image": torch.rand(2, 1, 128, 128)}
    with torch.no_grad():
        output = model(frames=clips(2))
        terms = model.loss(output, labels, targets)
    truth = F.avg_pool2d(targets["dynamic_image"], 2)[:, 0]
    torch.testing.assert_close(terms["dynamic_image"], 3 * (output.dynamic_image - truth).square().mean())
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(output.logits, labels))
    assert set(terms) == {"cross_entropy", "dynamic_image"}
    assert tiny().dynamic_image_weight == 100


def test_unpooling_is_that_of_torch() -> None:
    torch.manual_seed(0)
    x = torch.randint(-3, 4, (2, 3, 8, 12)).float()  # with ties
    pooled, places = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(unpool(pooled, places), F.max_unpool2d(pooled, places, [2, 2]))


# Inputs and checkpoints


def test_frames_of_another_size_are_averaged_to_64() -> None:
    model = tiny().eval()
    frames = torch.randn(2, 8, 1, 128, 128)
    with torch.no_grad():
        found = model(frames=frames).logits
        expected = model(frames=F.avg_pool3d(frames, (1, 2, 2))).logits
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(10, 1, 64, 64), (8, 3, 64, 64), (8, 1, 16, 64)])
def test_frames_that_the_network_cannot_take_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelOptionError, match=r"T = 8, C = 1, H >= 32"):
        create_model("fdp_released", 5, shapes={"frames": shape})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_loading_gives_the_weights(prefix: str) -> None:
    one, other = tiny(seed=1), tiny(seed=2)
    load_released_state_dict(other, {prefix + key: value for key, value in one.state_dict().items()})
    assert same(one.state_dict(), other.state_dict())


def test_loading_refuses_what_does_not_fit_and_loads_nothing() -> None:
    model, state = tiny(seed=1), dict(tiny(seed=2).state_dict())
    before = copy.deepcopy(model.state_dict())
    missing = {key: value for key, value in state.items() if key != "mer.fc2.bias"}
    wrapped_in_part = {("module." if key.startswith("mer") else "") + key: value for key, value in state.items()}
    for wrong, message in [
        (missing, "'mer.fc2.bias' is missing"),
        ({**state, "mer.fc3.bias": torch.zeros(5)}, "'mer.fc3.bias' is unexpected"),
        ({**state, "mer.fc2.weight": torch.zeros(7, 32)}, r"'mer.fc2.weight' has shape \(7, 32\), expected \(5, 32\)"),
        (wrapped_in_part, "'mer.conv3d.weight' is missing.*and 7 more.*preset='released'"),
        ({}, "'frame_rep.stem.0.conv.weight' is missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_released_state_dict(model, wrong)
    with pytest.raises(TypeError, match="'state_dict' is dict, expected a tensor"):
        load_released_state_dict(model, {"epoch": torch.tensor(3), "state_dict": state})  # type: ignore[dict-item]
    assert same(before, model.state_dict())
