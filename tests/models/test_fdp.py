"""FDP: its parts against their definitions, and its sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fdpbench.models import create_model
from fdpbench.models.common.blocks import Attention, Drawer, DropPath, GlobalBlock, LocalBlock
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.fdp import PRESETS, RankScorer
from fdpbench.prep.dynamic.rank_pooling import coefficients

SHAPES = {"frames": (8, 1, 48, 48)}


def test_scores_and_ranking_loss_equal_the_loop_over_pairs() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 5, 1, 3, 4)
    scorer = RankScorer(12)
    scores = scorer(features)
    losses = []
    for clip in range(2):
        means = [features[clip, : t + 1].mean(dim=0).flatten() for t in range(5)]
        expected = torch.stack([mean @ scorer.weight for mean in means])
        torch.testing.assert_close(scores[clip], expected)
        losses += [(1 - (expected[q] - expected[t])).clamp(min=0) for q in range(5) for t in range(q)]
    torch.testing.assert_close(RankScorer.loss(scores), torch.stack(losses).mean())


def test_ranking_loss_is_zero_for_frames_in_order_and_not_for_reversed_ones() -> None:
    rising = torch.arange(8.0)[None]
    assert RankScorer.loss(rising) == 0
    assert RankScorer.loss(rising.flip(1)) == pytest.approx(1 + 3)  # mean gap of all pairs is (T + 1) / 3


def pooled(model: Any, frames: torch.Tensor) -> torch.Tensor:
    """The sum of the rank features in evaluation, with batch statistics of random clips.

    Without statistics the first weights, as small as they are, would let nothing through.
    """
    torch.manual_seed(0)
    nn.init.normal_(model.transformer.head.weight, std=0.02)  # it starts at zero: nothing drawn yet
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen, here one
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        model.train()(frames=torch.randn(2, 8, 1, 48, 48))
        model.expand.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0]))
        model.eval()(frames=frames)
    return seen[0]


def test_pooling_is_approximate_rank_pooling_of_the_maps_of_standardised_frames() -> None:
    model = create_model("fdp", 3, shapes=SHAPES)
    frames = 3 * torch.randn(2, 8, 1, 48, 48) + 1
    found = pooled(model, frames)
    expected = torch.zeros_like(found)
    for t, weight in enumerate(coefficients(8) / np.linalg.norm(coefficients(8))):
        frame = frames[:, t]
        frame = (frame - frame.mean((1, 2, 3), keepdim=True)) / frame.std((1, 2, 3), keepdim=True)
        with torch.no_grad():
            expected += weight * model.transformer(frame)
    size = expected.abs().max()
    assert size > 0.01
    torch.testing.assert_close(found / size, expected / size, atol=1e-3, rtol=0)


def test_a_clip_that_only_flickers_is_pooled_to_zero() -> None:
    model = create_model("fdp", 3, shapes=SHAPES)
    still = torch.rand(1, 1, 1, 48, 48)
    flicker = torch.linspace(0.5, 1.5, 8)[:, None, None, None] * still + torch.rand(8, 1, 1, 1)
    moving = pooled(model, torch.rand(1, 8, 1, 48, 48)).abs().max()
    assert pooled(model, flicker).abs().max() < 1e-3 * moving


def test_learned_pooling_starts_at_the_fixed_weights_and_moves() -> None:
    fixed = create_model("fdp", 3, shapes=SHAPES)
    learned = create_model("fdp", 3, shapes=SHAPES, pooling="learned")
    torch.testing.assert_close(learned.pooling_weights.data, fixed.pooling_weights)
    parameters = dict(learned.named_parameters())
    assert set(parameters) - set(dict(fixed.named_parameters())) == {"pooling_weights"}
    learned(frames=torch.randn(2, 8, 1, 48, 48)).logits.square().sum().backward()
    assert parameters["pooling_weights"].grad.abs().max() > 0


def test_loss_terms_carry_their_weights() -> None:
    torch.manual_seed(0)
    frames, labels = torch.randn(2, 8, 1, 48, 48), torch.tensor([0, 2])
    targets = {"dynamic_image": torch.rand(2, 1, 48, 48)}
    model = create_model("fdp", 3, shapes=SHAPES, ranking_weight=2.0, dynamic_image_weight=3.0).eval()
    output = model(frames=frames)
    terms = model.loss(output, labels, targets)
    small = F.avg_pool2d(targets["dynamic_image"], 4)[:, 0]  # 48 -> the 12 x 12 of the drawn image
    assert output.dynamic_image.shape == (2, 12, 12)
    torch.testing.assert_close(terms["dynamic_image"], 3 * (output.dynamic_image - small).square().mean())
    torch.testing.assert_close(terms["ranking"], 2 * RankScorer.loss(output.scores))
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(output.logits, labels))


@pytest.mark.parametrize("pool", [1, 2])
def test_attention_equals_its_definition(pool: int) -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, head_dim=4, pool=pool).eval()
    x = torch.randn(2, 8, 4, 6)
    pooled = attention.reduce(x) if pool > 1 else x
    mixed = torch.zeros(2, 8, 24)
    for clip in range(2):
        tokens, few = x[clip].flatten(1).T, pooled[clip].flatten(1).T
        q, k, v = attention.query(tokens), attention.key(few), attention.value(few)
        for head in (slice(0, 4), slice(4, 8)):
            share = torch.softmax(q[:, head] @ k[:, head].T / 2, dim=1)  # 2 = sqrt(head_dim)
            mixed[clip, head] = (share @ v[:, head]).T
    expected = attention.project(mixed.transpose(1, 2)).transpose(1, 2).reshape(2, 8, 4, 6)
    torch.testing.assert_close(attention(x), expected)


def test_drawing_network_unpools_as_torch_does() -> None:
    torch.manual_seed(0)
    drawer = Drawer(3, ((4,), (5, 6))).eval()
    x = image = torch.randn(2, 3, 8, 12)
    places = []
    for encode in drawer.encoder:
        x, place = F.max_pool2d(encode(x), 2, return_indices=True)
        places.append(place)
    for decode in drawer.decoder:
        x = decode(F.max_unpool2d(x, places.pop(), [2, 2]))
    torch.testing.assert_close(drawer(image), x[:, 0].sigmoid())
    assert drawer(image).shape == (2, 8, 12)


def test_drop_path_treats_the_frames_of_a_clip_alike() -> None:
    torch.manual_seed(0)
    drop = DropPath(rate=0.5, frames=4)
    dropped = drop(torch.ones(40 * 4, 1, 1, 1)).reshape(40, 4)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[:, :1]).all()
    assert (drop.eval()(torch.ones(4, 1, 1, 1)) == 1).all()


def test_presets_have_the_blocks_they_list_and_the_known_sizes() -> None:
    for name, sizes in PRESETS.items():
        model = create_model("fdp", 5, shapes={"frames": (8, 1, 64, 64)}, preset=name)
        kinds = [type(block) for block in model.transformer.blocks]
        assert kinds.count(LocalBlock) == sum(stage.local_blocks for stage in sizes.stages)
        assert kinds.count(GlobalBlock) == sum(stage.global_blocks for stage in sizes.stages) > 0
    # the last is the paper's: 68.77 M with its global blocks and grouped multi-head convolution
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(68.77e6, abs=5e3)
    tiny = create_model("fdp", 5, shapes={"frames": (8, 1, 96, 96)})
    assert sum(p.numel() for p in tiny.parameters()) <= 350_000


def test_frames_that_the_preset_cannot_halve_are_refused() -> None:
    with pytest.raises(ModelOptionError, match="multiples of 16"):
        create_model("fdp", 3, shapes={"frames": (8, 1, 96, 100)})
    with pytest.raises(ModelOptionError, match="tiny"):
        create_model("fdp", 3, shapes=SHAPES, preset="huge")


LEFT_OUT = ("dynamic_image", "ranking", "global_blocks", "local_blocks")


@pytest.mark.parametrize("without", LEFT_OUT)
def test_an_ablation_leaves_out_its_part_and_trains_the_rest(without: str) -> None:
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES, without=without)
    output = model(frames=torch.randn(4, 8, 1, 48, 48))
    terms = model.loss(output, torch.arange(4) % 3, {"dynamic_image": torch.rand(4, 1, 48, 48)})
    kept = {"cross_entropy", "ranking", "dynamic_image"} - {without}
    assert set(terms) == kept
    assert (output.dynamic_image is None) == (without == "dynamic_image")
    assert (output.scores is None) == (without == "ranking")
    kinds = {type(block) for block in model.transformer.blocks}
    assert kinds == {GlobalBlock, LocalBlock} - {
        {"global_blocks": GlobalBlock, "local_blocks": LocalBlock}.get(without, nn.Module)
    }
    sum(terms.values()).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("without", LEFT_OUT)
@pytest.mark.parametrize("preset", list(PRESETS))
def test_an_ablation_is_smaller_and_keeps_the_size_of_its_maps(preset: Any, without: Any) -> None:
    with torch.device("meta"):
        whole, less = (
            create_model("fdp", 5, shapes={"frames": (8, 1, 64, 64)}, preset=preset, without=left_out)
            for left_out in ("nothing", without)
        )
        frames = torch.empty(2, 8, 1, 64, 64)
        assert whole.maps(frames).shape == less.maps(frames).shape
    assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in whole.parameters())


def test_without_ranking_the_representation_is_the_mean_over_time() -> None:
    model = create_model("fdp", 3, shapes=SHAPES, without="ranking").eval()
    seen: list[torch.Tensor] = []
    model.expand.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0]))
    frames = torch.randn(2, 8, 1, 48, 48)
    with torch.no_grad():
        model(frames=frames)
        maps = model.maps(F.layer_norm(frames, frames.shape[2:]))
    direction = maps.mean(dim=1)
    torch.testing.assert_close(seen[0] / seen[0].norm(), direction / direction.norm(), atol=1e-5, rtol=0)
    with pytest.raises(ModelOptionError, match="learn pooling"):
        create_model("fdp", 3, shapes=SHAPES, without="ranking", pooling="learned")


def frame_by_frame(model: Any, frames: torch.Tensor) -> torch.Tensor:
    return torch.stack([model.transformer(frames[:, t]) for t in range(frames.shape[1])], dim=1)


def test_one_pass_over_all_frames_equals_frame_by_frame_in_evaluation_alone() -> None:
    """In training batch norm takes its statistics over other sets of frames: finding I of the released code."""
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES)
    frames = torch.randn(3, 8, 1, 48, 48)
    with torch.no_grad():
        pooled(model, frames)  # leaves batch norm with statistics, in evaluation mode
        torch.testing.assert_close(model.maps(frames), frame_by_frame(model, frames), atol=1e-5, rtol=1e-5)
        model.train().transformer.map_drop.rate = 0.0  # it leaves out clips, which a pass does not know
        assert (model.maps(frames) - frame_by_frame(model, frames)).abs().max() > 1e-3


def test_the_dynamic_representation_starts_out_as_the_dynamic_image() -> None:
    """And half of the clips keep it in training: a clip is drawn on as a whole or not at all."""
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES).train()
    frames = torch.randn(16, 8, 1, 48, 48)
    shrunk = F.avg_pool2d(frames.flatten(0, 1), 4).unflatten(0, (16, 8))[:, :, 0]  # to the 12 x 12 of a map
    torch.testing.assert_close(model.maps(frames), shrunk, atol=1e-6, rtol=1e-5)
    nn.init.normal_(model.transformer.head.weight)
    drawn = (model.maps(frames) - shrunk).abs().amax(dim=(2, 3)) > 1e-4  # (B, T)
    assert (drawn == drawn[:, :1]).all()
    assert 2 < drawn[:, 0].sum() < 14
    assert ((model.eval().maps(frames) - shrunk).abs().amax(dim=(2, 3)) > 1e-4).all()


def test_rank_scores_are_float32_under_autocast() -> None:
    """What the frames of a clip have in common is large and cancels in differences, which bfloat16 would lose."""
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES).eval()  # its maps are its frames, which autocast leaves alone
    frames = torch.randn(2, 1, 1, 48, 48) + 0.05 * torch.randn(2, 8, 1, 48, 48)
    with torch.no_grad():
        full = model(frames=frames).scores
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(frames=frames).scores
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=1e-4 * float(full.max() - full.min()), rtol=0)
