"""From images to what models see: a face's crop, optical flow, a dynamic image; and a rendered clip to try them on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from fdpbench.arithmetic import pin_or_warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from fdpbench.prep.align.faces import FaceMesh

__all__ = ["RenderedClip", "align_face", "dynamic_image", "optical_flow", "rank_pooling_weights", "rendered_clip"]

_FACES = Lock()  # a `FaceMesh` belongs to one thread at a time


@dataclass(frozen=True)
class RenderedClip:
    """A clip of a rendered face; nobody is shown in it.

    Attributes
    ----------
    frames
        (T, size, size, 3) uint8, RGB, 200 frames a second.
    onset, apex, offset
        Indices of these frames.
    emotion
        Which expression it shows.
    """

    frames: NDArray[np.uint8]
    onset: int
    apex: int
    offset: int
    emotion: str


def align_face(
    image: ArrayLike | str | Path,
    *,
    size: int = 96,
    eye_distance: float = 0.40,
    eye_height: float = 0.32,
    colour: bool = False,
) -> NDArray[np.uint8]:
    """Find the face of an image, or of a clip, and warp it onto level eyes.

    A clip gets the transform of its first frame, as the stage `align` does by default: eyes that are found anew in each
    frame would move by more than a micro-expression. Defaults are those of params.yaml.

    Parameters
    ----------
    image
        (H, W, 3) RGB or (H, W) grey, uint8, or the file of an image; or the frames of a clip, (T, H, W, 3) RGB.
    size
        Side of the crop, pixels.
    eye_distance
        Distance of the eyes in the crop, share of its side.
    eye_height
        Height of the eyes below the crop's upper edge, share of its side.
    colour
        Whether the crop is RGB.

    Returns
    -------
    ndarray
        (size, size), or (size, size, 3) in colour, uint8; of a clip with a first axis T.

    Raises
    ------
    ValueError
        If the image is of another shape or type or cannot be read, a setting is out of range, or there is no face or
        more than one (`fdpbench.prep.align.faces.FaceError`).

    Examples
    --------
    >>> import fdpbench as fb
    >>> clip = fb.rendered_clip("happiness")
    >>> fb.align_face(clip.frames[0]).shape, fb.align_face(clip.frames[:4], colour=True).shape
    ((96, 96), (4, 96, 96, 3))
    """
    pin_or_warn()
    import numpy as np

    from fdpbench.prep.align import geometry
    from fdpbench.prep.align.placing import place
    from fdpbench.prep.settings.align import AlignParams
    from fdpbench.prep.settings.section import section
    from fdpbench.prep.store.images import read_image

    settings: dict[str, Any] = {
        "mode": "first_frame",
        "landmarks": "mesh",
        "geometry": "eyes",
        "interpolation": "linear",
    }
    settings |= {"size": size, "eye_distance": eye_distance, "eye_height": eye_height, "colour": colour}
    params = section(AlignParams, settings, "align_face")
    pixels = read_image(Path(image)) if isinstance(image, str | Path) else np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            f"expected an image (H, W, 3) or (H, W), or a clip (T, H, W, 3), uint8; got {pixels.shape} {pixels.dtype}"
        )
    frames = pixels if pixels.ndim == 4 else pixels[None]
    with _FACES, _one_thread():
        crops = [
            geometry.warp(
                placed.frame if colour else geometry.to_grey(placed.frame), placed.transform, size, params.interpolation
            )
            for placed in place(iter(frames), params, _mesh())
        ]
    return np.stack(crops) if pixels.ndim == 4 else crops[0]


def optical_flow(
    onset: ArrayLike, apex: ArrayLike, *, method: Literal["dis", "farneback", "tvl1"] = "dis"
) -> NDArray[np.float32]:
    """Optical flow and optical strain from onset to apex, of two crops that are aligned.

    Parameters
    ----------
    onset, apex
        Crops of one shape, (H, W) grey or (H, W, 3) RGB, uint8, each side at least 16 pixels.
    method
        ``dis``, the most accurate on rendered faces; ``farneback``; ``tvl1``, twenty times as slow.

    Returns
    -------
    ndarray
        (3, H, W) float32: u to the right and v down, in pixels of the crop, and strain, without unit.

    Raises
    ------
    ValueError
        If the crops differ in shape, are of another kind, or are too small, or the method is unknown.

    Examples
    --------
    >>> import fdpbench as fb
    >>> clip = fb.rendered_clip("happiness")
    >>> onset, apex = fb.align_face(clip.frames[[clip.onset, clip.apex]])
    >>> flow = fb.optical_flow(onset, apex)
    >>> flow.shape, bool(abs(flow[:2]).max() > 0.3)
    ((3, 96, 96), True)
    """
    pin_or_warn()
    import numpy as np

    from fdpbench.prep.align.geometry import to_grey
    from fdpbench.prep.flow.methods import flow_field

    pair = [np.asarray(crop) for crop in (onset, apex)]
    coloured = [crop.ndim == 3 and crop.shape[2] == 3 and crop.dtype == np.uint8 for crop in pair]
    with _one_thread():
        first, last = (to_grey(crop) if rgb else crop for crop, rgb in zip(pair, coloured, strict=True))
        return flow_field(first, last, method)


def dynamic_image(
    frames: ArrayLike, *, rule: Literal["harmonic", "linear"] = "harmonic", scaled: bool = True
) -> NDArray[Any]:
    """Dynamic image of a clip: its frames summed with the weights of approximate rank pooling.

    Parameters
    ----------
    frames
        (T, ...): T frames in order of time, of any shape. Scaled images are made of uint8 frames alone.
    rule
        See `rank_pooling_weights`.
    scaled
        Whether to scale the sum to 0..255 by its own range, as the stage `dynamic` stores it; a clip in which nothing
        changes gives 127 everywhere.

    Returns
    -------
    ndarray
        The shape of a frame. Scaled: uint8. Else the sum itself, float32 of float32 frames, float64 of others; positive
        where the clip brightens.

    Raises
    ------
    ValueError
        If there is no frame, or the rule is unknown.
    TypeError
        If frames are no real numbers, or a scaled image is asked of other than uint8 frames.

    Examples
    --------
    >>> import fdpbench as fb
    >>> fb.dynamic_image([[0.0, 1.0], [0.0, 3.0]], scaled=False).tolist()
    [0.0, 1.0]
    >>> clip = fb.rendered_clip("happiness")
    >>> image = fb.dynamic_image(fb.align_face(clip.frames))
    >>> image.shape, image.dtype.name, int(image.min()), int(image.max())
    ((96, 96), 'uint8', 0, 255)
    """
    pin_or_warn()
    import numpy as np

    from fdpbench.prep.dynamic import rank_pooling

    if not scaled:
        return rank_pooling.dynamic_image(frames, rule)
    from fdpbench.prep.dynamic.stage import draw_dynamic_image

    clip = np.asarray(frames)
    if clip.dtype != np.uint8:
        raise TypeError(f"a scaled dynamic image is made of uint8 frames, got {clip.dtype}; or pass scaled=False")
    return draw_dynamic_image(clip, rule)


def rank_pooling_weights(length: int, rule: Literal["harmonic", "linear"] = "harmonic") -> NDArray[np.float64]:
    """Weights of approximate rank pooling, one for each frame.

    Parameters
    ----------
    length
        T, the number of frames, at least 1.
    rule
        ``harmonic`` for frames (Bilen et al., CVPR 2016, eq. 4), ``linear`` for running means.

    Returns
    -------
    ndarray
        (T,) float64; they sum to 0.

    Raises
    ------
    ValueError
        If the length is below 1, or the rule unknown.

    Examples
    --------
    >>> import fdpbench as fb
    >>> fb.rank_pooling_weights(3).round(3).tolist()
    [-1.333, 0.667, 0.667]
    """
    pin_or_warn()
    from fdpbench.prep.dynamic.rank_pooling import coefficients

    return coefficients(length, rule)


def rendered_clip(
    emotion: Literal["disgust", "happiness", "repression", "surprise"] = "happiness",
    *,
    seed: int = 0,
    size: int = 240,
    peak: float = 1.5,
) -> RenderedClip:
    """Render a clip of a face with a micro-expression, to try things on; nobody is shown. Takes some seconds.

    Parameters
    ----------
    emotion
        Which expression.
    seed
        Of the face, its motion and the camera's noise.
    size
        Side of a frame, pixels, at least 120.
    peak
        Largest motion of a landmark from onset to apex, pixels.

    Returns
    -------
    RenderedClip
        Frames (T, size, size, 3) uint8, RGB, T = 24, and the indices of onset, apex and offset.

    Raises
    ------
    ValueError
        If there is no such expression, or a number is out of range.

    Examples
    --------
    >>> import fdpbench as fb
    >>> clip = fb.rendered_clip("happiness")
    >>> clip.frames.shape, clip.onset < clip.apex < clip.offset
    ((24, 240, 240, 3), True)
    """
    pin_or_warn()
    import tempfile

    import numpy as np

    from fdpbench.prep.demo.synth import EMOTIONS, plan_release, write_clip
    from fdpbench.prep.settings.problems import near
    from fdpbench.prep.settings.section import section
    from fdpbench.prep.settings.synth import SynthParams
    from fdpbench.prep.store.images import read_image

    if emotion not in EMOTIONS:
        raise ValueError(f"no expression {emotion!r}{near(emotion, EMOTIONS)}; expressions: {', '.join(EMOTIONS)}")
    settings: dict[str, Any] = {
        "seed": seed,
        "subjects": 2,
        "clips_per_emotion": 1,
        "size": size,
        "frames_min": 24,
        "frames_max": 24,
    }
    settings |= {"peak_min": peak, "peak_max": peak, "drift": 1.0, "blink_rate": 0.0, "gaze_rate": 0.0, "overlap": 0.0}
    params = section(SynthParams, settings, "rendered_clip")
    plan = next(plan for plan in plan_release(params) if plan.emotion == emotion)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        write_clip(plan, size, Path(folder))
        files = sorted((Path(folder) / "frames").rglob("*.png"))
        frames = np.stack([read_image(path) for path in files])
    return RenderedClip(frames, plan.onset - 1, plan.apex - 1, plan.offset - 1, emotion)


@cache
def _mesh() -> FaceMesh:
    from fdpbench.prep.align.faces import FaceMesh

    return FaceMesh()


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV with one thread, as stages run it: two give other bytes."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
