"""How far rendered flow images are from those of a task, in numbers: `fdpbench gap`.

For each data set of the task by itself: moments of u, v and strain, slopes of spectra, distances between the
distributions of magnitude and direction, and how well a classifier tells the two apart, which is the gap in one number:
0.5 is none. Labels are not looked at. No image is kept or drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tabulate import tabulate

from fdpbench.prep.demo.corpus.reading import read_corpus
from fdpbench.prep.store import shards
from fdpbench.prep.task.inputs import INPUTS
from fdpbench.prep.task.table import TASK

__all__ = ["compare", "flow_by_dataset", "gap_between", "gap_tables", "spectral_slopes", "statistics_of"]

CHANNELS = ("u", "v", "strain")
BINS = 36  # of directions: ten degrees each
FOLDS = 5
SEED = 0
RENDERED = "rendered"


def flow_by_dataset(folder: Path) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.str_]]]:
    """Flow images of each data set of a task: name, images (N, 3, h, w), subject of each.

    Parameters
    ----------
    folder
        ``data/task/TASK``.

    Raises
    ------
    ValueError
        If the task has no flow.
    """
    columns = ["dataset", "subject", "flow"]
    tables = list(shards.read_subjects(folder / "clips.parquet", TASK, lambda subject: True, columns))
    table = pa.concat_tables(tables)
    if table.column("flow").null_count:
        raise ValueError(f"{folder}: its clips have no flow; give the task flow: {{size: 28, scaling: per_image}}")
    datasets, subjects = (np.array(table.column(name).to_pylist()) for name in ("dataset", "subject"))
    images = INPUTS["flow"].decode(table.column("flow"))
    for name in sorted(set(datasets.tolist())):
        chosen = datasets == name
        yield name, images[chosen], subjects[chosen]


def statistics_of(images: NDArray[np.float32]) -> dict[str, float]:
    """Mean over images of what describes each.

    Parameters
    ----------
    images
        (N, 3, h, w): u, v, strain, each scaled to 0..1 by its own minimum and maximum.

    Returns
    -------
    Mean, standard deviation and skewness of the pixels of each channel; slope of each channel's spectrum, the
    exponent with which power falls with frequency.
    """
    found: dict[str, float] = {}
    for k, name in enumerate(CHANNELS):
        pixels = images[:, k].reshape(len(images), -1).astype(np.float64)
        mean, spread = pixels.mean(axis=1), pixels.std(axis=1)
        skewness = ((pixels - mean[:, None]) ** 3).mean(axis=1) / np.maximum(spread, 1e-9) ** 3
        found[f"{name} mean"], found[f"{name} deviation"] = float(mean.mean()), float(spread.mean())
        found[f"{name} skewness"] = float(skewness.mean())
        found[f"{name} slope"] = float(spectral_slopes(images[:, k]).mean())
    return found


def spectral_slopes(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Slope of the logarithm of power over that of frequency, of images (N, h, h): shape (N,)."""
    side = images.shape[-1]
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(centred.astype(np.float64))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side) * side, np.fft.fftfreq(side) * side))
    rings = np.rint(frequency).astype(int)
    radii = np.arange(1, side // 2)
    mean = np.stack([power[:, rings == radius].mean(axis=1) for radius in radii], axis=1)  # (N, R)
    logs = np.log(np.maximum(mean, 1e-12))
    slopes: NDArray[np.float64] = np.polyfit(np.log(radii), logs.T, 1)[0]
    return slopes


def motion_of(images: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Magnitude and direction of motion relative to the image's median: (N h w,) each, the latter in degrees."""
    motion = images[:, :2].reshape(len(images), 2, -1).astype(np.float64)
    motion -= np.median(motion, axis=2, keepdims=True)
    magnitude = np.hypot(motion[:, 0], motion[:, 1])
    return magnitude.ravel(), np.degrees(np.arctan2(motion[:, 1], motion[:, 0])).ravel()


def gap_between(
    rendered: NDArray[np.float32], people: NDArray[np.str_], real: NDArray[np.float32], subjects: NDArray[np.str_]
) -> dict[str, float]:
    """Distances between rendered images and those of a data set.

    Parameters
    ----------
    rendered, real
        (N, 3, h, w) and (M, 3, h, w).
    people, subjects
        Who is in each image: no one is both trained on and tested by the classifier.

    Returns
    -------
    ``magnitude``: Wasserstein distance of the magnitudes of motion; ``direction``: total variation of the histograms of
    direction, weighed by magnitude; ``classifier``: area under the ROC curve of telling rendered from real.
    """
    from scipy.stats import wasserstein_distance
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    (size, angle), (real_size, real_angle) = motion_of(rendered), motion_of(real)
    histograms = []
    for weights, angles in ((size, angle), (real_size, real_angle)):
        counts, _ = np.histogram(angles, bins=BINS, range=(-180, 180), weights=weights)
        histograms.append(counts / counts.sum())
    count = min(len(rendered), len(real))
    chosen = np.random.default_rng(SEED).permutation(len(rendered))[:count]
    images = np.concatenate([rendered[chosen], real]).reshape(count + len(real), -1)
    is_real = np.arange(len(images)) >= count
    who = np.concatenate([people[chosen], subjects])
    model = make_pipeline(StandardScaler(), SVC())
    folds = GroupKFold(min(FOLDS, len(set(subjects.tolist()))))
    said = cross_val_predict(model, images, is_real, groups=who, cv=folds, method="decision_function")
    return {
        "magnitude": float(wasserstein_distance(size, real_size)),
        "direction": float(np.abs(histograms[0] - histograms[1]).sum() / 2),
        "classifier": float(roc_auc_score(is_real, said)),
    }


def compare(corpus: Path, task: Path) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Statistics of a corpus and of each data set of a task, by name, and gaps by data set.

    Parameters
    ----------
    corpus, task
        ``data/corpus/NAME`` and ``data/task/TASK``.

    Raises
    ------
    ValueError
        If they have no flow, or flow of different sizes.
    """
    clips = read_corpus(corpus, ("flow",))
    rendered = clips.inputs["flow"]
    statistics = {RENDERED: {"images": float(len(rendered))} | statistics_of(rendered)}
    gaps: dict[str, dict[str, float]] = {}
    for name, images, subjects in flow_by_dataset(task):
        if images.shape[1:] != rendered.shape[1:]:
            raise ValueError(f"{task}: flow of {images.shape[1:]}, and of {corpus} {rendered.shape[1:]}")
        statistics[name] = {"images": float(len(images))} | statistics_of(images)
        gaps[name] = gap_between(rendered, clips.subject, images, subjects)
    return statistics, gaps


def gap_tables(statistics: Mapping[str, Mapping[str, float]], gaps: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What `compare` gives as two Markdown tables."""
    names = list(statistics)
    rows = [[key, *(statistics[name][key] for name in names)] for key in statistics[RENDERED]]
    first = tabulate(rows, headers=["mean over images", *names], tablefmt="github", floatfmt=".3g")
    measures = list(next(iter(gaps.values())))
    second = [[name, *(gap[key] for key in measures)] for name, gap in gaps.items()]
    return [first, tabulate(second, headers=["from rendered to", *measures], tablefmt="github", floatfmt=".3f")]
