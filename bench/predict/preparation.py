"""How a clip becomes the inputs of a network: as the clips that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.plan.pretraining import crops_of
from fdpbench.prep.align import geometry
from fdpbench.prep.demo.corpus.estimator import RENDERED
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.task.inputs import INPUTS, lengths_of

__all__ = ["Preparation", "of_corpus", "of_task"]


@dataclass(frozen=True)
class Preparation:
    """How a clip is cropped, and what is made of its crops.

    Attributes
    ----------
    align
        Crops, as section `align` of params.yaml has them.
    aspect
        Vertical scale of the crop as a share of its horizontal scale, about the height of the eyes; 1 for tasks.
    task
        Sizes, scaling and sampling of the inputs.
    method
        Of optical flow.
    """

    align: AlignParams
    aspect: float
    task: TaskParams
    method: str

    def shapes(self, inputs: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Shape of one clip, for each of some inputs."""
        lengths = lengths_of(self.task, self.align)
        return {name: INPUTS[name].shape(lengths) for name in inputs}

    def squeezed(self, transform: NDArray[np.float64]) -> NDArray[np.float64]:
        """A transform (2, 3) from source to crop pixels, with `aspect`; the height of the eyes stays."""
        eyes = self._eyes
        result = transform.copy()
        result[1] *= self.aspect
        result[1, 2] += (1 - self.aspect) * eyes
        return result

    def squeezed_points(self, points: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Points (K, 2) of the crop before `aspect`, in the crop as it is made."""
        if points is None:
            return None
        eyes = self._eyes
        return points * (1.0, self.aspect) + (0.0, (1 - self.aspect) * eyes)

    @property
    def _eyes(self) -> float:
        """Height of the eyes in the crop, measured between centres of pixels."""
        return self.align.eye_height * self.align.size - 0.5

    def crop(self, frame: NDArray[np.uint8], transform: NDArray[np.float64]) -> NDArray[np.uint8]:
        """A frame (H, W, 3), RGB, as a grey crop; the transform is a squeezed one."""
        return geometry.warp(geometry.to_grey(frame), transform, self.align.size, self.align.interpolation)


def of_corpus(name: str, corpus: CorpusParams, classes: Mapping[str, list[str]]) -> Preparation:
    """That of the clips of a corpus; of a corpus of flow images the middle of its ranges of crops.

    Parameters
    ----------
    name, corpus
        The corpus.
    classes
        Classes that are learnt, with the emotions that each gathers.
    """
    if corpus.generator == "frames":
        return Preparation(crops_of(corpus), 1.0, corpus.as_task(name, classes), "dis")
    align = crops_of(
        corpus,
        size=RENDERED,  # the grid on which such a corpus, which has no crops, finds motion before it is shrunk
        eye_distance=_middle(corpus.eye_distance),
        eye_height=_middle(corpus.eye_height),
    )
    return Preparation(align, _middle(corpus.aspect), corpus.as_task(name, classes), "dis")


def of_task(task: TaskParams, params: Mapping[str, Any]) -> Preparation:
    """That of a task of a project.

    Parameters
    ----------
    task
        The task.
    params
        What `prep.settings.params.read_params` gave.
    """
    return Preparation(section(AlignParams, params["align"], "align"), 1.0, task, params["flow"]["method"])


def _middle(ends: tuple[float, float]) -> float:
    return (ends[0] + ends[1]) / 2
