"""Speed of hand-crafted features beside plain ways to compute them, and what computing them once saves.

    python benchmarks/features.py [--subjects 10] [--clips 6] [--side 96] [--rounds 5]

On made clips, with one thread, everything in turns in one process:

- `lbp_top` beside scikit-image's `local_binary_pattern` (nri_uniform, P = 8, R = 1) on every image of the three
  planes of the same clip, with the same blocks. scikit-image knows circles alone, so both take radius 1 in time too;
  the time of `lbp_top` with its own radius of 2 frames stands beside. First the codes and histograms are compared. On
  a clip of 256 grey levels they must agree. They may differ where grey values are equal or nearly so: `lbp_top` counts
  what is less than 1e-6 of the range below the centre as equal, while scikit-image rounds as it interpolates; so the
  share of equal codes is printed for a clip that is flat in part, and for one of 65536 levels.
- `bi_woof` and `flow_histogram` beside a numpy loop over clips and blocks, which must give the same numbers.
- A whole leave-one-subject-out run of each model, fits included: features computed anew in each fold, beside the
  stage `features` with one worker (without the start of its process) and folds that read what it wrote. Both must
  give the same scores, to the bit.

The last line is one JSON object of ratios: how many times as fast ours is, the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern
from tabulate import tabulate
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.rounds import measure  # noqa: E402
from fdpbench.bench.plan.params import load_run  # noqa: E402
from fdpbench.bench.train.data import FEATURES, load_clips, load_features  # noqa: E402
from fdpbench.bench.train.features import features_of_subject  # noqa: E402
from fdpbench.bench.train.settings import Run  # noqa: E402
from fdpbench.models.common.registry import create_model  # noqa: E402
from fdpbench.models.lbp_top import BINS, PLANES, lbp_codes, uniform_labels  # noqa: E402
from fdpbench.prep.flow import methods  # noqa: E402
from fdpbench.prep.settings.params import read_params  # noqa: E402
from fdpbench.prep.store import images, shards  # noqa: E402
from fdpbench.prep.task.table import TASK  # noqa: E402

CLASSES, LENGTH, GRID, FLOW_SIDE, FLOW_BINS = 3, 8, 5, 28, 8
MODELS = ("lbp_top", "bi_woof", "flow_histogram", "mdmo")


def made_clip(rng: np.random.Generator, side: int, levels: int) -> NDArray[np.integer]:
    """Frames (T, H, W) of a smooth texture that moves a little, with noise, in 0..levels - 1."""
    texture = cv2.GaussianBlur(rng.normal(size=(side + 8, side + 8)), (0, 0), 2.0)
    frames = []
    for t in range(LENGTH):
        shift = np.array([[1, 0, -4 - 1.5 * np.sin(t / 3)], [0, 1, -4 - 0.2 * t]])
        moved = cv2.warpAffine(texture, shift, (side, side), borderMode=cv2.BORDER_REFLECT)
        frames.append(moved / texture.std() * 0.15 + 0.5 + rng.normal(0, 0.01, (side, side)))
    return (np.clip(np.stack(frames), 0, 1) * (levels - 1)).astype(np.uint8 if levels == 256 else np.uint16)


def images_of_plane(clip: NDArray[Any], plane: str) -> NDArray[Any]:
    """The clip as images (N, rows, columns) of a plane, those at the two ends of the third axis left out."""
    columns, rows = PLANES[plane]
    third = ({0, 1, 2} - {rows, columns}).pop()
    return np.ascontiguousarray(clip.transpose(third, rows, columns)[1:-1])


def their_codes(clip: NDArray[Any], plane: str, method: str) -> NDArray[np.intp]:
    """scikit-image's codes or bins at the voxels that `models.lbp_top` looks at: (T - 2, H - 2, W - 2)."""
    columns, rows = PLANES[plane]
    third = ({0, 1, 2} - {rows, columns}).pop()
    found = [local_binary_pattern(image, 8, 1, method)[1:-1, 1:-1] for image in images_of_plane(clip, plane)]
    return np.stack(found).astype(np.intp).transpose(np.argsort([third, rows, columns]))


