"""Aligned frames per second, beside the released way of doing it and beside the least that it could cost.

    python benchmarks/prep.py [--subjects 3] [--clips 8] [--size 480] [--rounds 3]

On one rendered release, in turns in one run:

- `align`: what the stage does with a clip (a face in its first frame, one warp and one PNG for each frame);
- `limit`: decode, one warp and encode of the same frames, nothing else;
- `released`: what FDP's released code does with each frame that it uses, 8 of a clip: decode, dlib's detector
  and 68 landmarks, its crop. Needs the extra `dlib`.

From these follow the cost of preparing a whole leave-one-subject-out run: the released code prepares every
clip anew for each fold, the stage once for all. `--folds` says how many there are (26 in CASME II). Last, the
stage is run with one worker and with two. The last line is one JSON object of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fdpbench.prep.align import geometry  # noqa: E402
from fdpbench.prep.align.faces_dlib import DlibFaces, MissingDlibError  # noqa: E402
from fdpbench.prep.align.stage import align_release, aligned_clip  # noqa: E402
from fdpbench.prep.demo.stage import synthesize  # noqa: E402
from fdpbench.prep.dynamic import sampling  # noqa: E402
from fdpbench.prep.releases import read_release  # noqa: E402
from fdpbench.prep.settings.align import AlignParams  # noqa: E402
from fdpbench.prep.settings.synth import SynthParams  # noqa: E402
from fdpbench.prep.store import images  # noqa: E402

USED = 8  # frames of a clip that the released code uses


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Aligned frames per second beside the released way and the limit.")
    parser.add_argument("--subjects", type=int, default=3, help="subjects of the rendered release")
    parser.add_argument("--clips", type=int, default=8, help="clips that the turns are taken on")
    parser.add_argument("--size", type=int, default=480, help="side of a frame, pixels")
    parser.add_argument("--rounds", type=int, default=3, help="turns; the median counts")
    parser.add_argument("--folds", type=int, default=26, help="folds of a whole run")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    params = AlignParams(
        mode="first_frame", landmarks="mesh", geometry="eyes", interpolation="linear", size=96, eye_distance=0.40,
        eye_height=0.32, colour=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the stage keeps its scratch where it runs
        root = Path("release")
        synthesize(_release(options), root, jobs=os.cpu_count() or 1)
        manifest = sorted(read_release("synthetic", root).clips, key=lambda clip: clip["clip_id"])
        clips = manifest[: options.clips]
        seconds = _take_turns(clips, root, params, options.rounds)
        workers = _workers(manifest, root, params)

    frames = sum(len(clip["frames"]) for clip in clips)
    used = USED * len(clips)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    counted = {name: used if name == "released" else frames for name in median}
    rows = [[name, counted[name], f"{counted[name] / value:.1f}"] for name, value in median.items()]
    print(tabulate(rows, headers=["one core", "frames", "frames per second"]))
    ratios = {"align_over_limit": median["limit"] / median["align"]}
    if "released" in median:
        ratios["align_over_released_per_frame"] = (frames / median["align"]) / (used / median["released"])
        ratios["align_over_released_per_pass"] = median["released"] / median["align"]
        ratios["align_over_released_whole_run"] = options.folds * median["released"] / median["align"]
        print(
            f"a whole run of {options.folds} folds: once {median['align']:.1f} s, "
            f"for each fold anew {options.folds * median['released']:.1f} s, for these {len(clips)} clips"
        )
    else:
        print("released: not measured, since the extra dlib is not installed: pip install 'fdpbench[dlib]'")
    ratios["two_workers_over_one"] = workers[1] / workers[2]
    print(f"the stage on {len(manifest)} clips: one worker {workers[1]:.1f} s, two {workers[2]:.1f} s")
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


def _release(options: argparse.Namespace) -> SynthParams:
    return SynthParams(
        seed=1, subjects=options.subjects, clips_per_emotion=max(1, -(-options.clips // (4 * options.subjects))),
        size=options.size, frames_min=32, frames_max=48, peak_min=1.0, peak_max=2.0, drift=1.0,
        blink_rate=0.0, gaze_rate=0.0, overlap=0.0,
    )  # fmt: skip


def _take_turns(clips: list[dict[str, Any]], root: Path, params: AlignParams, rounds: int) -> dict[str, list[float]]:
    ways: dict[str, Callable[[dict[str, Any]], object]] = {
        "align": lambda clip: aligned_clip(clip, root, params),
        "limit": lambda clip: _limit(clip, root, params),
    }
    released = _released_way(params.size)
    if released is not None:
        ways["released"] = lambda clip: [released(path) for path in _used(clip, root)]
    for way in ways.values():
        way(clips[0])  # models are loaded
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            for clip in clips:
                way(clip)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _limit(clip: dict[str, Any], root: Path, params: AlignParams) -> None:
    transform = geometry.eye_transform(
        (180.0, 200.0), (280.0, 200.0), params.size, params.eye_distance, params.eye_height
    )
    for source in clip["frames"]:
        images.encode_png(geometry.warp(geometry.to_grey(images.read_image(root / source)), transform, params.size))


def _used(clip: dict[str, Any], root: Path) -> list[Path]:
    return [root / clip["frames"][k] for k in sampling.truncated(len(clip["frames"]), USED)]


def _released_way(size: int) -> Callable[[Path], np.ndarray] | None:
    """Prepare one frame as the released code does; None without dlib."""
    try:
        finder = DlibFaces()
    except MissingDlibError:
        return None

    def prepare(path: Path) -> np.ndarray:
        rgb = cv2.cvtColor(np.asarray(cv2.imread(str(path)), dtype=np.uint8), cv2.COLOR_BGR2RGB)
        transform = geometry.released_transform(finder.find(np.asarray(rgb, np.uint8)).five_points, size)
        return np.asarray(cv2.warpAffine(rgb, transform, (size, size)), dtype=np.uint8)

    return prepare


def _workers(manifest: list[dict[str, Any]], root: Path, params: AlignParams) -> dict[int, float]:
    """Seconds of the whole stage with one worker and with two."""
    seconds = {}
    for jobs in (1, 2):
        start = time.perf_counter()
        align_release(f"jobs{jobs}", root, manifest, Path(f"aligned{jobs}"), params, jobs)
        seconds[jobs] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
