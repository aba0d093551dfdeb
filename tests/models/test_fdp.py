"""FDP: its parts against their definitions, and its sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fdpbench.models import create_model
from fdpbench.models.common.drawing import Drawer, ResidualUNet, scaled_to_unit
from fdpbench.models.common.local_global import Attention, DropPath, GlobalBlock, LocalBlock
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.fdp import CHANGE_LIMIT, PRESETS, RankScorer, changes
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


def standardised(frames: torch.Tensor) -> torch.Tensor:
    return (frames - frames.mean((2, 3, 4), keepdim=True)) / frames.std((2, 3, 4), keepdim=True, correction=0)


def pooled(model: Any, frames: torch.Tensor) -> torch.Tensor:
    """The sum of the rank features in evaluation (B, M, h, w), with batch statistics of random clips.

    Without statistics the first weights, as small as they are, would let nothing through.
    """
    torch.manual_seed(0)
    nn.init.normal_(model.transformer.head.weight, std=0.02)  # of the first map it starts at zero: nothing drawn yet
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen, here one
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        model.train()(frames=torch.randn(2, 8, 1, 48, 48))
        model.expand.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model.eval()(frames=frames)
    return seen[0]


@pytest.mark.parametrize("kind", ["change", "frames"])
def test_pooling_is_approximate_rank_pooling_of_the_maps_of_standardised_frames(kind: Any) -> None:
    model = create_model("fdp", 3, shapes=SHAPES, input=kind)
    frames = 3 * torch.randn(2, 8, 1, 48, 48) + 1
    found = pooled(model, frames)
    assert found.shape == (2, 4, 12, 12)
    expected = torch.zeros_like(found)
    with torch.no_grad():
        seen = model.seen(standardised(frames))
        for t, weight in enumerate(coefficients(8) / np.linalg.norm(coefficients(8))):
            expected += weight * model.transformer(seen[:, t])
    size = expected.abs().max()
    assert size > 0.01
    torch.testing.assert_close(found / size, expected / size, atol=1e-3, rtol=0)


def test_a_clip_that_only_flickers_is_pooled_to_zero() -> None:
    model = create_model("fdp", 3, shapes=SHAPES)
    still = 4 * torch.randn(1, 1, 1, 48, 48)
    flicker = torch.linspace(0.5, 1.5, 8)[:, None, None, None] * still + torch.rand(8, 1, 1, 1)
    moving = pooled(model, torch.rand(1, 8, 1, 48, 48)).abs().max()
    assert pooled(model, flicker).abs().max() < 1e-3 * moving


def test_changes_sum_to_zero_and_do_not_see_what_all_frames_share() -> None:
    torch.manual_seed(0)
    frames = 0.1 * torch.randn(3, 8, 1, 24, 24)
    found = changes(frames)
    torch.testing.assert_close(found.sum(dim=1), torch.zeros(3, 1, 24, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.flatten(1).std(dim=1, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(changes(frames + 3 * torch.randn(3, 1, 1, 24, 24)), found, atol=1e-4, rtol=0)
    torch.testing.assert_close(changes(5 * frames), found, atol=1e-2, rtol=1e-2)
    assert changes(torch.randn(1, 1, 1, 24, 24).expand(1, 8, 1, 24, 24)).abs().max() < 1e-3  # rounding is no motion


def test_the_transformer_sees_changes_within_a_limit_beside_the_mean_frame_or_the_frames_themselves() -> None:
    torch.manual_seed(0)
    frames = standardised(torch.randn(2, 8, 1, 48, 48).clamp(min=-0.5) ** 3)
    seen = create_model("fdp", 3, shapes=SHAPES).seen(frames)
    assert seen.shape == (2, 8, 2, 48, 48)
    assert seen[:, :, 0].abs().max() == CHANGE_LIMIT < changes(frames).abs().max()
    torch.testing.assert_close(seen[:, :, 0], changes(frames)[:, :, 0].clamp(-CHANGE_LIMIT, CHANGE_LIMIT))
    mean = standardised(frames.mean(dim=1, keepdim=True))[:, :, 0].expand(-1, 8, -1, -1)
    torch.testing.assert_close(seen[:, :, 1], mean, atol=1e-3, rtol=1e-3)
    assert create_model("fdp", 3, shapes=SHAPES, input="frames").seen(frames) is frames
    assert create_model("fdp", 3, shapes={"frames": (8, 1, 64, 64)}, preset="paper").seen(frames) is frames


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
    error = output.dynamic_image - targets["dynamic_image"][:, 0]
    assert output.dynamic_image.shape == (2, 48, 48)
    torch.testing.assert_close(terms["dynamic_image"], 3 * error.square().mean())
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


def test_the_image_starts_out_as_the_scaled_pooled_frames() -> None:
    torch.manual_seed(0)
    frames = torch.randn(3, 8, 1, 48, 48) * (0.5 + torch.rand(3, 8, 1, 1, 1)) + torch.rand(3, 8, 1, 1, 1)
    drawn = create_model("fdp", 3, shapes=SHAPES).eval()(frames=frames).dynamic_image
    for clip in range(3):
        still = np.tensordot(coefficients(8), standardised(frames)[clip, :, 0].double().numpy(), axes=1)
        expected = (still - still.min()) / (still.max() - still.min())
        np.testing.assert_allclose(drawn[clip].detach().numpy(), expected, atol=1e-4)


def test_what_the_drawing_network_adds_comes_from_the_representation_and_the_pooled_frames() -> None:
    torch.manual_seed(0)
    net = ResidualUNet(8, (4, 6, 5), withheld=0.0)
    nn.init.normal_(net.last.weight, std=0.05)
    frames, representation = torch.randn(2, 64, 32), torch.randn(2, 8, 8, 4, requires_grad=True)
    image = net(frames, representation)
    assert image.shape == frames.shape and image.min() >= 0 and image.max() <= 1
    assert (image - scaled_to_unit(frames)).abs().max() > 0.01
    image.square().sum().backward()
    assert representation.grad is not None and (representation.grad.flatten(1).abs().sum(dim=1) > 0).all()


def test_pooled_frames_are_withheld_from_whole_clips_in_training_alone() -> None:
    torch.manual_seed(0)
    net = ResidualUNet(8, (4, 6), withheld=0.5)
    frames, representation = torch.randn(40, 16, 16), torch.randn(40, 8, 4, 4)
    image = net(frames, representation)  # its residual is still zero
    flat = (image == 0.5).all(dim=2).all(dim=1)
    assert 10 < flat.sum() < 30
    torch.testing.assert_close(image[~flat], scaled_to_unit(frames)[~flat])
    torch.testing.assert_close(net.eval()(frames, representation), scaled_to_unit(frames))


def test_what_is_learned_without_pooled_frames_is_added_to_no_others() -> None:
    torch.manual_seed(0)
    net = ResidualUNet(8, (4, 6), withheld=0.0)
    frames, representation = torch.randn(2, 16, 16), torch.randn(2, 8, 4, 4)
    nothing = torch.zeros_like(frames)
    net(nothing, representation).square().sum().backward()
    weight = net.last.weight
    assert weight.grad is not None
    with torch.no_grad():
        weight -= weight.grad
    torch.testing.assert_close(net(frames, representation), scaled_to_unit(frames))
    assert (net(nothing, representation) - 0.5).abs().max() > 0.01


def test_a_clip_that_stands_still_has_a_finite_image() -> None:
    assert (scaled_to_unit(torch.full((1, 4, 4), 3.0)) == 0.5).all()
    model = create_model("fdp", 3, shapes=SHAPES)
    output = model(frames=torch.rand(2, 1, 1, 48, 48).expand(2, 8, 1, 48, 48))
    for value in (output.dynamic_image, output.logits, output.scores):
        assert torch.isfinite(value).all()


def test_the_ranking_loss_reaches_scorer_and_transformer() -> None:
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES)
    RankScorer.loss(model(frames=torch.randn(2, 8, 1, 48, 48)).scores).backward()
    for weight in (model.scorer.weight, model.transformer.head.weight, model.transformer.stem[0][0].weight):
        assert weight.grad.abs().max() > 0


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
    assert sum(p.numel() for p in tiny.parameters()) <= 100_000


def test_input_and_maps_may_differ_from_the_preset() -> None:
    for options, channels, maps in (({}, 2, 4), ({"input": "frames"}, 1, 4), ({"maps": 1}, 2, 1)):
        model = create_model("fdp", 3, shapes=SHAPES, **options)
        assert model.transformer.stem[0][0].in_channels == channels
        frames = torch.randn(2, 8, 1, 48, 48)
        assert model.maps(model.seen(frames)).shape == (2, 8, maps, 12, 12)
        assert model.scorer.weight.shape == (maps * 144,)
    with torch.device("meta"):
        paper = create_model("fdp", 3, shapes={"frames": (8, 1, 64, 64)}, preset="paper", input="change", maps=2)
        output = paper(frames=torch.empty(2, 8, 1, 64, 64))
    assert output.dynamic_image.shape == (2, 64, 64) and paper.scorer.weight.shape == (2 * 64 * 64,)
    for wrong in ({"input": "flow"}, {"maps": 0}):
        with pytest.raises(ModelOptionError, match=next(iter(wrong))):
            create_model("fdp", 3, shapes=SHAPES, **wrong)


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
        assert whole.maps(whole.seen(frames)).shape == less.maps(less.seen(frames)).shape
    assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in whole.parameters())


def test_without_ranking_the_representation_is_the_mean_over_time() -> None:
    model = create_model("fdp", 3, shapes=SHAPES, without="ranking", input="frames").eval()
    seen: list[torch.Tensor] = []
    model.expand.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
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
    seen = model.seen(frames)
    with torch.no_grad():
        pooled(model, frames)  # leaves batch norm with statistics, in evaluation mode
        torch.testing.assert_close(model.maps(seen), frame_by_frame(model, seen), atol=1e-5, rtol=1e-5)
        model.train()
        assert (model.maps(seen) - frame_by_frame(model, seen)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["change", "frames"])
def test_the_dynamic_representation_starts_out_from_the_dynamic_image(kind: Any) -> None:
    """Its first map, that is; the others say what random features say."""
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES, input=kind).train()
    seen = model.seen(torch.randn(16, 8, 1, 48, 48))
    shrunk = F.avg_pool2d(seen[:, :, 0], 4)  # to the 12 x 12 of a map
    maps = model.maps(seen)
    torch.testing.assert_close(maps[:, :, 0], shrunk, atol=1e-6, rtol=1e-5)
    assert (maps[:, :, 1:].flatten(3).std(dim=3) > 0).all()


def test_map_drop_leaves_out_whole_clips_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], map_drop=0.5))
    torch.manual_seed(0)
    model = create_model("fdp", 3, shapes=SHAPES).train()
    seen = model.seen(torch.randn(16, 8, 1, 48, 48))
    said = model.maps(seen)[:, :, 1:].abs().amax(dim=(2, 3, 4)) > 0  # (B, T)
    assert (said == said[:, :1]).all()
    assert 2 < said[:, 0].sum() < 14
    assert (model.eval().maps(seen)[:, :, 1:].abs().amax(dim=(2, 3, 4)) > 0).all()


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