def their_lbp_top(clip: NDArray[Any]) -> NDArray[np.float64]:
    """LBP-TOP of one clip, built of scikit-image's patterns: (3, blocks, 59), bins in scikit-image's order."""
    histograms = []
    for plane in PLANES:
        bins = their_codes(clip, plane, "nri_uniform")
        edges = [-(-np.arange(GRID + 1) * length // GRID) for length in bins.shape[1:]]
        for top, bottom in zip(edges[0], edges[0][1:], strict=False):
            for left, right in zip(edges[1], edges[1][1:], strict=False):
                counts, _ = np.histogram(bins[:, top:bottom, left:right], bins=BINS, range=(0, BINS))
                histograms.append(np.sqrt(counts / counts.sum()))
    return np.array(histograms).reshape(3, GRID**2, BINS)


def agreement(clip: NDArray[Any], levels: int) -> tuple[float, float]:
    """Share of codes that agree over the three planes, and the largest difference of two entries of the features."""
    volume = (clip / np.float32(levels - 1)).astype(np.float32)
    theirs = {plane: their_codes(clip, plane, "default") for plane in PLANES}
    same = [(lbp_codes(volume, plane, 1, 1) == codes).mean() for plane, codes in theirs.items()]
    # which of their bins is which of ours: by codes of noise, among which every one occurs
    noise = np.random.default_rng(0).integers(0, 2**16, (200, 200), dtype=np.uint16)
    codes, bins = (
        local_binary_pattern(noise, 8, 1, method).astype(int).ravel() for method in ("default", "nri_uniform")
    )
    order = np.zeros(BINS, dtype=int)
    order[uniform_labels()[codes]] = bins
    ours = create_model("lbp_top", 2, radius_t=1).features({"frames": volume[None, :, None]})
    difference = ours.reshape(3, GRID**2, BINS) - their_lbp_top(clip)[..., order]
    return float(np.mean(same)), float(np.abs(difference).max())


def loop_histograms(fields: NDArray[np.float32], shared: bool) -> NDArray[np.float64]:
    """`bi_woof`, or with votes shared between two orientations `flow_histogram`: a loop over clips and blocks."""
    features = []
    for u, v, strain in fields.astype(np.float64):
        u, v = u - np.median(u), v - np.median(v)
        magnitude, angle = np.sqrt(u**2 + v**2), np.arctan2(v, u)
        clip = []
        edges = -(-np.arange(GRID + 1) * FLOW_SIDE // GRID)
        for top, bottom in zip(edges, edges[1:], strict=False):
            for left, right in zip(edges, edges[1:], strict=False):
                block = (slice(top, bottom), slice(left, right))
                votes = np.zeros(FLOW_BINS)
                position = angle[block] / (2 * np.pi) * FLOW_BINS + (0 if shared else FLOW_BINS / 2)
                lower = np.floor(position).astype(int)
                part = position - lower if shared else np.zeros_like(position)
                np.add.at(votes, lower % FLOW_BINS, magnitude[block] * (1 - part))
                if shared:
                    np.add.at(votes, (lower + 1) % FLOW_BINS, magnitude[block] * part)
                clip.append(votes * strain[block].mean())
        features.append(np.concatenate(clip))
    found = np.array(features)
    return np.sqrt(found / found.sum(axis=1, keepdims=True)) if shared else found


def write_task(folder: Path, options: argparse.Namespace) -> None:
    """A task's folder of made clips, as the stage `task` writes it."""
    rng = np.random.default_rng(0)

    def subjects() -> Iterator[pa.Table]:
        for number in range(options.subjects):
            rows = []
            for k in range(options.clips):
                frames = made_clip(rng, options.side, 256)
                field = methods.scale_per_image(
                    methods.resize_flow(methods.flow_field(frames[0], frames[-1]), FLOW_SIDE)
                )
                row: dict[str, Any] = {
                    "clip_id": f"made/s{number:02d}/{k:02d}",
                    "dataset": "made",
                    "subject": f"made/s{number:02d}",
                }
                row |= {"label": k % CLASSES, "class": "abc"[k % CLASSES]}
                row |= {"frames": [images.encode_png(frame) for frame in frames]}
                rows.append(row | {"dynamic_image": None, "flow": field.astype(np.float32).ravel().tolist()})
            yield pa.Table.from_pylist(rows, schema=TASK)

    shards.write_subjects(folder / "clips.parquet", TASK, subjects())
    about = {"task": "made", "classes": ["a", "b", "c"], "inputs": ["frames", "flow"], "flow_side": FLOW_SIDE}
    (folder / "task.json").write_text(json.dumps(about | {"faces_may_be_published": True, "rendered": True}))


def run_of(model: str) -> Run:
    """A run of a model on a task of frames and flow."""
    content = read_params(Path(__file__).resolve().parents[1] / "params.yaml")
    return load_run("made", content | {"runs": {"made": {"task": "synthetic", "model": model}}})


def fold_by_fold(model: str, task: Path) -> NDArray[np.float64]:
    """Scores of all clips, leave-one-subject-out; each fold computes the features of all its clips."""
    run, scores = run_of(model), []

    def features(subjects: set[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        clips = load_clips(task, run.model.inputs, subjects.__contains__)
        inputs = {name: array / np.float32(255) if name == "frames" else array for name, array in clips.inputs.items()}
        return estimator.features(inputs), clips.labels

    subjects = shards.subjects_of(task / "clips.parquet")
    for subject in subjects:
        estimator = create_model(model, CLASSES, **run.settings.model)
        train, labels = features(set(subjects) - {subject})
        estimator.fit({"features": train}, labels)
        test, _ = features({subject})
        scores.append(estimator.scores({"features": test}))
    return np.concatenate(scores)


def computed_once(model: str, task: Path) -> NDArray[np.float64]:
    """The same, with the stage `features` before."""
    run, scores, path = run_of(model), [], task / f"{model}.parquet"
    subjects = shards.subjects_of(task / "clips.parquet")
    shards.write_subjects(path, FEATURES, (features_of_subject(run, task, subject) for subject in subjects))
    for subject in subjects:
        estimator = create_model(model, CLASSES, **run.settings.model)
        train = load_features(path, task, (set(subjects) - {subject}).__contains__)
        estimator.fit(train.inputs, train.labels)
        test = load_features(path, task, {subject}.__contains__)
        scores.append(estimator.scores(test.inputs))
    return np.concatenate(scores)


def ratio(seconds: dict[str, list[float]], reference: str, ours: str) -> float:
    """How many times as fast: round by round, so that a machine that changes its pace changes both."""
    return statistics.median(a / b for a, b in zip(seconds[reference], seconds[ours], strict=True))


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description="Speed of hand-crafted features, and what computing them once saves.")
    parser.add_argument("--subjects", type=int, default=10, help="subjects, and so folds, of the whole run")
    parser.add_argument("--clips", type=int, default=6, help="clips of each subject")
    parser.add_argument("--side", type=int, default=96, help="side of a frame, pixels")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed; the median counts")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    ratios: dict[str, float] = {}

    clip, fine = (made_clip(np.random.default_rng(1), options.side, levels) for levels in (2**8, 2**16))
    flat = clip.copy()
    flat[:, : options.side // 2] = 77
    for what, one, levels in (("256 levels", clip, 2**8), ("flat in part", flat, 2**8), ("65536 levels", fine, 2**16)):
        same, difference = agreement(one, levels)
        print(
            f"lbp_top, {what}: {same:.6f} of the codes are scikit-image's; features differ by {difference:.1e} at most"
        )
        ratios[f"same_codes_{what.replace(' ', '_')}"] = same
        if one is clip and (same < 1 or difference > 1e-12):
            raise SystemExit("lbp_top and scikit-image disagree where their definitions do not")
    frames = {"frames": (clip / np.float32(255)).astype(np.float32)[None, :, None]}
    round_one, own = create_model("lbp_top", 2, radius_t=1), create_model("lbp_top", 2)

    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        task = Path(name)
        write_task(task, options)
        fields = load_clips(task, ("flow",)).inputs["flow"]
        histograms = {model: create_model(model, 2) for model in ("bi_woof", "flow_histogram")}
        for model, estimator in histograms.items():
            loop = loop_histograms(fields, shared=model == "flow_histogram")
            np.testing.assert_allclose(estimator.features({"flow": fields}), loop, rtol=1e-9, atol=1e-12)
        subjects: dict[str, Callable[[], object]] = {
            "lbp_top of scikit-image, radius 1": lambda: their_lbp_top(clip),
            "lbp_top, radius 1": lambda: round_one.features(frames),
            "lbp_top, its own radii": lambda: own.features(frames),
        }
        for model, estimator in histograms.items():
            subjects[f"{model} in a loop"] = partial(loop_histograms, fields[:1], model == "flow_histogram")
            subjects[model] = partial(estimator.features, {"flow": fields[:1]})
        seconds = measure(subjects, 4 * options.rounds)
        rows = [(what, f"{1e3 * statistics.median(times):.2f}") for what, times in seconds.items()]
        print(tabulate(rows, headers=["features of one clip", "ms"], disable_numparse=True))
        ratios["lbp_top_over_scikit_image"] = ratio(seconds, "lbp_top of scikit-image, radius 1", "lbp_top, radius 1")
        for model in histograms:
            ratios[f"{model}_over_loop"] = ratio(seconds, f"{model} in a loop", model)

        runs = []
        for model in MODELS:
            if (fold_by_fold(model, task) != computed_once(model, task)).any():
                raise SystemExit(f"{model}: scores differ between features by fold and features computed once")
            ways = {"fold by fold": fold_by_fold, "once": computed_once}
            seconds = measure({way: partial(run, model, task) for way, run in ways.items()}, options.rounds)
            ratios[f"{model}_run"] = ratio(seconds, "fold by fold", "once")
            times = [f"{statistics.median(seconds[way]):.2f}" for way in ways]
            runs.append((model, *times, f"{ratios[f'{model}_run']:.2f}"))
    headers = [f"run of {options.subjects} folds, s", "fold by fold", "computed once", "times as fast"]
    print(tabulate(runs, headers=headers, disable_numparse=True))
    print(json.dumps({what: round(value, 6) for what, value in ratios.items()}))


if __name__ == "__main__":
    main()
