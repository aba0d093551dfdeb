"""Adapters: the encoder against torch's own transformer, what is trained, and the reading of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from fdpbench.models import create_model
from fdpbench.models.adapters import Encoder, Sizes, read_weights
from fdpbench.models.common.registry import ModelOptionError

SHAPES = {"frames": (8, 1, 48, 48)}
SMALL = Sizes(image=24, patch=8, width=128, hidden=192, depth=3)


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    return create_model("adapters", 3, shapes=SHAPES, **options)


def train(model: Any, steps: int) -> None:
    frames, labels = torch.randn(4, 8, 1, 48, 48), torch.tensor([0, 1, 2, 0])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(model(frames), labels, {})["cross_entropy"].backward()
        optimiser.step()


def write(path: Path, sizes: Sizes = SMALL, changes: Mapping[str, Tensor | None] | None = None) -> dict[str, Tensor]:
    """Write a random encoder; changes replace tensors, add them or, being None, leave them out."""
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {name: torch.randn_like(value) for name, value in Encoder(sizes).state_dict().items()}
    for name, value in (changes or {}).items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, path)
    return tensors


# The encoder


@pytest.mark.parametrize(
    ("width", "parameters"), [(192, 5_717_416 - 193_000), (384, 22_050_664 - 385_000), (768, 86_567_656 - 769_000)]
)
def test_parameters_of_known_encoders(width: int, parameters: int) -> None:
    """Those of ViT-Ti, ViT-S and ViT-B, patches of 16, at 224 pixels, without their head of 1000 classes."""
    with torch.device("meta"):
        encoder = Encoder(Sizes(image=224, patch=16, width=width, hidden=4 * width, depth=12))
    assert sum(p.numel() for p in encoder.parameters()) == parameters


@pytest.mark.parametrize("norm_pre", [False, True])
@torch.no_grad()
def test_untrained_adapters_leave_the_encoder_as_torch_computes_it(tmp_path: Path, norm_pre: bool) -> None:
    sizes = replace(SMALL, norm_pre=norm_pre)
    weights = write(tmp_path / "vit.safetensors", sizes)
    model = build(weights=str(tmp_path / "vit.safetensors")).eval()
    frames = torch.randn(2, 8, 1, 48, 48)

    images = F.interpolate(frames.flatten(0, 1).repeat(1, 3, 1, 1), (24, 24), mode="bilinear", antialias=True)
    patches = F.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=8)
    tokens = torch.cat([weights["cls_token"].repeat(16, 1, 1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + weights["pos_embed"]
    if norm_pre:
        tokens = F.layer_norm(tokens, (128,), weights["norm_pre.weight"], weights["norm_pre.bias"], 1e-6)
    for index in range(3):
        layer = nn.TransformerEncoderLayer(
            128, 2, 192, dropout=0, activation=F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
        ).eval()
        theirs = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj."}
        theirs |= {"norm1.": "norm1.", "norm2.": "norm2.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2."}
        names = {a + part: b + part for a, b in theirs.items() for part in ("weight", "bias")}
        layer.load_state_dict({a: weights[f"blocks.{index}.{b}"] for a, b in names.items()})
        tokens = layer(tokens)
    normal = F.layer_norm(tokens[:, 0], (128,), weights["norm.weight"], weights["norm.bias"], 1e-6)
    expected = model.classify(normal.unflatten(0, (2, 8)).mean(dim=1))
    torch.testing.assert_close(model(frames).logits, expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_block_attends_over_time_at_each_place_then_within_each_frame() -> None:
    model = build()
    block, adapters = model.encoder.blocks[1], model.adapters[1]
    for value in adapters.parameters():
        nn.init.normal_(value, std=0.3)
    x = torch.randn(2, 8, 17, 64)
    in_time, within = x.clone(), torch.zeros_like(x)
    for clip in range(2):
        for place in range(17):
            attended = block.attn(block.norm1(x[clip, :, place])[None])[0]  # (T, D)
            in_time[clip, :, place] += adapters.time(attended)
        for frame in range(8):
            attended = block.attn(block.norm1(in_time[clip, frame])[None])[0]  # (L, D)
            within[clip, frame] = in_time[clip, frame] + attended + adapters.space(attended)
    normal = block.norm2(within)
    expected = within + block.mlp["fc2"](F.gelu(block.mlp["fc1"](normal))) + 0.5 * adapters.mlp(normal)
    torch.testing.assert_close(model._block(block, adapters, x), expected, rtol=1e-4, atol=1e-4)


# What is trained


def test_the_encoder_stays_as_it_is_and_all_else_learns() -> None:
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, steps=3)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith("encoder.")}
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == same
    assert all(value.grad is None for value in model.encoder.parameters())
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


def test_number_of_trained_parameters() -> None:
    trained = sum(value.numel() for value in build().parameters() if value.requires_grad)
    adapter = (64 * 16 + 16) + (16 * 64 + 64)
    assert trained == 8 * 64 + 2 * 3 * adapter + (64 * 3 + 3)
    more = sum(value.numel() for value in build(ratio=0.5).parameters() if value.requires_grad)
    assert more - trained == 2 * 3 * (2 * 64 * 16 + 16)


@torch.no_grad()
def test_frames_are_seen_in_their_order_once_it_is_trained() -> None:
    model, frames = build(), torch.randn(1, 8, 1, 48, 48)
    model.eval()
    torch.testing.assert_close(model(frames).logits, model(frames.flip(1)).logits)
    with torch.enable_grad():
        train(model, steps=3)
    assert (model(frames).logits - model(frames.flip(1)).logits).abs().max() > 1e-3


def test_colour_is_taken_as_it_is_and_grey_is_repeated() -> None:
    torch.manual_seed(0)
    colour = create_model("adapters", 3, shapes={"frames": (8, 3, 48, 48)}).eval()
    grey = create_model("adapters", 3, shapes=SHAPES).eval()
    grey.load_state_dict(colour.state_dict())
    frames = torch.randn(2, 8, 1, 48, 48)
    torch.testing.assert_close(grey(frames).logits, colour(frames.expand(-1, -1, 3, -1, -1)).logits)
    with pytest.raises(ModelOptionError, match="'frames'.*2 channels"):
        create_model("adapters", 3, shapes={"frames": (8, 2, 48, 48)})


# Reading of weights


@pytest.mark.parametrize("clip", [False, True])
def test_weights_and_sizes_come_from_the_file(tmp_path: Path, clip: bool) -> None:
    sizes = replace(SMALL, norm_pre=clip, patch_bias=not clip)
    written = write(tmp_path / "vit.safetensors", sizes, {"head.weight": torch.zeros(1000, 128)})
    encoder = read_weights(tmp_path / "vit.safetensors")
    assert encoder.sizes == sizes
    state = encoder.state_dict()
    assert set(written) - set(state) == {"head.weight"}
    assert all(torch.equal(value, written[name]) for name, value in state.items())


def test_the_names_of_timm() -> None:
    """As the files of timm's ``vit_*`` models hold them."""
    names = set(Encoder(Sizes(depth=1)).state_dict())
    layers = ["norm", "patch_embed.proj"]
    layers += [f"blocks.0.{layer}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    assert names == {"cls_token", "pos_embed", *(f"{a}.{b}" for a in layers for b in ("weight", "bias"))}


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    tensors = {name: value.half() for name, value in write(tmp_path / "vit.safetensors").items()}
    save_file(tensors, tmp_path / "half.safetensors")
    assert {value.dtype for value in read_weights(tmp_path / "half.safetensors").state_dict().values()} == {
        torch.float32
    }


def test_activation() -> None:
    frames = torch.randn(2, 8, 1, 48, 48)
    gelu, quick = (build(activation=name).eval()(frames).logits for name in ("gelu", "quick_gelu"))
    torch.testing.assert_close(gelu, quick, atol=0.05, rtol=0)
    assert not torch.equal(gelu, quick)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ModelOptionError, match=r"nowhere/vit.safetensors.*no such file"):
        build(weights="nowhere/vit.safetensors")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "vit.pt")
    with pytest.raises(ModelOptionError, match=r"vit.pt is no safetensors file.*convert"):
        build(weights=str(tmp_path / "vit.pt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_embed": None}, "no tensor pos_embed of 3 axes"),
        ({"patch_embed.proj.weight": torch.zeros(128, 192)}, "no tensor patch_embed.proj.weight of 4 axes"),
        ({"blocks.1.norm2.bias": None}, "lacks 1 tensors, such as blocks.1.norm2.bias; expected .* timm"),
        ({"blocks.0.ls1.gamma": torch.zeros(128)}, "also holds 1 tensors, such as blocks.0.ls1.gamma"),
        ({"pos_embed": torch.zeros(1, 11, 128)}, r"pos_embed has the shape \(1, 11, 128\), expected \(1, 10, 128\)"),
        ({"blocks.2.attn.qkv.weight": torch.zeros(9, 9)}, r"blocks.2.attn.qkv.weight has the shape \(9, 9\)"),
        ({"patch_embed.proj.weight": torch.zeros(100, 3, 8, 8)}, "100 wide, expected a multiple of 64"),
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path: Path, changes: dict[str, Tensor | None], message: str) -> None:
    write(tmp_path / "vit.safetensors", changes=changes)
    with pytest.raises(ModelOptionError, match=f"vit.safetensors.*{message}"):
        build(weights=str(tmp_path / "vit.safetensors"))


def test_other_names_are_refused_with_those_expected(tmp_path: Path) -> None:
    save_file({"visual.class_embedding": torch.zeros(768)}, tmp_path / "clip.safetensors")
    with pytest.raises(ModelOptionError, match="visual.class_embedding.*timm"):
        build(weights=str(tmp_path / "clip.safetensors"))
