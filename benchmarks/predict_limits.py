"""What the limits of the warnings of `fdpbench predict` were chosen on: rendered clips, changed in one way at a time.

    python benchmarks/predict_limits.py [--release synthetic] [--clips 40] [--weights rendered_flow_cnn]

Run in a project whose release is made (`fdpbench synthesize`, `fdpbench index synthetic`). The apex is estimated in
all of it. Printed are, for the clips as they are and for each change, UF1, quantiles over the clips of what the
warnings look at, and the share of clips that would be warned of. Changes: faces shrunk; fewer frames in a second;
the apex and what follows moved sideways, as a head is; and still clips, the first frame with the camera's noise anew
each time. Last, the unlikeness of clips of the network's corpus, of 40 people of another seed, whom it has not seen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fdpbench.arithmetic import pin_arithmetic  # noqa: E402

pin_arithmetic()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.compression import ReleaseClip, release_clips, uf1  # noqa: E402
from fdpbench.bench.predict.networks import DEFAULT, Network, network_of_weights  # noqa: E402
from fdpbench.bench.predict.run import finder_of, predict_clip  # noqa: E402
from fdpbench.bench.predict.sources import source_of_frames  # noqa: E402
from fdpbench.bench.train.artifacts import located, shipped_weights  # noqa: E402
from fdpbench.prep.demo.corpus.reading import read_corpus  # noqa: E402
from fdpbench.prep.demo.corpus.stage import make_corpus  # noqa: E402
from fdpbench.prep.settings.corpus import CorpusParams  # noqa: E402
from fdpbench.prep.settings.section import section  # noqa: E402
from fdpbench.prep.store.documents import read_object  # noqa: E402
from fdpbench.prep.store.videos import VideoFrame  # noqa: E402

Change = Callable[[ReleaseClip, list[VideoFrame]], list[VideoFrame]]


def _shrunk(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def shrunk(share: float) -> Change:
    """Frames at a share of their size."""

    def change(clip: ReleaseClip, frames: list[VideoFrame]) -> list[VideoFrame]:
        return [f._replace(image=_shrunk(f.image, share)) for f in frames]

    return change


def thinned(every: int) -> Change:
    """Every n-th frame."""

    def change(clip: ReleaseClip, frames: list[VideoFrame]) -> list[VideoFrame]:
        return [frame._replace(number=k) for k, frame in enumerate(frames[::every])]

    return change


def moved(pixels: float) -> Change:
    """A head that moves sideways, evenly, by so many pixels until the apex."""

    def change(clip: ReleaseClip, frames: list[VideoFrame]) -> list[VideoFrame]:
        result = []
        for k, frame in enumerate(frames):
            by = pixels * min(1.0, k / clip.apex)
            shift = np.array([[1.0, 0.0, by], [0.0, 1.0, 0.0]])
            size = frame.image.shape[1], frame.image.shape[0]
            image = cv2.warpAffine(frame.image, shift, size, borderMode=cv2.BORDER_REPLICATE)
            result.append(frame._replace(image=np.asarray(image, np.uint8)))
        return result

    return change


def still(clip: ReleaseClip, frames: list[VideoFrame]) -> list[VideoFrame]:
    """The first frame again and again, each time with noise of 2 grey levels."""
    rng = np.random.default_rng(len(frames))
    first = frames[0].image.astype(np.float64)
    noisy = [np.clip(np.rint(first + rng.normal(0, 2, first.shape)), 0, 255).astype(np.uint8) for _ in frames]
    return [frame._replace(image=image) for frame, image in zip(frames, noisy, strict=True)]


def unchanged(clip: ReleaseClip, frames: list[VideoFrame]) -> list[VideoFrame]:
    """The clip as it is."""
    return frames


def shown(values: list[float]) -> str:
    """Quantiles of some values."""
    return " ".join(f"{q:.2f}" for q in np.quantile(values, (0, 0.05, 0.5, 0.95, 1)))


def of_corpus(network: Network) -> list[float]:
    """Unlikeness of clips of people of another seed, made as those of the network's corpus; flow alone."""
    card = read_object(located(shipped_weights()[network.about.name]).with_suffix(".json"), "install the package anew")
    settings = card["corpus"]["settings"]
    if settings["generator"] != "flow":
        return []
    other = {"seed": settings["seed"] + 1, "identities": 40, "clips_per_identity": 5}
    with tempfile.TemporaryDirectory() as folder:
        make_corpus("other", section(CorpusParams, settings | other, "corpus"), Path(folder) / "other", 1)
        flow = read_corpus(Path(folder) / "other", ["flow"]).inputs["flow"]
    return [network.unlikeness({"flow": clip}) for clip in flow]


CHANGES: dict[str, tuple[Change, float]] = {  # and frames in a second, as a share
    "as they are": (unchanged, 1),
    "still": (still, 1),
    "faces of 0.5": (shrunk(0.5), 1),
    "faces of 0.35": (shrunk(0.35), 1),
    "50 a second": (thinned(4), 1 / 4),
    "25 a second": (thinned(8), 1 / 8),
    "head moved 3 px": (moved(3.0), 1),
    "head moved 6 px": (moved(6.0), 1),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", default="synthetic")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--weights", default=DEFAULT)
    asked = parser.parse_args()
    network = network_of_weights(asked.weights)
    finder = finder_of(network)
    clips = release_clips(asked.release, asked.clips, network.classes)
    found: dict[str, list[Any]] = {name: [] for name in CHANGES}
    for clip in clips:
        frames = list(clip.source.frames())
        for name, (change, rate) in CHANGES.items():
            images = np.stack([frame.image for frame in change(clip, frames)])
            source = source_of_frames(images, (clip.source.fps or 200) * rate)
            try:
                said, made = predict_clip(source, network, finder)
            except ValueError as error:
                print(f"{clip.clip_id}, {name}: {error}", file=sys.stderr)
                continue
            found[name].append((clip.label, said, made, network.unlikeness(made.inputs)))
        print(f"{clip.clip_id} done", file=sys.stderr, flush=True)
    table = []
    for name, results in found.items():
        if not results:
            continue
        looked = {
            "motion, px": [said.motion for _, said, _, _ in results],
            "motion / noise": [said.motion / said.noise for _, said, _, _ in results if said.noise],
            "head / motion": [said.head / said.motion for _, said, _, _ in results],
            "unlikeness": [unlike for _, _, _, unlike in results],
        }
        line: dict[str, Any] = {"clips": name, "number": len(results)}
        line["UF1"] = (
            ""
            if name == "still"
            else f"{uf1([r[0] for r in results], [str(r[1].label) for r in results], network):.3f}"
        )
        line["eyes, px"] = round(float(np.mean([said.eye_distance for _, said, _, _ in results])))
        line |= {key: shown(v) if v else "" for key, v in looked.items()}
        codes = [doubt.code for _, said, _, _ in results for doubt in said.warnings if doubt.code != "uncalibrated"]
        line["warned of"] = ", ".join(f"{code} {codes.count(code)}" for code in dict.fromkeys(codes))
        table.append(line)
    print("Quantiles: least, 5%, median, 95%, most.\n")
    print(tabulate(table, headers="keys", tablefmt="github"))
    told: dict[str, list[float]] = {"right": [], "wrong": [], "of the corpus": of_corpus(network)}
    for label, said, _, unlike in found["as they are"]:
        told["right" if said.label == label else "wrong"].append(unlike)
    lines = [{"unlikeness of clips": key, "number": len(v), "quantiles": shown(v)} for key, v in told.items() if v]
    print("\n" + tabulate(lines, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
