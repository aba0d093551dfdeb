"""Which frames of a clip are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fdpbench.bench.predict.sources import Source, SourceError
from fdpbench.bench.predict.spotting import MOST_FRAMES, NEIGHBOUR, Span, Spotter, check_marks, span_of
from fdpbench.prep.align.faces import FaceError
from fdpbench.prep.store.videos import VideoFrame
from tests.bench.predict.faces import EveryFace, frames, preparation

LENGTH = 16  # of a window at 30 frames a second


def source(count: int | None, fps: float | None = 30.0) -> Source:
    return Source("clip", (), False, fps, count)


def bump(at: int, width: int = 4, peak: float = 3.0) -> Any:
    return lambda number: peak * max(0.0, 1 - abs(number - at) / width)


def span(count: int, said: int | None = None, **motion: Any) -> Span:
    return span_of(source(said), frames(count, **motion), preparation(), EveryFace())


def test_the_window_that_moves_most_is_chosen() -> None:
    found = span(150, mouth=bump(71))
    assert found.last is not None and found.first < 71 <= found.last and found.last - found.first == LENGTH - 1
    assert found.windows == (150 - LENGTH) // (LENGTH // 2) + 1 and not found.left_out
    assert found.contrast is not None and found.contrast > 0.1


def test_a_face_that_moves_all_the_time_is_not_preferred() -> None:
    """Speech moves a face more than an expression, in all windows alike."""
    talk = lambda number: 2.0 * np.sin(number) * (number < 90)  # noqa: E731
    found = span(180, mouth=lambda number: talk(number) + bump(140, peak=3.5)(number))
    assert found.last is not None and found.first < 140 <= found.last


def test_motion_of_the_head_is_none_of_the_face() -> None:
    found = span(120, mouth=bump(92, peak=2.0), head=lambda number: 3 * np.sin(number / 9) * (number < 60))
    assert found.last is not None and found.first < 92 <= found.last


def test_an_expression_at_either_end_is_found() -> None:
    assert span(100, mouth=bump(5)).first == 0
    found = span(104, mouth=bump(100))
    assert found.last is not None and found.last > 96


def test_a_short_clip_is_taken_whole_and_no_frame_of_it_is_looked_at() -> None:
    def never() -> Iterator[VideoFrame]:
        for _ in range(2):
            raise AssertionError("its length is known")
        yield from ()

    assert span_of(source(30), never(), preparation(), EveryFace()) == Span(0, None)
    assert span(29) == Span(0, None), "of a video whose header says nothing"
    assert span_of(source(40, fps=None), never(), preparation(), EveryFace()) == Span(0, None)
    with pytest.raises(SourceError, match="give --fps, or --onset and --apex"):
        span_of(source(MOST_FRAMES + 1, fps=None), never(), preparation(), EveryFace())


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ((20, 30, 40), (20, 40)),
        ((20, 30, None), (20, 30)),
        ((20, None, None), (20, 20 + LENGTH - 1)),
        ((None, 30, None), (30 - LENGTH // 2, 30)),
        ((None, 3, 9), (0, 9)),
        ((None, None, 9), (0, 9)),
    ],
)
def test_marks_that_are_known_say_what_is_looked_at(marks: Any, expected: tuple[int, int]) -> None:
    found = span_of(source(500), iter(()), preparation(), EveryFace(), *marks)
    assert (found.first, found.last) == expected and found.contrast is None


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ((30, 20, None), "--apex 20 is not after --onset 30"),
        ((30, 30, None), "--apex 30 is not after --onset 30"),
        ((None, 30, 20), "--offset 20 is not after --apex 30"),
        ((100, None, None), "--onset 100: it has 100 frames, 0 to 99"),
        ((-1, None, None), "counted from 0"),
    ],
)
def test_marks_that_cannot_be_are_refused(marks: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        check_marks(source(100), *marks)
    check_marks(source(100), 0, 50, 50)


def test_windows_without_a_face_are_left_out_and_counted() -> None:
    found = span(150, mouth=bump(100), faceless=lambda number: number < 60)
    assert found.last is not None and found.first < 100 <= found.last
    assert found.left_out == {"no_face": 8} and found.windows == 17 - 8
    with pytest.raises(FaceError, match="no_face: so in the first frame of each of 19 windows"):
        span(150, faceless=lambda number: True)


def test_memory_does_not_grow_with_the_video() -> None:
    """Crops of two windows at most are held, and a face is sought once in each."""
    finder = EveryFace()
    spotter = Spotter(preparation(), finder, LENGTH)
    held = []
    for frame in frames(300):
        spotter.add(frame)
        held.append(sum(len(window.crops) for window in spotter._open))
    assert max(held[150:]) <= max(held[:150]) <= 2 * LENGTH
    assert len(spotter._recent) == 2 * NEIGHBOUR + 1 and finder.looked == 38
