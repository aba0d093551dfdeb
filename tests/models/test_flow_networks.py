"""The published networks on flow: their sizes, and the parts that the conformance suite cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models import create_model
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.emr import UPPER_ROWS, part_pooling
from fdpbench.models.htnet import AREAS, PRESETS, Layer, Level, four_areas
from fdpbench.models.rcn import RCN, Shrink, class_attention

SHAPES = {"flow": (3, 28, 28)}
VARIANTS = get_args(get_type_hints(RCN.__init__)["variant"])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, num_classes: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(name, num_classes, shapes=SHAPES, **options)


def parameters(name: str, **options: Any) -> int:
    """Of the network for three classes, built without memory for its weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name, **options).parameters())


def flow(clips: int = 4, seed: int = 3) -> Tensor:
    return torch.randn(clips, *SHAPES["flow"], generator=torch.Generator().manual_seed(seed))


# Sizes


@pytest.mark.parametrize(
    ("name", "millions"),
    [("off_apexnet", 2.66), ("dual_inception", 6.45)],
)
def test_number_of_parameters_is_the_published_one(name: str, millions: float) -> None:
    """Both figures are those of the comparison beside Off-TANet (Zhang et al., PRICAI 2021)."""
    assert parameters(name) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_emr_is_resnet18_with_another_stem_and_other_heads() -> None:
    resnet18, its_classifier, its_stem = 11_689_512, 512 * 1000 + 1000, 3 * 64 * 7**2
    parts, classes = 2 * (512 * 64 + 64), (2 * 64 * 3 + 3) + 2 * (64 * 3 + 3)
    expected = resnet18 - its_classifier - its_stem + 3 * 64 * 3**2 + parts + classes
    assert parameters("emr", width=64) == expected == 11_235_273


def test_released_htnet_has_the_sizes_of_its_code() -> None:
    expected = 3 * 7**2 * 256 + 256  # patches
    for width, heads, layers in ((256, 3, 2), (512, 6, 2), (1024, 12, 10)):
        inner = width // heads * heads
        attention, mlp = 4 * width * inner + width, 8 * width**2 + 5 * width
        expected += 1 + layers * (attention + mlp + 2 * 2 * width)  # 1: the position of the only token
    for width in (256, 512):
        expected += 9 * width * 2 * width + 3 * 2 * width  # convolution and LN
    expected += 2 * 1024 + 3 * 1024 + 3
    assert parameters("htnet", preset="released") == expected == 139_582_982


def test_modules_of_rcn_add_no_parameters() -> None:
    """What its paper says of attention and shortcuts; wide expansion has smaller kernels, and so fewer."""
    counts = {variant: parameters("rcn", variant=variant) for variant in VARIANTS}
    assert counts["A"] == counts["S"] == counts["plain"] == 15_331
    assert counts["P"] == counts["C"] == counts["F"] == counts["W"] == 13_795


# Streams


@pytest.mark.parametrize("name", ["off_apexnet", "dual_inception", "featref"])
def test_streams_read_one_component_each_and_no_strain(name: str) -> None:
    model, clips = build(name).eval(), flow()
    changed = clips.clone()
    changed[:, 2] += 1
    with torch.no_grad():
        assert torch.equal(model(flow=clips).logits, model(flow=changed).logits)
        for stream, component in ((model.horizontal, 0), (model.vertical, 1)):
            seen: list[Tensor] = []
            handle = stream.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
            model(flow=clips)
            handle.remove()
            assert torch.equal(seen[0], clips[:, component : component + 1])


# RCN


