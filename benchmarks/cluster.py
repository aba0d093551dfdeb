"""What a cluster costs and gives: overhead of a unit, speed-up of two nodes over one, time to start, driver's memory.

    python benchmarks/cluster.py [--seconds 0.1 1 10] [--units 12] [--queued 40000]

Starts a real Ray cluster on this machine (extra `cluster`): a head without processors of its own and two nodes of one
processor each. A unit is a fixed amount of work of one thread, measured before. The reference, in the same run, is one
worker process of this machine, and two, that build the same units. Times are counted from when each worker has finished
a unit, so that starting is not counted; it is measured by itself. Memory is that of the driver and of the process that
talks to Ray, after the same number of finished units of a long queue and of a short one.

What 100 nodes would do is calculated from these figures, not measured: the driver keeps units one after the other, so
the time that it takes for units that are no work bounds how many it can keep in a second.

The last line is one JSON object of the ratios.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from fdpbench.arithmetic import pin_arithmetic  # noqa: E402

pin_arithmetic()

import argparse  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from importlib import import_module  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import psutil  # noqa: E402
from tabulate import tabulate  # noqa: E402

from fdpbench.prep.runtime.processes import environment  # noqa: E402
from fdpbench.prep.runtime.scratch import open_scratch  # noqa: E402
from fdpbench.prep.runtime.workers import Context, Unit, run_units  # noqa: E402
from tests.support.cluster import RayCluster  # noqa: E402

NODES, SLOTS = 100, 32  # of the calculation: nodes, and units that each builds at a time
BLOCK = 1 << 16


def work(blocks: int, context: Context) -> None:
    """Hash so many blocks, and write what comes of it."""
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(bytes(BLOCK))
    (context.folder / "value").write_text(digest.hexdigest())


class Timed(NamedTuple):
    """A run: seconds to the first finished unit, and seconds from one unit to the next once each worker has had one."""

    first: float
    each: float


def blocks_a_second() -> float:
    """How many blocks one thread hashes in a second: the best of five tries."""
    best = 0.0
    for _ in range(5):
        start, digest = time.perf_counter(), hashlib.sha256()
        for _ in range(2000):
            digest.update(bytes(BLOCK))
        best = max(best, 2000 / (time.perf_counter() - start))
    return best


def run(
    cluster: RayCluster | None, workers: int, blocks: int, count: int, on_unit: Callable[[int], bool] = lambda k: False
) -> Timed:
    """Build units here or on a cluster of so many workers, until all are finished or `on_unit` says to stop."""
    function: Any = import_module("cluster").work  # not of the script that runs: nodes import it
    where = {"FDPBENCH_CLUSTER": cluster.address if cluster else ""}
    with tempfile.TemporaryDirectory() as folder, environment(where):
        os.chdir(folder)
        start, times = time.perf_counter(), []
        with open_scratch("benchmark", "key") as scratch:
            units = (Unit(f"unit/{k}", blocks) for k in range(count))
            finished: Any = run_units(units, function, scratch, jobs=workers)
            for k, _ in enumerate(finished):
                times.append(time.perf_counter())
                if on_unit(k):
                    break
            finished.close()
        os.chdir(ROOT)
    return Timed(times[0] - start, (times[-1] - times[workers - 1]) / (len(times) - workers))


def memory(cluster: RayCluster, queued: int, finished: int) -> tuple[float, float]:
    """MB of the driver and the process that talks to Ray when so many units are finished, and seconds of each unit."""
    found = 0.0

    def on_unit(k: int) -> bool:
        nonlocal found
        if k + 1 < finished:
            return False
        mine = psutil.Process()
        found = sum(process.memory_info().rss for process in (mine, *mine.children(recursive=True))) / 1e6
        return True

    each = run(cluster, 2, 1, queued, on_unit).each
    return found, each


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a cluster costs and gives.")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="of work of a unit")
    parser.add_argument(
        "--units", type=int, default=12, help="units of each run, even; of short ones ten times as many"
    )
    parser.add_argument("--queued", type=int, default=40_000, help="units of the long queue")
    options = parser.parse_args()

    search = os.pathsep.join((str(ROOT), str(ROOT / "benchmarks")))  # where nodes find the function of this file
    speed = blocks_a_second()
    ratios: dict[str, Any] = {"overhead": {}, "speed_up": {}, "speed_up_here": {}}
    rows, clusters = [], []
    counts = {seconds: options.units * (10 if seconds < 1 else 1) for seconds in options.seconds}
    queues = 4000, options.queued  # of a shorter one all may be built before so many are kept
    try:
        for nodes in (1, 2):
            start = time.perf_counter()
            clusters.append(RayCluster())
            head = time.perf_counter() - start
            for _ in range(nodes):
                clusters[-1].add_node(PYTHONPATH=search)
            each = (time.perf_counter() - start - head) / nodes
            print(f"to start {nodes} and a head: head {head:.1f} s, a node {each:.1f} s", flush=True)
        # in turns, size by size: others may use the machine as well
        places = [(None, 1), (None, 2), (clusters[0], 1), (clusters[1], 2)]
        timed = {
            seconds: [run(*where, round(seconds * speed), count) for where in places]
            for seconds, count in counts.items()
        }
        taken, kept = zip(*(memory(clusters[1], queued, 200) for queued in queues), strict=True)
    finally:
        for cluster in clusters:
            cluster.stop()
    for seconds, found in timed.items():
        here, both, one, two = (run.each for run in found)
        ratios["overhead"][f"{seconds:g}"] = round(one / here, 3)
        ratios["speed_up"][f"{seconds:g}"] = round(one / two, 3)
        ratios["speed_up_here"][f"{seconds:g}"] = round(here / both, 3)
        numbers = [f"{each:.3f}" for each in (here, both, one, two)]
        rows.append([f"{seconds:g}", *numbers, f"{1000 * (one - here):.0f}", f"{here / both:.2f}", f"{one / two:.2f}"])
    headers = ["work of a unit, s", "1 worker here", "2 here", "1 node", "2 nodes", "overhead, ms"]
    headers += ["2 over 1 here", "2 nodes over 1"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    begun = min(one.first - here.each for here, _, one, _ in timed.values())
    print(f"from the command to the first unit's work, on a cluster that runs: {begun:.1f} s")
    print(f"memory: {taken[0]:.0f} MB with {queues[0]} units queued, {taken[1]:.0f} MB with {queues[1]}")
    ratios["memory"] = round(taken[1] / taken[0], 3)
    print(
        f"calculated, not measured: a driver that takes {1000 * kept[1]:.0f} ms for a unit keeps {NODES} nodes of "
        f"{SLOTS} workers waiting where units take less than {NODES * SLOTS * kept[1]:.0f} s"
    )
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
