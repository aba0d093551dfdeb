"""What the estimators share: base classes, and a linear support vector machine on features.

Not a model itself: see `models.common.registry`. No torch here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from fdpbench.models.common.registry import ModelOptionError

__all__ = [
    "Estimator",
    "FeatureEstimator",
    "FlowBlocks",
    "LinearSVMEstimator",
    "check_flow",
    "checked_state",
    "lowest_for_missing",
]

Arrays = Mapping[str, NDArray]


class Estimator(ABC):
    """Base of the models that fit themselves.

    A subclass takes ``(num_classes, *, seed=0, **options)``. A class that the training clips lack gets, in
    every row, a score below every other class: it is never predicted, and no score is NaN.
    """

    kind: ClassVar[Literal["estimator"]] = "estimator"
    hand_crafted: ClassVar[bool] = False

    def __init__(self, num_classes: int, *, seed: int = 0) -> None:
        self.num_classes = num_classes
        self.seed = seed

    @abstractmethod
    def fit(self, inputs: Arrays, labels: NDArray[np.int64]) -> None:
        """Fit to B clips.

        Parameters
        ----------
        inputs
            What it reads, by name, each with B rows.
        labels
            (B,), class indices.
        """

    @abstractmethod
    def scores(self, inputs: Arrays) -> NDArray[np.float64]:
        """Scores (B, num_classes) of B clips: higher is more likely. They are no probabilities."""

    @abstractmethod
    def state(self) -> dict[str, NDArray]:
        """All that was fitted, as arrays that safetensors can store."""

    @abstractmethod
    def load_state(self, state: Arrays) -> None:
        """Take over what `state` gave, for a model built with the same options.

        Raises
        ------
        ValueError
            If an array is missing or has another shape.
        """

    def check_labels(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels as an int64 array.

        Raises
        ------
        ValueError
            If there is none, or one is no class index.
        """
        labels = np.asarray(labels, dtype=np.int64)
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(
                f"labels must be class indices 0..{self.num_classes - 1}, at least one clip; got "
                f"{len(labels)} clips with classes {np.unique(labels).tolist()}"
            )
        return labels


