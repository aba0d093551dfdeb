"""How accurate alignment and flow are, against the embedded release's exact truth; writes results/accuracy.md.

    python benchmarks/accuracy.py [--subjects 4] [--size 240] [--crops 96 224] [--out results/accuracy.md]

Two releases are rendered that differ in the drift of the head alone, and every way to align is run on both.
What a way should give is known: each frame as the first frame's transform would show it had the head been
still. Measured are, in pixels of the crop:

- jitter: how unsteady the skull is: standard deviation over a clip of the frame-to-frame motion of rigid
  landmarks against where they should be. Without drift of the head it is the noise that alignment adds; with
  it, what is left of the drift comes on top;
- skull error: mean distance of rigid landmarks at the apex from where they should be;
- flow error: mean end-point error over the skin of each flow method from onset to apex against the motion of
  the expression alone, which is what flow is computed for;
- of the method: the same against the true motion between the two crops, head and all, as the transforms of
  both frames give it: the part of the flow error that is no fault of alignment.

Landmark errors are distances of the first frame's eye centres from the middles of the true eye corners, in
pixels of the source and of the crop. Alignment `none` crops every frame where the first frame's true eyes
are. Times are of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fdpbench.prep.align import geometry  # noqa: E402
from fdpbench.prep.align.faces import FaceMesh  # noqa: E402
from fdpbench.prep.align.faces_dlib import DlibFaces, MissingDlibError  # noqa: E402
from fdpbench.prep.align.placing import FaceFinder, place  # noqa: E402
from fdpbench.prep.demo.synth import plan_release, write_clip  # noqa: E402
from fdpbench.prep.demo.synth.motion import plan_motion  # noqa: E402
from fdpbench.prep.demo.synth.plan import ClipPlan  # noqa: E402
from fdpbench.prep.demo.synth.release import renderer_for  # noqa: E402
from fdpbench.prep.demo.synth.truth import dense_flow, face_landmarks  # noqa: E402
from fdpbench.prep.flow.methods import METHODS  # noqa: E402
from fdpbench.prep.settings.align import AlignParams  # noqa: E402
from fdpbench.prep.settings.synth import SynthParams  # noqa: E402
from fdpbench.prep.store import images  # noqa: E402

Clip = dict[str, Any]
Array = NDArray[np.float64]

WAYS = ("none", "first_frame mesh", "ecc mesh", "per_frame mesh", "first_frame dlib", "per_frame dlib")
DRIFTS = {"none": 0.0, "normal": 1.0}
EYE_DISTANCE, EYE_HEIGHT = 0.40, 0.32
# The subject's right eye is on the left of the image.
EYE_CORNERS = (("eye_inner_right", "eye_outer_right"), ("eye_inner_left", "eye_outer_left"))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Accuracy of alignment and flow against exact truth.")
    parser.add_argument("--subjects", type=int, default=4, help="subjects; each has one clip of each emotion")
    parser.add_argument("--size", type=int, default=240, help="side of a rendered frame, pixels")
    parser.add_argument("--crops", type=int, nargs="+", default=[96, 224], help="sides of a crop, pixels")
    parser.add_argument("--out", type=Path, default=Path("results/accuracy.md"), help="the table to write")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    finders: dict[str, FaceFinder] = dict.fromkeys(("none", "mesh"), FaceMesh())
    try:
        finders["dlib"] = DlibFaces()
    except MissingDlibError:
        print("dlib is not installed: its rows are left out (pip install 'fdpbench[dlib]')")
    ways = [way for way in WAYS if way.split()[-1] in finders]
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for drift, strength in DRIFTS.items():
            clips = _render(options, strength, Path(folder) / drift)
            for way in ways:
                for crop, values in _measure(clips, way, finders[way.split()[-1]], options.crops).items():
                    measured[f"{way}, drift {drift}, crop {crop}"] = values
                print(f"drift {drift}: {way} done", file=sys.stderr, flush=True)
    text = _text(measured, ways, options, [clip["peak"] for clip in clips])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    print(json.dumps(measured))


def _render(options: argparse.Namespace, drift: float, root: Path) -> list[Clip]:
    """Render a release and keep what is known of it."""
    params = SynthParams(
        seed=2027, subjects=options.subjects, clips_per_emotion=1, size=options.size, frames_min=24, frames_max=32,
        peak_min=1.0, peak_max=3.0, drift=drift, blink_rate=0.2, gaze_rate=0.2, overlap=0.4,
    )  # fmt: skip
    return [_clip(plan, params, root) for plan in plan_release(params)]


def _clip(plan: ClipPlan, params: SynthParams, root: Path) -> Clip:
    """Frames of onset..offset; landmarks (frames, K, 2) as they are, and as they were on a still head; flows."""
    record = write_clip(plan, params.size, root)
    folder = Path(plan.subject) / plan.clip
    renderer = renderer_for(plan.identity_seed, params.size)
    motion = plan_motion(plan, renderer)
    onset, apex, end = plan.onset - 1, plan.apex - 1, plan.offset
    offsets, poses = motion.offsets(renderer.subject.head), motion.poses
    still = [face_landmarks().project(renderer, one, poses[onset]) for one in offsets[onset:end]]
    return {
        "frames": [images.read_image(path) for path in sorted((root / "frames" / folder).iterdir())[onset:end]],
        "landmarks": np.load(root / "truth" / folder / "landmarks.npy").astype(np.float64)[onset:end],
        "still": np.stack(still).astype(np.float64),
        "apex": apex - onset,
        "flow": np.load(root / "truth" / folder / "flow.npy").astype(np.float64),
        "expression": dense_flow(renderer, (offsets[onset], poses[onset]), (offsets[apex], poses[onset])),
        "peak": record.peak,
    }


def _measure(clips: list[Clip], way: str, finder: FaceFinder, crops: list[int]) -> dict[int, dict[str, float]]:
    """Mean over clips of every figure, for each side of a crop."""
    found: dict[int, dict[str, list[float]]] = {crop: {} for crop in crops}
    seconds, frames = 0.0, 0
    for clip in clips:
        start = time.perf_counter()
        transforms = _transforms(clip, way, finder)
        seconds += time.perf_counter() - start
        frames += len(transforms)
        eyes = None if way == "none" else finder.find(clip["frames"][0]).eyes
        for crop in crops:
            values = _figures(clip, [_scaled(one, crop) for one in transforms], eyes, crop)
            for name, value in values.items():
                found[crop].setdefault(name, []).append(value)
    means = {crop: {name: round(float(np.mean(v)), 4) for name, v in found[crop].items()} for crop in crops}
    return {crop: means[crop] | {"ms a frame": round(1000 * seconds / frames, 1)} for crop in crops}


def _transforms(clip: Clip, way: str, finder: FaceFinder) -> list[Array]:
    """Transform of each frame to a crop of side 1000, which `_scaled` takes to any other."""
    if way == "none":
        right, left = _true_eyes(clip)
        return [geometry.eye_transform(right, left, 1000, EYE_DISTANCE, EYE_HEIGHT)] * len(clip["frames"])
    mode, landmarks = way.split()
    content = {"mode": mode, "landmarks": landmarks, "geometry": "eyes", "interpolation": "linear", "size": 1000}
    content |= {"eye_distance": EYE_DISTANCE, "eye_height": EYE_HEIGHT, "colour": False}
    return [one.transform for one in place(clip["frames"], AlignParams.model_validate(content), finder)]


def _scaled(transform: Array, crop: int) -> Array:
    scale = crop / 1000
    return scale * transform + np.array([[0, 0, 0.5 * scale - 0.5]])


def _true_eyes(clip: Clip) -> Array:
    """Middles of the eye corners in the first frame, (2, 2), source pixels, left of the image first."""
    names = face_landmarks().names
    return np.stack([clip["landmarks"][0, [names.index(name) for name in eye]].mean(axis=0) for eye in EYE_CORNERS])


def _figures(clip: Clip, transforms: list[Array], eyes: Array | None, size: int) -> dict[str, float]:
    rigid, apex = face_landmarks().rigid, clip["apex"]
    pairs = zip(clip["landmarks"][:, rigid], transforms, strict=True)
    seen = np.stack([geometry.transform_points(points, one) for points, one in pairs])  # (frames, rigid, 2)
    off = seen - geometry.transform_points(clip["still"][:, rigid], transforms[0])
    values = {
        "jitter": float(np.sqrt(np.diff(off, axis=0).var(axis=0).mean())),
        "skull error": float(np.linalg.norm(off[apex], axis=1).mean()),
    }
    crops = [geometry.warp(geometry.to_grey(clip["frames"][k]), transforms[k], size) for k in (0, apex)]
    wanted, there = _true_flow(clip["expression"], transforms[0], transforms[0], size)
    between, _ = _true_flow(clip["flow"], transforms[0], transforms[apex], size)
    for name, method in METHODS.items():
        flow = method(crops[0], crops[1])
        values[f"flow {name}"] = float(np.linalg.norm(flow - wanted, axis=0)[there].mean())
        values[f"of the method {name}"] = float(np.linalg.norm(flow - between, axis=0)[there].mean())
    if eyes is not None:
        error = float(np.linalg.norm(eyes - _true_eyes(clip), axis=1).mean())
        values["landmarks, source"] = error
        values["landmarks, crop"] = error * float(np.sqrt(np.linalg.det(transforms[0][:, :2])))
    return values


def _true_flow(field: NDArray[np.floating], onset: Array, apex: Array, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """Motion between two crops, (2, size, size), px, by a field in source pixels; and where it is known.

    What a crop's pixel shows lies at x in the source and moves to x + f(x): between the crops by
    apex(x + f(x)) - onset(x).
    """
    known = np.isfinite(field).all(axis=0)
    back = geometry.invert(onset)

    def crop(plane: NDArray[np.floating]) -> Array:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(plane.astype(np.float64), back, (size, size), flags=flags))

    moved = np.stack([crop(plane) for plane in np.where(known, field, 0.0)], axis=-1)  # (size, size, 2)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    grid = np.stack([x, y], axis=-1)
    flow = geometry.transform_points(geometry.transform_points(grid, back) + moved, apex) - grid
    return flow.transpose(2, 0, 1), crop(known) > 0.999


def _text(
    measured: dict[str, dict[str, float]], ways: list[str], options: argparse.Namespace, peaks: list[float]
) -> str:
    parts = [
        "# Accuracy of alignment and flow",
        f"{len(peaks)} rendered clips of {options.subjects} subjects for each drift, frames of {options.size} px, "
        f"expressions with a peak of {min(peaks):.1f} to {max(peaks):.1f} px of the source, blinks and gaze shifts "
        f"among them. The eyes are {0.2125 * options.size:.0f} px apart in the source. Means over clips; what each "
        "figure is stands at the head of `benchmarks/accuracy.py`. Pixels of the crop, but for `landmarks, source`. "
        "Rendered faces are cleaner than real ones.",
        f"Written by `python benchmarks/accuracy.py --subjects {options.subjects} --size {options.size} --crops "
        f"{' '.join(map(str, options.crops))}`; the times are of one core, that other work shared.",
    ]
    for crop in options.crops:
        rows = [
            {"head drift": drift, "align": way} | measured[f"{way}, drift {drift}, crop {crop}"]
            for drift in DRIFTS
            for way in ways
        ]
        alone = [
            {name: row[name] for name in ("head drift", "align")}
            | {name: row.pop(f"of the method {name}") for name in METHODS}
            for row in rows
        ]
        parts += [
            f"## Crops of {crop} px, eyes {EYE_DISTANCE * crop:.0f} px apart",
            tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f", missingval="-"),
            "Of the method: flow errors against the true motion between the two crops.",
            tabulate(alone, headers="keys", tablefmt="github", floatfmt=".3f"),
        ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
