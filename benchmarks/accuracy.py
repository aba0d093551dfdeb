"""How accurate alignment and flow are, against the embedded release's exact truth; writes results/accuracy.md.

    python benchmarks/accuracy.py [--subjects 4] [--size 240] [--crop 224] [--out results/accuracy.md]

Two releases are rendered that differ in the drift of the head alone, and every way to align is run on both:

- landmark error: distance of the eye centres found in the first frame from those of the eyeballs, source pixels;
- jitter: what alignment moves the skull from one frame to the next, crop pixels: standard deviation, over a
  clip, of the frame-to-frame motion of rigid landmarks in the crop, less that of the same points without
  any alignment but the first frame's scale; 0 where a way adds nothing;
- skull error: distance of rigid landmarks at the apex from where they are at the onset, crop pixels: what is
  left of the head's drift;
- flow error: mean end-point error of each flow method over the skin, crop pixels, against what the expression
  alone moves, which is what flow is computed for.

Alignment `none` crops every frame where the first frame's true eyes are. Times are of one core.
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

from prep import align, images  # noqa: E402
from prep.faces import FaceMesh  # noqa: E402
from prep.faces_dlib import DlibFaces, MissingDlibError  # noqa: E402
from prep.flow import METHODS  # noqa: E402
from prep.params import AlignParams, SynthParams  # noqa: E402
from prep.placing import FaceFinder, place  # noqa: E402
from prep.synth import plan_release, write_clip  # noqa: E402
from prep.synth.motion import plan_motion  # noqa: E402
from prep.synth.plan import ClipPlan  # noqa: E402
from prep.synth.release import _renderer  # noqa: E402
from prep.synth.truth import dense_flow, face_landmarks  # noqa: E402

Clip = dict[str, Any]

MODES = ("none", "first_frame", "ecc", "per_frame")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Accuracy of alignment and flow against exact truth.")
    parser.add_argument("--subjects", type=int, default=4, help="subjects; each has one clip of each emotion")
    parser.add_argument("--size", type=int, default=240, help="side of a rendered frame, pixels")
    parser.add_argument("--crop", type=int, default=224, help="side of a crop, pixels")
    parser.add_argument("--out", type=Path, default=Path("results/accuracy.md"), help="the table to write")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    finders: dict[str, FaceFinder] = {"mesh": FaceMesh()}
    try:
        finders["dlib"] = DlibFaces()
    except MissingDlibError:
        print("dlib is not installed: its rows are left out (pip install 'fdpbench[dlib]')")
    rows: list[dict[str, Any]] = []
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for drift in (0.0, 1.0):
            clips = _render(options, drift, Path(folder) / f"drift{drift:g}")
            for landmarks, finder in finders.items():
                for mode in MODES if landmarks == "mesh" else MODES[1::2]:
                    row = _measure(clips, mode, landmarks, finder, options.crop)
                    rows.append({"head drift": "normal" if drift else "none", "align": f"{mode}, {landmarks}"} | row)
                    measured[f"{mode}_{landmarks}_drift{drift:g}"] = row
                    print(rows[-1], flush=True)
    peaks = [clip["peak"] for clip in clips]
    text = _text(rows, options, len(clips), peaks)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    print(json.dumps(measured))


def _render(options: argparse.Namespace, drift: float, root: Path) -> list[Clip]:
    """Render a release and keep what is known of it: frames, landmarks, and the motion of the expression alone."""
    params = SynthParams(
        seed=2027, subjects=options.subjects, clips_per_emotion=1, size=options.size, frames_min=24, frames_max=32,
        peak_min=1.0, peak_max=3.0, drift=drift, blink_rate=0.2, gaze_rate=0.2, overlap=0.4,
    )  # fmt: skip
    return [_clip(plan, params, root) for plan in plan_release(params)]


def _clip(plan: ClipPlan, params: SynthParams, root: Path) -> Clip:
    record = write_clip(plan, params, root)
    folder = Path(plan.subject) / plan.clip
    renderer = _renderer(plan.identity_seed, params.size)
    motion = plan_motion(plan, renderer, params.drift)
    offsets = motion.offsets(renderer.subject.head)
    onset, apex = plan.onset - 1, plan.apex - 1
    still = motion.poses[onset]  # the head stays where it is at the onset
    files = sorted((root / "frames" / folder).iterdir())[onset : plan.offset]
    return {
        "frames": [images.read_image(path) for path in files],
        "landmarks": np.load(root / "truth" / folder / "landmarks.npy").astype(np.float64)[onset : plan.offset],
        "apex": apex - onset,
        "expression": dense_flow(renderer, (offsets[onset], still), (offsets[apex], still)).astype(np.float64),
        "peak": record.peak,
    }


def _measure(clips: list[Clip], mode: str, landmarks: str, finder: FaceFinder, size: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    seconds, frames = 0.0, 0
    for clip in clips:
        start = time.perf_counter()
        transforms, eye_error = _transforms(clip, mode, landmarks, finder, size)
        seconds += time.perf_counter() - start
        frames += len(transforms)
        values = {"landmark error": eye_error} if eye_error is not None else {}
        values |= _rigid(clip, transforms)
        crops = [align.warp(align.to_grey(clip["frames"][k]), transforms[k], size) for k in (0, clip["apex"])]
        truth, skin = _true_flow(clip, transforms[0], size)
        for name, method in METHODS.items():
            values[f"flow {name}"] = float(np.hypot(*(method(crops[0], crops[1]) - truth))[skin].mean())
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: round(float(np.mean(each)), 4) for name, each in found.items()} | {
        "ms a frame": round(1000 * seconds / frames, 1)
    }


def _transforms(
    clip: Clip, mode: str, landmarks: str, finder: FaceFinder, size: int
) -> tuple[list[NDArray[np.float64]], float | None]:
    """Transform of each frame, and how far the first frame's eye centres are off, source pixels."""
    # the subject's right eye is on the left of the image
    eyes = clip["landmarks"][0, [1, 0]]
    if mode == "none":
        return [align.eye_transform(eyes[0], eyes[1], size, 0.40, 0.32)] * len(clip["frames"]), None
    settings = {"mode": mode, "landmarks": landmarks, "geometry": "eyes", "interpolation": "linear"}
    params = AlignParams.model_validate(
        settings | {"size": size, "eye_distance": 0.40, "eye_height": 0.32, "colour": False}
    )
    placed = list(place(clip["frames"], params, finder))
    found = finder.find(clip["frames"][0]).eyes
    return [one.transform for one in placed], float(np.hypot(*(found - eyes).T).mean())


