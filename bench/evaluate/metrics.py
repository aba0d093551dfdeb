"""Figures of one set of predictions, pooled over folds. Knows nothing of models, folds or files.

UF1 = mean over classes of 2 TP / (2 TP + FP + FN), UAR = mean over classes of recall, each from counts
summed over all clips (See et al., MEGC 2019). A class that no clip has would make a mean over classes
meaningless: it raises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

__all__ = ["ClassFigures", "Figures", "MetricError", "figures"]


class MetricError(ValueError):
    """Figures cannot be computed from these labels."""


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class."""

    name: str
    clips: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Figures:
    """Figures of one set of predictions, each in [0, 1].

    ``confusion`` has true classes as rows and predicted ones as columns.
    """

    clips: int
    uf1: float
    uar: float
    accuracy: float
    weighted_f1: float
    confusion: NDArray[np.int64]
    classes: tuple[ClassFigures, ...]


def figures(y_true: ArrayLike, y_pred: ArrayLike, classes: tuple[str, ...]) -> Figures:
    """Compute every figure.

    Parameters
    ----------
    y_true, y_pred
        Class indices, shape (N,).
    classes
        Names of the classes, in order of index.

    Raises
    ------
    MetricError
        If the shapes differ, an index is out of range, or a class has no clip.
    """
    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise MetricError(f"expected two equally long lists of labels, got shapes {truth.shape} and {predicted.shape}")
    for name, values in (("y_true", truth), ("y_pred", predicted)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= len(classes):
            raise MetricError(f"{name} holds labels outside 0..{len(classes) - 1} (classes {', '.join(classes)})")
    absent = [name for k, name in enumerate(classes) if not (truth == k).any()]
    if absent:
        raise MetricError(f"no clip of class {', '.join(absent)}: UF1 and UAR are not defined over these clips")
    index = list(range(len(classes)))
    # a class that is never predicted has no precision; its F1 is 0 by the formula above
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=index, zero_division=0.0)
    return Figures(
        clips=len(truth),
        uf1=float(f1.mean()),
        uar=float(recall.mean()),
        accuracy=float((truth == predicted).mean()),
        weighted_f1=float((f1 * support).sum() / support.sum()),
        confusion=confusion_matrix(truth, predicted, labels=index),
        classes=tuple(
            ClassFigures(name, int(support[k]), float(precision[k]), float(recall[k]), float(f1[k]))
            for k, name in enumerate(classes)
        ),
    )
