"""What all layouts share: invented clips, the writing of their frames, and what a reader should find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.demo.simulate.people import encode_jpeg, render_people
from fdpbench.prep.releases import SIMULATED
from fdpbench.prep.store.schema import Reason

__all__ = ["LAYOUTS", "Clip", "Simulated", "SimulatedClip", "Site", "depth_png", "layout_of"]

# Frames from onset to apex and from apex to offset: short, yet enough for tasks that sample 8.
RISE, FALL = (4, 6), (4, 6)
# Frames that a recording shows before the onset and after the offset.
BEFORE, AFTER = 3, 2

TEXT = """Invented clips in the form of the release {release} (seed {seed}).

Written by `fdpbench simulate`: rendered faces, invented names, numbers and labels. No real person,
clip or annotation is in it. It shows that the pipeline reads this layout. SCORES ON IT SAY NOTHING.
Leave this file where it is: by it reports and tables say that what they show is simulated.
"""

UNITS = ("12", "1+2", "4+9")


@dataclass(frozen=True)
class Clip:
    """An invented clip, before a release names it.

    Attributes
    ----------
    subject, number
        Number of the subject and of the clip among the subject's, from 1.
    emotion
        As the release's sheet writes it.
    onset, apex, offset
        Frame numbers as the sheet counts; the apex is None where the sheet shall not know it.
    peak
        The frame in which the expression is strongest, whatever the sheet knows.
    expression
        Which of the rendered expressions is shown.
    """

    subject: int
    number: int
    emotion: str
    onset: int
    apex: int | None
    offset: int
    peak: int
    expression: int

    @property
    def units(self) -> str:
        """Action units as sheets write them."""
        return UNITS[self.expression % len(UNITS)]

    def without_apex(self) -> Clip:
        """Same clip, in a sheet that does not know its apex."""
        return replace(self, apex=None)


@dataclass(frozen=True)
class SimulatedClip:
    """What a reader should find of a clip; ``frames`` are onset to offset, relative to the release."""

    clip_id: str
    emotion: str
    fps: float | None
    onset: int | None
    apex: int | None
    offset: int | None
    frames: tuple[str, ...]


@dataclass
class Simulated:
    """A release that was written: its sheet, the clips in it, and rows that a reader should leave out."""

    sheet: Path
    clips: list[SimulatedClip] = field(default_factory=list)
    left_out: dict[str, Reason] = field(default_factory=dict)


class Site:
    """A folder that becomes a release.

    Parameters
    ----------
    root
        The release's folder.
    release
        Its name; together with ``seed`` it decides every number.
    subjects, clips
        Number of subjects, and of clips of each.
    seed
        Any whole number from 0.
    emotions
        What the sheet calls emotions, in place of the words that the release is known to use.
    """

    def __init__(
        self, root: Path, release: str, subjects: int, clips: int, seed: int, emotions: Sequence[str] = ()
    ) -> None:
        self.root, self.release, self.emotions = root, release, tuple(emotions)
        self.subjects, self.clips, self.seed = subjects, clips, seed
        self.found: list[SimulatedClip] = []
        self.left_out: dict[str, Reason] = {}
        self._people = render_people(seed)
        self._noise = self.random("noise")

    def mark(self) -> None:
        """Leave the file by which readers know that the release is simulated."""
        self.write(SIMULATED, TEXT.format(release=self.release, seed=self.seed).encode())

    def random(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, so that one never shifts another."""
        return np.random.default_rng([self.seed, *f"{self.release} {purpose}".encode()])

    def plan(self, emotions: Sequence[str], onsets: tuple[int, int], in_one_video: bool = False) -> Iterator[Clip]:
        """Invent the clips: subject by subject, the emotions in turn.

        Parameters
        ----------
        emotions
            As the sheet writes them, unless the site has words of its own.
        onsets
            Smallest and largest onset of a clip.
        in_one_video
            Whether the clips of a subject follow each other in one recording. Each begins with the frame
            with which the one before ends.
        """
        emotions = self.emotions or emotions
        rng = self.random("plan")
        for subject in range(1, self.subjects + 1):
            onset = int(rng.integers(onsets[0], onsets[1] + 1))
            for number in range(1, self.clips + 1):
                peak = onset + int(rng.integers(RISE[0], RISE[1] + 1))
                offset = peak + int(rng.integers(FALL[0], FALL[1] + 1))
                position = (subject - 1) * self.clips + number - 1
                emotion = position % len(emotions)
                yield Clip(subject, number, emotions[emotion], onset, peak, offset, peak, emotion)
                onset = offset if in_one_video else int(rng.integers(onsets[0], onsets[1] + 1))

    def write(self, place: str, data: bytes) -> None:
        """Write a file of the release."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def picture(self, clip: Clip, strength: float, grey: bool = False) -> NDArray[np.uint8]:
        """Photograph a clip's subject, its expression at a strength of 0 to 1: shape (H, W, 3), RGB."""
        return self._people.frame(clip.subject, clip.expression, strength, self._noise, grey)

    def frames(
        self,
        folder: str,
        name: Callable[[int], str],
        clips: Sequence[Clip],
        *,
        first: int | None = None,
        last: int | None = None,
        alone: bool = False,
        shift: int = 0,
        grey: bool = False,
        more: Callable[[int, bytes], None] | None = None,
    ) -> None:
        """Write the frames of a recording as JPEG.

        Parameters
        ----------
        folder
            Relative to the release.
        name
            A frame's file name by its number.
        clips
            The expressions in the recording, all of one subject.
        first, last
            First and last frame; by default a few before the first onset and after the last offset.
        alone
            Whether there is no frame before the onset and after the offset.
        shift
            Added to the sheet's numbers to give those in file names.
        grey
            Whether the camera sees no colour.
        more
            Called with each file's number and bytes, to write what stands beside it.
        """
        before, after = (0, 0) if alone else (BEFORE, AFTER)
        first = max(0, min(clip.onset for clip in clips) - before) if first is None else first
        last = max(clip.offset for clip in clips) + after if last is None else last
        for number in range(first, last + 1):
            strengths = [_strength(clip, number) for clip in clips]
            clip = clips[int(np.argmax(strengths))]
            data = encode_jpeg(self.picture(clip, max(strengths), grey))
            self.write(f"{folder}/{name(number + shift)}", data)
            if more is not None:
                more(number + shift, data)

    def add(
        self,
        clip_id: str,
        clip: Clip,
        fps: float | None,
        folder: str,
        name: Callable[[int], str],
        shift: int = 0,
        emotion: str | None = None,
    ) -> None:
        """Note a clip that a reader should find; its emotion is the sheet's in lower case unless given."""
        frames = tuple(f"{folder}/{name(number + shift)}" for number in range(clip.onset, clip.offset + 1))
        emotion = clip.emotion.lower() if emotion is None else emotion
        self.found.append(SimulatedClip(clip_id, emotion, fps, clip.onset, clip.apex, clip.offset, frames))

    def simulated(self, sheet: str) -> Simulated:
        """Say what was written."""
        return Simulated(self.root / sheet, self.found, self.left_out)


Layout = Callable[[Site, str], Simulated]

# By release: how it is written, and the versions of its layout; the first is written unless another is asked for.
LAYOUTS: dict[str, tuple[Layout, tuple[str, ...]]] = {}


def layout_of(*releases: str, versions: tuple[str, ...]) -> Callable[[Layout], Layout]:
    """Declare the decorated function to write releases: into a site, in one of the versions."""

    def declare(layout: Layout) -> Layout:
        LAYOUTS.update(dict.fromkeys(releases, (layout, versions)))
        return layout

    return declare


def depth_png() -> bytes:
    """One depth image, 16 bits, flat."""
    return cv2.imencode(".png", np.full((9, 12), 700, np.uint16))[1].tobytes()


def _strength(clip: Clip, number: int) -> float:
    """Strength of a clip's expression in a frame: 0 at onset and offset, 1 at its peak, straight between."""
    if not clip.onset < number < clip.offset:
        return 0.0
    if number <= clip.peak:
        return (number - clip.onset) / (clip.peak - clip.onset)
    return (clip.offset - number) / (clip.offset - clip.peak)
