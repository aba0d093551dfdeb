"""Bi-WOOF: orientation histograms of optical flow, weighted locally and globally, and a linear SVM.

Liong et al., "Less is More: Micro-expression Recognition from Video Using Apex Frame", Signal Processing:
Image Communication 62, 2018. `models.flow_histogram` is our own variant of it.

Marks: [paper] the method as its paper and its authors' page describe it; [choice] ours.

[paper] The flow is that from onset to apex. In each block every pixel votes for the bin of its orientation
with its flow magnitude, the local weight. The block's histogram is multiplied by the mean strain of the
block, the global weight. The blocks' histograms in a row go to a linear SVM.
[choice] 5 x 5 blocks, which a flow image of 28 pixels still fills, 8 bins, the SVM's cost, and features
standardised over the training clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdpbench.models.common.estimators import FlowBlocks, LinearSVMEstimator, check_flow
from fdpbench.models.common.registry import Count, Positive, register_model

__all__ = ["BiWoof", "orientation_bins"]


def orientation_bins(motion: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Bin of each vector's orientation: bin c holds the angles from -pi + 2 pi c / bins, below the next one's.

    Parameters
    ----------
    motion
        (B, 2, h, w): u and v.
    bins
        Bins over the full circle.

    Returns
    -------
    Bins 0..bins - 1, shape (B, h, w). A vector of zeros has the orientation 0.
    """
    angle = np.arctan2(motion[:, 1], motion[:, 0])  # (B, h, w), -pi..pi
    return np.floor((angle + np.pi) / (2 * np.pi) * bins).astype(np.int64) % bins  # pi itself is -pi


@register_model(inputs=("flow",), paper="Liong et al., Signal Processing: Image Communication 62, 2018 (Bi-WOOF)")
class BiWoof(LinearSVMEstimator):
    """Doubly weighted orientation histograms by block, and a linear SVM.

    [choice] Flow images that are scaled to [0, 1] for each image and channel have lost the value that stands
    for rest, and with it all orientations. Most of a face rests, so each image's median of u and of v is
    taken for that value. For flow in pixels ``rest="zero"`` is the paper's way; the median then also takes
    away the motion of the head as a whole. Scaling per image bends orientations and makes magnitudes of two
    clips incomparable; neither can be undone.

    Parameters
    ----------
    num_classes, seed, cost
        See `LinearSVMEstimator`.
    grid
        Blocks along each side of the image.
    bins
        Orientations over the full circle.
    rest
        What counts as no motion: each image's ``median``, or ``zero``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        seed: int = 0,
        grid: Count = 5,
        bins: Count = 8,
        rest: Literal["median", "zero"] = "median",
        cost: Positive = 10.0,
    ) -> None:
        super().__init__(num_classes, seed=seed, cost=cost)
        self.grid, self.bins, self.rest = grid, bins, rest

    def features(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Weighted histograms, block by block in reading order: (B, grid^2 * bins).

        Raises
        ------
        ModelOptionError
            If the flow has not three channels (u, v, strain) or is smaller than the grid.
        """
        flow = check_flow("bi_woof", inputs["flow"], self.grid)  # (B, 3, h, w)
        motion = flow[:, :2]  # (B, 2, h, w)
        if self.rest == "median":
            motion = motion - np.median(motion, axis=(2, 3), keepdims=True)
        magnitude = np.hypot(motion[:, 0], motion[:, 1])  # (B, h, w)
        blocks = FlowBlocks(flow, self.grid, self.bins)
        return blocks.times_strain(blocks.votes(orientation_bins(motion, self.bins), magnitude))
