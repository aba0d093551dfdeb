"""What compression costs `fdpbench predict`: clips of a rendered release as frames, as lossless and as H.264 video.

    python benchmarks/compression.py [--release synthetic] [--clips 40] [--weights rendered_flow_cnn] [--out FILE.csv]

Run in a project whose release is made (`fdpbench synthesize`, `fdpbench index synthetic`), at best of subjects that no
network was trained on, which holds of every release. Each clip, from onset to offset, is written with PyAV in each
form, and predicted twice: with onset and apex as annotated, and with nothing given. Printed are UF1 and how many clips
get the label that their frames get. Each result is written to FILE.csv at once; a run that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fdpbench.arithmetic import pin_arithmetic  # noqa: E402

pin_arithmetic()

import av  # noqa: E402
import numpy as np  # noqa: E402
from tabulate import tabulate  # noqa: E402

from fdpbench.bench.evaluate.metrics import metric_of  # noqa: E402
from fdpbench.bench.predict.networks import DEFAULT, Network, network_of_weights  # noqa: E402
from fdpbench.bench.predict.run import finder_of, predict_clip  # noqa: E402
from fdpbench.bench.predict.sources import Source, sources_of  # noqa: E402
from fdpbench.prep.demo.composite import CLASS_OF  # noqa: E402
from fdpbench.prep.index.manifest import load_manifest  # noqa: E402
from fdpbench.prep.store import paths  # noqa: E402

FORMS: dict[str, dict[str, Any] | None] = {
    "frames": None,
    "ffv1, lossless": {"codec": "ffv1", "pixels": "bgr0", "options": {}, "suffix": ".mkv"},
    "H.264, crf 18": {"codec": "libx264", "pixels": "yuv420p", "options": {"crf": "18"}, "suffix": ".mp4"},
    "H.264, crf 32": {"codec": "libx264", "pixels": "yuv420p", "options": {"crf": "32"}, "suffix": ".mp4"},
}


class ReleaseClip(NamedTuple):
    """A clip of a release: its frames from onset to offset, places of onset and apex among them, its class."""

    clip_id: str
    source: Source
    onset: int
    apex: int
    label: str


def release_clips(release: str, most: int, classes: Iterable[str]) -> list[ReleaseClip]:
    """Clips of a release, spread over its subjects, of the classes that a network tells."""
    told = set(classes)
    rows: list[dict[str, Any]] = list(load_manifest(release))
    clips = []
    for row in rows[:: max(1, len(rows) // most)][:most]:
        files = tuple(paths.raw(release) / file for file in row["frames"])
        numbers = list(row["frame_numbers"])
        source = Source(row["clip_id"], files, False, row["fps"], len(files), True)
        label = row["emotion"] if row["emotion"] in told else CLASS_OF[row["emotion"]]
        clips.append(
            ReleaseClip(row["clip_id"], source, numbers.index(row["onset"]), numbers.index(row["apex"]), label)
        )
    return clips


def uf1(true: list[str], said: list[str], network: Network) -> float:
    """UF1 over clips, by names of classes."""
    order = list(network.classes)
    confusion = np.zeros((len(order), len(order)), np.int64)
    np.add.at(confusion, ([order.index(name) for name in true], [order.index(name) for name in said]), 1)
    return float(metric_of(confusion, "uf1"))


def written(clip: ReleaseClip, form: dict[str, Any] | None, folder: Path) -> tuple[Source, float]:
    """A clip in a form, and the kilobytes that it takes."""
    if form is None:
        return clip.source, sum(file.stat().st_size for file in clip.source.files) / 1000
    path = folder / f"clip{form['suffix']}"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(form["codec"], rate=round(clip.source.fps or 200), options=form["options"])
        stream.codec_context.thread_count = 1
        for frame in clip.source.frames():
            if frame.number == 0:
                stream.height, stream.width = frame.image.shape[:2]
                stream.pix_fmt = form["pixels"]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))
    (source,) = sources_of([path])
    assert isinstance(source, Source), source
    return source, path.stat().st_size / 1000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", default="synthetic")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--weights", default=DEFAULT)
    parser.add_argument("--out", type=Path, default=Path("compression.csv"))
    asked = parser.parse_args()
    network = network_of_weights(asked.weights)
    finder = finder_of(network)
    clips = release_clips(asked.release, asked.clips, network.classes)
    columns = ["weights", "clip_id", "form", "marks", "true", "said", "apex_error", "kilobytes"]
    rows: list[dict[str, Any]] = []
    if asked.out.is_file():
        with asked.out.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["weights"] == asked.weights]
    done = {(row["clip_id"], row["form"], row["marks"]) for row in rows}
    with asked.out.open("a", newline="", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder:
        writer = csv.DictWriter(file, columns)
        if file.tell() == 0:
            writer.writeheader()
        for clip in clips:
            for form, settings in FORMS.items():
                if all((clip.clip_id, form, marks) in done for marks in ("given", "estimated")):
                    continue
                source, size = written(clip, settings, Path(folder))
                for marks in ("given", "estimated"):
                    given = {"onset": clip.onset, "apex": clip.apex} if marks == "given" else {}
                    said, _ = predict_clip(source, network, finder, **given)
                    found = (
                        asked.weights,
                        clip.clip_id,
                        form,
                        marks,
                        clip.label,
                        said.label,
                        said.apex - clip.apex,
                        size,
                    )
                    rows.append(dict(zip(columns, found, strict=True)))
                    writer.writerow(rows[-1])
                    file.flush()
    table = []
    for form in FORMS:
        line: dict[str, Any] = {"form": form}
        mine = [row for row in rows if row["form"] == form]
        line["kB a clip"] = round(float(np.mean([float(row["kilobytes"]) for row in mine])))
        for marks in ("given", "estimated"):
            some = {row["clip_id"]: row for row in mine if row["marks"] == marks}
            reference = {
                row["clip_id"]: row["said"] for row in rows if (row["form"], row["marks"]) == ("frames", marks)
            }
            line[f"UF1, marks {marks}"] = round(
                uf1([row["true"] for row in some.values()], [row["said"] for row in some.values()], network), 3
            )
            same = sum(row["said"] == reference[key] for key, row in some.items())
            line[f"label of the frames, marks {marks}"] = f"{same} of {len(some)}"
        errors = [abs(int(row["apex_error"])) for row in mine if row["marks"] == "estimated"]
        line["apex off by, frames"] = round(float(np.mean(errors)), 1)
        table.append(line)
    print(tabulate(table, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