@pytest.mark.parametrize("size", [(28, 28), (12, 12), (10, 10), (6, 6), (5, 5), (13, 9)])
def test_shrink_is_adaptive_average_pooling(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(Shrink(size, 5)(x), F.adaptive_avg_pool2d(x, 5))


def test_attention_of_rcn_finds_what_the_classifier_looks_at() -> None:
    x, weights = torch.zeros(1, 4, 5, 5), torch.ones(3, 4, 5, 5)
    assert torch.equal(class_attention(x, weights), torch.zeros(1, 1, 5, 5))  # flat, and not 0 / 0
    x[0, :, 1, 3] = 2.0
    attention = class_attention(x, weights)[0, 0]
    assert attention[1, 3] == pytest.approx(1, abs=1e-5)
    assert attention.sum() == attention[1, 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_rcn_learns_with_all_its_weights(variant: str) -> None:
    model, clips, labels = build("rcn", variant=variant, dropout=0.0), flow(8), torch.arange(8) % 3
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        model.loss(model(flow=clips), labels, {})["cross_entropy"].backward()
        optimiser.step()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    assert (model(flow=clips).logits.argmax(1) == labels).all()


def test_recurrence_of_rcn_runs_one_convolution_several_times() -> None:
    for variant, times in (("plain", 2), ("S", 3)):
        model = build("rcn", variant=variant)
        calls: list[Tensor] = []
        model.recurrence.recur.register_forward_hook(lambda *given, calls=calls: calls.append(given[2]))
        model(flow=flow())
        assert len(calls) == times


@pytest.mark.parametrize("variant", VARIANTS)
def test_rcn_takes_larger_flow(variant: str) -> None:
    model = create_model("rcn", 3, shapes={"flow": (3, 60, 48)}, variant=variant, width=8, pool=7)
    assert model(flow=torch.randn(2, 3, 60, 48)).logits.shape == (2, 3)


def test_rcn_refuses_a_width_that_its_streams_cannot_share() -> None:
    with pytest.raises(ModelOptionError, match="width=30.*multiple of 4"):
        build("rcn", variant="W", width=30)


# FeatRef and EMR


@pytest.mark.parametrize(("name", "terms"), [("featref", {"proposal"}), ("emr", {"upper", "lower"})])
def test_further_terms_of_the_loss(name: str, terms: set[str]) -> None:
    model, labels = build(name).eval(), torch.tensor([0, 1, 2, 1])
    output = model(flow=flow())
    found = model.loss(output, labels, {})
    assert set(found) == terms | {"cross_entropy"}
    assert found["cross_entropy"].item() == pytest.approx(F.cross_entropy(output.logits, labels).item())


def test_proposals_of_featref_are_judged_one_by_one() -> None:
    model, labels = build("featref", proposal_weight=2.0).eval(), torch.tensor([0, 1, 2, 1])
    output = model(flow=flow())
    right = output.proposals.sigmoid()[range(4), labels]
    wrong = 1 - output.proposals.sigmoid()
    wrong[range(4), labels] = 1.0
    expected = -(right.log().sum() + wrong.log().sum()) / 12
    assert model.loss(output, labels, {})["proposal"].item() == pytest.approx(2 * expected.item(), rel=1e-5)


def test_parts_of_emr_are_the_upper_three_and_lower_four_rows() -> None:
    x = torch.arange(7.0)[None, None, :, None].expand(2, 5, 7, 7)
    upper, lower = part_pooling(x)
    assert torch.equal(upper, torch.full((2, 5), 1.0))
    assert torch.equal(lower, torch.full((2, 5), 4.5))
    assert build("emr").trunk(flow()).shape[2:] == (7, 7)
    assert UPPER_ROWS == 3


# HTNet


def test_areas_of_htnet_lie_around_their_middles() -> None:
    rows = torch.arange(28.0)[:, None].expand(28, 28)
    image = torch.stack([rows, rows.T])[None]  # every pixel holds its row and its column
    areas = four_areas(image)[0]
    assert areas.shape == (2, 28, 28)
    for (row, column), middle in zip(((7, 7), (7, 21), (21, 7), (21, 21)), AREAS.values(), strict=True):
        assert areas[:, row, column].tolist() == list(middle)
        assert areas[:, row - 7, column - 7].tolist() == [middle[0] - 7, middle[1] - 7]


@pytest.mark.parametrize(("preset", "tokens"), [("released", 1), ("tiny", 4)])
def test_blocks_of_htnet_hold_so_many_tokens(preset: str, tokens: int) -> None:
    with torch.device("meta"):
        model = build("htnet", preset=preset)
    levels = [stage for stage in model.stages if isinstance(stage, Level)]
    assert [level.position.shape for level in levels] == [(tokens, 1)] * len(PRESETS[preset].layers)
    assert [level.blocks for level in levels] == [2**level for level in reversed(range(len(levels)))]


def test_attention_over_one_token_ignores_queries_and_keys() -> None:
    """So two thirds of that layer's weights are never trained in released HTNet."""
    layer = Layer(12, 3, dropout=0.0)
    layer(torch.randn(5, 1, 12)).square().sum().backward()
    gradient = layer.attend.weight.grad
    assert gradient is not None
    query, key, value = gradient.chunk(3)
    assert query.abs().max() == key.abs().max() == 0 < value.abs().max()


def test_blocks_of_htnet_see_themselves_alone() -> None:
    level, x = Level(8, 2, 1, blocks=2, tokens=4, dropout=0.0), torch.randn(1, 4, 4, 8)
    changed = x.clone()
    changed[:, :2, 2:] += 1  # the upper right block
    different = (level(x) != level(changed)).any(dim=3)[0]
    assert different[:2, 2:].all() and different.sum() == 4


def test_level_of_one_block_is_its_layers() -> None:
    level, x = Level(8, 2, 2, blocks=1, tokens=4, dropout=0.0), torch.randn(3, 2, 2, 8)
    expected = level.layers(x.flatten(1, 2) + level.position)
    torch.testing.assert_close(level(x), expected.unflatten(1, (2, 2)))
    assert isinstance(level.layers, nn.Sequential)