def lowest_for_missing(scores: NDArray[np.float64], missing: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the classes that the training clips lack the least score of each row, less 1; in place."""
    floor = np.delete(scores, missing, axis=1).min(axis=1) - 1.0
    scores[:, missing] = floor[:, None]
    return scores


def checked_state(state: Arrays, expected: set[str], by_class: str, num_classes: int) -> dict[str, NDArray]:
    """Copy a fitted state, its names and the number of classes of one of its arrays checked.

    Raises
    ------
    ValueError
        If an array is missing or foreign, or ``by_class`` has rows of another number of classes.
    """
    if set(state) != expected:
        raise ValueError(f"state has arrays {sorted(state)}, expected {sorted(expected)}")
    if len(state[by_class]) != num_classes:
        raise ValueError(f"state holds {len(state[by_class])} classes, the model has {num_classes}")
    return {name: np.array(array) for name, array in state.items()}


class FeatureEstimator(Estimator):
    """Base of the models that describe each clip by hand-crafted features and fit themselves to these.

    A subclass defines `features`, which look at one clip at a time and learn nothing: they are computed once
    for all folds (`bench.train.features`). `fit` and `scores` read them, as ``inputs["features"]``, and do all that
    depends on the training clips, such as standardising.
    """

    hand_crafted: ClassVar[bool] = True

    @abstractmethod
    def features(self, inputs: Arrays) -> NDArray[np.float64]:
        """Features (B, D) of B clips; a clip's row does not depend on the other clips.

        Parameters
        ----------
        inputs
            The model's declared inputs by name, raw: frames in [0, 1], flow as stored.
        """


class LinearSVMEstimator(FeatureEstimator):
    """Hand-crafted features, standardised over the training clips, and a linear SVM, one against the rest.

    Parameters
    ----------
    num_classes
        Number of classes.
    seed
        Seeds liblinear's order of updates.
    cost
        C of the SVM, the weight of the squared hinge loss against the margin. No search is done:
        it would need an inner split of the training subjects.
    """

    def __init__(self, num_classes: int, *, seed: int = 0, cost: float) -> None:
        super().__init__(num_classes, seed=seed)
        self.cost = cost
        self._state: dict[str, NDArray] = {}

    def fit(self, inputs: Arrays, labels: NDArray[np.int64]) -> None:
        """Standardise the features and fit the SVM to them; see `Estimator.fit`."""
        features, labels = inputs["features"], self.check_labels(labels)
        mean, std = features.mean(axis=0), features.std(axis=0)
        std = np.where(std > 1e-9, std, 1.0)  # a constant feature stays at zero
        present = np.unique(labels)
        weights = np.zeros((self.num_classes, features.shape[1]))
        bias = np.zeros(self.num_classes)
        if len(present) > 1:
            svm = LinearSVC(C=self.cost, random_state=self.seed, max_iter=20000)
            # 1 / sqrt(D): rows of about unit length, so that one C suits any number of features
            svm.fit((features - mean) / std / np.sqrt(features.shape[1]), labels)
            # Of two classes liblinear gives the hyperplane of the second alone.
            signs = np.array([[-1.0], [1.0]]) if len(present) == 2 else 1.0
            weights[present] = signs * svm.coef_
            bias[present] = (signs * svm.intercept_[:, None])[:, 0] if len(present) == 2 else svm.intercept_
        missing = np.setdiff1d(np.arange(self.num_classes), present)
        self._state = {"mean": mean, "std": std, "weights": weights, "bias": bias, "missing": missing}

    def scores(self, inputs: Arrays) -> NDArray[np.float64]:
        """Signed distances to the classes' hyperplanes, times the norm of the weights: (B, num_classes).

        A class that the training clips lack gets the least score of its row, less 1.
        """
        if not self._state:
            raise RuntimeError("the SVM is not fitted: call fit or load_state first")
        features, fitted = inputs["features"], self._state
        scaled = (features - fitted["mean"]) / fitted["std"] / np.sqrt(features.shape[1])
        scores = scaled @ fitted["weights"].T + fitted["bias"]  # (B, num_classes)
        return lowest_for_missing(scores, fitted["missing"])

    def state(self) -> dict[str, NDArray]:
        """Mean and standard deviation of the features, weights, bias, and the classes never seen."""
        return dict(self._state)

    def load_state(self, state: Arrays) -> None:
        """Take over what `state` gave; see `Estimator.load_state`."""
        self._state = checked_state(state, {"mean", "std", "weights", "bias", "missing"}, "weights", self.num_classes)


def check_flow(model: str, flow: NDArray, smallest: int) -> NDArray[np.float64]:
    """Flow (B, 3, h, w) as float64, its channels (u, v, strain) and size checked.

    Raises
    ------
    ModelOptionError
        If it has not three channels, or a side of fewer pixels than ``smallest``.
    """
    flow = np.asarray(flow, dtype=np.float64)
    if flow.ndim != 4 or flow.shape[1] != 3 or min(flow.shape[2:]) < smallest:
        raise ModelOptionError(f"{model}: flow of shape {flow.shape}, expected (B, 3, h, w) with h, w >= {smallest}")
    return flow


class FlowBlocks:
    """The blocks of a grid over flow images, for histograms by block in reading order.

    Parameters
    ----------
    flow
        (B, 3, h, w), see `check_flow`.
    grid
        Blocks along each side.
    bins
        Bins of each block's histogram.
    """

    def __init__(self, flow: NDArray[np.float64], grid: int, bins: int) -> None:
        self._strain, self._bins = flow[:, 2], bins
        clips, _, height, width = flow.shape
        rows, columns = (np.arange(length) * grid // length for length in (height, width))
        blocks = rows[:, None] * grid + columns  # (h, w), the block of each pixel
        self._cells = np.arange(clips)[:, None, None] * grid**2 + blocks  # (B, h, w)
        self._area = np.tile(np.bincount(blocks.ravel()), clips)  # pixels of each block
        self._count = clips * grid**2

    def votes(self, bin_of: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum each pixel's weight (B, h, w) into its block's bin (B, h, w): (B * blocks, bins)."""
        index = self._cells * self._bins + bin_of
        counted = np.bincount(index.ravel(), weights.ravel(), minlength=self._count * self._bins)
        return counted.astype(np.float64, copy=False).reshape(self._count, self._bins)

    def times_strain(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply each block's histogram by its mean strain: (B * blocks, bins) -> (B, blocks * bins)."""
        strain = np.bincount(self._cells.ravel(), self._strain.ravel(), minlength=self._count) / self._area
        return (votes * strain[:, None]).reshape(len(self._strain), -1)
