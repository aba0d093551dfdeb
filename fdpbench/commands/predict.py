"""Predict what clips of one's own show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import console, output


@app.command(rich_help_panel="Predictions")
def predict(
    path: Annotated[
        list[str],
        typer.Argument(help="A video, a folder of frames, frames of a clip, or a pattern such as 'clip1/*.png'."),
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Weights that come with the package, of a pretraining here, or a .safetensors file."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="A run of this project: the mean over the networks of its folds.")
    ] = None,
    onset: Annotated[
        int | None, typer.Option(min=0, help="Number of the onset's frame, from 0. Default: found.")
    ] = None,
    apex: Annotated[int | None, typer.Option(min=0, help="Number of the apex, from 0. Default: found.")] = None,
    offset: Annotated[
        int | None, typer.Option(min=0, help="Number of the last frame of the clip, from 0. Default: found.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second: of folders, and of videos that were recorded faster than they are shown."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file with a row for each clip.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write a PNG: onset, apex, flow, dynamic image, probabilities of each clip.")
    ] = None,
    show_steps: Annotated[
        Path | None, typer.Option(help="Write every intermediate image of each clip into this folder.")
    ] = None,
) -> None:
    """Say what clips of your own show: classes and action units, with what makes the answer doubtful.

    Finds the face, crops all frames as its first frame's, finds the apex, computes flow from onset to apex, and asks a
    network that was pretrained on rendered faces alone. A video longer than a second is cut into windows of half a
    second, and the one that moves most beside its neighbours is taken: there may be no expression in it. Without
    options the network is rendered_flow_cnn. One clip that cannot be used does not stop the others; it is listed, and
    the exit code is 1. Ctrl-C shows what was finished. docs/predict.md explains each warning. A research instrument:
    not for decisions about people. For example:

        fdpbench predict clip.mp4 --picture clip.png
        fdpbench predict recordings/*.avi --fps 200 --csv predictions.csv
        fdpbench predict frames/s01_c03 --fps 200 --onset 12 --apex 31 --json
        fdpbench predict clip.mp4 --run casme2_5-ststnet
    """
    with command("predict"):  # also while modules are imported, which takes seconds
        from fdpbench.bench.predict.networks import DEFAULT
        from fdpbench.bench.predict.picture import joined, prediction_strip, write_picture, write_steps
        from fdpbench.bench.predict.result import ClipPrediction, about_lines, csv_text, document
        from fdpbench.bench.predict.run import INTERRUPTED, PICTURED, Looked, load_network, predict_all
        from fdpbench.bench.predict.sources import Unusable
        from fdpbench.prep.runtime.durable import write_durably

        if fps is not None and not 0 < fps < 1e5:
            raise ValueError(f"--fps {fps:g}: expected a number above 0")
        if picture is not None and picture.suffix.lower() != ".png":
            raise ValueError(f"--picture {picture}: it is written as PNG; give it a name that ends in .png")
        network = load_network(weights, run, DEFAULT)
        strips: list[Any] = []

        def looked(number: int, source: Any, clip: Any, said: ClipPrediction) -> None:
            if picture is not None and len(strips) < PICTURED:
                strips.append(prediction_strip(said, clip))
            if show_steps is not None:
                write_steps(show_steps, source, said, clip)

        each: Looked | None = looked if picture is not None or show_steps is not None else None
        clips = predict_all(path, network, fps=fps, onset=onset, apex=apex, offset=offset, looked=each)
        if as_json:
            output.out(json.dumps(document(network.about, clips), indent=2, ensure_ascii=False))
        elif any(isinstance(clip, ClipPrediction) for clip in clips):
            for line in about_lines(network.about):
                output.out(line)
        for clip in clips:
            if isinstance(clip, ClipPrediction) and not as_json:
                output.out("\n" + "\n".join(clip.lines()), highlight=False)
        if csv is not None:
            try:
                csv.parent.mkdir(parents=True, exist_ok=True)
                write_durably(csv, csv_text(network.classes, network.units, clips))
            except OSError as error:
                raise ValueError(f"{csv}: {error.strerror}; choose another place") from None
            console.print(f"predict: {csv}: {len(clips)} rows")
        if picture is not None and strips:
            write_picture(picture, joined(strips))
            console.print(f"predict: {picture}: {len(strips)} of {len(clips)} clips")
        if show_steps is not None:
            console.print(f"predict: {show_steps}: every intermediate image")
        failed = [clip for clip in clips if isinstance(clip, Unusable)]
        for clip in failed:
            console.print(f"error predict: {clip.name}: {clip.reason}")
        if any(clip.reason == INTERRUPTED for clip in failed):
            raise KeyboardInterrupt
        if failed:
            sys.exit(1)
