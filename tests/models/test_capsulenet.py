"""CapsuleNet: its size, its capsules and routing against plain loops, its loss by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fdpbench.models import create_model
from fdpbench.models.capsulenet import ABSENT_WEIGHT, CapsuleNet, CapsuleOutput, route, squash
from fdpbench.models.common.registry import ModelOptionError


def test_the_size_is_that_of_the_released_layers() -> None:
    with torch.device("meta"):
        model = create_model("capsulenet", 3, shapes={"apex": (3, 224, 224)})
    trunk = 11_689_512 - (512 * 1000 + 1000) - 8_393_728  # ResNet18 without its classifier and its last stage
    convolution, capsules = 256 * 256 * 9**2 + 256, 32 * 6 * 6 * 3 * 16 * 8
    assert sum(weight.numel() for weight in model.parameters()) == trunk + 2 * convolution + capsules == 13_842_496
    assert sum(weight.numel() for weight in model.trunk.parameters()) == trunk


def test_the_least_frame_leaves_one_place() -> None:
    for preset, least in (("released", 129), ("tiny", 33)):
        with torch.device("meta"):
            model: CapsuleNet = create_model("capsulenet", 3, shapes={"apex": (1, least, least)}, preset=preset)
            assert model(torch.empty(2, 1, least, least)).logits.shape == (2, 3)
        assert len(model.weight) == model.sizes.types
        with pytest.raises(ModelOptionError, match=f"'apex'.*H >= {least}"):
            create_model("capsulenet", 3, shapes={"apex": (1, least - 1, least)}, preset=preset)


@pytest.mark.parametrize("side", [40, 96, 97, 110])
def test_places_are_counted_as_the_layers_make_them(side: int) -> None:
    model: CapsuleNet = create_model("capsulenet", 3, shapes={"apex": (1, side, 48)}, preset="tiny")
    assert model.eval()(torch.zeros(2, 1, side, 48)).logits.shape == (2, 3)


def test_squash_keeps_the_direction() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-3]], dtype=torch.float64, requires_grad=True)
    out = squash(vectors)
    assert out[0].tolist() == pytest.approx([0.6 * 25 / 26, 0.8 * 25 / 26], rel=1e-6)
    assert out[1].tolist() == [0.0, 0.0]
    out.sum().backward()
    assert vectors.grad is not None and torch.isfinite(vectors.grad).all()


def routed_by_hand(votes: np.ndarray, rounds: int) -> np.ndarray:
    """Procedure 1 of Sabour et al., one clip at a time: votes (I, J, D)."""

    def short(vector: np.ndarray) -> np.ndarray:
        square = float(vector @ vector)
        return vector * (square / (1 + square) / np.sqrt(square))

    below, above, _ = votes.shape
    logits = np.zeros((below, above))
    for number in range(rounds):
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found = np.stack([short(sum(shares[i, j] * votes[i, j] for i in range(below))) for j in range(above)])
        if number < rounds - 1:
            logits += np.array([[votes[i, j] @ found[j] for j in range(above)] for i in range(below)])
    return found


@pytest.mark.parametrize("rounds", [1, 3])
def test_routing_is_that_of_a_plain_loop(rounds: int) -> None:
    votes = np.random.default_rng(0).normal(0, 1, (2, 5, 3, 4))
    expected = np.stack([routed_by_hand(one, rounds) for one in votes])
    np.testing.assert_allclose(route(torch.from_numpy(votes), rounds).numpy(), expected, rtol=1e-6)


def test_no_gradient_flows_through_the_shares() -> None:
    """What the last round gives is then linear in the votes, up to squashing, with fixed shares."""
    votes = torch.randn(1, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fixed = votes.detach()
    agreement = torch.zeros(1, 4, 3, dtype=torch.float64)
    for _ in range(2):
        found = squash((agreement.softmax(2)[..., None] * fixed).sum(1))
        agreement = agreement + (fixed * found[:, None]).sum(3)
    expected = torch.autograd.grad(squash((agreement.softmax(2)[..., None] * votes).sum(1)).sum(), votes)[0]
    (found,) = torch.autograd.grad(route(votes, 3).sum(), votes)
    torch.testing.assert_close(found, expected)


def output(lengths: list[list[float]]) -> CapsuleOutput:
    values = torch.tensor(lengths)
    return CapsuleOutput(logits=values.log(), lengths=values)


def test_the_margin_loss_by_hand() -> None:
    model: CapsuleNet = create_model("capsulenet", 3, shapes={"apex": (1, 48, 48)}, preset="tiny")
    labels: Tensor = torch.tensor([0, 2])
    said = output([[0.995, 0.005, 0.51], [0.01, 0.2, 0.49]])
    expected = [ABSENT_WEIGHT * 0.5**2, 0.5**2 + ABSENT_WEIGHT * 0.19**2]
    assert model.classification_losses(said, labels).tolist() == pytest.approx(expected, rel=1e-5)
    terms = model.loss(said, labels, {})
    assert set(terms) == {"margin"} and float(terms["margin"]) == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_scores_are_the_lengths_scaled_to_sum_one() -> None:
    model: CapsuleNet = create_model("capsulenet", 3, shapes={"apex": (1, 48, 48)}, preset="tiny")
    said = model.eval()(torch.randn(2, 1, 48, 48))
    scores = said.logits.softmax(1)
    torch.testing.assert_close(scores, said.lengths / said.lengths.sum(1, keepdim=True))
