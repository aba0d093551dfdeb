"""Peak memory of `fdpbench align` on a release, beside one of ten times as many subjects.

    python benchmarks/memory.py [--subjects 8] [--times 10] [--clips 4] [--crop 224] [--jobs 2]

The clips of one rendered subject stand under as many names as there are subjects, so that the two releases
differ in length alone. The commands run as a user runs them. Twenty times a second the resident memory of the
command and its workers together is read, and the high-water mark of each, which no spike escapes (Linux).
The size of the shards stands beside: a stage that kept what it has read would grow by as much, and the
last figures, growth over that of the shards, would be near 1. The last line is one JSON object of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import yaml
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fdpbench.prep.demo.synth import ClipPlan, ClipRecord, plan_release, write_clip, write_sheet  # noqa: E402
from fdpbench.prep.runtime.scratch import link_tree  # noqa: E402
from fdpbench.prep.settings.synth import SynthParams  # noqa: E402

TARGET = 1.2
EVERY = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Peak:
    """Peak resident memory of a command, MB: of all its processes together, and of the largest one."""

    together: float
    largest: float
    seconds: float


def render(options: argparse.Namespace, folder: Path) -> list[ClipPlan]:
    """Render the clips of one subject; their plans."""
    params = SynthParams(
        seed=1, subjects=2, clips_per_emotion=(options.clips + 3) // 4, size=160, frames_min=24, frames_max=24,
        peak_min=1.0, peak_max=2.0, drift=1.0, blink_rate=0.0, gaze_rate=0.0, overlap=0.0,
    )  # fmt: skip
    plans = plan_release(params)[: options.clips]
    for plan in plans:
        write_clip(plan, params.size, folder)
    return plans


def write_project(crop: int, rendered: Path, plans: list[ClipPlan], subjects: int, folder: Path) -> None:
    """Write a project whose release has the rendered clips under the names of so many subjects."""
    release = folder / "data/raw/synthetic"
    named = [replace(plan, subject=f"s{number:04d}") for number in range(1, subjects + 1) for plan in plans]
    for plan in named:
        link_tree(rendered / "frames" / plans[0].subject / plan.clip, release / "frames" / plan.subject / plan.clip)
    write_sheet([ClipRecord.of(plan) for plan in named], release)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["align"] |= {"size": crop, "colour": True}  # large images: to keep them would show
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def measure(folder: Path, *arguments: str) -> Peak:
    """Run `fdpbench` in a project and watch its memory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    together = largest = 0
    with (folder / "log").open("w") as log:
        words = [sys.executable, "-m", "fdpbench", *arguments]
        command = psutil.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)
        while command.poll() is None:
            seen = [memory(process.pid) for process in (command, *below(command))]
            together = max(together, sum(resident for resident, _ in seen))
            largest = max(largest, *(mark for _, mark in seen))
            time.sleep(EVERY)
    if command.returncode:
        sys.exit(f"fdpbench {' '.join(arguments)} failed:\n" + (folder / "log").read_text())
    return Peak(together / 1e6, largest / 1e6, time.monotonic() - start)


def below(command: psutil.Process) -> list[psutil.Process]:
    """Processes below a process; none if it has just ended."""
    try:
        return command.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def memory(pid: int) -> tuple[int, int]:
    """Resident memory of a process and its high-water mark, bytes; none if it has just ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines())
    resident, mark = (int(fields.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return resident, mark


def main() -> None:
    """Render, measure and print."""
    parser = argparse.ArgumentParser(description="Peak memory of align, beside a release ten times as long.")
    parser.add_argument("--subjects", type=int, default=8, help="subjects of the shorter release")
    parser.add_argument("--times", type=int, default=10, help="how many times as many the longer one has")
    parser.add_argument("--clips", type=int, default=4, help="clips of each subject, of 24 frames each")
    parser.add_argument("--crop", type=int, default=224, help="side of a crop, pixels")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes of align")
    options = parser.parse_args()
    peaks: list[Peak] = []
    stored: list[float] = []
    rows = []
    with tempfile.TemporaryDirectory() as place:
        rendered = Path(place) / "rendered"
        plans = render(options, rendered)
        for subjects in (options.subjects, options.subjects * options.times):
            folder = Path(place) / f"{subjects}"
            write_project(options.crop, rendered, plans, subjects, folder)
            measure(folder, "index", "synthetic")
            peaks.append(measure(folder, "align", "synthetic", "--jobs", str(options.jobs)))
            stored.append(sum(path.stat().st_size for path in folder.glob("data/aligned/*/*")) / 1e6)
            figures = (peaks[-1].together, peaks[-1].largest, stored[-1], peaks[-1].seconds)
            rows.append((subjects, subjects * len(plans), *(f"{figure:.0f}" for figure in figures)))
            shutil.rmtree(folder)
    head = ["subjects", "clips", "peak of all, MB", "peak of largest, MB", "shards, MB", "seconds"]
    print(tabulate(rows, headers=head))
    short, long = peaks
    ratios = {
        "align_peak": long.together / short.together,
        "align_peak_of_largest_process": long.largest / short.largest,
    }
    print(f"target: peaks at most {TARGET} times; {'met' if max(ratios.values()) <= TARGET else 'NOT met'}")
    ratios["align_growth_over_shards"] = (long.together - short.together) / (stored[1] - stored[0])
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
