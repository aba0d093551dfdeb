"""The weights that come with the package: what they say of themselves is true, and they can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from fdpbench.bench.train.artifacts import located, shipped_weights
from fdpbench.bench.train.weights import read_about, read_weights
from fdpbench.models.common.blocks import Classifier
from fdpbench.models.common.registry import create_model, model_info
from fdpbench.prep.runtime.scratch import hash_file

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 8_000_000  # of all together, for a repository that is cloned quickly
SHAPES = {"flow": (3, 28, 28)}
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
    profile, card = yaml.safe_load((ROOT / "params.weights.yaml").read_text(encoding="utf-8")), card_of(name)
    listed = profile["pretrain"][card["name"]]
    assert {key: card["pretraining"][key] for key in listed} == listed
    corpus = profile["corpora"][listed["corpus"]]
    assert {key: card["corpus"]["settings"][key] for key in corpus} == corpus


@pytest.mark.parametrize("name", NAMES)
def test_a_network_takes_them_and_tells_left_from_right_no_difference(name: str) -> None:
    """Mirror images of a clip are of the same class: what was learned from mirrored clips, to a few per cent."""
    path = located(shipped_weights()[name])
    weights, about = read_weights(path, torch.device("cpu")), read_about(path)

    def build(count: int) -> Classifier:
        network: Classifier = create_model(about["model"], count, shapes=SHAPES, **about["settings"]["model"])
        return network

    model = build(len(weights.outputs)).eval()
    weights.put_into(model, weights.outputs, build)
    assert model_info(about["model"]).inputs == ("flow",)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 3, 7, 7, generator=generator)
    flow = torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bilinear", align_corners=True)
    mirror = flow.flip(3).clone()
    mirror[:, 0] = 1 - mirror[:, 0]
    with torch.no_grad():
        plain, other = (
            model(**weights.standardiser({"flow": each})).logits[:, :3].softmax(1) for each in (flow, mirror)
        )
    assert bool(plain.isfinite().all()) and len({*plain.argmax(1).tolist()}) > 1
    assert float((plain.argmax(1) == other.argmax(1)).float().mean()) > 0.6
