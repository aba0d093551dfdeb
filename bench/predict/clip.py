"""A clip as a network sees it: crops, onset and apex, flow, and the inputs that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.predict.preparation import Preparation
from fdpbench.bench.predict.sources import SourceError
from fdpbench.bench.predict.spotting import MOST_FRAMES, strength
from fdpbench.prep.align.faces import eye_corners
from fdpbench.prep.align.placing import FaceFinder, place
from fdpbench.prep.dynamic import sampling, tim
from fdpbench.prep.dynamic.stage import draw_dynamic_image
from fdpbench.prep.flow.apex import estimate_apex, face_region
from fdpbench.prep.flow.methods import add_strain, flow_field, onset_apex_flow, varies
from fdpbench.prep.store.videos import VideoFrame
from fdpbench.prep.task.stage import network_flow

__all__ = ["SHOWN", "STILL", "PreparedClip", "prepared_clip"]

SHOWN = 8  # frames of the dynamic image in pictures, where the network's task samples none
STILL = 4  # pairs of neighbouring frames from the onset on, of which the stillest tells the noise of the flow


@dataclass(frozen=True)
class PreparedClip:
    """A clip, cropped; lengths are in pixels of the crop.

    Attributes
    ----------
    numbers, seconds
        Of its N frames, from 0 in the file; seconds are NaN where the rate is not known.
    transform
        From pixels of the first frame to pixels of its crop, (2, 3).
    crops
        (N, S, S), uint8.
    onset, apex
        Indices among the N frames.
    apex_estimated
        Whether the apex was found here, not given.
    region
        Where the face is, without eyes, (S, S).
    flow
        From onset to apex: u, v and strain, (3, S, S) float32.
    motion
        Mean length of the flow over the face, the head's motion taken off.
    head
        Length of what was taken off: the median of the flow.
    noise
        As ``motion``, between neighbouring frames that should be still; None where there are no such frames.
    eye_distance
        Of the first frame's eyes, pixels of the frame; None where no face was sought.
    enlarged
        Pixels of the crop for each pixel of the frame.
    inputs
        Of the network, by name, of one clip.
    sampled
        Indices of the frames that the network sees, or that the dynamic image is made of.
    dynamic_image
        (S, S), uint8.
    """

    numbers: NDArray[np.int64]
    seconds: NDArray[np.float64]
    transform: NDArray[np.float64]
    crops: NDArray[np.uint8]
    onset: int
    apex: int
    apex_estimated: bool
    region: NDArray[np.bool_]
    flow: NDArray[np.float32]
    motion: float
    head: float
    noise: float | None
    eye_distance: float | None
    enlarged: float
    inputs: dict[str, NDArray[Any]]
    sampled: NDArray[np.int64]
    dynamic_image: NDArray[np.uint8]


def prepared_clip(
    frames: Iterable[VideoFrame],
    preparation: Preparation,
    finder: FaceFinder | None,
    inputs: tuple[str, ...],
    apex: int | None = None,
) -> PreparedClip:
    """Crop a clip and make the inputs of a network of it.

    Parameters
    ----------
    frames
        From the onset to the last frame that is looked at. Read once; their crops alone are held.
    preparation, finder
        How frames are cropped, and what finds faces.
    inputs
        Names of the network's inputs.
    apex
        Number of the apex; None: the frame in which the face has moved most since the first (`prep.flow.apex`).

    Raises
    ------
    SourceError
        If there are too few frames or too many, or nothing moves.
    prep.align.faces.FaceError
        If the first frame has no face, or more than one.
    """
    numbers: list[int] = []
    seconds: list[float] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            if len(numbers) == MOST_FRAMES:
                raise SourceError(f"more than {MOST_FRAMES} frames for one clip; give --onset and --offset")
            numbers.append(frame.number)
            seconds.append(frame.seconds)
            yield frame.image

    crops: list[NDArray[np.uint8]] = []
    landmarks: list[NDArray[np.float64] | None] = []
    transform = None
    for placed in place(images(), preparation.align, finder):
        squeezed = preparation.squeezed(placed.transform)
        transform = placed.transform if transform is None else transform
        crops.append(preparation.crop(placed.frame, squeezed))
        landmarks.append(preparation.squeezed_points(placed.landmarks))
    if len(crops) < 2 or transform is None:
        raise SourceError(f"{len(crops)} frame(s) from the onset on; motion needs two")
    clip = np.stack(crops)
    first = landmarks[0]
    region = face_region(None if first is None else first.ravel().tolist(), clip.shape[1])
    at, flow = _apex(clip, numbers, region, preparation.method, apex)
    picks, sampled = _sampled(clip, preparation)
    drawn = draw_dynamic_image(sampled, preparation.task.rank_pooling or "harmonic")
    made: dict[str, NDArray[Any]] = {}
    if "flow" in inputs:
        made["flow"] = _flow_input(flow, preparation)
    if "frames" in inputs:
        made["frames"] = sampled[:, None]
    if "dynamic_image" in inputs:
        made["dynamic_image"] = drawn[None]
    if "apex" in inputs:
        made["apex"] = clip[at][None]
    if "landmarks" in inputs:
        made["landmarks"] = _landmarks(landmarks, picks, numbers)
    enlarged = float(np.hypot(transform[0, 0], transform[1, 0]))
    middle = np.median(flow[:2, region].astype(np.float64), axis=1)
    return PreparedClip(
        np.array(numbers),
        np.array(seconds),
        preparation.squeezed(transform),
        clip,
        0,
        at,
        apex is None,
        region,
        flow,
        strength(flow[:2], region),
        float(np.hypot(*middle)),
        _noise(clip, region, preparation.method),
        None if first is None else _eye_distance(first, preparation.aspect) / enlarged,
        enlarged,
        made,
        picks,
        drawn,
    )


def _apex(
    clip: NDArray[np.uint8], numbers: list[int], region: NDArray[np.bool_], method: str, apex: int | None
) -> tuple[int, NDArray[np.float32]]:
    """Index of the apex, and the flow from the first frame to it with its strain."""
    if apex is not None:
        if apex not in numbers:
            raise SourceError(f"--apex {apex}: the clip has the frames {numbers[0]} to {numbers[-1]}")
        at = numbers.index(apex)
        flow = flow_field(clip[0], clip[at], method)
        if not varies(flow):
            raise SourceError(f"frames {numbers[0]} and {apex} are the same: nothing moves from onset to apex")
        return at, flow
    found = estimate_apex(clip[0], clip[1:], region, method)
    if found is None:
        raise SourceError(f"nothing moves from frame {numbers[0]} to {numbers[-1]}: is it one picture?")
    return found[0] + 1, add_strain(found[1])


def _sampled(clip: NDArray[np.uint8], preparation: Preparation) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Indices of the sampled frames, (T,), and their pixels, (T, S, S)."""
    wanted = preparation.task.sampling
    if wanted is None:
        picks = sampling.nearest(len(clip), SHOWN)
    elif wanted.frames is None:
        picks = sampling.every(len(clip))
    elif wanted.rule == "tim":
        return sampling.nearest(len(clip), wanted.frames), tim.interpolate(clip, wanted.frames)
    else:
        try:
            picks = sampling.RULES[wanted.rule](len(clip), wanted.frames)
        except sampling.SamplingError:
            raise SourceError(
                f"{len(clip)} frames, and the network sees {wanted.frames} of each clip; take a network that reads flow"
            ) from None
    return picks, clip[picks]


