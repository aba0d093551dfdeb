"""Histograms of optical flow orientation, weighted by flow magnitude and strain, and a linear SVM.

The line of Bi-WOOF: Liong et al., "Less is More: Micro-expression Recognition from Video Using Apex
Frame", Signal Processing: Image Communication 62, 2018. There every pixel of a block votes for its
orientation with its flow magnitude, and every block's histogram is multiplied by its mean strain.

Ours: flow is centred on its median, a vote is shared between the two nearest orientations, a clip's
histograms are scaled to sum to 1 and square roots are taken, and the grid and the SVM's cost.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fdpbench.models.common.estimators import FlowBlocks, LinearSVMEstimator, check_flow
from fdpbench.models.common.registry import Count, Positive, register_model

__all__ = ["FlowHistogram"]


@register_model(inputs=("flow",), paper="Liong et al., Signal Processing: Image Communication 62, 2018")
class FlowHistogram(LinearSVMEstimator):
    """Weighted orientation histograms by block, and a linear SVM.

    Flow images as the field exchanges them are scaled to [0, 1] for each image and channel, so that
    the value that stands for no motion is lost. Most of a face does not move, so each image's median
    of u and of v is taken for it. For flow in pixels the median is the motion of the head as a whole,
    which alignment left over, so that both kinds are centred alike. Scaling u and v apart also bends
    orientations; that cannot be undone. Only the relative weights within a clip count: pixels or
    [0, 1] make no difference there.

    Parameters
    ----------
    num_classes, seed, cost
        See `LinearSVMEstimator`.
    grid
        Blocks along each side of the image.
    bins
        Orientations over the full circle.
    """

    def __init__(
        self, num_classes: int, *, seed: int = 0, grid: Count = 5, bins: Count = 8, cost: Positive = 10.0
    ) -> None:
        super().__init__(num_classes, seed=seed, cost=cost)
        self.grid, self.bins = grid, bins

    def features(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Square roots of the weighted histograms: (B, grid^2 * bins). A clip without motion gives zeros.

        Raises
        ------
        ModelOptionError
            If the flow has not three channels (u, v, strain) or is smaller than the grid.
        """
        flow = check_flow("flow_histogram", inputs["flow"], self.grid)  # (B, 3, h, w)
        motion = flow[:, :2] - np.median(flow[:, :2], axis=(2, 3), keepdims=True)  # (B, 2, h, w)
        magnitude = np.hypot(motion[:, 0], motion[:, 1])  # (B, h, w)
        angle = np.arctan2(motion[:, 1], motion[:, 0])
        position = angle / (2 * np.pi) * self.bins  # in bins, from -bins / 2 to bins / 2
        lower = np.floor(position)
        upper_share = position - lower

        blocks = FlowBlocks(flow, self.grid, self.bins)
        lower_votes, upper_votes = (
            blocks.votes(orientation.astype(np.int64) % self.bins, magnitude * share)
            for orientation, share in ((lower, 1 - upper_share), (lower + 1, upper_share))
        )
        weighted = blocks.times_strain(lower_votes + upper_votes)
        total = weighted.sum(axis=1, keepdims=True)
        return np.sqrt(weighted / np.where(total > 0, total, 1.0))
