"""What a model's rank scores and generated dynamic images are worth on held-out clips.

A generated image is measured at its own size, against the true image averaged down to it, beside two references. The
mean image of the other subjects' clips is what a model would give that never looks at the clip: only what exceeds it
was seen in the clip. The clip's frames, pooled and scaled as the true image was, are what a model gives that copies
them: only what exceeds that was learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.train.data import load_clips, load_each_subject, load_task_info
from fdpbench.prep.dynamic.rank_pooling import dynamic_image, scale_to_unit
from fdpbench.prep.store import images

__all__ = [
    "Similarity",
    "TrueImages",
    "area_mean",
    "mean_images",
    "measure_clip",
    "order_accuracy",
    "pooled_copy",
    "similarity",
]

# Squared error of rounding to 8 bits: an image and its truth that agree to the bit are not closer than that.
ROUNDING_ERROR = (1 / 255) ** 2 / 12

SSIM_WINDOW = 7  # px, the customary one; smaller where an image is


@dataclass(frozen=True)
class Similarity:
    """Peak signal-to-noise ratio in dB and structural similarity of an image with values in [0, 1]."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class TrueImages:
    """A task's dynamic images, and what it takes to see what of them a model has learned; all in [0, 1].

    Attributes
    ----------
    images
        By clip.
    means
        For each subject the mean of all others'.
    copies
        By clip `pooled_copy` of its frames; empty where the task has no frames.
    """

    images: dict[str, NDArray[np.float64]]
    means: dict[str, NDArray[np.float64]]
    copies: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, folder: Path) -> TrueImages:
        """Those of a task in its folder."""
        clips = load_clips(folder, ("dynamic_image",))
        unit = clips.inputs["dynamic_image"][:, 0] / 255.0  # (N, H, W)
        copies: dict[str, NDArray[np.float64]] = {}
        if "frames" in load_task_info(folder).inputs:
            for part in load_each_subject(folder, ("frames",)):
                copies |= {
                    clip_id: pooled_copy(frames[:, 0])
                    for clip_id, frames in zip(part.clip_ids, part.inputs["frames"], strict=True)
                }
        return cls(dict(zip(clips.clip_ids, unit, strict=True)), mean_images(unit, list(clips.subjects)), copies)


def measure_clip(row: Mapping[str, Any], truth: TrueImages | None, up_to_apex: int | None = None) -> dict[str, float]:
    """Measure what a prediction says of its clip beside the class: some of `PERCEPTION`, or nothing.

    Parameters
    ----------
    row
        From `bench.evaluate.predictions.read_predictions`.
    truth
        Of its task; needed where the row has a generated image.
    up_to_apex
        How many of the frames are not after the apex; None where it is not known. Fewer than two have no order.
    """
    measured: dict[str, float] = {}
    if row["rank_scores"]:
        scores = np.array(row["rank_scores"])
        measured["order_accuracy"] = order_accuracy(scores)
        if up_to_apex is not None and up_to_apex >= 2:
            measured["order_to_apex"] = order_accuracy(scores[:up_to_apex])
    if row["drawn"]:
        assert truth is not None
        generated = images.decode_png(row["drawn"]) / 255.0  # (h, w)
        beside = {"": generated, "_of_mean": area_mean(truth.means[row["subject"]], generated.shape)}
        if row["clip_id"] in truth.copies:
            beside["_of_copy"] = area_mean(truth.copies[row["clip_id"]], generated.shape)
        true = area_mean(truth.images[row["clip_id"]], generated.shape)
        for suffix, image in beside.items():
            found = similarity(image, true)
            measured |= {f"psnr{suffix}": found.psnr, f"ssim{suffix}": found.ssim}
    return measured


def order_accuracy(scores: NDArray[np.float64]) -> float:
    """Share of frame pairs t < q whose rank scores rise, s_q > s_t; equal scores count half.

    Parameters
    ----------
    scores
        (T,), T at least 2. Chance is 0.5.
    """
    t, q = np.triu_indices(len(scores), k=1)
    rises = np.sign(scores[q] - scores[t])
    return float((rises + 1).mean() / 2)


def area_mean(image: NDArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Average an image (H, W) down to ``shape``: pixel i is the mean over floor(i H / h) .. ceil((i + 1) H / h).

    The windows are those of torch's adaptive average pooling, with which models are trained.
    """
    rows, columns = (_averaging(length, wanted) for length, wanted in zip(image.shape, shape, strict=True))
    averaged: NDArray[np.float64] = rows @ image.astype(np.float64) @ columns.T
    return averaged


def _averaging(length: int, wanted: int) -> NDArray[np.float64]:
    matrix = np.zeros((wanted, length))
    for i in range(wanted):
        start, stop = i * length // wanted, -(-(i + 1) * length // wanted)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def similarity(generated: NDArray[np.float64], truth: NDArray[np.float64]) -> Similarity:
    """Compare a generated image with the true one, both (h, w) with values in [0, 1].

    SSIM (Wang et al. 2004) takes a uniform window of 7 x 7 pixels, or the largest odd one that fits.

    Raises
    ------
    ValueError
        If a side is shorter than 3 pixels.
    """
    from skimage.metrics import structural_similarity  # what only shows images does not wait for scikit-image

    error = max(float(np.square(generated - truth).mean()), ROUNDING_ERROR)
    side = min(SSIM_WINDOW, *truth.shape)
    if side < 3:
        raise ValueError(f"an image of {truth.shape} pixels is too small to be compared; the least side is 3")
    window = side if side % 2 else side - 1
    ssim = structural_similarity(truth, generated, win_size=window, data_range=1.0)
    return Similarity(float(-10 * np.log10(error)), float(ssim))


def mean_images(images: NDArray[np.float64], subjects: list[str]) -> dict[str, NDArray[np.float64]]:
    """For each subject the mean image of all other subjects' clips.

    Parameters
    ----------
    images
        (N, H, W), one for each clip.
    subjects
        Subject of each clip, at least two different ones.
    """
    names = np.array(subjects)
    return {name: images[names != name].mean(axis=0) for name in sorted(set(subjects))}


def pooled_copy(frames: NDArray[Any]) -> NDArray[np.float64]:
    """Frames (T, H, W), each standardised, pooled by approximate rank pooling and scaled to [0, 1]: (H, W).

    What `models.fdp` gives before it is trained. True images are of frames that are not standardised, so that light
    that flickers is in them.
    """
    values = frames.astype(np.float64)
    spread = values.std(axis=(1, 2), keepdims=True)
    values = (values - values.mean(axis=(1, 2), keepdims=True)) / np.where(spread > 0, spread, 1)
    return scale_to_unit(dynamic_image(values), float(np.abs(values).max()))
