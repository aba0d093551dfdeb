"""Which triangle is seen at each sample of an image: an exact z-buffer in numpy.

Samples lie at the centres (column + 0.5, row + 0.5) of a width x height grid. Each triangle is cut
into horizontal spans, one for each row of samples it crosses. Two triangles that share an edge
compute the crossing of that edge from the same two vertices in the same order, so that the crossing
is the same number to the last bit: a mesh without holes covers every sample once, never twice or
not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Samples", "Window", "gather_corners", "rasterize"]

# Twice the area, in square samples, below which a triangle is seen edge-on and can cover nothing.
MIN_AREA = 1e-9


class Window(NamedTuple):
    """A part of a grid: columns from ``left`` to before ``right``, rows from ``top`` to before ``bottom``."""

    left: int
    top: int
    right: int
    bottom: int

    def scaled(self, factor: int) -> Window:
        """The same part of a grid that is `factor` times as fine."""
        return Window(*(factor * edge for edge in self))


@dataclass(frozen=True)
class Samples:
    """The samples that some triangle covers, in the order of their pixels.

    Attributes
    ----------
    pixel
        Shape (N,), flat index ``row * width + column`` into the grid, or its window; strictly increasing.
    triangle
        Shape (N,), index of the nearest triangle there.
    weights
        Shape (3, N), float32, barycentric weights of that triangle's corners at the sample.
    """

    pixel: NDArray[np.int64]
    triangle: NDArray[np.int64]
    weights: NDArray[np.float32]

    def subset(self, index: NDArray[np.integer]) -> Samples:
        """Keep the samples at positions `index`."""
        return Samples(self.pixel[index], self.triangle[index], self.weights[:, index])

    def interpolate(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate vertex attributes linearly inside their triangles.

        Parameters
        ----------
        corners
            Shape (C, 3, F), float32: attributes of the three corners of every triangle of the mesh.
            The caller gathers them once for all its attributes, with `gather_corners`.

        Returns
        -------
        Shape (C, N), float32. Channels come first here and in the renderer: long rows are several
        times faster in numpy than many triples.
        """
        out = np.empty((len(corners), len(self.triangle)), dtype=np.float32)
        for channel, (first, second, third) in zip(out, corners, strict=True):
            np.multiply(first.take(self.triangle), self.weights[0], out=channel)
            channel += second.take(self.triangle) * self.weights[1]
            channel += third.take(self.triangle) * self.weights[2]
        return out


