"""Inputs of the folds of a run: decoded by each fold from the task's table, and decoded once for all.

    python benchmarks/loading.py [--task data/task/synthetic | --subjects 24 --clips 8 --side 96] [--folds 24]

Without `--task` the clips are noise, eight frames each. Both ways load what the folds of an FDP run train on, frames
and dynamic images, and then what they test on, one fold after the other in one process, with one thread. First the
arrays are compared. Seconds: of all folds together, the writing of the arrays to disk with fsync counted in; medians
over rounds in turns. Memory: growth of the peak of a process of its own that loads one fold's training clips. Bytes
read: of that process again, by the system's count of what its calls read, and the size of the files that it maps.

The last line is one JSON object of ratios, the former way over ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.rounds import measure  # noqa: E402
from fdpbench.bench.train.arrays import StoredClips, store_clips  # noqa: E402
from fdpbench.bench.train.data import ClipSet, load_clips  # noqa: E402
from fdpbench.prep.runtime.scratch import Scratch  # noqa: E402
from fdpbench.prep.store import images, shards  # noqa: E402
from fdpbench.prep.task.table import TASK  # noqa: E402

INPUTS, LENGTH = ("frames", "dynamic_image"), 8
FORMER, OURS = "each fold decodes", "decoded once"


def write_task(folder: Path, options: argparse.Namespace) -> None:
    """A task's table of noise that is smooth like a face, so that its PNGs are as large."""
    rng = np.random.default_rng(0)

    def image() -> bytes:
        grey = cv2.GaussianBlur(rng.normal(size=(options.side, options.side)), (0, 0), 3.0)
        return images.encode_png(np.clip(128 + 300 * grey + rng.normal(0, 1, grey.shape), 0, 255).astype(np.uint8))

    def subjects() -> Iterator[pa.Table]:
        for number in range(options.subjects):
            named = {"dataset": "noise", "subject": f"noise/s{number:03d}", "label": 0, "class": "a"}
            rows = [
                named
                | {"clip_id": f"noise/s{number:03d}/{k:02d}", "dynamic_image": image()}
                | {"frames": [image() for _ in range(LENGTH)]}
                for k in range(options.clips)
            ]
            yield pa.Table.from_pylist(rows, schema=TASK)

    shards.write_subjects(folder / "clips.parquet", TASK, subjects())


def store(task: Path, folder: Path) -> StoredClips:
    """Decode the task as a run does, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("units", "sums"):
        (folder / name).mkdir(parents=True)
    return store_clips(task, INPUTS, Scratch(folder))


def former(task: Path, folds: list[str]) -> None:
    """Each fold reads the task's table."""
    for fold in folds:
        for held_out in (False, True):
            load_former(task, fold, held_out)


def ours(task: Path, folds: list[str], folder: Path) -> None:
    """The task is decoded, each fold reads arrays."""
    stored = store(task, folder)
    for fold in folds:
        for held_out in (False, True):
            load_ours(stored, fold, held_out)


def load_former(task: Path, fold: str, held_out: bool = False) -> tuple[ClipSet, int]:
    """Clips of a fold's training or test subjects; no file is mapped."""
    return load_clips(task, INPUTS, lambda subject: (subject == fold) == held_out), 0


def load_ours(stored: StoredClips, fold: str, held_out: bool = False) -> tuple[ClipSet, int]:
    """Clips of a fold's training or test subjects, and the bytes of the files that are mapped."""
    part = stored.of([subject for subject in stored.folders if (subject == fold) == held_out])
    mapped = sum((folder / f"{name}.npy").stat().st_size for folder in part.folders.values() for name in INPUTS)
    return part.load(INPUTS), mapped


def watched(load: Callable[..., tuple[ClipSet, int]], *given: object) -> tuple[float, float, float]:
    """In a process of its own: MB of the arrays, growth of the peak, MB, and MB read."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_watch, (load, *given))


def _watch(load: Callable[..., tuple[ClipSet, int]], *given: object) -> tuple[float, float, float]:
    load(*given, held_out=True)  # imports
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark falls to what is held now
    peak, read = _of_process("status", "VmHWM"), _of_process("io", "rchar")
    clips, mapped = load(*given)
    grown, called = _of_process("status", "VmHWM") - peak, _of_process("io", "rchar") - read
    held = sum(array.nbytes for array in clips.inputs.values())
    return held / 1e6, grown * 1024 / 1e6, (called + mapped) / 1e6


def _of_process(file: str, key: str) -> int:
    lines = Path("/proc/self", file).read_text(encoding="ascii").splitlines()
    return int(dict(line.split(":", 1) for line in lines)[key].split()[0])


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description="Inputs of folds: decoded by each fold, and decoded once for all.")
    parser.add_argument("--task", type=Path, help="folder of a task with frames, in place of noise")
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--clips", type=int, default=8, help="clips of each subject")
    parser.add_argument("--side", type=int, default=96, help="side of a frame, pixels")
    parser.add_argument("--folds", type=int, default=24, help="folds that are loaded, the first ones")
    parser.add_argument("--rounds", type=int, default=3, help="turns that are timed; the median counts")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=".") as name:
        place = Path(name)
        task = options.task or place
        if options.task is None:
            write_task(task, options)
        folds = shards.subjects_of(task / "clips.parquet")[: options.folds]
        stored = store(task, place / "stored")
        for fold in folds[:2]:
            expected, (found, _) = load_former(task, fold)[0], load_ours(stored, fold)
            if expected.clip_ids != found.clip_ids or any(
                (array != found.inputs[key]).any() for key, array in expected.inputs.items()
            ):
                raise SystemExit(f"{fold}: the arrays differ")
        ways: dict[str, Callable[[], object]] = {
            FORMER: lambda: former(task, folds),
            OURS: lambda: ours(task, folds, place / "scratch"),
        }
        seconds = measure(ways, options.rounds)
        seen = {FORMER: watched(load_former, task, folds[0]), OURS: watched(load_ours, stored, folds[0])}
    rows = [(way, f"{statistics.median(seconds[way]):.2f}", *(f"{value:.1f}" for value in seen[way])) for way in ways]
    heads = [f"{len(folds)} folds", "seconds", "a fold's arrays, MB", "growth of peak, MB", "read, MB"]
    print(tabulate(rows, headers=heads, disable_numparse=True))
    ratios = {
        "seconds": statistics.median(a / b for a, b in zip(seconds[FORMER], seconds[OURS], strict=True)),
        "peak_memory": seen[FORMER][1] / seen[OURS][1],
        "bytes_read": seen[FORMER][2] / seen[OURS][2],
    }
    print(json.dumps({what: round(value, 3) for what, value in ratios.items()}))


if __name__ == "__main__":
    main()
