"""The weights that come with the package: what they say of themselves is true, and they can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from fdpbench.bench.plan.pretraining import load_pretraining
from fdpbench.bench.train.artifacts import located, shipped_weights
from fdpbench.bench.train.outputs import untold
from fdpbench.bench.train.weights import read_about, read_weights
from fdpbench.models.common.blocks import Classifier
from fdpbench.models.common.registry import create_model, model_info
from fdpbench.prep.demo.composite import CLASSES
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.profile import overlay

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 8_000_000  # of all together, for a repository that is cloned quickly
NAMES = sorted(shipped_weights())


def card_of(name: str) -> dict:
    card: dict = json.loads(located(shipped_weights()[name]).with_suffix(".json").read_text(encoding="utf-8"))
    return card


def test_they_are_those_of_the_profile_and_small() -> None:
    profile = yaml.safe_load((ROOT / "params.weights.yaml").read_text(encoding="utf-8"))
    assert [f"rendered_{name}" for name in sorted(profile["pretrain"])] == NAMES
    assert 0 < sum(located(file).stat().st_size for file in shipped_weights().values()) <= MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_of_the_file(name: str) -> None:
    path, card = located(shipped_weights()[name]), card_of(name)
    (weights,) = card["weights"].values()
    assert weights["sha256"] == hash_file(path) and weights["bytes"] == path.stat().st_size
    about = read_about(path)
    assert about["outputs"] == card["outputs"] and about["model"] == card["pretraining"]["model"]
    assert card["rendered"] is True and card["corpus"]["settings"]["note"]
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "No clip of a real person was used" in text and card["corpus"]["settings"]["note"] in text


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_of_the_profile(name: str) -> None:
    """Every setting of network, training and corpus, defaults of the code among them."""
    params = yaml.safe_load(overlay(ROOT / "params.weights.yaml", ROOT / "params.yaml"))
    card = card_of(name)
    pretraining = load_pretraining(card["name"], params)
    assert pretraining.entry.model_dump(exclude={"set"}) == card["pretraining"]
    assert pretraining.settings.model_dump(mode="json") == card["settings"]
    assert pretraining.corpus.model_dump(mode="json") == card["corpus"]["settings"]
    assert pretraining.train.model_dump(mode="json", exclude={"repetitions"}) == card["train"]


def probes(clips: int = 64) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Smooth random motion as each input has it, before it is standardised, and its mirror image."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, side: int) -> torch.Tensor:
        coarse = torch.rand(clips, channels, 7, 7, generator=generator)
        return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)

    flow = smooth(3, 28)
    mirror = flow.flip(3).clone()
    mirror[:, 0] = 1 - mirror[:, 0]
    rise = torch.sin(torch.linspace(0, torch.pi, 8))[:, None, None, None]
    frames = 80 + 80 * smooth(1, 96)[:, None] + 8 * rise * (smooth(1, 96)[:, None] - 0.5)  # (B, 8, 1, 96, 96)
    return {"flow": flow, "frames": frames}, {"flow": mirror, "frames": frames.flip(-1)}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_takes_them_and_tells_left_from_right_no_difference(name: str) -> None:
    """Mirror images of a clip are of the same class: what was learned from mirrored clips, to a few per cent."""
    path = located(shipped_weights()[name])
    weights, about = read_weights(path, torch.device("cpu")), read_about(path)
    inputs = model_info(about["model"]).inputs
    both = [{key: each[key] for key in inputs} for each in probes()]

    def build(count: int) -> Classifier:
        shapes = {key: tuple(value.shape[1:]) for key, value in both[0].items()}
        network: Classifier = create_model(about["model"], count, shapes=shapes, **about["settings"]["model"])
        return network

    model = build(len(weights.outputs)).eval()
    weights.put_into(model, weights.outputs, build)
    classes = [k for k, output in enumerate(weights.outputs) if not output.startswith("AU")]
    with torch.no_grad():
        plain, other = (model(**weights.standardiser(each)).logits[:, classes].softmax(1) for each in both)
    assert bool(plain.isfinite().all()) and len({*plain.argmax(1).tolist()}) > 1
    assert float((plain.argmax(1) == other.argmax(1)).float().mean()) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_they_tell_the_classes_of_the_composite(name: str) -> None:
    """Whether they learned these, or the emotions that these gather."""
    about = read_about(located(shipped_weights()[name]))
    assert untold(CLASSES, about["outputs"]) == []
