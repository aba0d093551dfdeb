"""Which frames of a video are looked at: all of a short one, of a long one the window in which the face moved most.

Spotting of the simplest kind. A video longer than `LONGEST` seconds is cut into windows of `WINDOW` seconds, each
beginning half a window after the one before. In the first frame of each the face is found, and all its frames are
cropped alike. Its motion is the largest, over `LOOKS` of its frames, of the mean length of the flow since its first
frame, over the face without eyes, the motion of the head taken off (as `prep.flow.apex` does it). The window is chosen
whose motion exceeds most the mean of the windows just before and after it: speech and a turning head move a face in
all of them. It is always one window, whether or not there is an expression in it.

Nothing but the crops of a few windows is held, and no list grows with the video.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.predict.preparation import Preparation
from fdpbench.bench.predict.sources import Source, SourceError
from fdpbench.prep.align.faces import FaceError
from fdpbench.prep.align.placing import FaceFinder, place
from fdpbench.prep.flow.apex import estimate_apex, face_region
from fdpbench.prep.store.videos import VideoFrame

__all__ = ["LONGEST", "MOST_FRAMES", "WINDOW", "Span", "Spotter", "check_marks", "span_of"]

WINDOW = 0.5  # seconds: micro-expressions last at most that long (Yan et al., J. Nonverbal Behavior 2013)
LONGEST = 1.0  # seconds of a video that is one clip as a whole
LOOKS = 6  # frames of a window between which and its first the flow is computed
NEIGHBOUR = 2  # windows of so many steps away do not overlap it
MOST_FRAMES = 2000  # of a clip as a whole, where nobody says how many there are in a second


@dataclass(frozen=True)
class Span:
    """Frames that are looked at.

    Attributes
    ----------
    first, last
        Numbers of the first frame and the last, from 0; ``last`` None: to the end.
    windows
        How many windows of a long video were compared; 0 where nothing was spotted.
    left_out
        Windows in whose first frame there was no face, or more than one: how many, by reason.
    contrast
        By how many pixels of the crop its motion exceeds that of the windows beside it; None where nothing was spotted.
    """

    first: int
    last: int | None
    windows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    contrast: float | None = None


@dataclass
class _Window:
    first: int
    transform: NDArray[np.float64] | None  # None: no face
    landmarks: NDArray[np.float64] | None
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    motion: float = 0.0


class Spotter:
    """Compares the windows of a video, frame by frame.

    Parameters
    ----------
    preparation
        How frames are cropped.
    finder
        Finds faces; None where crops are taken as they are.
    length
        Frames of a window, at least 2.
    """

    def __init__(self, preparation: Preparation, finder: FaceFinder | None, length: int) -> None:
        self.preparation, self.finder, self.length = preparation, finder, length
        self.step = max(1, length // 2)
        self.windows, self.left_out = 0, Counter[str]()
        self._open: deque[_Window] = deque()
        self._recent: deque[tuple[int, float] | None] = deque(maxlen=2 * NEIGHBOUR + 1)  # first frame and motion
        self._best: tuple[float, int] | None = None  # contrast and first frame

    def add(self, frame: VideoFrame) -> None:
        """Look at the next frame."""
        if frame.number % self.step == 0:
            self._open.append(self._begun(frame))
        for window in self._open:
            if window.transform is not None and (frame.number - window.first) % self._every == 0:
                window.crops.append(self.preparation.crop(frame.image, window.transform))
        if self._open and frame.number - self._open[0].first == self.length - 1:
            self._finish(self._open.popleft())

    def best(self) -> Span | None:
        """The window that was chosen, after the last frame; None if no window has a face."""
        for _ in range(NEIGHBOUR):
            self._keep(None)
        if self._best is None:
            return None
        contrast, first = self._best
        return Span(first, first + self.length - 1, self.windows, dict(self.left_out), contrast)

    @property
    def _every(self) -> int:
        return max(1, (self.length - 1) // LOOKS)

    def _begun(self, frame: VideoFrame) -> _Window:
        try:
            (placed,) = place([frame.image], self.preparation.align, self.finder)
        except FaceError as error:
            self.left_out[error.reason] += 1
            return _Window(frame.number, None, None)
        landmarks = self.preparation.squeezed_points(placed.landmarks)
        return _Window(frame.number, self.preparation.squeezed(placed.transform), landmarks)

    def _finish(self, window: _Window) -> None:
        if window.transform is None:
            self._keep(None)
            return
        self.windows += 1
        region = face_region(
            None if window.landmarks is None else window.landmarks.ravel().tolist(), window.crops[0].shape[0]
        )
        found = estimate_apex(window.crops[0], window.crops[1:], region, self.preparation.method)
        self._keep((window.first, 0.0 if found is None else strength(found[1], region)))

    def _keep(self, window: tuple[int, float] | None) -> None:
        """Compare the window whose neighbours on both sides are known now."""
        self._recent.append(window)
        if len(self._recent) <= NEIGHBOUR:
            return
        middle = self._recent[-1 - NEIGHBOUR]
        if middle is None:
            return
        beside = [self._recent[-1]]
        if len(self._recent) > 2 * NEIGHBOUR:
            beside.append(self._recent[-1 - 2 * NEIGHBOUR])
        motions = [one[1] for one in beside if one is not None]
        contrast = middle[1] - (float(np.mean(motions)) if motions else 0.0)
        if self._best is None or contrast > self._best[0]:
            self._best = contrast, middle[0]


def strength(flow: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """Mean length of a flow (2, H, W) over a region, its median taken off; pixels of the crop."""
    motion = flow[:2, region].astype(np.float64)
    return float(np.hypot(*(motion - np.median(motion, axis=1, keepdims=True))).mean())


def check_marks(source: Source, onset: int | None, apex: int | None, offset: int | None) -> None:
    """Refuse marks that are not in order, or beyond the clip.

    Raises
    ------
    SourceError
        Naming both marks.
    """
    marks = [(name, mark) for name, mark in (("onset", onset), ("apex", apex), ("offset", offset)) if mark is not None]
    for name, mark in marks:
        if mark < 0:
            raise SourceError(f"{source.name}: --{name} {mark}: frames are counted from 0")
        if source.count is not None and mark >= source.count:
            raise SourceError(f"{source.name}: --{name} {mark}: it has {source.count} frames, 0 to {source.count - 1}")
    for (name, mark), (later, other) in zip(marks, marks[1:], strict=False):
        if mark > other or (mark == other and name == "onset"):
            raise SourceError(
                f"{source.name}: --{later} {other} is not after --{name} {mark}; frames are counted from 0"
            )


def span_of(
    source: Source,
    frames: Iterable[VideoFrame],
    preparation: Preparation,
    finder: FaceFinder | None,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
) -> Span:
    """Find which frames to look at.

    Parameters
    ----------
    source
        The clip, with its rate.
    frames
        Its frames from the first on; read once, and only where the marks leave anything open.
    preparation, finder
        How frames are cropped, and what finds faces.
    onset, apex, offset
        Frame numbers, as far as they are known. With an onset alone the span ends a window later; with an apex alone
        it begins half a window before.

    Raises
    ------
    SourceError
        If the clip is too short, or so long that its rate must be known.
    prep.align.faces.FaceError
        If no window of a long video has a face.
    """
    check_marks(source, onset, apex, offset)
    length = None if source.fps is None else max(2, round(WINDOW * source.fps) + 1)
    if onset is not None or apex is not None:
        return _around(length, onset, apex, offset)
    if offset is not None:
        return Span(0, offset)
    if source.fps is None or length is None:
        if (source.count or 0) > MOST_FRAMES:
            raise SourceError(
                f"{source.name}: {source.count} frames, and nobody says how many there are in a second; give --fps, or "
                "--onset and --apex"
            )
        return Span(0, None)
    longest = max(length, round(LONGEST * source.fps))
    if source.count is not None and source.count <= longest:
        return Span(0, None)
    spotter = Spotter(preparation, finder, length)
    count = 0
    for frame in frames:
        spotter.add(frame)
        count += 1
    if count <= longest:
        return Span(0, None)
    found = spotter.best()
    if found is None:
        reasons = Counter(spotter.left_out)
        reason = reasons.most_common(1)[0][0]
        raise FaceError(reason, f"so in the first frame of each of {reasons.total()} windows of {WINDOW} s")
    return found


def _around(length: int | None, onset: int | None, apex: int | None, offset: int | None) -> Span:
    """The span of a clip of which a mark is known."""
    first, last = onset, offset
    if first is None:
        assert apex is not None
        first = 0 if length is None else max(0, apex - length // 2)
    if last is None:
        after = None if length is None else first + length - 1
        last = apex if apex is not None else after
    return Span(first, last)
