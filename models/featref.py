"""FeatRef: features that all expressions share, refined into features of each expression, and fused.

Zhou, Mao, Huang, Zhang, Zhang, "Feature refinement: An expression-specific feature learning and fusion method for
micro-expression recognition", Pattern Recognition 122, 2022, arXiv 2101.04838.

Marks: [paper] its abstract says so; [code] as in the authors' code of Dual-Inception (FG 2019), whose inception
blocks this network goes on from; [choice] ours.

We had the abstract, not the full text, and found no code. So the parts and their order are the paper's: an
inception module on flow, a proposal module with attention factors and a loss of its own, a fusion of its features
that predicts the class. Sizes, the form of the attention and of the proposal loss, and the fusion are ours, and the
paper's figures are not to be expected of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdpbench.models.common.blocks import INCEPTION_FEATURES, Classifier, ModelOutput, inception_stream, input_shape
from fdpbench.models.common.registry import Count, Recipe, Share, Weight, register_model

__all__ = ["FeatRef", "FeatRefOutput"]


@dataclass
class FeatRefOutput(ModelOutput):
    """What a forward pass gives.

    Attributes
    ----------
    proposals
        (B, num_classes): by class, the logit of "this clip shows it", each judged without the others.
    """

    per_class = ("logits", "proposals")

    proposals: Tensor | None = None


class Proposal(nn.Module):
    """What one expression makes of the shared features [paper].

    Attention factors from 0 to 1 weigh the shared features one by one; a dense layer turns them into the
    features of this expression, from which one logit says whether the clip shows it [choice].
    """

    def __init__(self, shared: int, specific: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.Linear(shared, shared), nn.Sigmoid())
        self.refine = nn.Sequential(nn.Linear(shared, specific), nn.ReLU(inplace=True))
        self.judge = nn.Linear(specific, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shared features (B, shared) -> features (B, specific), logit (B, 1)."""
        x = self.refine(x * self.attend(x))
        return x, self.judge(x)


@register_model(
    inputs=("flow",),
    paper="Zhou et al., Pattern Recognition 122, 2022",
    recipe=Recipe(epochs=40, batch_size=64, lr=3e-4, weight_decay=0.0),
)
class FeatRef(Classifier):
    """Shared features of u and v, one proposal for each class, and a class from their features together.

    The loss is CE(logits, label) + weight * mean BCE(proposals, one-hot label): [paper] the loss of the classes
    and a proposal loss; [choice] their form.

    Parameters
    ----------
    num_classes
        Number of classes.
    shapes
        Needs ``flow`` as (3, 28, 28): u, v, strain; the strain is not read.
    shared
        Features that all expressions share [choice].
    specific
        Features of each expression [choice].
    dropout
        Share of values dropped before the shared features are refined, and before the class [choice].
    proposal_weight
        Weight of the proposal loss [choice].

    Raises
    ------
    ModelOptionError
        If the flow has another shape.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        shared: Count = 256,
        specific: Count = 64,
        dropout: Share = 0.5,
        proposal_weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        input_shape(shapes, "flow", "C h w", C=(3, 3), h=(28, 28), w=(28, 28))
        self.proposal_weight = proposal_weight
        self.horizontal, self.vertical = inception_stream(), inception_stream()
        self.share = nn.Sequential(
            nn.Linear(2 * INCEPTION_FEATURES, shared), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.proposals = nn.ModuleList(Proposal(shared, specific) for _ in range(num_classes))
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(num_classes * specific, num_classes))

    def forward(self, flow: Tensor) -> FeatRefOutput:
        """Classify flow (B, 3, 28, 28)."""
        u, v = self.horizontal(flow[:, 0:1]), self.vertical(flow[:, 1:2])  # (B, 3136) each
        x = self.share(torch.cat([u, v], dim=1))  # (B, shared)
        features, proposals = zip(*(proposal(x) for proposal in self.proposals), strict=True)
        logits = self.classify(torch.cat(features, dim=1))  # of (B, num_classes * specific)
        return FeatRefOutput(logits=logits, proposals=torch.cat(proposals, dim=1))

    def loss(self, output: ModelOutput, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy, and the proposal loss times its weight."""
        assert isinstance(output, FeatRefOutput) and output.proposals is not None
        classes = torch.arange(output.proposals.shape[1], device=labels.device)
        shown = (labels[:, None] == classes).to(output.proposals.dtype)  # (B, num_classes)
        error = F.binary_cross_entropy_with_logits(output.proposals, shown)
        return {**super().loss(output, labels, targets), "proposal": self.proposal_weight * error}
