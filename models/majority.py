"""Majority: the class that most training clips have, whatever the clip shows.

The floor under every other figure. It reads no input.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fdpbench.models.common.estimators import Estimator
from fdpbench.models.common.registry import register_model

__all__ = ["Majority"]


@register_model(inputs=(), paper="none: the most frequent class of the training clips")
class Majority(Estimator):
    """Scores every clip by the classes' shares among the training clips.

    Of two classes that tie, the one with the lower index comes first in an argmax.
    """

    def __init__(self, num_classes: int, *, seed: int = 0) -> None:
        super().__init__(num_classes, seed=seed)
        self._shares: NDArray[np.float64] | None = None

    def fit(self, inputs: Mapping[str, NDArray], labels: NDArray[np.int64]) -> None:
        """Count the classes; ``inputs`` is not read."""
        labels = self.check_labels(labels)
        self._shares = np.bincount(labels, minlength=self.num_classes) / len(labels)

    def scores(self, inputs: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Shares of the classes, one row for each clip; a class that the training clips lack has 0.

        The number of clips is that of any array in ``inputs``. With no array there is one row,
        (1, num_classes), to be broadcast over the clips.
        """
        if self._shares is None:
            raise RuntimeError("majority is not fitted: call fit or load_state first")
        clips = len(next(iter(inputs.values()))) if inputs else 1
        return np.tile(self._shares, (clips, 1))

    def state(self) -> dict[str, NDArray]:
        """Give the shares of the classes."""
        return {} if self._shares is None else {"shares": self._shares}

    def load_state(self, state: Mapping[str, NDArray]) -> None:
        """Take over what `state` gave; see `Estimator.load_state`."""
        if set(state) != {"shares"} or state["shares"].shape != (self.num_classes,):
            shapes = {name: array.shape for name, array in state.items()}
            raise ValueError(f"majority expected one array 'shares' of shape ({self.num_classes},), got {shapes}")
        self._shares = np.array(state["shares"])
