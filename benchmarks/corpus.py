"""Milliseconds for each clip of a corpus, on one core: both generators, beside rendering frames whole.

    python benchmarks/corpus.py [--people 6] [--clips 20] [--rendered 3]

In turns in one run, on the same planned clips:

- `generated`: `flow_clips`, a person's face and sittings among it, and the row of the table;
- `rendered`: both frames of a clip rendered whole and seen by the sensor, the crop, DIS, strain, scaling. The
  person's textures, about a third of a second each, are not counted;
- `frames`: `frame_clips` of 8 clips of the person, textures among it, and their rows: dynamic image, flow, PNGs.

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
from fdpbench.prep.demo.corpus.flow import CAMERA, EYE_PIXELS  # noqa: E402
from fdpbench.prep.demo.corpus.planner import Person, PlannedClip, plan_people  # noqa: E402
from fdpbench.prep.demo.corpus.stage import SHARD, make_corpus  # noqa: E402
from fdpbench.prep.demo.corpus.table import generate  # noqa: E402
from fdpbench.prep.demo.synth.camera import Pose, expose  # noqa: E402
from fdpbench.prep.demo.synth.head import SKIN, load_head  # noqa: E402
from fdpbench.prep.demo.synth.release import renderer_for  # noqa: E402
from fdpbench.prep.demo.synth.render import Light  # noqa: E402
from fdpbench.prep.flow.methods import flow_field, resize_flow, scale_per_image  # noqa: E402
from fdpbench.prep.settings.corpus import CorpusParams  # noqa: E402

LIMIT, FRAMES_LIMIT = 8.0, 250.0  # milliseconds for each clip, on one core
FRAMES_CLIPS = 8  # of each person
CROP = 96  # side of the crop in which flow is estimated, pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Milliseconds for each clip of a corpus, on one core.")
    parser.add_argument("--people", type=int, default=6, help="people to generate; more gives a steadier median")
    parser.add_argument("--clips", type=int, default=20, help="clips of each of them")
    parser.add_argument("--rendered", type=int, default=3, help="clips of each of them to render too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    params = CorpusParams(
        generator="flow", identities=options.people + 1, clips_per_identity=options.clips, seed=1, true_flow=True
    )
    framed = CorpusParams(generator="frames", identities=options.people + 1, clips_per_identity=FRAMES_CLIPS, seed=1)
    milliseconds: dict[str, list[float]] = {"generated": [], "rendered": [], "frames": []}
    for number, (person, other) in enumerate(zip(plan_people(params), plan_people(framed), strict=True)):
        taken = [_generate(person, params), _generate(other, framed)]
        if number:  # the first reads the head
            milliseconds["generated"].append(taken[0])
            milliseconds["rendered"] += [_render(person, planned) for planned in person.clips[: options.rendered]]
            milliseconds["frames"].append(taken[1])
    median = {name: statistics.median(values) for name, values in milliseconds.items()}
    rows = [(name, f"{value:.2f}", f"{min(milliseconds[name]):.2f}") for name, value in median.items()]
    print(tabulate(rows, headers=["per clip", "median, ms", "best, ms"]))

    larger = params.model_copy(update={"identities": 2 * SHARD["flow"]})
    wall = {jobs: _stage(larger, jobs) for jobs in (1, 2)}
    for jobs, seconds in wall.items():
        clips = larger.identities * options.clips
        print(f"stage, {clips} clips of flow, workers: {jobs}: {seconds:.1f} s, their start among it")
    ratios = {
        "generated_over_limit": median["generated"] / LIMIT,
        "rendered_over_generated": median["rendered"] / median["generated"],
        "frames_over_limit": median["frames"] / FRAMES_LIMIT,
        "two_workers_speedup": wall[1] / wall[2],
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


def _generate(person: Person, params: CorpusParams) -> float:
    """Milliseconds for each clip of a person, rows of the table among them."""
    start = time.process_time()
    generate("benchmark", person, params)
    return 1000 * (time.process_time() - start) / len(person.clips)


def _render(person: Person, planned: PlannedClip) -> float:
    """Milliseconds of the way over frames."""
    renderer, rng = renderer_for(person.seed, CAMERA.size), np.random.default_rng(0)
    head, seat, crop = load_head(), planned.clip.seat, planned.sitting.crop
    assert seat is not None
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
