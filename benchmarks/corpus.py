"""Milliseconds for each flow image of a corpus, on one core, beside rendering the same clip and estimating its flow.

    python benchmarks/corpus.py [--people 6] [--clips 20] [--rendered 3]

In turns in one run, on the same planned clips:

- `generated`: `flow_clips`, a person's face and sittings among it, and the row of the table;
- `rendered`: both frames of a clip rendered and seen by the sensor, the crop, DIS, strain, scaling. The
  person's textures, about a second each, are not counted.

Then the stage is run with one worker and with two. The last line is one JSON object of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fdpbench.prep.align.geometry import to_grey  # noqa: E402
from fdpbench.prep.demo.corpus.flow import CAMERA, EYE_PIXELS, flow_clips  # noqa: E402
from fdpbench.prep.demo.corpus.planner import Person, PlannedClip, plan_people  # noqa: E402
from fdpbench.prep.demo.corpus.stage import SHARD, make_corpus  # noqa: E402
from fdpbench.prep.demo.corpus.table import rows_of  # noqa: E402
from fdpbench.prep.demo.synth.camera import Pose, expose  # noqa: E402
from fdpbench.prep.demo.synth.head import SKIN, load_head  # noqa: E402
from fdpbench.prep.demo.synth.release import renderer_for  # noqa: E402
from fdpbench.prep.demo.synth.render import Light  # noqa: E402
from fdpbench.prep.flow.methods import flow_field, resize_flow, scale_per_image  # noqa: E402
from fdpbench.prep.settings.corpus import CorpusParams  # noqa: E402

LIMIT = 8.0  # milliseconds for each clip, on one core
CROP = 96  # side of the crop in which flow is estimated, pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Milliseconds for each flow image of a corpus, on one core.")
    parser.add_argument("--people", type=int, default=6, help="people to generate; more gives a steadier median")
    parser.add_argument("--clips", type=int, default=20, help="clips of each of them")
    parser.add_argument("--rendered", type=int, default=3, help="clips of each of them to render too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    params = CorpusParams(
        generator="flow", identities=options.people + 1, clips_per_identity=options.clips, seed=1, true_flow=True
    )
    milliseconds: dict[str, list[float]] = {"generated": [], "rendered": []}
    for number, person in enumerate(plan_people(params)):
        start = time.process_time()
        rows_of("benchmark", person, flow_clips(person), true_flow=True)
        taken = 1000 * (time.process_time() - start) / len(person.clips)
        if number:  # the first reads the head
            milliseconds["generated"].append(taken)
            milliseconds["rendered"] += [_render(person, planned) for planned in person.clips[: options.rendered]]
    median = {name: statistics.median(values) for name, values in milliseconds.items()}
    rows = [(name, f"{value:.2f}", f"{min(milliseconds[name]):.2f}") for name, value in median.items()]
    print(tabulate(rows, headers=["per clip", "median, ms", "best, ms"]))

    larger = params.model_copy(update={"identities": 2 * SHARD})
    wall = {jobs: _stage(larger, jobs) for jobs in (1, 2)}
    for jobs, seconds in wall.items():
        print(f"stage, {2 * SHARD * options.clips} clips, workers: {jobs}: {seconds:.1f} s, their start among it")
    ratios = {
        "generated_over_limit": median["generated"] / LIMIT,
        "rendered_over_generated": median["rendered"] / median["generated"],
        "two_workers_speedup": wall[1] / wall[2],
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


def _render(person: Person, planned: PlannedClip) -> float:
    """Milliseconds of the way over frames."""
    renderer, rng = renderer_for(person.seed, CAMERA.size), np.random.default_rng(0)
    head, seat, crop = load_head(), planned.sitting.pose, planned.sitting.crop
    start = time.process_time()
    offsets = head.displacement(dict(planned.clip.activation)) * np.float32(0.1)
    states = ((np.zeros_like(offsets), seat), (offsets, Pose(seat.yaw + 0.2, seat.pitch, seat.roll, 0.3, -0.2)))
    frames = [to_grey(expose(renderer.frame(moved, pose, (0.0, 0.0), Light()), rng)) for moved, pose in states]
    place, _ = CAMERA.project(renderer.subject.vertices, seat)
    x, y = place[head.vertex_part != SKIN].mean(axis=0)
    scale = crop.eye_distance / EYE_PIXELS * CROP
    warp = np.array(
        [[scale, 0, CROP / 2 - scale * x], [0, scale * crop.aspect, CROP * crop.eye_height - scale * crop.aspect * y]]
    )
    onset, apex = (np.asarray(cv2.warpAffine(frame, warp, (CROP, CROP)), np.uint8) for frame in frames)
    np.round(255 * scale_per_image(resize_flow(flow_field(onset, apex), 28))).astype(np.uint8)
    return 1000 * (time.process_time() - start)


def _stage(params: CorpusParams, jobs: int) -> float:
    """Seconds of the stage, in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            start = time.perf_counter()
            make_corpus("benchmark", params, Path("out"), jobs)
            return time.perf_counter() - start
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main()