def _rigid(clip: Clip, transforms: list[NDArray[np.float64]]) -> dict[str, float]:
    """Jitter that alignment adds, and what is left of the skull's motion at the apex, crop pixels."""
    rigid = clip["landmarks"][:, face_landmarks().rigid]
    inside = np.stack([align.transform_points(points, t) for points, t in zip(rigid, transforms, strict=True)])
    fixed = np.stack([align.transform_points(points, transforms[0]) for points in rigid])
    noise, own = (float(np.diff(track, axis=0).std(axis=0).mean()) for track in (inside, fixed))
    left = float(np.hypot(*(inside[clip["apex"]] - inside[0]).T).mean())
    return {"jitter": float(np.sqrt(max(0.0, noise**2 - own**2))), "skull error": left}


def _true_flow(clip: Clip, transform: NDArray[np.float64], size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Flow of the expression in the crop, (2, size, size), and where it is known."""
    back = align.invert(transform)
    field = clip["expression"]
    known = np.isfinite(field).all(axis=0)
    turned = np.einsum("ij,jhw->ihw", transform[:, :2], np.where(known, field, 0.0))

    def crop(plane: NDArray[np.float64], how: int) -> NDArray[np.float64]:
        return np.asarray(cv2.warpAffine(plane, back, (size, size), flags=how | cv2.WARP_INVERSE_MAP))

    skin = crop(known.astype(np.float64), cv2.INTER_LINEAR) > 0.999
    return np.stack([crop(plane, cv2.INTER_LINEAR) for plane in turned]), skin


def _text(rows: list[dict[str, Any]], options: argparse.Namespace, clips: int, peaks: list[float]) -> str:
    note = (
        f"{clips} rendered clips of {options.subjects} subjects for each drift, frames of {options.size} px, crops of "
        f"{options.crop} px, expressions that peak at {min(peaks):.1f} to {max(peaks):.1f} source px, blinks and gaze "
        "shifts among them. Errors and jitter in pixels of the crop, the landmark error in those of the source; mean "
        "over clips. Jitter is what alignment adds; flow errors are end-point errors against the motion of the "
        "expression alone. Rendered faces are cleaner than real ones.\n\nWritten by `python benchmarks/accuracy.py`; "
        "the times are of one core and of the machine that ran it."
    )
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f", missingval="-")
    return f"# Accuracy of alignment and flow\n\n{note}\n\n{table}\n"


if __name__ == "__main__":
    main()