def gather_corners(attributes: NDArray[np.floating], triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Copy vertex attributes (V, C) to the corners of triangles (F, 3): shape (C, 3, F), float32."""
    return np.ascontiguousarray(attributes.T, dtype=np.float32)[:, triangles.T]


def rasterize(
    points: NDArray[np.floating],
    depth: NDArray[np.floating],
    triangles: NDArray[np.integer],
    width: int,
    height: int,
    window: Window | None = None,
) -> Samples:
    """Find the nearest front-facing triangle at each sample of the grid.

    Parameters
    ----------
    points
        Shape (V, 2), image positions in samples, x to the right and y down.
    depth
        Shape (V,), larger is nearer to the camera. Interpolated linearly in the image.
    triangles
        Shape (F, 3), vertex indices, anticlockwise as seen from the front with y up. Triangles seen
        from behind are not drawn.
    width, height
        Size of the grid, samples.
    window
        The part of the grid to look at; by default the whole. What is found there is the same to the last bit.

    Returns
    -------
    The covered samples. Where two triangles lie at the same depth, the later one in `triangles` wins.
    """
    window = window or Window(0, 0, width, height)
    corners = points.astype(np.float64)[triangles]  # (F, 3, 2)
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    low, high = corners.min(axis=1), corners.max(axis=1)
    # y points down, so a front-facing triangle has negative area
    seen = (area < -MIN_AREA) & (high > window[:2]).all(axis=1) & (low < window[2:]).all(axis=1)
    index = np.flatnonzero(seen)
    corners, area, edge1, edge2 = corners[index], area[index], edge1[index], edge2[index]

    # A span is measured from where it enters the grid, in whatever window: `start`.
    owner, row, start, last = _spans(corners, width, window)
    first, last = np.maximum(start, window.left), np.minimum(last, window.right)
    kept = np.flatnonzero(last > first)
    owner, row, start, first, last = (each[kept] for each in (owner, row, start, first, last))
    count = last - first
    # Barycentric u, v (weights of corners 1 and 2) and depth are affine along a span: start and step.
    origin = corners[:, 0]
    inverse = 1.0 / area
    u_x, u_y = edge2[:, 1] * inverse, -edge2[:, 0] * inverse
    v_x, v_y = -edge1[:, 1] * inverse, edge1[:, 0] * inverse
    x0, y0 = (start + 0.5) - origin[owner, 0], (row + 0.5) - origin[owner, 1]
    u_start, v_start = x0 * u_x[owner] + y0 * u_y[owner], x0 * v_x[owner] + y0 * v_y[owner]
    z = depth.astype(np.float64)[triangles[index]]  # (F', 3)
    z_u, z_v = z[:, 1] - z[:, 0], z[:, 2] - z[:, 0]
    z_start = z[owner, 0] + u_start * z_u[owner] + v_start * z_v[owner]
    z_step = (u_x * z_u + v_x * z_v)[owner]

    # From spans to samples. `step` counts along each span from its start: 0, 1, ...
    begin = np.cumsum(count) - count
    step = np.arange(int(count.sum())) - np.repeat(begin - (first - start), count)
    columns, rows = window.right - window.left, window.bottom - window.top
    pixel = np.repeat((row - window.top) * columns + start - window.left, count) + step
    depth_here = np.repeat(z_start, count) + np.repeat(z_step, count) * step

    nearest = np.full(columns * rows, -np.inf)
    np.maximum.at(nearest, pixel, depth_here)
    wins = np.flatnonzero(depth_here == nearest.take(pixel))
    winner = np.full(columns * rows, -1, dtype=np.int64)
    winner[pixel[wins]] = wins
    covered = np.flatnonzero(winner >= 0)
    chosen = winner.take(covered)
    span, step = np.repeat(np.arange(len(count)), count).take(chosen), step.take(chosen)
    step32 = step.astype(np.float32)
    weights = np.empty((3, len(covered)), dtype=np.float32)
    for weight, start, slope in ((weights[1], u_start, u_x), (weights[2], v_start, v_x)):
        np.multiply(slope[owner].astype(np.float32).take(span), step32, out=weight)
        weight += start.astype(np.float32).take(span)
    weights[0] = 1.0 - weights[1] - weights[2]
    return Samples(covered, index[owner].take(span), weights)


def _spans(
    corners: NDArray[np.float64], width: int, window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut triangles (F, 3, 2) into spans in the rows of a window: triangle, row, first column, column after the last.

    Columns are those of the whole grid.
    """
    order = np.argsort(corners[:, :, 1], axis=1, kind="stable")
    in_order = np.take_along_axis(corners, order[:, :, None], axis=1)
    top, middle, bottom = in_order[:, 0], in_order[:, 1], in_order[:, 2]
    # A row belongs to a triangle if its centre lies in [top, bottom): neighbours above and below
    # never both claim it.
    row_first = np.clip(np.ceil(top[:, 1] - 0.5), window.top, window.bottom).astype(np.int64)
    row_last = np.clip(np.ceil(bottom[:, 1] - 0.5), window.top, window.bottom).astype(np.int64)
    rows = np.maximum(row_last - row_first, 0)
    owner = np.repeat(np.arange(len(corners)), rows)
    row = np.arange(len(owner)) - (np.cumsum(rows) - rows)[owner] + row_first[owner]

    centre = row + 0.5
    upper = centre < middle[owner, 1]
    long_edge = _crossing(top, bottom, owner, centre)
    short_edge = np.where(upper, _crossing(top, middle, owner, centre), _crossing(middle, bottom, owner, centre))
    first = np.ceil(np.minimum(long_edge, short_edge) - 0.5)
    last = np.ceil(np.maximum(long_edge, short_edge) - 0.5)
    first, last = np.clip(first, 0, width).astype(np.int64), np.clip(last, 0, width).astype(np.int64)
    kept = np.flatnonzero(last > first)
    return owner[kept], row[kept], first[kept], last[kept]


def _crossing(
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    owner: NDArray[np.int64],
    y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Give x where the edge from `upper` to `lower`, sorted by y, meets the rows at `y`."""
    fall = lower[:, 1] - upper[:, 1]
    # A horizontal edge is never crossed: its value is computed for nothing and not used.
    slope = (lower[:, 0] - upper[:, 0]) / np.where(fall > 0, fall, 1.0)
    return upper[owner, 0] + (y - upper[owner, 1]) * slope[owner]
