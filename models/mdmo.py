"""MDMO: the main direction and mean strength of optical flow in 36 regions of the face, and an SVM.

Liu et al., "A Main Directional Mean Optical Flow Feature for Spontaneous Micro-Expression Recognition", IEEE
Transactions on Affective Computing 7(4), 2016.

Marks: [paper] its abstract and what others report of it; [choice] ours.

[paper] 36 regions, laid out partly by action units. In each region the vectors are put into 8 bins by
orientation; of the bin with the most vectors the mean magnitude rho and the mean angle theta are kept. Over
the regions rho is divided by its maximum. A clip is described by 36 x 2 = 72 numbers, whatever its size, and
an SVM classifies them.
[choice] Flow images come without landmarks, so the regions are boxes at fixed places of an aligned crop: see
`BANDS`. The paper averages over the frames of a clip; here there is one field, from onset to apex. It aligns
the frames by their flow; here the median of each field stands for the motion of the head. Its SVM's kernel is
not taken over: see `Mdmo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from fdpbench.models.common.estimators import FeatureEstimator, check_flow, checked_state, lowest_for_missing
from fdpbench.models.common.registry import Count, Positive, register_model

__all__ = ["BANDS", "REGIONS", "Mdmo", "main_direction", "region_of_each_pixel"]

# [choice] Bands of regions, from brow to chin: upper and lower edge and the edges between the regions, as
# shares of the crop's side. Made for crops with the eyes at (0.30, 0.32) and (0.70, 0.32), where the brows lie
# at heights 0.15 to 0.21, the tip of the nose at 0.60, and the mouth from 0.74 to 0.85.
BANDS = (
    (0.06, 0.22, (0.04, 0.20, 0.36, 0.50, 0.64, 0.80, 0.96)),  # brows
    (0.22, 0.40, (0.02, 0.14, 0.26, 0.38, 0.50, 0.62, 0.74, 0.86, 0.98)),  # temples, eyes, root of the nose
    (0.40, 0.54, (0.04, 0.20, 0.36, 0.50, 0.64, 0.80, 0.96)),  # below the eyes, bridge of the nose
    (0.54, 0.68, (0.06, 0.30, 0.50, 0.70, 0.94)),  # cheeks, wings of the nose
    (0.68, 0.84, (0.08, 0.32, 0.50, 0.68, 0.92)),  # corners of the mouth, lips
    (0.84, 0.92, (0.12, 0.33, 0.50, 0.67, 0.88)),  # below the mouth
    (0.92, 1.00, (0.14, 0.33, 0.50, 0.67, 0.86)),  # chin
)
REGIONS = sum(len(edges) - 1 for _, _, edges in BANDS)  # 36
SMALLEST = 13  # pixels along a side, at which the narrowest region still holds a pixel
LEAST_VARIANCE = 1e-9  # where all training clips are alike


def region_of_each_pixel(height: int, width: int) -> NDArray[np.int64]:
    """Region of each pixel's centre: (height, width), 0..35 in reading order; -1 outside all regions."""
    y, x = ((np.arange(length) + 0.5) / length for length in (height, width))
    regions = np.full((height, width), -1)
    first = 0
    for top, bottom, edges in BANDS:
        column = np.searchsorted(edges, x, side="right") - 1  # (width,), -1 to the left of the first edge
        column[column == len(edges) - 1] = -1  # to the right of the last
        band = np.where(column >= 0, first + column, -1)
        regions[(y >= top) & (y < bottom)] = band
        first += len(edges) - 1
    return regions


def main_direction(motion: NDArray[np.float64], bins: int) -> tuple[float, float]:
    """Mean magnitude and mean angle of the vectors in the fullest bin.

    Parameters
    ----------
    motion
        (2, n): u and v of n vectors, at least one.
    bins
        Bins over the full circle, from -pi. Of two that are equally full the first is taken.

    Returns
    -------
    rho at least 0, theta in -pi..pi.
    """
    angle = np.arctan2(motion[1], motion[0])  # (n,)
    bin_of = np.floor((angle + np.pi) / (2 * np.pi) * bins).astype(np.int64).clip(0, bins - 1)
    chosen = bin_of == np.bincount(bin_of, minlength=bins).argmax()
    return float(np.hypot(*motion)[chosen].mean()), float(angle[chosen].mean())