def _flow_input(flow: NDArray[np.float32], preparation: Preparation) -> NDArray[np.float32]:
    assert preparation.task.flow is not None
    row = {"clip_id": "clip", "unit": "pixels", "side": flow.shape[-1], "flow": flow}
    return network_flow(row, preparation.task.flow)


def _landmarks(
    landmarks: list[NDArray[np.float64] | None], picks: NDArray[np.int64], numbers: list[int]
) -> NDArray[np.float32]:
    found = []
    for k in picks:
        points = landmarks[k]
        if points is None:
            raise SourceError(f"frame {numbers[k]}, one that the network sees: no face was found in it, or several")
        found.append(points)
    return np.stack(found).astype(np.float32)


def _noise(clip: NDArray[np.uint8], region: NDArray[np.bool_], method: str) -> float | None:
    """Motion between the two neighbouring frames, of the first ones, that differ least."""
    if len(clip) < 3:
        return None
    pairs = range(min(STILL, len(clip) - 1))
    return min(strength(onset_apex_flow(clip[k], clip[k + 1], method), region) for k in pairs)


def _eye_distance(landmarks: NDArray[np.float64], aspect: float) -> float:
    """Distance of the eye centres in the crop, before it was squeezed."""
    right, left = (landmarks[list(corners)].mean(axis=0) for corners in eye_corners(len(landmarks)))
    return float(np.hypot(*((left - right) / (1.0, aspect))))
