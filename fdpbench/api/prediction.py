"""What networks say of clips of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fdpbench.api.images import _FACES, _one_thread
from fdpbench.arithmetic import pin_or_warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fdpbench.bench.predict.result import ClipPrediction

__all__ = ["predict"]


def predict(
    path: str | Path | ArrayLike,
    *,
    weights: str | Path | None = None,
    run: str | None = None,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    fps: float | None = None,
) -> ClipPrediction:
    """Say which micro-expression a clip shows, by a network pretrained on rendered faces: `fdpbench predict` in Python.

    A research instrument: what it says of a face is not for decisions about people. docs/predict.md explains what is
    done, and what each warning means.

    Parameters
    ----------
    path
        A video, a folder of frames, or a pattern of frames; or frames (T, H, W, 3) uint8, RGB.
    weights
        Weights that come with the package, of a pretraining of the project in the current folder, or a file
        (.safetensors); None: ``rendered_flow_cnn``.
    run
        A run of the project in the current folder: the mean over the networks of its folds.
    onset, apex, offset
        Numbers of these frames, from 0, as far as they are known; the others are found.
    fps
        Frames a second; None: as the video says.

    Returns
    -------
    ClipPrediction
        ``.label``, ``.classes`` and ``.units`` (probabilities by name), ``.onset`` and ``.apex`` (frame numbers),
        ``.motion`` (pixels of the crop), ``.warnings`` (each with ``code`` and ``text``), ``.network``.

    Raises
    ------
    ValueError
        If there is no such file, several clips, no face, or too few frames; the message says what to do.

    Examples
    --------
    >>> import fdpbench as fb
    >>> clip = fb.rendered_clip("happiness", peak=2.0)
    >>> said = fb.predict(clip.frames, onset=clip.onset, apex=clip.apex, fps=200)
    >>> sorted(said.classes), round(sum(said.classes.values()), 6)
    (['negative', 'positive', 'surprise'], 1.0)
    >>> said.label
    'positive'
    >>> said.onset == clip.onset, said.apex == clip.apex, said.network.name
    (True, True, 'rendered_flow_cnn')
    """
    pin_or_warn()
    import numpy as np

    from fdpbench.bench.predict.networks import DEFAULT
    from fdpbench.bench.predict.run import finder_of, load_network, predict_clip
    from fdpbench.bench.predict.sources import Unusable, source_of_frames, sources_of

    network = load_network(None if weights is None else str(weights), run, DEFAULT)
    found = sources_of([path], fps) if isinstance(path, str | Path) else [source_of_frames(np.asarray(path), fps)]
    (source, *others) = found
    if others:
        raise ValueError(f"{path!r}: {len(found)} clips; give one, or use `fdpbench predict` for several")
    if isinstance(source, Unusable):
        raise ValueError(f"{source.name}: {source.reason}")
    with _FACES, _one_thread():
        said, _ = predict_clip(source, network, finder_of(network), onset=onset, apex=apex, offset=offset)
    return said
