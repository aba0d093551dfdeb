"""Seconds for each frame of the embedded release, beside the least that any writer of frames costs.

    python benchmarks/synth.py [--clips 6] [--size 240]

Clips are written whole (render, sensor, PNG, truth, disk) in turns with the same frames being only
encoded and written, and read back. One core. The last line is one JSON object of ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fdpbench.prep.demo.synth import plan_release, write_clip  # noqa: E402
from fdpbench.prep.demo.synth.release import encode_png  # noqa: E402
from fdpbench.prep.settings.synth import SynthParams  # noqa: E402

LIMIT = 0.05  # seconds for each frame at 240 x 240, on one core


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds for each frame of the embedded release, on one core.")
    parser.add_argument("--clips", type=int, default=6, help="clips to write; more gives a steadier median")
    parser.add_argument("--size", type=int, default=240, help="side of a frame, pixels")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    params = SynthParams(
        seed=1, subjects=2, clips_per_emotion=max(1, options.clips // 4 + 1), size=options.size,
        frames_min=32, frames_max=48, peak_min=0.6, peak_max=1.2, drift=2.0,
        blink_rate=0.3, gaze_rate=0.3, overlap=0.4,
    )  # fmt: skip
    seconds: dict[str, list[float]] = {"write_clip": [], "PNG encode + write": [], "PNG read + decode": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plans = plan_release(params)
        start = time.perf_counter()
        write_clip(plans[0], params.size, root)  # builds the subject, which the other clips share
        first = time.perf_counter() - start
        for plan in plans[1 : options.clips + 1]:
            start = time.perf_counter()
            write_clip(plan, params.size, root)
            seconds["write_clip"].append((time.perf_counter() - start) / plan.frames)

            paths = sorted((root / "frames" / plan.subject / plan.clip).iterdir())
            start = time.perf_counter()
            images = [np.asarray(cv2.imread(str(path)), dtype=np.uint8) for path in paths]
            seconds["PNG read + decode"].append((time.perf_counter() - start) / plan.frames)

            start = time.perf_counter()
            for path, image in zip(paths, images, strict=True):
                path.write_bytes(encode_png(image))
            seconds["PNG encode + write"].append((time.perf_counter() - start) / plan.frames)
        files = [path for path in root.rglob("*.png")]
        frame_bytes = sum(path.stat().st_size for path in files) / len(files)

    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [(name, f"{1000 * value:.2f}", f"{1000 * min(seconds[name]):.2f}") for name, value in median.items()]
    print(tabulate(rows, headers=["per frame", "median, ms", "best, ms"]))
    print(f"first clip of a subject: {first:.2f} s; a frame takes {frame_bytes / 1000:.0f} kB")
    ratios = {
        "write_over_limit": median["write_clip"] / LIMIT,
        "write_over_encode": median["write_clip"] / median["PNG encode + write"],
        "write_over_read": median["write_clip"] / median["PNG read + decode"],
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
