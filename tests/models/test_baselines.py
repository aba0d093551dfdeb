"""LEARNet, MicroExpSTCNN and ELRCN against what their authors' code says of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fdpbench.models import create_model
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.elrcn import enrich


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(name: str, classes: int, **shapes: tuple[int, ...]) -> Any:
    with torch.device("meta"):  # sizes alone
        return create_model(name, classes, shapes=shapes)


# LEARNet


def test_learnet_has_the_parameters_of_the_released_code() -> None:
    """Layer by layer: side of the kernel, channels in and out."""
    column = [(1, 16, 16), (3, 16, 32), (5, 32, 64)]
    layers = [(3, 3, 16), *4 * column, (3, 256, 256), (1, 4 * 4 * 256, 256), (1, 256, 8)]
    norms = [16, 32, 16, 32, 256]
    expected = sum(side**2 * inputs * outputs + outputs for side, inputs, outputs in layers) + 2 * sum(norms)
    assert expected == 1_866_824
    assert parameters(build("learnet", 8, dynamic_image=(3, 112, 112))) == expected


@pytest.mark.parametrize(("side", "last"), [(32, 1), (33, 2), (96, 3), (112, 4)])
def test_learnet_halves_five_times_and_rounds_up(side: int, last: int) -> None:
    model = create_model("learnet", 3, shapes={"dynamic_image": (1, side, side)}).eval()
    joined = model.join(torch.cat([pair(model.stem(torch.zeros(1, 1, side, side))) for pair in model.pairs], dim=1))
    assert joined.shape == (1, 256, last, last)
    assert model(torch.zeros(2, 1, side, side)).logits.shape == (2, 3)


def test_learnet_is_wired_as_the_released_code() -> None:
    """Column 1 goes into column 2 and column 3 into column 4, after the first and the second convolution."""
    torch.manual_seed(0)
    model: Any = create_model("learnet", 3, shapes={"dynamic_image": (1, 48, 48)})
    image = torch.randn(2, 1, 48, 48)
    model.train()(image)  # moves BN's statistics away from 0 and 1
    model.eval()

    def conv(layer: Any, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, layer[0].weight, layer[0].bias, stride=2, padding=layer[0].weight.shape[2] // 2))

    stem, last = conv(model.stem, image), []
    for pair in model.pairs:
        plain, hybrid, norms = pair.plain, pair.hybrid, pair.norms
        a1 = conv(plain[0], stem)
        a2 = conv(plain[1], a1)
        b1 = norms[0](a1 + conv(hybrid[0], stem))
        b2 = norms[1](a2 + conv(hybrid[1], b1))
        last += [conv(plain[2], a2), conv(hybrid[2], b2)]
    joined = conv(model.join[1], model.join[0](torch.cat(last, dim=1)))
    first, second = model.classify[1], model.classify[4]
    expected = second(F.relu(first(joined.flatten(1))))
    torch.testing.assert_close(model(image).logits, expected)


# MicroExpSTCNN


@pytest.mark.parametrize(("frames", "left", "expected"), [(18, 1, 1_643_267), (96, 27, 44_241_667)])
def test_stcnn_has_the_parameters_of_the_released_code(frames: int, left: int, expected: int) -> None:
    """62 x 62 after the convolution, 20 x 20 after pooling, with 4 frames pooled to 1 or 82 to 27."""
    dense = 20 * 20 * left * 32
    assert expected == (15 * 3 * 3 * 32 + 32) + (dense * 128 + 128) + (128 * 3 + 3)
    assert parameters(build("micro_exp_stcnn", 3, frames=(frames, 1, 64, 64))) == expected


@pytest.mark.parametrize(("frames", "depth"), [(3, 1), (8, 6), (16, 14), (17, 15), (96, 15)])
def test_stcnn_spans_as_many_frames_as_the_clip_allows(frames: int, depth: int) -> None:
    model = build("micro_exp_stcnn", 3, frames=(frames, 1, 64, 64))
    assert model.convolve[0].weight.shape == (32, 1, depth, 3, 3)


def test_stcnn_averages_larger_frames() -> None:
    torch.manual_seed(0)
    shapes = {"frames": (8, 1, 128, 128)}
    model = create_model("micro_exp_stcnn", 3, shapes=shapes).eval()
    frames = torch.randn(2, 8, 1, 128, 128)
    small = F.avg_pool2d(frames.flatten(0, 1), 2).unflatten(0, (2, 8))
    torch.testing.assert_close(model(frames).logits, model(small).logits)


def test_stcnn_starts_as_the_released_code() -> None:
    torch.manual_seed(0)
    model = create_model("micro_exp_stcnn", 3, shapes={"frames": (8, 1, 64, 64)})
    for layer in (model.classify[2], model.classify[5]):
        assert layer.weight.std().item() == pytest.approx(0.05, rel=0.1)
        assert not layer.bias.any()


# ELRCN


def test_enrichment_by_hand() -> None:
    frames = torch.tensor([1.0, 4.0, 2.0]).reshape(1, 3, 1, 1, 1)
    assert enrich(frames, grey=False).flatten(2).tolist() == [[[0, 0], [3, 3], [1, -2]]]
    assert enrich(frames, grey=True).flatten(2).tolist() == [[[0, 0, 1], [3, 3, 4], [1, -2, 2]]]
    assert enrich(torch.zeros(2, 8, 3, 32, 32), grey=True).shape == (2, 8, 9, 32, 32)


def test_elrcn_without_grey_frames_sees_changes_alone() -> None:
    torch.manual_seed(0)
    frames, face = torch.randn(2, 8, 1, 48, 48).double(), torch.randn(2, 1, 1, 48, 48).double()
    for grey in (False, True):
        model = create_model("elrcn", 3, shapes={"frames": (8, 1, 48, 48)}, grey=grey).double().eval()
        same = torch.allclose(model(frames).logits, model(frames + face).logits, atol=1e-10, rtol=0)
        assert same is not grey


def test_elrcn_reads_frames_in_their_order() -> None:
    torch.manual_seed(0)
    model = create_model("elrcn", 3, shapes={"frames": (8, 1, 48, 48)}).eval()
    codes = torch.randn(1, 8, 128)
    forth, back = model.read(codes), model.read(codes.flip(1))  # (1, 128) each
    assert (forth - back).abs().max() > 1e-3


def test_elrcn_has_one_encoder_for_all_frames() -> None:
    """Its size does not grow with the number of frames."""
    assert len({parameters(build("elrcn", 3, frames=(frames, 1, 96, 96))) for frames in (2, 8, 20)}) == 1


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("learnet", "dynamic_image", (1, 31, 32)),
        ("micro_exp_stcnn", "frames", (2, 1, 64, 64)),
        ("elrcn", "frames", (1, 1, 64, 64)),
        ("elrcn", "frames", (8, 1, 64, 31)),
    ],
)
def test_too_small_inputs_are_refused(name: str, key: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelOptionError, match=f"'{key}'.*expected"):
        create_model(name, 3, shapes={key: shape})
