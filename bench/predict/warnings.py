"""What is unlike the clips that networks were trained on, said of each clip with a code and a sentence.

The limits were measured on rendered clips, where everything is known: `python benchmarks/predict_limits.py` prints the
numbers that docs/predict.md has beside each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fdpbench.bench.predict.clip import PreparedClip
from fdpbench.bench.predict.networks import Network
from fdpbench.bench.predict.sources import Source
from fdpbench.bench.predict.spotting import Span

__all__ = ["CODES", "Doubt", "doubts_of"]

LOWEST_RATE = 50.0
FEWEST_FRAMES = 5
MOST_ENLARGED = 1.8
LEAST_OVER_NOISE = 1.6
MOST_MOTION = 0.05  # of the distance of the eyes
MOST_HEAD = 8.0
UNLIKE = 5.0

CODES = {
    "unknown_rate": "nobody says how many frames there are in a second",
    "low_rate": "few frames in a second for a micro-expression",
    "lost_frames": "the numbers of its frames skip some",
    "few_frames": "few frames to choose the apex from",
    "small_face": "the face is smaller than the network's crop of it",
    "weak_motion": "the motion is hardly above the noise of the flow",
    "large_motion": "the face moves farther than in a micro-expression",
    "head_motion": "the head moves far more than the face",
    "unlike_training": "the inputs are unlike those that the network was trained on",
    "spotted": "the moment was chosen in a longer video",
    "faceless_windows": "parts of a longer video have no face, or several",
    "uncalibrated": "the probabilities are not calibrated",
}


@dataclass(frozen=True)
class Doubt:
    """A warning: its code, one of `CODES`, and what was found."""

    code: str
    text: str


def doubts_of(source: Source, span: Span, clip: PreparedClip, network: Network) -> tuple[Doubt, ...]:
    """What is to be said of a clip beside its probabilities, in the order of `CODES`.

    Parameters
    ----------
    source, span, clip
        Where it comes from, which frames were looked at, and what was made of them.
    network
        What predicts.
    """
    found = [
        Doubt(code, text) for part in (_of_frames(source, span, clip), _of_motion(clip, network)) for code, text in part
    ]
    return tuple(sorted(found, key=lambda doubt: list(CODES).index(doubt.code)))


def _of_frames(source: Source, span: Span, clip: PreparedClip) -> Iterator[tuple[str, str]]:
    if source.fps is None:
        yield (
            "unknown_rate",
            "nobody says how many frames there are in a second, so that all of them are taken for one clip; give --fps",
        )
    elif source.fps < LOWEST_RATE:
        yield (
            "low_rate",
            f"{source.fps:.3g} frames a second: a micro-expression of 0.2 s is in {0.2 * source.fps:.0f} of them, and "
            f"its apex is easily missed below {LOWEST_RATE:.0f}"
            + ("" if source.own_rate else "; if the camera was faster than the video is shown, say its rate by --fps"),
        )
    if source.lost:
        yield (
            "lost_frames",
            f"the numbers in its files' names skip {source.lost} frame(s); times count the files that are there",
        )
    if clip.apex_estimated and len(clip.numbers) < FEWEST_FRAMES:
        yield (
            "few_frames",
            f"the apex was chosen among {len(clip.numbers)} frames; from {FEWEST_FRAMES} on there is a choice",
        )
    if clip.eye_distance is not None and clip.enlarged > MOST_ENLARGED:
        yield (
            "small_face",
            f"the eyes are {clip.eye_distance:.0f} px apart, and {clip.eye_distance * clip.enlarged:.0f} in "
            "the network's crop, which is enlarged; film closer",
        )
    if span.contrast is not None:
        yield (
            "spotted",
            f"of {span.windows} windows the one from frame {span.first} on was taken, whose motion exceeds "
            f"that beside it by {span.contrast:.2f} px; there may be no expression in it",
        )
    if span.left_out:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(span.left_out.items()))
        yield "faceless_windows", f"windows of the video that could not be looked at: {reasons}"


def _of_motion(clip: PreparedClip, network: Network) -> Iterator[tuple[str, str]]:
    if clip.noise is not None and clip.motion < LEAST_OVER_NOISE * clip.noise:
        yield (
            "weak_motion",
            f"the face moves by {clip.motion:.2f} px from onset to apex, and {clip.noise:.2f} px between neighbouring "
            f"frames: less than {LEAST_OVER_NOISE:g} times the noise of the flow",
        )
    if clip.eye_distance is not None and clip.motion > MOST_MOTION * clip.eye_distance * clip.enlarged:
        share = clip.motion / (clip.eye_distance * clip.enlarged)
        yield (
            "large_motion",
            f"the face moves by {share:.0%} of the eyes' distance on average, more than {MOST_MOTION:.0%}: it may "
            "talk, turn, or show an expression of another size",
        )
    if clip.head > MOST_HEAD * clip.motion:
        yield (
            "head_motion",
            f"the head moves by {clip.head:.2f} px, {clip.head / clip.motion:.1f} times as far as the face in it",
        )
    unlikeness = network.unlikeness(clip.inputs)
    if unlikeness > UNLIKE:
        yield (
            "unlike_training",
            f"the network's inputs vary by {unlikeness:.1f} times what they do in the clips it was trained on",
        )
    if network.classes and not network.about.calibrated:
        yield "uncalibrated", f"no temperature was fitted to {network.about.name}: its probabilities may be too sure"
