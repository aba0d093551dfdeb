"""Figures as inline SVG: intervals on a common axis, curves over epochs, rank scores over frames.

Colours are classes of report.css, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Line", "axis", "curve", "interval", "rank_curve", "ticks"]

# An interval's drawing, px: the axis spans WIDTH between margins that hold half a tick label.
WIDTH, MARGIN, HEIGHT = 240, 12, 26
CURVE = (420, 230)  # width and height, px
RANKS = (260, 170)
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 38


@dataclass(frozen=True)
class Line:
    """A curve: one value for each x, and where there is a band its ends."""

    name: str
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span ``low`` to ``high``: at most ``most`` steps of 1, 2 or 5 times a power of ten."""
    span = high - low if high > low else max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def axis(low: float = 0.0, high: float = 1.0) -> Markup:
    """The common axis of a column of intervals, for its head."""
    labels = "".join(
        f'<text x="{_place(tick, low, high)}" y="10" text-anchor="middle">{_label(tick)}</text>'
        for tick in ticks(low, high)
    )
    return _svg("axis", WIDTH, 14, labels)


def interval(
    value: float, ends: tuple[float, float] | None, low: float = 0.0, high: float = 1.0, kind: str = "honest"
) -> Markup:
    """A value as a mark and its interval as a line, on an axis from ``low`` to ``high``.

    Parameters
    ----------
    value
        The value.
    ends
        Ends of its interval, if it has one.
    low, high
        Of the axis.
    kind
        ``honest``: a disc; ``departs``: a diamond in another colour.
    """
    middle = HEIGHT / 2
    parts = [
        f'<line class="{"zero" if tick == 0 else "grid"}" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>'
        for tick in ticks(low, high)
        for x in [_place(tick, low, high)]
    ]
    if ends is not None:
        a, b = (_place(end, low, high) for end in ends)
        parts.append(f'<line class="range" x1="{a}" x2="{b}" y1="{middle:g}" y2="{middle:g}"/>')
        parts += [f'<line class="end" x1="{x}" x2="{x}" y1="{middle - 4:g}" y2="{middle + 4:g}"/>' for x in (a, b)]
    x = _place(value, low, high)
    if kind == "honest":
        parts.append(f'<circle class="mark" cx="{x}" cy="{middle:g}" r="4.5"/>')
    else:
        parts.append(f'<path class="mark" d="M{x} {middle - 6:g}l6 6l-6 6l-6-6z"/>')
    return _svg(f"interval {kind}", WIDTH, HEIGHT, "".join(parts))


def _place(value: float, low: float, high: float) -> str:
    share = (min(max(value, low), high) - low) / (high - low)
    return f"{MARGIN + share * (WIDTH - 2 * MARGIN):.2f}"


def curve(x: Sequence[int], lines: Sequence[Line], x_name: str, y_name: str, summary: str) -> Markup:
    """Lines over whole numbers, with bands, from 0 upwards.

    Parameters
    ----------
    x
        Such as epochs, rising.
    lines
        At most four.
    x_name, y_name
        Of the axes.
    summary
        What the picture shows, for those who do not see it.
    """
    tops = [max(line.high if line.high is not None else line.y) for line in lines]
    frame = _Frame(CURVE, (x[0], x[-1]), (0.0, max([*tops, 1e-9])))
    parts = [frame.grid(x_name, y_name)]
    for number, line in enumerate(lines):
        if line.low is not None and line.high is not None:
            outline = [*zip(x, line.high, strict=True), *reversed(list(zip(x, line.low, strict=True)))]
            parts.append(f'<polygon class="band line{number}" points="{frame.points(outline)}"/>')
    for number, line in enumerate(lines):
        parts.append(
            f'<polyline class="line line{number}" points="{frame.points(list(zip(x, line.y, strict=True)))}"/>'
        )
    return _svg("curve", *CURVE, "".join(parts), summary)


def rank_curve(frames: Sequence[int], scores: Sequence[float], marks: dict[str, int], summary: str) -> Markup:
    """Rank scores over the frames that were sampled, with onset, apex and offset where they are annotated.

    Parameters
    ----------
    frames
        Numbers of the frames as the sheet counts.
    scores
        One for each.
    marks
        Frame numbers by name.
    summary
        What the picture shows, for those who do not see it.
    """
    everything = [*frames, *marks.values()]
    frame = _Frame(RANKS, (min(everything), max(everything)), (min(scores), max(scores)))
    parts = [frame.grid("frame", "rank score")]
    for name, number in marks.items():
        x = frame.x(number)
        parts.append(f'<line class="event" x1="{x}" x2="{x}" y1="{TOP}" y2="{frame.bottom}"/>')
        side = "start" if number == min(everything) else "end" if number == max(everything) else "middle"
        parts.append(f'<text class="event" x="{x}" y="{TOP - 3}" text-anchor="{side}">{escape(name)}</text>')
    pairs = list(zip(frames, scores, strict=True))
    parts.append(f'<polyline class="line line0" points="{frame.points(pairs)}"/>')
    parts += [f'<circle class="dot" cx="{frame.x(a)}" cy="{frame.y(b)}" r="3.5"/>' for a, b in pairs]
    return _svg("curve", *RANKS, "".join(parts), summary)


class _Frame:
    """Axes of a curve: from data to pixels."""

    def __init__(self, size: tuple[int, int], x: tuple[float, float], y: tuple[float, float]) -> None:
        self.ends, self.bottom = size[0] - RIGHT, size[1] - BOTTOM
        self.first, self.last = float(x[0]), float(x[1] if x[1] > x[0] else x[0] + 1)
        self.ticks = ticks(*y, 4)
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def x(self, value: float) -> str:
        share = (value - self.first) / (self.last - self.first)
        return f"{LEFT + share * (self.ends - LEFT):.2f}"

    def y(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{self.bottom - share * (self.bottom - TOP):.2f}"

    def points(self, pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(a)},{self.y(b)}" for a, b in pairs)

    def grid(self, x_name: str, y_name: str) -> str:
        parts = []
        for tick in self.ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{self.ends}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 7}" y="{y}" dy="0.32em" text-anchor="end">{_label(tick)}</text>')
        for tick in ticks(self.first, self.last):
            if self.first <= tick <= self.last and tick == round(tick):
                place = f'x="{self.x(tick)}" y="{self.bottom + 16}"'
                parts.append(f'<text {place} text-anchor="middle">{_label(tick)}</text>')
        centre, middle = (LEFT + self.ends) / 2, (TOP + self.bottom) / 2
        named = 'class="name" text-anchor="middle"'
        parts.append(f'<text {named} x="{centre:g}" y="{self.bottom + BOTTOM - 5}">{escape(x_name)}</text>')
        turn = f"rotate(-90 12 {middle:g})"
        parts.append(f'<text {named} x="12" y="{middle:g}" transform="{turn}">{escape(y_name)}</text>')
        return "".join(parts)


def _label(tick: float) -> str:
    return f"{tick:g}".replace("-", "\u2212")


def _svg(kind: str, width: int, height: int, inner: str, summary: str | None = None) -> Markup:
    """An SVG element; without a summary it says nothing that does not stand beside it, and is hidden from readers."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    role = 'aria-hidden="true"' if summary is None else f'role="img" aria-label="{escape(summary)}"'
    return Markup(f'<svg class="{kind}" {size} {role} focusable="false">{inner}</svg>')