@register_model(
    inputs=("flow",),
    paper="Liu et al., IEEE Transactions on Affective Computing 7(4), 2016 (MDMO)",
    needs_eyes="takes 36 regions at fixed distances from the eyes",
)
class Mdmo(FeatureEstimator):
    """Main direction and mean strength by region, and a kernel SVM, one class against the rest.

    [choice] Two clips are as far apart as their 72 numbers are in the Euclidean sense, with each angle in
    units of pi and times ``angle_weight``: an angle just below pi and one just above -pi count as far apart.
    The kernel is exp(-g d^2) of that distance d, g = 1 / (72 x variance of the training clips' numbers), or
    linear. Numbers are not standardised, which would undo the weight.

    Parameters
    ----------
    num_classes, seed
        See `Estimator`; nothing here is random.
    bins
        Orientations over the full circle; 8 in the paper.
    angle_weight
        Weight of the angles against the magnitudes.
    kernel
        ``rbf`` or ``linear``.
    cost
        C of the SVM. No search is done: it would need an inner split of the training subjects.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        seed: int = 0,
        bins: Count = 8,
        angle_weight: Positive = 1.0,
        kernel: Literal["rbf", "linear"] = "rbf",
        cost: Positive = 10.0,
    ) -> None:
        super().__init__(num_classes, seed=seed)
        self.bins, self.angle_weight, self.kernel, self.cost = bins, angle_weight, kernel, cost
        self._state: dict[str, NDArray] = {}

    def features(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """The 36 magnitudes, the largest of them 1, and the 36 weighted angles: (B, 72).

        A clip without motion gives zeros.

        Raises
        ------
        ModelOptionError
            If the flow has not three channels (u, v, strain) or a side of fewer than 13 pixels.
        """
        flow = check_flow("mdmo", inputs["flow"], SMALLEST)  # (B, 3, h, w)
        motion = flow[:, :2] - np.median(flow[:, :2], axis=(2, 3), keepdims=True)  # (B, 2, h, w)
        regions = region_of_each_pixel(*flow.shape[2:])
        inside = [regions == region for region in range(REGIONS)]
        polar = np.array([[main_direction(clip[:, mask], self.bins) for mask in inside] for clip in motion])
        rho, theta = polar[..., 0], polar[..., 1]  # (B, 36)
        largest = rho.max(axis=1, keepdims=True)
        rho = rho / np.where(largest > 0, largest, 1.0)
        return np.hstack([rho, self.angle_weight * theta / np.pi])

    def fit(self, inputs: Mapping[str, NDArray], labels: NDArray[np.int64]) -> None:
        """Fit the SVMs to the features; see `Estimator.fit`."""
        labels, features = self.check_labels(labels), inputs["features"]
        present = np.unique(labels)
        gamma = np.array([1 / (features.shape[1] * max(features.var(), LEAST_VARIANCE))])
        coefficients = np.zeros((self.num_classes, len(features)))
        bias = np.zeros(self.num_classes)
        kernel = self._kernel(features, features, gamma)
        for label in present if len(present) > 1 else ():
            svm = SVC(C=self.cost, kernel="precomputed", tol=1e-5)
            svm.fit(kernel, labels == label)
            coefficients[label, svm.support_] = svm.dual_coef_[0]
            bias[label] = svm.intercept_[0]
        missing = np.setdiff1d(np.arange(self.num_classes), present)
        self._state = {
            "features": features.copy(),  # not the caller's: of one array and itself numpy rounds products otherwise
            "gamma": gamma,
            "coefficients": coefficients,
            "bias": bias,
            "missing": missing,
        }

    def scores(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Decision values of the classes' SVMs: (B, num_classes).

        A class that the training clips lack gets the least score of its row, less 1.
        """
        if not self._state:
            raise RuntimeError("mdmo is not fitted: call fit or load_state first")
        fitted = self._state
        kernel = self._kernel(inputs["features"], fitted["features"], fitted["gamma"])  # (B, N)
        scores = kernel @ fitted["coefficients"].T + fitted["bias"]  # (B, num_classes)
        return lowest_for_missing(scores, fitted["missing"])

    def state(self) -> dict[str, NDArray]:
        """Features of the training clips, the kernel's width, and the SVMs' coefficients."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, NDArray]) -> None:
        """Take over what `state` gave; see `Estimator.load_state`."""
        expected = {"features", "gamma", "coefficients", "bias", "missing"}
        self._state = checked_state(state, expected, "coefficients", self.num_classes)

    def _kernel(
        self, clips: NDArray[np.float64], others: NDArray[np.float64], gamma: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Kernel (B, N) of features (B, 72) and (N, 72)."""
        product = clips @ others.T
        if self.kernel == "linear":
            return product
        squares = (clips**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * product
        return np.exp(-gamma * squares)
