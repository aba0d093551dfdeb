"""Speed of a dynamic image, beside the released algorithm, a plain loop and the limit of memory.

    python benchmarks/rank_pooling.py [--rounds 15]

One clip of 64 x 224 x 224 x 3 float32 in one process, the subjects in turns: `prep.dynamic.rank_pooling`; the
algorithm of the released code (frames split into channels, the weights computed anew for each channel,
a float64 product summed), written anew; a plain numpy loop over the frames; and reads, the plain numpy
passes over the same array that touch every byte. First all are checked to give the same image. The last
line is one JSON object of ratios, taken with one thread for BLAS; those with all threads stand above it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.rounds import measure  # noqa: E402
from fdpbench.prep.dynamic.rank_pooling import coefficients, dynamic_image  # noqa: E402

SHAPE = (64, 224, 224, 3)
OURS, RELEASED, LOOP = "dynamic_image", "released algorithm", "numpy loop over frames"


def released(clip: NDArray[np.float32]) -> NDArray[np.float64]:
    """Dynamic image (H, W, C) as the released code computes it, but with the paper's weights."""
    split = [cv2.split(frame) for frame in clip]
    pooled = []
    for channel in range(clip.shape[-1]):
        frames = np.array([planes[channel][..., None] for planes in split])  # (T, H, W, 1)
        weights = np.zeros(len(frames))
        for t in range(len(frames)):
            i = np.array(range(t, len(frames))) + 1
            weights[t] = np.sum((2 * i - len(frames) - 1) / i)
        product = frames[None] * weights.reshape(-1, 1, 1, 1)  # (1, T, H, W, 1), float64
        pooled.append(product[0].sum(axis=0).squeeze())
    return cv2.merge(pooled)


def loop(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dynamic image as one writes it without a thought: a loop over frames, in their own dtype."""
    image = np.zeros(clip.shape[1:], clip.dtype)
    for weight, frame in zip(coefficients(len(clip)).astype(clip.dtype), clip, strict=True):
        image += weight * frame
    return image


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description="Speed of a dynamic image, beside its references.")
    parser.add_argument("--rounds", type=int, default=15, help="times that each subject is measured")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    clip = rng.random(SHAPE, dtype=np.float32)
    static = np.repeat(clip[:1], len(clip), axis=0)
    words = clip.reshape(-1).view(np.uint64)
    reads: dict[str, Callable[[], object]] = {
        "read: max": lambda: clip.max(),
        "read: sum": lambda: np.add.reduce(clip, axis=None),
        "read: or of 64-bit words": lambda: np.bitwise_or.reduce(words, axis=None),
    }
    subjects: dict[str, Callable[[], object]] = {
        OURS: lambda: dynamic_image(clip),
        "dynamic_image, static clip": lambda: dynamic_image(static),
        RELEASED: lambda: released(clip),
        LOOP: lambda: loop(clip),
        **reads,
    }
    truth = released(clip)
    for image in (dynamic_image(clip), loop(clip)):
        assert np.abs(image - truth).max() < 1e-5 * np.abs(coefficients(len(clip))).sum(), "the images differ"

    ratios: dict[str, float] = {}
    for threads in (None, 1):
        with threadpool_limits(threads, user_api="blas"):
            used = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
            seconds = measure(subjects, options.rounds)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        rows = [
            (name, f"{1e3 * value:.2f}", f"{1e3 * min(seconds[name]):.2f}", f"{clip.nbytes / value / 1e9:.1f}")
            for name, value in median.items()
        ]
        print(f"{used} BLAS thread(s)")
        print(tabulate(rows, headers=["", "median, ms", "best, ms", "GB/s"]))
        read = min(reads, key=lambda name: median[name])
        ratios = {
            "speedup_over_released": median[RELEASED] / median[OURS],
            "share_of_read_speed": median[read] / median[OURS],
            "speedup_over_numpy_loop": median[LOOP] / median[OURS],
        }
        print(f"fastest {read}; " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()) + "\n")
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
