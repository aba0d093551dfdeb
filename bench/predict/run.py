"""From paths to what a network says of each clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2

from fdpbench.arithmetic import arithmetic
from fdpbench.bench.predict.clip import PreparedClip, prepared_clip
from fdpbench.bench.predict.networks import Network, network_of_run, network_of_weights
from fdpbench.bench.predict.result import ClipPrediction, known
from fdpbench.bench.predict.sources import Source, SourceError, Unusable, sources_of
from fdpbench.bench.predict.spotting import Span, span_of
from fdpbench.bench.predict.warnings import doubts_of
from fdpbench.prep.align.faces import FaceMesh
from fdpbench.prep.align.placing import FaceFinder
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.store.videos import VideoFrame

__all__ = ["INTERRUPTED", "PICTURED", "Looked", "finder_of", "load_network", "predict_all", "predict_clip"]

PICTURED = 50  # clips that one picture has room for
INTERRUPTED = "interrupted before it was done"

Looked = Callable[[int, Source, PreparedClip, ClipPrediction], None]


def load_network(weights: str | None, run: str | None, default: str) -> Network:
    """The network that was asked for.

    Parameters
    ----------
    weights
        Of `bench.predict.networks.network_of_weights`.
    run
        A run of the project in the current folder.
    default
        Weights to take where neither is given.

    Raises
    ------
    ValueError
        If both are given, or there is no such network.
    """
    if weights is not None and run is not None:
        raise ValueError("give weights or a run, not both")
    return network_of_run(run) if run is not None else network_of_weights(weights or default)


def finder_of(network: Network) -> FaceFinder | None:
    """What finds faces as the network's clips had them found; None where they were crops of faces already."""
    align = network.preparation.align
    if align.mode == "given":
        return None
    if align.landmarks == "dlib":
        from fdpbench.prep.align.faces_dlib import DlibFaces

        return DlibFaces()
    return FaceMesh()


def predict_clip(
    source: Source,
    network: Network,
    finder: FaceFinder | None,
    *,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
) -> tuple[ClipPrediction, PreparedClip]:
    """Say what a clip shows.

    Parameters
    ----------
    source
        The clip.
    network, finder
        What predicts, and what finds faces (`finder_of`).
    onset, apex, offset
        Numbers of these frames, from 0, as far as they are known; see `bench.predict.spotting`.

    Returns
    -------
    What is said, and what it was made of.

    Raises
    ------
    ValueError
        If the clip cannot be read, has no face, or holds too few frames; the message says what to do.
    """
    cv2.setNumThreads(1)
    span = span_of(source, _shown(source, source.frames()), network.preparation, finder, onset, apex, offset)
    frames = source.frames(span.first, span.last)
    clip = prepared_clip(frames, network.preparation, finder, network.inputs, apex)
    classes, units = network.predict(clip.inputs)
    said = ClipPrediction(
        path=source.name,
        classes={} if classes is None else dict(zip(network.classes, classes.tolist(), strict=True)),
        units={} if units is None else dict(zip(network.units, units.tolist(), strict=True)),
        onset=int(clip.numbers[clip.onset]),
        apex=int(clip.numbers[clip.apex]),
        last=int(clip.numbers[-1]),
        onset_seconds=known(clip.seconds[clip.onset].item()),
        apex_seconds=known(clip.seconds[clip.apex].item()),
        last_seconds=known(clip.seconds[-1].item()),
        onset_source=_onset_source(span, onset, apex),
        apex_source="estimated" if clip.apex_estimated else "given",
        motion=clip.motion,
        head=clip.head,
        noise=clip.noise,
        eye_distance=clip.eye_distance,
        fps=source.fps,
        warnings=doubts_of(source, span, clip, network),
        network=network.about,
        arithmetic=arithmetic(),
    )
    return said, clip


def predict_all(
    paths: Sequence[str | Path],
    network: Network,
    *,
    fps: float | None = None,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    looked: Looked | None = None,
) -> list[ClipPrediction | Unusable]:
    """Say what each of some clips shows; one that cannot be used does not stop the others.

    Parameters
    ----------
    paths, fps
        Of `bench.predict.sources.sources_of`.
    network
        What predicts.
    onset, apex, offset
        Of the one clip, if there is one alone.
    looked
        Called with number, source, clip and what is said of it, after each.

    Returns
    -------
    In the order of the paths. After Ctrl-C the clips that are left have `INTERRUPTED` as their reason.

    Raises
    ------
    SourceError
        If marks are given and there are several clips.
    KeyboardInterrupt
        If there was a Ctrl-C before any clip was done.
    """
    sources = sources_of(paths, fps)
    if len(sources) > 1 and (onset, apex, offset) != (None, None, None):
        raise SourceError(f"--onset, --apex and --offset are of one clip; {len(sources)} are given")
    finder = finder_of(network)

    def each() -> Iterator[ClipPrediction | Unusable]:
        for number, source in enumerate(sources):
            if isinstance(source, Unusable):
                yield source
                continue
            try:
                said, clip = predict_clip(source, network, finder, onset=onset, apex=apex, offset=offset)
                if looked is not None:
                    looked(number, source, clip, said)
                yield said
            except ValueError as error:
                reason = " ".join(str(error).split())
                yield Unusable(source.name, reason.removeprefix(f"{source.name}: "))

    done: list[ClipPrediction | Unusable] = []
    looking: Iterable[ClipPrediction | Unusable] = each()
    try:
        for one in track(looking, "predict", len(sources)) if len(sources) > 1 else looking:
            done.append(one)
    except KeyboardInterrupt:
        if not any(isinstance(one, ClipPrediction) for one in done):
            raise
        done += [Unusable(source.name, INTERRUPTED) for source in sources[len(done) :]]
    return done


def _shown(source: Source, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Frames of a video that is gone through for its moment, with progress where their number is known."""
    return track(frames, f"predict {source.name}", source.count, what="frames") if source.count else frames


def _onset_source(span: Span, onset: int | None, apex: int | None) -> str:
    if onset is not None:
        return "given"
    if span.contrast is not None:
        return "spotted"
    return "before_apex" if apex is not None and span.first > 0 else "first"
