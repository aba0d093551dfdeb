"""STSTNet: weights of the public PyTorch port, and the network that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from fdpbench.models import create_model
from fdpbench.models.ststnet import load_released_state_dict

CONVOLUTIONS = {"1": 3, "2": 5, "3": 8}  # filters by stream


def build(seed: int = 0, num_classes: int = 3) -> Any:
    torch.manual_seed(seed)
    return create_model("ststnet", num_classes, shapes={"flow": (3, 28, 28)})


def checkpoint(num_classes: int = 3) -> dict[str, Tensor]:
    """What the port saves: names and shapes written out, values drawn."""
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (num_classes, 400), "fc.bias": (num_classes,)}
    for stream, filters in CONVOLUTIONS.items():
        shapes |= {f"conv{stream}.weight": (filters, 3, 3, 3), f"conv{stream}.bias": (filters,)}
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"bn{stream}.{part}": (filters,) for part in parts}
    generator = torch.Generator().manual_seed(1)
    made = {key: torch.rand(shape, generator=generator) for key, shape in sorted(shapes.items())}
    return made | {f"bn{stream}.num_batches_tracked": torch.tensor(800) for stream in CONVOLUTIONS}


def computed(state: dict[str, Tensor], flow: Tensor) -> Tensor:
    """The port's network in evaluation, from its weights alone."""
    streams = []
    for stream in CONVOLUTIONS:
        x = F.conv2d(flow, state[f"conv{stream}.weight"], state[f"conv{stream}.bias"], padding=2).relu()
        mean, var, weight, bias = (state[f"bn{stream}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        streams.append(F.max_pool2d(F.batch_norm(x, mean, var, weight, bias), 3, padding=1))
    x = F.avg_pool2d(torch.cat(streams, dim=1), 2).flatten(1)
    return F.linear(x, state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("counters", [True, False])
def test_weights_of_the_port_give_its_output(prefix: str, counters: bool) -> None:
    state = {k: v for k, v in checkpoint().items() if counters or not k.endswith("num_batches_tracked")}
    model = build().eval()
    load_released_state_dict(model, {prefix + key: value for key, value in state.items()})
    flow = 255 * torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model(flow=flow).logits, computed(state, flow))
    own = model.state_dict()
    for name in ("conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        layer, part = name.split(".")
        assert torch.equal(own[name], torch.cat([state[f"{layer}{stream}.{part}"] for stream in CONVOLUTIONS]))
    assert own["bn.num_batches_tracked"] == (800 if counters else 0)


def test_weights_of_the_port_come_through_safetensors(tmp_path: Path) -> None:
    one, other = build(seed=0), build(seed=1)
    load_released_state_dict(one, checkpoint())
    safetensors.torch.save_file(checkpoint(), tmp_path / "ststnet.safetensors")
    load_released_state_dict(other, safetensors.torch.load_file(tmp_path / "ststnet.safetensors"))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_training_is_that_of_three_streams() -> None:
    """Batch statistics, gradients and running statistics, against the port's network in training, dropout off."""
    torch.manual_seed(0)
    model = create_model("ststnet", 3, shapes={"flow": (3, 28, 28)}, dropout=0.0).double().train()
    state = {k: v.double() for k, v in checkpoint().items()}
    load_released_state_dict(model, state)
    flow, labels = torch.rand(7, 3, 28, 28, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    weights = {
        key: value.clone().requires_grad_() for key, value in state.items() if "running" not in key and "num" not in key
    }
    statistics = {key: value.clone() for key, value in state.items() if "running" in key}
    streams = []
    for k in CONVOLUTIONS:
        x = F.conv2d(flow, weights[f"conv{k}.weight"], weights[f"conv{k}.bias"], padding=2).relu()
        mean, var = statistics[f"bn{k}.running_mean"], statistics[f"bn{k}.running_var"]
        x = F.batch_norm(x, mean, var, weights[f"bn{k}.weight"], weights[f"bn{k}.bias"], training=True)
        streams.append(F.max_pool2d(x, 3, padding=1))
    x = F.avg_pool2d(torch.cat(streams, dim=1), 2).flatten(1)
    F.cross_entropy(F.linear(x, weights["fc.weight"], weights["fc.bias"]), labels).backward()
    F.cross_entropy(model(flow=flow).logits, labels).backward()
    for name, parameter in model.named_parameters():
        layer, part = name.split(".")
        gradients = [
            weights[key].grad for key in ([name] if layer == "fc" else [f"{layer}{k}.{part}" for k in CONVOLUTIONS])
        ]
        wanted = torch.cat([gradient for gradient in gradients if gradient is not None])
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-12)
    for part in ("running_mean", "running_var"):
        torch.testing.assert_close(
            getattr(model.bn, part), torch.cat([statistics[f"bn{k}.{part}"] for k in CONVOLUTIONS])
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bn2.running_var": None}, "'bn2.running_var' is missing"),
        ({"fc2.weight": torch.zeros(3)}, "'fc2.weight' is unexpected"),
        (
            {"conv3.weight": torch.zeros(8, 3, 5, 5)},
            r"'conv3.weight' has shape \(8, 3, 5, 5\), expected \(8, 3, 3, 3\)",
        ),
        (checkpoint(num_classes=5), r"'fc.weight' has shape \(5, 400\), expected \(3, 400\).*number of classes"),
    ],
    ids=["missing", "unexpected", "shape", "classes"],
)
def test_a_checkpoint_of_another_network_is_refused(change: dict[str, Tensor | None], message: str) -> None:
    model = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: value for key, value in (checkpoint() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_released_state_dict(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_training_checkpoint_is_refused() -> None:
    with pytest.raises(TypeError, match="'epoch' is int, expected a tensor"):
        load_released_state_dict(build(), {"epoch": 800, **checkpoint()})  # type: ignore[dict-item]
